"""Sending files to S3: one PUT for small ones, resumable parts for large ones.

What is hashed is what is sent: each PUT goes out of memory, a part at a time, with its checksum,
and S3 refuses other bytes. A part's is a CRC32, which only has to find what was damaged on its way:
that all parts are the file, its SHA-256 says. Raises botocore's errors; `modelport.registry.s3`
translates them.
"""

from __future__ import annotations

import base64
import hashlib
import io
import math
import zlib
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

from botocore.config import Config
from botocore.exceptions import ClientError

from modelport.errors import IntegrityError
from modelport.manifest import File
from modelport.registry import blobs
from modelport.registry.s3_errors import code
from modelport.registry.s3_states import States, in_base64
from modelport.registry.store import Advance, Source, Stored

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

#: S3's own limit.
MAX_PARTS = 10_000
#: Parts under way at once; with the part size this bounds the memory.
THREADS = 4
_ALGORITHM: Final = "CRC32"
#: How often an upload that somebody else ended is begun again.
_ATTEMPTS = 3


class Uploads:
    """Files on their way into one bucket."""

    def __init__(
        self,
        client: S3Client,
        bucket: str,
        states: States,
        encryption: dict[str, Any],
        part_size: int,
        single_put_limit: int,
    ) -> None:
        self._client = client
        self._bucket = bucket
        self._states = states
        self._encryption = encryption
        self._part_size = part_size
        self._single_put_limit = single_put_limit
        events = client.meta.events
        for operation in ("PutObject", "UploadPart"):
            name = f"before-send.s3.{operation}"
            events.register_first(name, _count_from_now, f"modelport-{name}")
        name = "before-sign.s3.UploadPart"
        events.register_first(name, _sign_checksum_only, f"modelport-{name}")

    def send(
        self, key: str, source: Source, file: File, advance: Advance, renew_after_s: float | None
    ) -> None:
        """Store ``source`` as ``key`` unless it is there already, and recent enough."""
        there = self._states.stat(key)
        if _serves(there, file, renew_after_s) or (
            there and there.size == file.size and self._states.renew(key, file)
        ):
            advance(file.size)
        elif file.size <= self._single_put_limit:
            self._send_whole(key, source, file, advance)
        else:
            self._send_in_parts(key, source, file, advance, renew_after_s)

    def _send_whole(self, key: str, source: Source, file: File, advance: Advance) -> None:
        body = blobs.read_whole(source, file)
        self._client.put_object(
            Bucket=self._bucket,
            Key=key,
            Body=Body(body, advance),
            ChecksumSHA256=in_base64(file.digest),
            **self._encryption,
        )
        advance(file.size)

    def _send_in_parts(
        self, key: str, source: Source, file: File, advance: Advance, renew_after_s: float | None
    ) -> None:
        for attempt in range(_ATTEMPTS):
            upload = self._unfinished(key)
            if upload:
                # Before anything is sent: its parts must not be replaced by wrong ones.
                source.check(file)
            else:
                upload = self._begin(key)
            try:
                parts = self._send_parts(upload, source, file, advance)
                self._client.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
                break
            except ClientError as error:
                # Another publisher of the same file may have ended this very upload.
                if code(error) not in ("NoSuchUpload", "InvalidPart") or attempt == _ATTEMPTS - 1:
                    raise
                if _serves(self._states.stat(key), file, renew_after_s):
                    break
        stored = self._states.stat(key)
        if stored is None or stored.size != file.size:
            got = f"{stored.size:,}" if stored else "none"
            raise IntegrityError(f"upload of {file.path}", f"{file.size:,} bytes", got)
        advance(file.size)

    def _send_parts(self, upload: Any, source: Source, file: File, advance: Advance) -> list[Any]:
        done = self._parts(upload)
        size = max(self._part_size, math.ceil(file.size / MAX_PARTS))
        meter, whole = Meter(advance), hashlib.sha256()
        parts: list[Any] = []
        under_way: deque[Future[Any]] = deque()
        with source.open() as handle, ThreadPoolExecutor(THREADS) as pool:
            for number, body in enumerate(iter(lambda: handle.read(size), b""), 1):
                whole.update(body)
                if len(under_way) == THREADS:
                    parts.append(under_way.popleft().result())
                under_way.append(pool.submit(self._part, upload, number, body, done, meter))
            parts += [sent.result() for sent in under_way]
        digest = "sha256:" + whole.hexdigest()
        if digest != file.digest:
            self._client.abort_multipart_upload(**upload)
        blobs.check_unchanged(file, digest)
        return parts

    def _part(self, upload: Any, number: int, body: bytes, done: Any, meter: Meter) -> Any:
        """Send one part, unless it was sent before, and say how to name it at the end."""
        part = done.get(number)
        if part is None or not _is_same(part, body):
            part = self._client.upload_part(
                **upload,
                PartNumber=number,
                Body=Body(body, lambda sent: meter.report(number, sent)),
                ChecksumCRC32=_checksum(body),
            )
        meter.report(number, len(body))
        named = {name: part[name] for name in ("ETag", "ChecksumCRC32") if name in part}
        return {"PartNumber": number, **named}

    def _begin(self, key: str) -> Any:
        at: Any = {"Bucket": self._bucket, "Key": key}
        answer = self._client.create_multipart_upload(
            **at, ChecksumAlgorithm=_ALGORITHM, **self._encryption
        )
        return {**at, "UploadId": answer["UploadId"]}

    def _unfinished(self, key: str) -> Any:
        """The latest upload of ``key`` that was cut off or is still under way."""
        pages = self._client.get_paginator("list_multipart_uploads").paginate(
            Bucket=self._bucket, Prefix=key
        )
        found = [
            upload
            for page in pages
            for upload in page.get("Uploads", ())
            # S3 takes no parts with another checksum than an upload was begun with.
            if upload["Key"] == key and upload.get("ChecksumAlgorithm") in (None, _ALGORITHM)
        ]
        if not found:
            return None
        latest = max(found, key=lambda upload: (upload["Initiated"], upload["UploadId"]))
        return {"Bucket": self._bucket, "Key": key, "UploadId": latest["UploadId"]}

    def _parts(self, upload: Any) -> dict[int, Any]:
        pages = self._client.get_paginator("list_parts").paginate(**upload)
        return {part["PartNumber"]: part for page in pages for part in page.get("Parts", ())}


class Body(io.BytesIO):
    """Bytes on their way out, reporting how far they got."""

    def __init__(self, body: bytes, advance: Advance) -> None:
        super().__init__(body)
        self._advance = advance
        self.sending = False

    def read(self, size: int | None = -1, /) -> bytes:
        chunk = super().read(size)
        if self.sending and chunk:
            self._advance(self.tell())
        return chunk


def _count_from_now(request: Any, **_: Any) -> None:
    """Botocore reads a body before it sends it, to sign it; only what is sent counts."""
    if isinstance(request.body, Body):
        request.body.sending = True


def _sign_checksum_only(request: Any, **_: Any) -> None:
    """Sign the header with a part's checksum and not its bytes, over HTTP as botocore over HTTPS.

    Else it hashes each byte once more. Where it stops to look here, it does that again.
    """
    request.context["client_config"] = Config(s3={"payload_signing_enabled": False})


class Meter:
    """Adds up the progress of parts that are sent side by side."""

    def __init__(self, advance: Advance) -> None:
        self._advance = advance
        self._done: dict[int, int] = {}
        self._lock = Lock()

    def report(self, number: int, done: int) -> None:
        """Part ``number`` has ``done`` bytes out."""
        with self._lock:
            self._done[number] = done
            self._advance(sum(self._done.values()))


def _serves(there: Stored | None, file: File, renew_after_s: float | None) -> bool:
    """Whether an object that is there makes sending ``file`` unnecessary."""
    if there is None or there.size != file.size:
        return False
    return renew_after_s is None or there.age_s <= renew_after_s


def _checksum(body: bytes) -> str:
    return base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()


def _is_same(part: Any, body: bytes) -> bool:
    """Whether a part that S3 lists is this one; without a checksum its ETag may tell (MD5)."""
    if part["Size"] != len(body):
        return False
    if "ChecksumCRC32" in part:
        return bool(part["ChecksumCRC32"] == _checksum(body))
    return bool(part["ETag"].strip('"') == hashlib.md5(body, usedforsecurity=False).hexdigest())

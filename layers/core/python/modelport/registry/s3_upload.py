"""Sending files to S3: one PUT for small ones, resumable parts for large ones.

What is hashed is what is sent: each PUT goes out of memory, a part at a time, with its SHA-256, and
S3 refuses other bytes. Raises botocore's errors; `modelport.registry.s3` translates them.
"""

from __future__ import annotations

import base64
import hashlib
import io
import math
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count
from threading import Lock
from typing import IO, TYPE_CHECKING, Any, cast

from botocore.auth import AUTH_TYPE_MAPS, S3SigV4Auth
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
_SENT_AT_ONCE = 128 << 10
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
            acts: Any = {"before-send": _count_from_now, "choose-signer": _signer}
            for event, act in acts.items():
                name = f"{event}.s3.{operation}"
                events.register_first(name, act, f"modelport-{name}")

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
            Body=cast("IO[bytes]", Body(body, advance)),
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
            upload = upload or self._begin(key)
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
        under_way: deque[tuple[Future[Any], memoryview]] = deque()
        # Memory that is used again: asking the system for new pages costs more than to hash them.
        free = deque(memoryview(bytearray(size)) for _ in range(THREADS + 1))
        with source.open() as handle, ThreadPoolExecutor(THREADS) as pool:
            for number in count(1):
                buffer = free.popleft()
                body = buffer[: handle.readinto(buffer)]
                if not body:
                    break
                whole.update(body)
                if len(under_way) == THREADS:
                    sent, emptied = under_way.popleft()
                    parts.append(sent.result())
                    free.append(emptied)
                future = pool.submit(self._part, upload, number, body, done, meter)
                under_way.append((future, buffer))
            parts += [sent.result() for sent, _ in under_way]
        digest = "sha256:" + whole.hexdigest()
        if digest != file.digest:
            self._client.abort_multipart_upload(**upload)
        blobs.check_unchanged(file, digest)
        return parts

    def _part(self, upload: Any, number: int, body: memoryview, done: Any, meter: Meter) -> Any:
        """Send one part, unless it was sent before, and say how to name it at the end."""
        part = done.get(number)
        if part is None or not _is_same(part, body):
            part = self._client.upload_part(
                **upload,
                PartNumber=number,
                Body=cast("IO[bytes]", Body(body, lambda sent: meter.report(number, sent))),
                ChecksumSHA256=_checksum(body),
            )
        meter.report(number, len(body))
        named = {name: part[name] for name in ("ETag", "ChecksumSHA256") if name in part}
        return {"PartNumber": number, **named}

    def _begin(self, key: str) -> Any:
        at: Any = {"Bucket": self._bucket, "Key": key}
        answer = self._client.create_multipart_upload(
            **at, ChecksumAlgorithm="SHA256", **self._encryption
        )
        return {**at, "UploadId": answer["UploadId"]}

    def _unfinished(self, key: str) -> Any:
        """The latest upload of ``key`` that was cut off or is still under way."""
        pages = self._client.get_paginator("list_multipart_uploads").paginate(
            Bucket=self._bucket, Prefix=key
        )
        found = [
            upload for page in pages for upload in page.get("Uploads", ()) if upload["Key"] == key
        ]
        if not found:
            return None
        latest = max(found, key=lambda upload: (upload["Initiated"], upload["UploadId"]))
        return {"Bucket": self._bucket, "Key": key, "UploadId": latest["UploadId"]}

    def _parts(self, upload: Any) -> dict[int, Any]:
        pages = self._client.get_paginator("list_parts").paginate(**upload)
        return {part["PartNumber"]: part for page in pages for part in page.get("Parts", ())}


class Body(io.RawIOBase):
    """Bytes on their way out, reporting how far they got; a file to whoever sends them."""

    def __init__(self, body: bytes | memoryview, advance: Advance) -> None:
        super().__init__()
        self._body = memoryview(body)
        self._at = 0
        self._advance = advance
        self.sending = False

    def __len__(self) -> int:
        return len(self._body)

    def read(self, size: int | None = -1, /) -> bytes:
        """The next ``size`` bytes, or more of them when they are on their way."""
        if size is None or size < 0:
            size = len(self._body)
        elif self.sending:
            # urllib3 asks for 16 KB: as many writes less, and turns of threads.
            size = max(size, _SENT_AT_ONCE)
        chunk = bytes(self._body[self._at : self._at + size])
        self._at += len(chunk)
        if self.sending and chunk:
            self._advance(self._at)
        return chunk

    def tell(self) -> int:
        """How far it was read."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Go on reading from there."""
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at}.get(whence, len(self._body))
        return self._at


class KnownPayload(S3SigV4Auth):
    """Signs a body by the SHA-256 that was announced with it, which botocore would find again."""

    def payload(self, request: Any) -> str:
        """The hash of the body in hexadecimal digits; S3 refuses a body with another."""
        known = request.headers.get("x-amz-checksum-sha256")
        return base64.b64decode(known).hex() if known else str(super().payload(request))


AUTH_TYPE_MAPS["s3v4-known-payload"] = KnownPayload


def _signer(signature_version: Any, **_: Any) -> str | None:
    """How to sign instead of ``signature_version``; None: as botocore means to."""
    return "s3v4-known-payload" if signature_version in ("v4", "s3v4") else None


def _count_from_now(request: Any, **_: Any) -> None:
    """Botocore reads a body before it sends it, to sign it; only what is sent counts."""
    if isinstance(request.body, Body):
        request.body.sending = True


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


def _checksum(body: memoryview) -> str:
    return base64.b64encode(hashlib.sha256(body).digest()).decode()


def _is_same(part: Any, body: memoryview) -> bool:
    """Whether a part that S3 lists is this one; without a checksum its ETag may tell (MD5)."""
    if part["Size"] != len(body):
        return False
    if "ChecksumSHA256" in part:
        return bool(part["ChecksumSHA256"] == _checksum(body))
    return bool(part["ETag"].strip('"') == hashlib.md5(body, usedforsecurity=False).hexdigest())

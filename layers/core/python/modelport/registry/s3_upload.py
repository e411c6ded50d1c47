"""Sending files to S3: one PUT for small ones, resumable parts for large ones.

What was hashed is what is sent. A small file is hashed in memory and sent out of it. A large one
was read once for its SHA-256 and the CRC32 of each part: now its parts are sent as they are read,
several at a time and none held in memory. Each goes with the CRC32 of then, so S3 refuses other
bytes, and what is read now is compared with it here as well, for a store that does not look. Raises
botocore's errors; `modelport.registry.s3` translates them.
"""

from __future__ import annotations

import base64
import hashlib
import io
import math
import os
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
from modelport.registry.store import Advance, Part, Source, Stored

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

#: S3's own limit.
MAX_PARTS = 10_000
#: Parts under way at once.
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
        for name, act in (
            ("before-send.s3.PutObject", _count_from_now),
            ("before-sign.s3.UploadPart", _sign_checksum_only),
        ):
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
            Body=Body(body, advance),
            ChecksumSHA256=in_base64(file.digest),
            **self._encryption,
        )
        advance(file.size)

    def _send_in_parts(
        self, key: str, source: Source, file: File, advance: Advance, renew_after_s: float | None
    ) -> None:
        for attempt in range(_ATTEMPTS):
            found = self._unfinished(key)
            upload = found or self._begin(key)
            try:
                parts = self._send_parts(upload, source, file, advance)
                self._client.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
                break
            except IntegrityError:
                # Of one that was found the parts may be right: they are compared when it goes on.
                if not found:
                    self._client.abort_multipart_upload(**upload)
                raise
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
        meter = Meter(advance)
        sent: list[Any] = []
        under_way: deque[Future[Any]] = deque()
        with source.parts(file, size) as parts, ThreadPoolExecutor(THREADS) as pool, meter:
            for number, part in enumerate(parts, 1):
                if len(under_way) == THREADS:
                    sent.append(under_way.popleft().result())
                under_way.append(pool.submit(self._part, upload, file, number, part, done, meter))
            sent += [part.result() for part in under_way]
        return sent

    def _part(
        self, upload: Any, file: File, number: int, part: Part, done: Any, meter: Meter
    ) -> Any:
        """Send one part, unless it was sent before, and say how to name it at the end."""
        there = done.get(number)
        if there is None or not _is_same(there, part):
            body = PartBody(part, lambda sent: meter.report(number, sent))
            try:
                there = self._client.upload_part(
                    **upload,
                    PartNumber=number,
                    Body=body,  # type: ignore[arg-type]  # all of a file that is asked of it
                    ChecksumCRC32=_in_base64(part.crc32),
                )
            finally:
                body.check(file)
        meter.report(number, part.size)
        named = {name: there[name] for name in ("ETag", "ChecksumCRC32") if name in there}
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


class PartBody:
    """A part on its way out: read where it lies, piece by piece, and compared with what was hashed.

    Bytes that are gone count as zeros: so many as were announced go out, and S3 refuses them.
    """

    def __init__(self, part: Part, advance: Advance) -> None:
        self._part = part
        self._advance = advance
        self._at = self._crc32 = 0

    def __len__(self) -> int:
        return self._part.size

    def tell(self) -> int:
        """Bytes that were read."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Begin again, as for another try, or stay: what is compared is read in order."""
        if (offset, whence) != (0, os.SEEK_SET):
            raise io.UnsupportedOperation("a part is read from its beginning")
        self._at = self._crc32 = 0
        return 0

    def read(self, size: int | None = -1, /) -> bytes:
        """The next bytes, at most ``size``."""
        left = self._part.size - self._at
        size = left if size is None or size < 0 else min(size, left)
        chunk = self._part.read(self._at, size).ljust(size, b"\0")
        self._at += size
        self._crc32 = zlib.crc32(chunk, self._crc32)
        self._advance(self._at)
        return chunk

    def check(self, file: File) -> None:
        """Raise `IntegrityError` if all was read and is not what was hashed of ``file``."""
        if self._at == self._part.size and self._crc32 != self._part.crc32:
            raise blobs.changed(file, f"CRC32 {self._part.crc32:08x}", f"{self._crc32:08x}")


def _count_from_now(request: Any, **_: Any) -> None:
    """Botocore reads a body before it sends it, to sign it; only what is sent counts."""
    if isinstance(request.body, Body):
        request.body.sending = True


def _sign_checksum_only(request: Any, **_: Any) -> None:
    """Sign the header with a part's checksum and not its bytes, over HTTP as botocore over HTTPS.

    Else it hashes each byte once more. Where it stops to look here, it does that again.
    """
    request.context["client_config"] = Config(s3={"payload_signing_enabled": False})


class Stopped(BaseException):
    """Ends the sending of a part; botocore would take an Exception for the line's and try again."""


class Meter:
    """Adds up the progress of parts that are sent side by side, until one fails or all are sent."""

    def __init__(self, advance: Advance) -> None:
        self._advance = advance
        self._done: dict[int, int] = {}
        self._total = 0
        self._failed = False
        self._lock = Lock()

    def __enter__(self) -> Meter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._failed = kind is not None

    def report(self, number: int, done: int) -> None:
        """Part ``number`` has ``done`` bytes out; raises `Stopped` where that is for nothing."""
        if self._failed:
            raise Stopped
        with self._lock:
            self._total += done - self._done.get(number, 0)
            self._done[number] = done
            self._advance(self._total)


def _serves(there: Stored | None, file: File, renew_after_s: float | None) -> bool:
    """Whether an object that is there makes sending ``file`` unnecessary."""
    if there is None or there.size != file.size:
        return False
    return renew_after_s is None or there.age_s <= renew_after_s


def _in_base64(crc32: int) -> str:
    return base64.b64encode(crc32.to_bytes(4, "big")).decode()


def _is_same(there: Any, part: Part) -> bool:
    """Whether a part that S3 lists is this one; without a checksum its ETag may tell (MD5)."""
    if there["Size"] != part.size:
        return False
    if "ChecksumCRC32" in there:
        return bool(there["ChecksumCRC32"] == _in_base64(part.crc32))
    body = part.read(0, part.size)
    return bool(there["ETag"].strip('"') == hashlib.md5(body, usedforsecurity=False).hexdigest())

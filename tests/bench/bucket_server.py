"""A bucket on loopback that keeps up: `python -m tests.bench.bucket_server DIR`.

The emulators take 80 MB/s, so behind them every client looks alike. This speaks as much of S3 as
moving files and publishing need: objects with conditions and ranges, uploads in parts, SHA-256 and
CRC32 checked as S3 checks them. Files lie in DIR, sent by the kernel. It must not be used where
behaviour is proved: it signs nothing, lists nothing but what is asked here, and has one bucket.
"""

from __future__ import annotations

import base64
import hashlib
import re
import socket
import socketserver
import sys
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from itertools import count
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import parse_qs, urlsplit

_CHUNK = 1 << 20
_PART = re.compile(r"<PartNumber>(\d+)</PartNumber>")


class RefusedError(Exception):
    """A request that S3 would refuse."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.status, self.code = status, code


@dataclass(frozen=True)
class Piece:
    """A file of the folder that is an object or a part of one."""

    path: Path
    size: int
    etag: str


class Bucket:
    """Objects as the files of their parts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.objects: dict[str, list[Piece]] = {}
        self.uploads: dict[str, dict[int, Piece]] = {}
        self.lock = Lock()
        self._numbers = count()

    def place(self) -> Path:
        """Where the next piece goes."""
        return self.folder / f"{next(self._numbers):06d}"


class Crc32:
    """The other checksum that clients send, with the interface of hashlib's."""

    def __init__(self) -> None:
        self._value = 0

    def update(self, chunk: memoryview) -> None:
        self._value = zlib.crc32(chunk, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(4, "big")


CHECKSUMS: Mapping[str, Callable[[], Any]] = {
    "x-amz-checksum-sha256": hashlib.sha256,
    "x-amz-checksum-crc32": Crc32,
}


class Handler(BaseHTTPRequestHandler):
    """The requests of one connection."""

    protocol_version = "HTTP/1.1"
    bucket: Bucket

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except ConnectionError:
            self.close_connection = True

    def parse_request(self) -> bool:
        """Read the head, and what every request is about."""
        if not super().parse_request():
            return False
        split = urlsplit(self.path)
        self.key = split.path.partition("/")[2].partition("/")[2]
        self.query = {
            name: values[0]
            for name, values in parse_qs(split.query, keep_blank_values=True).items()
        }
        return True

    def do_PUT(self) -> None:
        self._guarded(self._put)

    def do_POST(self) -> None:
        self._guarded(self._post)

    def do_GET(self) -> None:
        self._guarded(self._get)

    do_HEAD = do_GET

    def do_DELETE(self) -> None:
        self.bucket.uploads.pop(self.query.get("uploadId", ""), None)
        self._answer(204)

    def _guarded(self, act: Callable[[], None]) -> None:
        try:
            act()
        except RefusedError as refused:
            body = f"<Error><Code>{refused.code}</Code></Error>"
            self._answer(refused.status, b"" if self.command == "HEAD" else body.encode())

    def _put(self) -> None:
        bucket = self.bucket
        piece = self._received(bucket.place())
        if "uploadId" in self.query:
            self._upload()[int(self.query["partNumber"])] = piece
        elif self.key:
            with bucket.lock:
                self._check_conditions()
                bucket.objects[self.key] = [piece]
        headers = {"ETag": piece.etag}
        self._answer(200, b"", headers)

    def _check_conditions(self) -> None:
        there = self.bucket.objects.get(self.key)
        etag = there[0].etag if there else None
        if (self.headers.get("If-None-Match") == "*" and there) or (
            self.headers.get("If-Match", etag) != etag
        ):
            raise RefusedError(412, "PreconditionFailed")

    def _received(self, to: Path) -> Piece:
        """Write the body to a file, and refuse one that is not what it was announced as."""
        announced = {name: self.headers.get(name) for name in CHECKSUMS}
        expected = {name: value for name, value in announced.items() if value}
        sums = {name: CHECKSUMS[name]() for name in expected}
        left = size = int(self.headers.get("Content-Length", 0))
        buffer = memoryview(bytearray(min(_CHUNK, size)))
        with to.open("wb", buffering=0) as file:
            while left:
                chunk = buffer[: self.rfile.readinto(buffer[:left])]
                if not chunk:
                    raise ConnectionError("the body ended early")
                for each in sums.values():
                    each.update(chunk)
                file.write(chunk)
                left -= len(chunk)
        for name, each in sums.items():
            if base64.b64encode(each.digest()).decode() != expected[name]:
                raise RefusedError(400, "BadDigest")
        return Piece(to, size, f'"{to.name}"')

    def _upload(self) -> dict[int, Piece]:
        try:
            return self.bucket.uploads[self.query["uploadId"]]
        except KeyError:
            raise RefusedError(404, "NoSuchUpload") from None

    def _post(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        if "uploads" in self.query:
            name = self.bucket.place().name
            self.bucket.uploads[name] = {}
            made = "<InitiateMultipartUploadResult><UploadId>{}</UploadId></{}>"
            return self._answer(200, made.format(name, "InitiateMultipartUploadResult").encode())
        parts = self._upload()
        numbers = [int(number) for number in _PART.findall(body)]
        if any(number not in parts for number in numbers):
            raise RefusedError(400, "InvalidPart")
        self.bucket.objects[self.key] = [parts[number] for number in numbers]
        del self.bucket.uploads[self.query["uploadId"]]
        self._answer(
            200,
            b'<CompleteMultipartUploadResult><ETag>"many"</ETag></CompleteMultipartUploadResult>',
        )

    def _get(self) -> None:
        if "uploads" in self.query:
            return self._answer(200, b"<ListMultipartUploadsResult/>")
        if "uploadId" in self.query:
            return self._answer(200, b"<ListPartsResult/>")
        pieces = self.bucket.objects.get(self.key)
        if pieces is None:
            raise RefusedError(404, "NoSuchKey")
        if self.headers.get("If-None-Match") == pieces[0].etag:
            return self._answer(304)
        size = sum(piece.size for piece in pieces)
        start, end, status, headers = 0, size, 200, {"ETag": pieces[0].etag}
        if asked := self.headers.get("Range"):
            first, _, last = asked.removeprefix("bytes=").partition("-")
            start, end, status = int(first), min(size, int(last) + 1 if last else size), 206
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        self._head(status, end - start, headers)
        if self.command == "GET":
            self._send(pieces, start, end)

    def _send(self, pieces: list[Piece], start: int, end: int) -> None:
        """Bytes ``start`` to ``end`` of the object, from the page cache to the socket."""
        offset = 0
        for piece in pieces:
            first, last = max(start - offset, 0), min(end - offset, piece.size)
            if first < last:
                with piece.path.open("rb") as file:
                    self.connection.sendfile(file, first, last - first)
            offset += piece.size

    def _answer(
        self, status: int, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> None:
        self._head(status, len(body), headers or {})
        self.wfile.write(body)

    def _head(self, status: int, length: int, headers: Mapping[str, str]) -> None:
        lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        date = formatdate(usegmt=True)
        lines += [f"Date: {date}", f"Last-Modified: {date}", "Content-Type: binary/octet-stream"]
        lines += [f"Content-Length: {length}"] * (status not in (204, 304))
        self.wfile.write(("\r\n".join(lines) + "\r\n\r\n").encode())


class Server(socketserver.ThreadingTCPServer):
    """A thread per connection."""

    daemon_threads = True
    request_queue_size = 128


def main() -> None:
    """Serve until killed; the first line says the port."""
    bucket = Bucket(Path(sys.argv[1]))
    made = type("BoundHandler", (Handler,), {"bucket": bucket})
    with Server(("127.0.0.1", 0), made) as server:
        print(server.server_address[1], flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()

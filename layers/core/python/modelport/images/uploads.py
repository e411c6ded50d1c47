"""One blob on its way into a repository: mounted, or sent with one POST and one streamed PUT.

Never in chunks: Amazon ECR answers a second PATCH wrongly. A cut connection is picked up where the
registry says it stands, else begun anew. What the blob is made of is the caller's business.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO

import httpx

from modelport.errors import BackendError, IntegrityError
from modelport.images.connection import Body, Connection, Scopes
from modelport.images.errors import ImageRegistryError
from modelport.images.patience import Interruption
from modelport.images.refusals import Answer
from modelport.registry import Progress

CHUNK = 256 << 10
_RANGE = re.compile(r"(?:bytes=)?0-(\d+)")
_STARTED, _STORED = (202,), (201, 204)
_MOUNTED = (201, 202)
#: The upload is no more, or stands elsewhere than we thought: begin another.
_LOST = (400, 404, 405, 409, 416)


class Upload:
    """One blob for one repository; `run` sends it."""

    def __init__(
        self,
        connection: Connection,
        digest: str,
        size: int,
        open: Callable[[], BinaryIO],
        progress: Progress,
        *,
        present: Callable[[], bool],
    ) -> None:
        self._connection = connection
        self._name = connection.reference.name
        self._scopes: Scopes = frozenset({f"repository:{self._name}:pull,push"})
        self._digest = digest
        self._size = size
        self._open = open
        self._progress = progress
        self._present = present
        # Amazon ECR reports no state of an upload: a broken one is begun again.
        self._resumes = connection.reference.ecr_region is None
        self._doing = f"sending {digest[:19]}… ({size:,} bytes)"
        #: Bytes handed to the network, those of broken tries included.
        self.sent = 0

    def run(self, mount_from: Sequence[str] = ()) -> int:
        """Have the blob in the repository; returns the bytes that it took."""
        mounted, begun = self._mount(mount_from)
        if mounted:
            self._progress(self._digest, self._size, self._size)
            return 0
        # What cannot be read shall not begin an upload.
        self._check_readable()
        url, offset = begun or self._begin(), 0
        patience = self._connection.patience()
        while True:
            try:
                self._put(url, offset)
                return self.sent
            except Interruption as interruption:
                patience.wait(interruption)
            if self._present():
                # What was lost was only the answer.
                self._progress(self._digest, self._size, self._size)
                return self.sent
            reached = offset
            url, offset = self._resumed(url) or (self._begin(), 0)
            if offset > reached:
                patience.progressed()

    def _mount(self, sources: Sequence[str]) -> tuple[bool, httpx.URL | None]:
        """Take the blob over from a neighbour: whether that was all, else where to send it."""
        begun = None
        for source in sources:
            if source == self._name:
                continue
            path = f"/v2/{self._name}/blobs/uploads/?mount={self._digest}&from={source}"
            try:
                answer = self._connection.ask(
                    "POST",
                    self._connection.url(path),
                    self._scopes | {f"repository:{source}:pull"},
                    f"mounting {self._digest[:19]}… from {source}",
                    (*_MOUNTED, 401, 403, 404),
                    body=Body.of(b""),
                )
            except ImageRegistryError:
                continue  # A token service may refuse the other repository: send it then.
            if answer.status == 201:
                return True, None
            if answer.status == 202:
                begun = self._location(answer)
        return False, begun

    def _begin(self) -> httpx.URL:
        answer = self._connection.ask(
            "POST",
            self._connection.url(f"/v2/{self._name}/blobs/uploads/"),
            self._scopes,
            self._doing,
            _STARTED,
            body=Body.of(b""),
        )
        return self._location(answer)

    def _put(self, url: httpx.URL, offset: int) -> None:
        separator = "&" if url.query else "?"
        target = httpx.URL(f"{url}{separator}digest={self._digest}")
        headers = {"Content-Type": "application/octet-stream"}
        if offset:
            headers["Content-Range"] = f"{offset}-{self._size - 1}"
        answer = self._connection.once(
            "PUT",
            target,
            self._scopes,
            self._doing,
            (*_STORED, *(_LOST if offset else (404, 416))),
            headers=headers,
            body=Body(self._size - offset, lambda: self._chunks(offset)),
        )
        if answer.status not in _STORED:
            self._resumes = False
            raise self._connection.interruption(f"lost the upload while {self._doing}")
        stored = answer.headers.get("Docker-Content-Digest", self._digest)
        if stored != self._digest:
            raise IntegrityError(
                f"blob stored by {self._connection.reference.registry}", self._digest, stored
            )

    def _resumed(self, url: httpx.URL) -> tuple[httpx.URL, int] | None:
        """Where the registry stands with the upload, and where to go on; None to begin anew."""
        if not self._resumes:
            return None
        doing = f"asking how far {self._digest[:19]}… got"
        expected = (200, 202, 204, *_LOST)
        answer = self._connection.ask("GET", url, self._scopes, doing, expected)
        found = _RANGE.fullmatch(answer.headers.get("Range", "").strip())
        # "0-0" says both nothing and one byte.
        if answer.status in _LOST or found is None or found[1] == "0":
            return None
        offset = int(found[1]) + 1
        if offset > min(self._size, self.sent) or "Location" not in answer.headers:
            return None
        return self._location(answer), offset

    def _location(self, answer: Answer) -> httpx.URL:
        location = answer.headers.get("Location")
        if not location:
            problem = f"begins an upload without saying where, while {self._doing}"
            raise ImageRegistryError(self._connection.reference.registry, problem)
        return self._connection.url(location)

    def _check_readable(self) -> None:
        with self._reading(), self._open():
            pass

    def _chunks(self, offset: int) -> Iterator[bytes]:
        with self._reading(), self._open() as source:
            source.seek(offset)
            yield from self._read(source, offset)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise BackendError(
                f"{self._digest} cannot be read to send it: {error.strerror or error}",
                hint="build the image again",
            ) from error

    def _read(self, source: BinaryIO, done: int) -> Iterator[bytes]:
        while done < self._size:
            chunk = source.read(min(CHUNK, self._size - done))
            if not chunk:
                raise IntegrityError(
                    f"{self._digest} changed while it was sent",
                    f"{self._size:,} bytes",
                    f"{done:,}",
                )
            yield chunk
            done += len(chunk)
            self.sent += len(chunk)
            self._progress(self._digest, done, self._size)

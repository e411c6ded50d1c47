"""One repository in a container registry, over the OCI distribution API.

Everything read is verified against its digest and everything written against what the registry
then says it has. Blobs are streamed: memory does not grow with them. Knows nothing of what images
are made of.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from io import BufferedRandom
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any, BinaryIO

import httpx

from modelport.errors import IntegrityError
from modelport.images.auth import Credentials
from modelport.images.connection import Body, Connection, Scopes
from modelport.images.errors import ImageNotFoundError, ImageRegistryError
from modelport.images.patience import Interruption
from modelport.images.reference import Reference
from modelport.images.uploads import Upload
from modelport.manifest import digest_of
from modelport.registry import Progress, silent
from modelport.whole_files import whole_file

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
INDEXES = (OCI_INDEX, DOCKER_INDEX)
_ACCEPTED = ", ".join((OCI_MANIFEST, DOCKER_MANIFEST, *INDEXES))
#: A redirect of a HEAD says that the blob is there; the place it leads to takes GET only.
_THERE = (200, 302, 303, 307, 308)


class Repository:
    """A repository: read and write its blobs and manifests. Threads may share one."""

    def __init__(
        self,
        reference: Reference,
        credentials: Credentials,
        *,
        client: httpx.Client | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.reference = reference.repository
        self._connection = Connection(self.reference, credentials, client, sleep)
        self._pull = frozenset({f"repository:{reference.name}:pull"})
        self._push = frozenset({f"repository:{reference.name}:pull,push"})
        self._lock = Lock()
        #: Bytes of blobs sent so far, those of broken tries included.
        self.sent = 0

    def __enter__(self) -> Repository:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._connection.close()

    # --- manifests --------------------------------------------------------------------------------

    def manifest(self, which: str) -> tuple[str, bytes, str]:
        """Media type, bytes and digest of a tag or digest; raises `ImageNotFoundError`."""
        return self._manifest(which, self._pull)

    def _manifest(self, which: str, scopes: Scopes) -> tuple[str, bytes, str]:
        answer = self._connection.ask(
            "GET",
            self._url(f"manifests/{which}"),
            scopes,
            f"reading manifest {_short(which)}",
            (200, 404),
            headers={"Accept": _ACCEPTED},
        )
        wanted = self._named(which)
        if answer.status == 404:
            raise ImageNotFoundError(str(wanted))
        digest = digest_of(answer.body)
        for expected in (wanted.digest, answer.headers.get("Docker-Content-Digest")):
            if expected is not None and expected.startswith("sha256:") and expected != digest:
                raise IntegrityError(f"manifest of {wanted}", expected, digest)
        document = self._document(answer.body, wanted)
        said = answer.headers.get("Content-Type", "").partition(";")[0].strip()
        return str(document.get("mediaType") or said or OCI_MANIFEST), answer.body, digest

    def has_manifest(self, which: str) -> bool:
        """Whether a tag or digest leads to an image."""
        answer = self._connection.ask(
            "HEAD",
            self._url(f"manifests/{which}"),
            self._pull,
            f"looking for {_short(which)}",
            (200, 404),
            headers={"Accept": _ACCEPTED},
        )
        return answer.status == 200

    def manifest_for(self, which: str, platform: str) -> tuple[bytes, str]:
        """The manifest for ``linux/amd64`` and the like; a lone manifest is taken as it is."""
        media_type, body, digest = self.manifest(which)
        wanted = self._named(which)
        document = self._document(body, wanted)
        if media_type not in INDEXES and "manifests" not in document:
            return body, digest
        platforms = platforms_of(document)
        if platform not in platforms:
            listed = ", ".join(sorted(platforms)) or "none"
            raise ImageNotFoundError(f"{wanted} for {platform}", f"it is made for: {listed}")
        _, body, digest = self.manifest(platforms[platform])
        return body, digest

    def put_manifest(self, body: bytes, media_type: str, tag: str | None) -> str:
        """Store a manifest whose blobs are there; the digest under which it can be read again."""
        digest = digest_of(body)
        for which in (digest, *([tag] if tag else [])):
            answer = self._connection.ask(
                "PUT",
                self._url(f"manifests/{which}"),
                self._push,
                f"storing manifest {_short(which)}",
                (200, 201, 202),
                headers={"Content-Type": media_type},
                body=Body.of(body),
            )
            self._agree(answer.headers.get("Docker-Content-Digest"), digest, _short(which))
            try:
                _, _, stored = self._manifest(which, self._push)
            except ImageNotFoundError:
                stored = None
            self._agree(stored or "nothing", digest, _short(which))
        return digest

    # --- blobs ------------------------------------------------------------------------------------

    def has_blob(self, digest: str) -> bool:
        """Whether the repository has a blob."""
        return self._has_blob(digest, self._pull)

    def _has_blob(self, digest: str, scopes: Scopes) -> bool:
        answer = self._connection.ask(
            "HEAD",
            self._url(f"blobs/{digest}"),
            scopes,
            f"looking for {_short(digest)}",
            (*_THERE, 404),
        )
        if answer.status == 200:
            self._agree(answer.headers.get("Docker-Content-Digest"), digest, "a blob")
        return answer.status != 404

    def blob(
        self, digest: str, to: Path, progress: Progress = silent, *, size: int | None = None
    ) -> None:
        """Write a blob to ``to``: all of it, verified, or nothing."""
        with whole_file(to) as file:
            self._receive(digest, size, file, progress)

    def put_blob(
        self,
        digest: str,
        size: int,
        open: Callable[[], BinaryIO],
        progress: Progress = silent,
        mount_from: Sequence[str] = (),
    ) -> int:
        """Have a blob in the repository: as it is, mounted or sent; the bytes that it took."""

        def present() -> bool:
            # Asked as one who may write: a repository that is made by writing hides from others.
            return self._has_blob(digest, self._push)

        if present():
            progress(digest, size, size)
            return 0
        upload = Upload(self._connection, digest, size, open, progress, present=present)
        try:
            upload.run(mount_from)
        finally:
            with self._lock:
                self.sent += upload.sent
        if not present():
            raise IntegrityError(f"blob stored by {self.reference.registry}", digest, "nothing")
        return upload.sent

    def _receive(
        self, digest: str, size: int | None, file: BufferedRandom, progress: Progress
    ) -> None:
        """Stream a blob into a file; a connection that breaks is picked up where it broke."""
        patience = self._connection.patience()
        done = 0
        while True:
            before = done
            try:
                with self._open_blob(digest, done) as response:
                    done = _start(response, file, done)
                    total = size or done + int(response.headers.get("Content-Length") or 0)
                    for chunk in response.iter_raw():
                        done += file.write(chunk)
                        if size is not None and done > size:
                            raise IntegrityError(f"blob {digest}", f"{size:,} bytes", "more")
                        progress(digest, done, total)
                break
            except Interruption as interruption:
                if done > before:
                    patience.progressed()
                patience.wait(interruption)
        file.seek(0)
        got = "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
        if got != digest:
            raise IntegrityError(f"blob from {self.reference.registry}", digest, got)

    def _open_blob(self, digest: str, offset: int) -> Any:
        return self._connection.open(
            "GET",
            self._url(f"blobs/{digest}"),
            self._pull,
            f"reading {_short(digest)}",
            (200, 206),
            headers={"Range": f"bytes={offset}-"} if offset else {},
        )

    # --- checks -----------------------------------------------------------------------------------

    def _url(self, path: str) -> httpx.URL:
        return self._connection.url(f"/v2/{self.reference.name}/{path}")

    def _named(self, which: str) -> Reference:
        if which.startswith("sha256:"):
            return self.reference.at(which)
        return Reference(self.reference.registry, self.reference.name, tag=which)

    def _agree(self, said: str | None, digest: str, what: str) -> None:
        if said is not None and said != digest:
            raise IntegrityError(f"{what} stored by {self.reference.registry}", digest, said)

    def _document(self, body: bytes, wanted: Reference) -> Mapping[str, Any]:
        try:
            document = json.loads(body)
        except ValueError:
            document = None
        if not isinstance(document, dict):
            problem = f"answers with no manifest to the question for {wanted}"
            raise ImageRegistryError(self.reference.registry, problem)
        return document


def platforms_of(index: Mapping[str, Any]) -> dict[str, str]:
    """Platform → digest of an index; attestations and the like have no platform."""
    found: dict[str, str] = {}
    for entry in index.get("manifests") or ():
        platform = entry.get("platform") or {}
        name = f"{platform.get('os', 'unknown')}/{platform.get('architecture', 'unknown')}"
        if "unknown" not in name:
            # The first of several variants is the plainest, as docker takes it.
            found.setdefault(name, str(entry.get("digest", "")))
    return found


def _start(response: httpx.Response, file: BinaryIO, done: int) -> int:
    """Where an answer's bytes belong in the file: a range is not always what comes back."""
    expected = f"bytes {done}-"
    ranged = response.headers.get("Content-Range", "").startswith(expected)
    if response.status_code == 206 and done and ranged:
        return done
    file.seek(0)
    file.truncate()
    return 0


def _short(which: str) -> str:
    return f"{which[:19]}…" if which.startswith("sha256:") else which

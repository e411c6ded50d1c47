"""What registry tests share: drafts on disk, stores that die or lie, and a real S3 process."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config
from modelport.errors import RegistryUnavailableError
from modelport.manifest import Content, Draft, File, digest_of
from modelport.registry import Actor
from modelport.registry.store import Advance, Document, Source, Store, Stored
from modelport.signature import Signature, TensorSpec

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

BUCKET = "registry"
ADA = Actor("ada", "because")
SIGNATURE = Signature((TensorSpec("x", "FP32", (-1, 4)),), (TensorSpec("y", "FP32", (-1, 2)),))


def make_draft(folder: Path, **files: bytes) -> Draft:
    """A draft whose files lie in ``folder``; names are given without ``.bin``."""
    folder.mkdir(parents=True, exist_ok=True)
    entries, sources = [], {}
    for name, body in files.items():
        path = folder / f"{name}.bin"
        path.write_bytes(body)
        entries.append(File(path.name, digest_of(body), len(body)))
        sources[path.name] = path
    return Draft(Content(tuple(entries), SIGNATURE), sources, {"from": str(folder.name)})


class Killed(BaseException):
    """Stands for the end of the process: nothing in the product may catch it."""


def die() -> None:
    """Raise `Killed`."""
    raise Killed


class AroundStore:
    """A store that passes everything on; ``call`` stands around each request."""

    def __init__(self, inner: Store) -> None:
        self.inner = inner

    @contextmanager
    def call(self, operation: str, key: str) -> Iterator[None]:
        """What happens around one request."""
        yield

    def get(self, key: str, *, known: str | None = None) -> Document | None:
        with self.call("get", key):
            return self.inner.get(key, known=known)

    def create(self, key: str, body: bytes) -> bool:
        with self.call("create", key):
            return self.inner.create(key, body)

    def replace(self, key: str, body: bytes, etag: str) -> bool:
        with self.call("replace", key):
            return self.inner.replace(key, body, etag)

    def children(self, folder: str, *, after: str = "") -> Iterator[str]:
        with self.call("children", folder):
            return self.inner.children(folder, after=after)

    def upload(
        self,
        key: str,
        source: Source,
        file: File,
        advance: Advance,
        *,
        renew_after_s: float | None = None,
    ) -> None:
        with self.call("upload", key):
            self.inner.upload(key, source, file, advance, renew_after_s=renew_after_s)

    def read(self, key: str, offset: int = 0, length: int | None = None) -> Iterator[bytes] | None:
        with self.call("read", key):
            return self.inner.read(key, offset, length)

    def stat(self, key: str) -> Stored | None:
        with self.call("stat", key):
            return self.inner.stat(key)

    def objects(self, prefix: str) -> Iterator[Stored]:
        with self.call("objects", prefix):
            return self.inner.objects(prefix)

    def check_erasable(self) -> None:
        with self.call("check_erasable", ""):
            self.inner.check_erasable()

    def delete(self, key: str, generation: str) -> None:
        with self.call("delete", key):
            self.inner.delete(key, generation)

    def adopt(self, key: str, other: Store, file: File) -> bool:
        with self.call("adopt", key):
            return self.inner.adopt(key, _bare(other), file)


def _bare(store: Store) -> Store:
    while isinstance(store, AroundStore):
        store = store.inner
    return store


WRITES = ("create", "replace", "upload", "delete", "adopt")


class MortalStore(AroundStore):
    """A store whose process ends at its ``at``-th write: before it takes effect, or right after."""

    def __init__(
        self, inner: Store, *, at: int, after: bool, end: Callable[[], None] = die
    ) -> None:
        super().__init__(inner)
        self._left = at
        self._after = after
        self._end = end

    @contextmanager
    def call(self, operation: str, key: str) -> Iterator[None]:
        if operation not in WRITES:
            yield
            return
        self._left -= 1
        if self._left == 0 and not self._after:
            self._end()
        yield
        if self._left == 0 and self._after:
            self._end()

    @property
    def survived(self) -> bool:
        """Whether the end never came."""
        return self._left > 0


class ForgetfulStore(AroundStore):
    """A store whose first write to a key ending in ``name`` succeeds and is reported as refused.

    That is what a client library makes of an answer lost on the way: it sends the request again.
    ``meanwhile`` runs before the refusal is reported.
    """

    def __init__(
        self, inner: Store, name: str, meanwhile: Callable[[], object] = lambda: None
    ) -> None:
        super().__init__(inner)
        self._name = name
        self._meanwhile = meanwhile
        self._forgot = False

    def create(self, key: str, body: bytes) -> bool:
        return self.inner.create(key, body) and not self._forgets(key)

    def replace(self, key: str, body: bytes, etag: str) -> bool:
        return self.inner.replace(key, body, etag) and not self._forgets(key)

    def _forgets(self, key: str) -> bool:
        forgets = not self._forgot and key.endswith(self._name)
        if forgets:
            self._forgot = True
            self._meanwhile()
        return forgets


class FailingStore(AroundStore):
    """A store that is away at its ``at``-th request, of any kind: before it, or with its answer."""

    def __init__(self, inner: Store, *, at: int, after: bool) -> None:
        super().__init__(inner)
        self._left = at
        self._after = after

    @contextmanager
    def call(self, operation: str, key: str) -> Iterator[None]:
        self._left -= 1
        if self._left == 0 and not self._after:
            raise RegistryUnavailableError(f"{operation} {key}")
        yield
        if self._left == 0 and self._after:
            raise RegistryUnavailableError(f"the answer to {operation} {key}")

    @property
    def survived(self) -> bool:
        """Whether it never was away."""
        return self._left > 0


class CountingStore(AroundStore):
    """Counts requests by kind."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self.requests: Counter[str] = Counter()

    @contextmanager
    def call(self, operation: str, key: str) -> Iterator[None]:
        self.requests[operation] += 1
        yield


def overwrite(store: Store, key: str, edit: Callable[[bytes], bytes]) -> Document:
    """Change a document behind the registry's back; returns what it was."""
    document = store.get(key)
    assert document is not None
    assert store.replace(key, edit(document.body), document.etag)
    return document


def s3_client(endpoint: str, *, tries: int = 3, connections: int = 40) -> S3Client:
    """A client for an S3 on this machine."""
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        config=Config(
            s3={"addressing_style": "path"},
            retries={"total_max_attempts": tries, "mode": "standard"},
            max_pool_connections=connections,
            connect_timeout=5,
            read_timeout=60,
        ),
    )


@contextmanager
def s3_process(folder: Path) -> Iterator[str]:
    """The endpoint of a real emulator process of its own, listening on loopback only."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        "GATEWAY_PORT": str(port),
        "BIND_HOST": "127.0.0.1",
        "SFTP_ENABLED": "0",
        "IOT_MTLS_ENABLED": "0",
        "SERVICES": "s3",
    }
    with (folder / "s3.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "ministack"], env=environment, stdout=log, stderr=log, cwd=folder
        )
        try:
            _await(port, process)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _await(port: int, process: subprocess.Popen[bytes]) -> None:
    give_up = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > give_up:
                raise
            time.sleep(0.05)

"""What registry tests share: drafts on disk, stores that die or lie, and a real S3 process."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config
from modelport.manifest import Content, Draft, File, digest_of
from modelport.registry import Actor
from modelport.registry.store import Advance, Document, Store
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


class MortalStore:
    """A store whose process ends at its ``at``-th write: before it takes effect, or right after."""

    def __init__(
        self, inner: Store, *, at: int, after: bool, end: Callable[[], None] = die
    ) -> None:
        self._inner = inner
        self._left = at
        self._after = after
        self._end = end
        self.get = inner.get
        self.children = inner.children
        self.read = inner.read

    @contextmanager
    def _write(self) -> Iterator[None]:
        self._left -= 1
        if self._left == 0 and not self._after:
            self._end()
        yield
        if self._left == 0 and self._after:
            self._end()

    def create(self, key: str, body: bytes) -> bool:
        with self._write():
            return self._inner.create(key, body)

    def replace(self, key: str, body: bytes, etag: str) -> bool:
        with self._write():
            return self._inner.replace(key, body, etag)

    def upload(self, key: str, source: Path, file: File, advance: Advance) -> None:
        with self._write():
            self._inner.upload(key, source, file, advance)

    @property
    def survived(self) -> bool:
        """Whether the end never came."""
        return self._left > 0


class ForgetfulStore:
    """A store whose first write to a key ending in ``name`` succeeds and is reported as refused.

    That is what a client library makes of an answer lost on the way: it sends the request again.
    ``meanwhile`` runs before the refusal is reported.
    """

    def __init__(
        self, inner: Store, name: str, meanwhile: Callable[[], object] = lambda: None
    ) -> None:
        self._inner = inner
        self._name = name
        self._meanwhile = meanwhile
        self._forgot = False
        self.get = inner.get
        self.children = inner.children
        self.read = inner.read
        self.upload = inner.upload

    def create(self, key: str, body: bytes) -> bool:
        return self._inner.create(key, body) and not self._forgets(key)

    def replace(self, key: str, body: bytes, etag: str) -> bool:
        return self._inner.replace(key, body, etag) and not self._forgets(key)

    def _forgets(self, key: str) -> bool:
        forgets = not self._forgot and key.endswith(self._name)
        if forgets:
            self._forgot = True
            self._meanwhile()
        return forgets


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

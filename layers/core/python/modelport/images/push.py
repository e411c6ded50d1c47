"""A built image into a repository: its blobs side by side, then its manifest, then it is read back.

What the repository has already is not sent; layers of the base are taken over from a neighbouring
repository where the registry allows it, else copied from where the base lives. A push that was cut
off is finished by pushing again.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from threading import Event
from typing import BinaryIO, Protocol

from modelport.images.distribution import OCI_MANIFEST, Repository
from modelport.images.errors import ImageNotFoundError
from modelport.images.layer import Layer
from modelport.images.reference import Reference
from modelport.manifest import digest_of
from modelport.registry import Progress, silent

#: Blobs under way at once.
THREADS = 3


class Built(Protocol):
    """What of an image is pushed; `Image` has it."""

    @property
    def manifest(self) -> bytes: ...

    @property
    def config(self) -> bytes: ...

    @property
    def layers(self) -> tuple[Layer, ...]: ...


class _GivenUpError(Exception):
    """Ends an upload whose neighbour failed; nobody sees it."""


@dataclass(frozen=True, slots=True)
class _Blob:
    digest: str
    size: int
    name: str
    open: Callable[[], BinaryIO]
    mount_from: tuple[str, ...]


def push(
    image: Built,
    repository: Repository,
    *,
    tag: str | None = None,
    mount_from: Sequence[str] = (),
    base: Repository | None = None,
    cache: Path | None = None,
    progress: Progress = silent,
) -> Reference:
    """Have the image in the repository; the reference by digest under which it was read back.

    ``base`` is where layers without a file come from, ``cache`` the folder they pass through, and
    ``mount_from`` names repositories of the same registry that may have some of the layers.
    """
    with ExitStack() as stack:
        folder = cache or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        blobs = _blobs(image, repository, tuple(mount_from), base, folder, progress)
        _send(blobs, repository, progress)
        media_type = str(json.loads(image.manifest).get("mediaType") or OCI_MANIFEST)
        digest = repository.put_manifest(image.manifest, media_type, tag)
    return repository.reference.at(digest)


def _blobs(
    image: Built,
    repository: Repository,
    mount_from: tuple[str, ...],
    base: Repository | None,
    folder: Path,
    progress: Progress,
) -> list[_Blob]:
    """Everything the manifest refers to, each digest once, the largest first."""
    config = digest_of(image.config)
    found = {config: _Blob(config, len(image.config), "config", _in_memory(image.config), ())}
    sources = mount_from
    if base is not None and base.reference.registry == repository.reference.registry:
        sources = (base.reference.name, *mount_from)
    for layer in image.layers:
        # Only the base can lie next door under its own name; what is ours, where the caller says.
        neighbours = sources if layer.kind == "base" else mount_from
        opening = _on_disk(layer.path) if layer.path else _copied(layer, base, folder, progress)
        name = f"{layer.kind} layer {layer.digest[7:15]}"
        found.setdefault(layer.digest, _Blob(layer.digest, layer.size, name, opening, neighbours))
    return sorted(found.values(), key=lambda blob: -blob.size)


def _send(blobs: Sequence[_Blob], repository: Repository, progress: Progress) -> None:
    names = {blob.digest: blob.name for blob in blobs}
    ended = Event()

    def named(digest: str, done: int, total: int) -> None:
        if ended.is_set():
            raise _GivenUpError
        progress(names[digest], done, total)

    def send(blob: _Blob) -> None:
        repository.put_blob(blob.digest, blob.size, blob.open, named, blob.mount_from)

    with ThreadPoolExecutor(THREADS, "modelport-push") as threads:
        futures = [threads.submit(send, blob) for blob in blobs]
        try:
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            # After a failure or an interrupt nothing begins, and what is under way ends.
            ended.set()
            threads.shutdown(wait=False, cancel_futures=True)
        for future in done:
            future.result()


def _in_memory(body: bytes) -> Callable[[], BinaryIO]:
    return lambda: BytesIO(body)


def _on_disk(path: Path) -> Callable[[], BinaryIO]:
    return lambda: path.open("rb")


def _copied(
    layer: Layer, base: Repository | None, folder: Path, progress: Progress
) -> Callable[[], BinaryIO]:
    """A layer of the base through a file: fetched when it is first wanted, verified then."""
    path = folder / layer.digest.removeprefix("sha256:")

    def fetched() -> BinaryIO:
        if base is None:
            raise ImageNotFoundError(f"layer {layer.digest}", "push with the base's repository")
        if not path.is_file() or path.stat().st_size != layer.size:
            name = f"from the base {layer.digest[7:15]}"
            base.blob(
                layer.digest,
                path,
                lambda _, done, total: progress(name, done, total),
                size=layer.size,
            )
        return path.open("rb")

    return fetched

"""One layer of an image: a tar stream, gzipped, hashed in the same pass and kept on disk.

Two ways to gzip, both with the same bytes on every machine: weights do not compress, so the model's
layer is stored as it is, at the speed of the disk; everything else takes zlib-ng, whose output does
not depend on the processor (that of ISA-L does, and that of Python's own zlib on how it was built).
A layer appears under its final name only when it is complete. Nothing here knows what is in it.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, Protocol, cast

from zlib_ng import gzip_ng, zlib_ng

from modelport.beside import Beside
from modelport.images import tar

Kind = Literal["base", "deps", "code", "user", "model"]
#: Writes small enough for memory to stay flat, large enough for hashing to run beside them.
_BATCH = 1 << 20
_STORED = 0xFFFF
_LEVEL = 5
#: No name, no time, unknown system: the same ten bytes everywhere.
_GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"


@dataclass(frozen=True, slots=True)
class Part:
    """Something in a layer that a person knows by name, and its unpacked size."""

    name: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer: where it lies (None: only in the base's registry), and what it weighs."""

    digest: str
    diff_id: str
    size: int
    unpacked: int
    kind: Kind
    path: Path | None = None
    parts: tuple[Part, ...] = ()


def write(
    kind: Kind, entries: Iterable[tar.Entry], folder: Path, parts: tuple[Part, ...] = ()
) -> Layer:
    """Write the layer of ``entries`` below ``folder``, named by its digest."""
    folder.mkdir(parents=True, exist_ok=True)
    plain = _Plain()
    with scratch_file(folder) as (file, part):
        packed = _Packed(file, _Stored() if kind == "model" else _Deflated())
        with Beside(plain.write) as hashing, Beside(packed.write) as packing:
            batch = _Batch(hashing.take, packing.take)
            tar.write(entries, batch.write)
            batch.flush()
        packed.finish()
        file.flush()
        digest = f"sha256:{packed.digest.hexdigest()}"
        path = folder / digest.removeprefix("sha256:")
        os.replace(part, path)
    return Layer(digest, plain.digest, packed.size, plain.size, kind, path, parts)


@contextmanager
def scratch_file(folder: Path) -> Iterator[tuple[BinaryIO, Path]]:
    """A new file in ``folder`` that is gone afterwards unless it was renamed."""
    descriptor, name = tempfile.mkstemp(dir=folder, prefix=".", suffix=".part")
    os.fchmod(descriptor, 0o644)
    path = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file, path
    finally:
        path.unlink(missing_ok=True)


class Unpacked:
    """A layer's bytes unpacked, hashed and counted as they are read."""

    def __init__(self, path: Path) -> None:
        self._file: BinaryIO = cast("Any", gzip_ng).open(path, "rb")
        self._hash = hashlib.sha256()
        self.size = 0

    def __enter__(self) -> Unpacked:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read(self, size: int) -> bytes:
        chunk = self._file.read(size)
        self._hash.update(chunk)
        self.size += len(chunk)
        return chunk

    def drain(self) -> None:
        """Read to the end."""
        while self.read(_BATCH):
            pass

    @property
    def digest(self) -> str:
        """``sha256:<hex>`` of what was read so far."""
        return f"sha256:{self._hash.hexdigest()}"


class _Batch:
    """Gathers small writes (headers, padding, small files) into few large ones."""

    def __init__(self, *outs: Callable[[bytes], object]) -> None:
        self._outs = outs
        self._held = bytearray()

    def write(self, chunk: bytes) -> None:
        if not self._held and len(chunk) >= _BATCH:
            self._pass_on(chunk)
            return
        self._held += chunk
        if len(self._held) >= _BATCH:
            self.flush()

    def flush(self) -> None:
        if self._held:
            held, self._held = bytes(self._held), bytearray()
            self._pass_on(held)

    def _pass_on(self, chunk: bytes) -> None:
        for out in self._outs:
            out(chunk)


class _Plain:
    """The tar stream itself, hashed and counted."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, chunk: bytes) -> None:
        self._hash.update(chunk)
        self.size += len(chunk)

    @property
    def digest(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"


class _Compressor(Protocol):
    def compress(self, chunk: bytes) -> bytes: ...

    def flush(self) -> bytes: ...


class _Stored:
    """Deflate without compression: five bytes before every 65,535."""

    def compress(self, chunk: bytes) -> bytes:
        view = memoryview(chunk)
        pieces: list[bytes | memoryview] = []
        for start in range(0, len(chunk), _STORED):
            piece = view[start : start + _STORED]
            pieces += (_stored_header(len(piece), last=False), piece)
        return b"".join(pieces)

    def flush(self) -> bytes:
        return _stored_header(0, last=True)


def _stored_header(size: int, *, last: bool) -> bytes:
    return bytes((last,)) + size.to_bytes(2, "little") + (size ^ _STORED).to_bytes(2, "little")


class _Deflated:
    """Raw deflate by zlib-ng; above this level time grows faster than size shrinks."""

    def __init__(self) -> None:
        self._stream = zlib_ng.compressobj(_LEVEL, zlib_ng.DEFLATED, -15)

    def compress(self, chunk: bytes) -> bytes:
        return self._stream.compress(chunk)

    def flush(self) -> bytes:
        return self._stream.flush()


class _Packed:
    """The gzip file: compressed, hashed and written as it comes."""

    def __init__(self, file: BinaryIO, compressor: _Compressor) -> None:
        self._file = file
        self._compressor = compressor
        self._crc = 0
        self._plain = 0
        self.digest = hashlib.sha256()
        self.size = 0
        self._put(_GZIP_HEADER)

    def write(self, chunk: bytes) -> None:
        self._crc = zlib_ng.crc32(chunk, self._crc)
        self._plain += len(chunk)
        self._put(self._compressor.compress(chunk))

    def finish(self) -> None:
        self._put(self._compressor.flush())
        trailer = self._crc.to_bytes(4, "little") + (self._plain % 2**32).to_bytes(4, "little")
        self._put(trailer)

    def _put(self, packed: bytes) -> None:
        self.digest.update(packed)
        self._file.write(packed)
        self.size += len(packed)

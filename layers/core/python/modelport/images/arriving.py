"""A file of a version on its way into a layer, read like one that is open.

The same sizes come back from `read` however the network cut the bytes, because where a layer's
bytes are cut decides what they are. Keeps no more than what was asked for; verifies nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

from modelport.manifest import File
from modelport.registry import Progress


class Arriving:
    """The chunks of ``file`` as a stream that can be read once."""

    def __init__(self, file: File, chunks: Iterable[bytes], progress: Progress) -> None:
        self._file = file
        self._chunks = iter(chunks)
        self._progress = progress
        self._rest = memoryview(b"")
        self._done = 0

    def __enter__(self) -> Arriving:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def read(self, size: int) -> bytes:
        """Exactly ``size`` bytes; fewer only where the file ends."""
        pieces: list[memoryview] = []
        wanted = size
        while wanted and (self._rest or self._arrived()):
            piece, self._rest = self._rest[:wanted], self._rest[wanted:]
            pieces.append(piece)
            wanted -= len(piece)
        return _joined(pieces)

    def _arrived(self) -> bool:
        """Whether another chunk came; an empty one says nothing."""
        for chunk in self._chunks:
            if chunk:
                self._rest = memoryview(chunk)
                self._done += len(chunk)
                self._progress(self._file.path, self._done, self._file.size)
                return True
        return False


def _joined(pieces: list[memoryview]) -> bytes:
    """One piece that is a whole chunk is that chunk, without a copy."""
    whole = pieces[0].obj if len(pieces) == 1 else None
    if isinstance(whole, bytes) and len(whole) == len(pieces[0]):
        return whole
    return b"".join(pieces)

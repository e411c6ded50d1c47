"""CRC32 of each part of a file, taken while the file is hashed, so that it is read once for both.

They say what goes up in parts is what was hashed: SHA-256 of a whole file can only be taken in
order, these of each part alone, while several are sent. S3 checks a part by the same number. They
name nothing: by its digest alone a file is known, and what is fetched is checked by that.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field

#: Bytes of a part, where nobody says otherwise.
PART_SIZE = 16 << 20


@dataclass(slots=True)
class PartChecksums:
    """CRC32 of every ``size`` bytes that came by, and of what came after the last of them."""

    size: int = PART_SIZE
    values: list[int] = field(default_factory=list)
    _room: int = 0  #: bytes that the last part has yet to get

    def update(self, chunk: bytes) -> None:
        """Take the next bytes, however many."""
        left = memoryview(chunk)
        while left:
            if not self._room:
                self.values.append(0)
                self._room = self.size
            piece, left = left[: self._room], left[self._room :]
            self.values[-1] = zlib.crc32(piece, self.values[-1])
            self._room -= len(piece)

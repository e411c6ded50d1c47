"""The files an ONNX model keeps its weights in, beside the ``.onnx`` file.

Checks of every tensor that each file it names is inside the model's folder, is there, and is long
enough. It reads no weights.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from modelport.onnx_tensors import Stored, stored_tensors
from modelport.onnx_wire import DamagedError, Field, Wire

__all__ = ["external_files"]


def external_files(
    wire: Wire, graphs: Iterable[Field], functions: Iterable[Field], folder: Path
) -> tuple[str, ...]:
    """Paths below ``folder`` of all data files, in order of first use."""
    files = _Files(folder)
    for tensor in stored_tensors(wire, graphs, functions):
        if tensor.external is not None:
            files.check(tensor)
    return tuple(files.found)


class _Files:
    """The data files named so far."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.found: dict[str, int] = {}  # location → size, in order of first use

    def check(self, tensor: Stored) -> None:
        name, location = tensor.name, tensor.location
        offset, length = tensor.offset, tensor.length
        if location not in self.found:
            self.found[location] = self._size(name, location)
        if offset + length > self.found[location]:
            raise DamagedError(
                f"external data file {location!r} has {self.found[location]:,} bytes; tensor"
                f" {name!r} needs {length:,} from offset {offset:,}",
                "the data file was cut off or belongs to another model; get it again",
            )
        if length < tensor.nbytes:
            raise DamagedError(
                f"tensor {name!r} has {length:,} bytes in {location!r}, its shape needs"
                f" {tensor.nbytes:,}",
                "save the model again with its data file beside it",
            )

    def _size(self, tensor: str, location: str) -> int:
        if not _plain(location):
            raise DamagedError(
                f"tensor {tensor!r} has its data in {location!r}, which is not a plain path below"
                " the model's folder",
                "save the model again with its data file beside it",
            )
        file = self._folder / location
        try:
            info = file.stat()
            inside = file.resolve().is_relative_to(self._folder.resolve())
        except OSError:
            raise DamagedError(
                f"external data file {location!r} (tensor {tensor!r}) is missing",
                "put it beside the model, where its exporter wrote it",
            ) from None
        if not inside or not stat.S_ISREG(info.st_mode):
            raise DamagedError(
                f"external data {location!r} is not a file inside the model's folder",
                "copy the real file there (cp -L follows links)",
            )
        return info.st_size


def _plain(location: str) -> bool:
    """Whether ``location`` is spelled as bundles spell paths: relative, ``/``, nothing clever."""
    return (
        location not in ("", ".")
        and not set(location) & {"\\", "\0"}
        and str(PurePosixPath(location)) == location
        and not location.startswith("/")
        and ".." not in PurePosixPath(location).parts
    )

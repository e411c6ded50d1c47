"""What ``modelport invoke --data`` is: tensors to be packed, or a body to be sent as it is.

Reads files and JSON; sends nothing. numpy is loaded for its own files only.
"""

from __future__ import annotations

import io
import json
import mimetypes
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

from modelport.cli.failures import InvalidUsageError

if TYPE_CHECKING:
    from modelport.client.paths import Protocol

Asked = Literal["auto", "v1", "v2", "raw"]
JSON_TYPE = "application/json"
BYTES_TYPE = "application/octet-stream"
NPY_TYPE, NPZ_TYPE = "application/x-npy", "application/x-npz"
_NPY_MAGIC = b"\x93NUMPY"
#: Top-level keys that only MLflow's bodies have.
_MLFLOW = frozenset({"dataframe_split", "dataframe_records", "params", "messages"})


@dataclass(frozen=True)
class Given:
    """A body and what it is; ``document`` is what it says if it is JSON."""

    body: bytes
    content_type: str
    document: Any = None


def read_data(text: str, stdin: BinaryIO, folder: Path) -> Given:
    """The body that ``--data`` names, and the content type it looks like."""
    if text == "-":
        body = stdin.read()
        return _json(body) or Given(body, NPY_TYPE if body.startswith(_NPY_MAGIC) else BYTES_TYPE)
    if given := _json(text.encode()):
        return given
    path = folder / text.removeprefix("@")
    try:
        body = path.read_bytes()
    except (OSError, ValueError) as error:
        raise InvalidUsageError(
            f"--data {text[:80]!r} is neither JSON nor a file that can be read: {error}",
            hint="give a file, JSON in quotes, or - for standard input",
        ) from None
    own = {".npy": NPY_TYPE, ".npz": NPZ_TYPE}.get(path.suffix.lower())
    kind = own or mimetypes.guess_type(path.name)[0] or BYTES_TYPE
    given = _json(body) if kind == JSON_TYPE else None
    return given or Given(body, kind)


def _json(body: bytes) -> Given | None:
    try:
        return Given(body, JSON_TYPE, json.loads(body))
    except (ValueError, RecursionError):
        return None


def protocol_of(given: Given) -> Protocol | None:
    """The protocol a body is written in; None for a JSON object that could be tensors by name."""
    document = given.document
    if not isinstance(document, dict) or _MLFLOW & document.keys():
        return "raw"
    inputs = document.get("inputs")
    if isinstance(inputs, list) and any(isinstance(i, dict) and "datatype" in i for i in inputs):
        return "v2"
    return "v1" if "instances" in document or inputs is not None else None


def arrays_of(given: Given) -> Any:
    """The arrays in a body of numpy's own formats, by name or one alone; None for other bodies."""
    if given.content_type not in (NPY_TYPE, NPZ_TYPE):
        return None
    import numpy as np  # a tenth of a second that other bodies need not wait

    try:
        found = np.load(io.BytesIO(given.body), allow_pickle=False)
        return dict(found) if isinstance(found, np.lib.npyio.NpzFile) else found
    except (ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise InvalidUsageError(
            f"--data is no {given.content_type.rpartition('-')[2]} file that can be used: {error}",
            hint="write it with numpy.savez(FILE, input=array); text as a str array, not objects",
        ) from None

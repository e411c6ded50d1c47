"""How ``modelport invoke`` shows what came back: tables for people, JSON for machines, files.

Decides nothing about the call. A table shows of each output how it begins; files and ``--json``
have all of it.
"""

from __future__ import annotations

import base64
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.text import Text

from modelport.cli.call_data import JSON_TYPE
from modelport.cli.console import Output, table
from modelport.cli.failures import InvalidUsageError
from modelport.client import AnsweredBy, Outputs, Reply
from modelport.raw_tensors import Array

_GLIMPSE = 8
_LONGEST_TEXT = 60


def check_destination(path: Path | None, *, tensors: bool) -> None:
    """Refuse, before anything is sent, a file that the answer could not be written to."""
    if path is None:
        return
    if not tensors and path.suffix.lower() in (".npz", ".npy"):
        raise InvalidUsageError(
            f"--output {path}: a body that goes as it is comes back as it is, not as arrays",
            hint="give another name, or tensors as --data (a .npz file)",
        )
    if tensors and path.suffix.lower() not in (".npz", ".npy", ".json"):
        raise InvalidUsageError(
            f"--output {path}: outputs are written as .npz, .npy (a single one) or .json",
            hint=f"--output {path.with_suffix('.npz')}",
        )


def show_outputs(output: Output, outputs: Outputs, destination: Path | None) -> None:
    """Write outputs of a model to the file, or as the command's result."""
    output.note(_summary(outputs.answered_by, outputs.duration_s, outputs.attempts))
    document = {
        **_served(outputs.answered_by),
        "duration_ms": round(outputs.duration_s * 1000, 1),
        "attempts": outputs.attempts,
    }
    if destination is not None:
        _save(destination, outputs, document)
        written = {**document, "written": str(destination)}
        output.result(written, lambda console: console.print(f"written to {destination}"))
        return
    document["outputs"] = _listed(outputs)

    def render(console: Console) -> None:
        rows = [
            (name, outputs.datatypes[name], _shape(array), glimpse(array))
            for name, array in outputs.items()
        ]
        console.print(table(("output", "datatype", "shape", "values"), rows))

    output.result(document, render)


def show_reply(output: Output, reply: Reply, destination: Path | None) -> None:
    """Write a body that came back to the file, or as the command's result."""
    kind = reply.content_type
    size = f"{len(reply.body):,} bytes of {kind}" if kind != JSON_TYPE else ""
    output.note(_summary(reply.answered_by, reply.duration_s, reply.attempts, reply.status, size))
    document = {
        "status": reply.status,
        **_served(reply.answered_by),
        "duration_ms": round(reply.duration_s * 1000, 1),
        "attempts": reply.attempts,
        "content_type": kind,
    }
    if destination is not None:
        _write(destination, reply.body)
        written = {**document, "written": str(destination)}
        output.result(written, lambda console: console.print(f"written to {destination}"))
        return
    text = _text(reply.body)
    if text is None and not output.as_json:
        output.raw(reply.body)
        return
    output.result(
        {**document, **_body(reply.body, text)},
        lambda console: console.print(Text(_pretty(text or ""))),
    )


def glimpse(array: Array) -> str:
    """How an array begins, on one line.

    >>> glimpse(np.arange(10, dtype=np.int64))
    '0 1 2 3 4 5 6 7 … 2 more'
    """
    flat = array.reshape(-1)
    shown = " ".join(_value(value) for value in flat[:_GLIMPSE].tolist())
    return f"{shown} … {flat.size - _GLIMPSE:,} more" if flat.size > _GLIMPSE else shown


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, str):
        cut = value if len(value) <= _LONGEST_TEXT else value[: _LONGEST_TEXT - 1] + "…"
        return json.dumps(cut, ensure_ascii=False)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _shape(array: Array) -> str:
    return "[" + ",".join(map(str, array.shape)) + "]"


def _listed(outputs: Outputs) -> dict[str, Any]:
    return {
        name: {
            "datatype": outputs.datatypes[name],
            "shape": list(array.shape),
            "data": _finite(array.tolist()),
        }
        for name, array in outputs.items()
    }


def _finite(value: Any) -> Any:
    """Values with what JSON has no number for as text: NaN, Infinity, -Infinity."""
    if isinstance(value, list):
        return [_finite(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def _save(path: Path, outputs: Outputs, document: dict[str, Any]) -> None:
    kind = path.suffix.lower()
    if kind == ".json":
        text = json.dumps({**document, "outputs": _listed(outputs)}, ensure_ascii=False, indent=2)
        _write(path, text.encode())
        return
    arrays = {name: _plain(array) for name, array in outputs.items()}
    if kind == ".npy" and len(arrays) != 1:
        raise InvalidUsageError(
            f"--output {path}: a .npy file holds one array, and there are {len(arrays)} outputs",
            hint=f"--output {path.with_suffix('.npz')}",
        )
    try:
        with path.open("wb") as file:
            if kind == ".npy":
                np.save(file, next(iter(arrays.values())), allow_pickle=False)
            else:
                np.savez(file, **arrays)  # type: ignore[arg-type]
    except OSError as error:
        raise _unwritable(path, error) from None


def _plain(array: Array) -> Array:
    # Files of objects are pickles, which nobody should have to open.
    return array.astype(str) if array.dtype.kind == "O" else array


def _write(path: Path, body: bytes) -> None:
    try:
        path.write_bytes(body)
    except OSError as error:
        raise _unwritable(path, error) from None


def _unwritable(path: Path, error: OSError) -> InvalidUsageError:
    return InvalidUsageError(f"cannot write to {path}: {error.strerror or error}")


def _served(by: AnsweredBy) -> dict[str, str]:
    told = {"model": by.model, "version": by.version, "digest": by.digest, "route": by.route}
    return {name: value for name, value in told.items() if value}


def _summary(
    by: AnsweredBy, duration_s: float, attempts: int, status: int = 200, size: str = ""
) -> str:
    parts = [f"{by.model or '?'}:{by.version or '?'}", by.route]
    parts.append(f"{status} in {duration_s * 1000:.0f} ms")
    parts += [size, f"{attempts} attempts" if attempts > 1 else ""]
    return " · ".join(part for part in parts if part)


def _text(body: bytes) -> str | None:
    try:
        return body.decode()
    except UnicodeDecodeError:
        return None


def _body(body: bytes, text: str | None) -> dict[str, Any]:
    if text is None:
        return {"base64": base64.b64encode(body).decode("ascii")}
    try:
        return {"body": json.loads(text)}
    except ValueError:
        return {"body": text}


def _pretty(text: str) -> str:
    try:
        document = json.loads(text)
    except ValueError:
        return text
    flat = json.dumps(document, ensure_ascii=False)
    return flat if len(flat) <= 100 else json.dumps(document, indent=2, ensure_ascii=False)

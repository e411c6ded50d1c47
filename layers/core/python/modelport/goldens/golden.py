"""What a golden is: tensors in plain Python or raw bytes, with the answer they must get.

Reads and writes its JSON, in ``golden/*.json`` of a bundle and in the manifest. Every cold start
loads this, so it knows no protocol (`modelport.goldens.forms`) and compares nothing.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from modelport.errors import InvalidBundleError
from modelport.records import record
from modelport.signature import DATATYPES

if TYPE_CHECKING:  # no function needs it to start
    from pathlib import Path

RTOL = 1e-4
ATOL = 1e-5
#: How strict JSON may spell what it has no numbers for.
_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
#: Largest finite value of the floating datatypes.
_LARGEST = {
    "FP16": 65504.0,
    "BF16": 3.3895313892515355e38,
    "FP32": 3.4028234663852886e38,
    "FP64": 1.7976931348623157e308,
}


@record(frozen=True)
class Tensor:
    """A tensor in plain Python: V2 datatype, shape, flat row-major data (BYTES: text)."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: tuple[Any, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "shape": list(self.shape),
            "datatype": self.datatype,
            "data": list(self.data),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Tensor:
        """Read a V2 tensor, nested or flat; raises `ValueError` when its parts do not fit."""
        shape = tuple(int(dim) for dim in data["shape"])
        flat = tuple(_flatten(data["data"]))
        if data["datatype"] not in DATATYPES:
            raise ValueError(f"tensor {data['name']!r} has unknown datatype {data['datatype']!r}")
        if any(dim < 0 for dim in shape) or math.prod(shape) != len(flat):
            raise ValueError(
                f"tensor {data['name']!r} has {len(flat)} values for shape {list(shape)}"
            )
        return cls(data["name"], data["datatype"], shape, flat)

    def nested(self, *, b64: bool = True) -> Any:
        """The data as nested lists of this shape, a bare value for rank 0; text as b64 or plain."""
        encoded = b64 and self.datatype == "BYTES"
        values = [{"b64": _b64(value)} if encoded else value for value in self.data]
        for position in range(len(self.shape) - 1, 0, -1):
            dim, count = self.shape[position], math.prod(self.shape[:position])
            values = [values[i * dim : (i + 1) * dim] for i in range(count)]
        return values if self.shape else values[0]


#: What is wrong with an answer of these headers (lower-case) and this body; None when it agrees.
Check = Callable[[Mapping[str, str], bytes], str | None]


@record(frozen=True)
class GoldenRequest:
    """One golden in one form: what to send, and how to judge what comes back.

    ``form`` is for people (``v2 binary``); ``protocol`` and ``verb`` are `modelport.grammar`'s.
    """

    form: str
    protocol: str
    verb: str
    headers: dict[str, str]
    body: bytes
    check: Check


@record(frozen=True)
class Golden:
    """Inputs and the answer they must get, as tensors or as raw bytes for ``inference.py``."""

    name: str
    inputs: tuple[Tensor, ...] = ()
    outputs: tuple[Tensor, ...] = ()
    content_type: str = ""
    body: bytes = b""
    answer: Any = None
    rtol: float = RTOL
    atol: float = ATOL

    @property
    def kind(self) -> str:
        """``tensors`` or ``raw``."""
        # A model may have no inputs at all; its golden then has outputs only.
        return "tensors" if self.inputs or self.outputs else "raw"

    def to_json(self) -> dict[str, Any]:
        common = {"name": self.name, "rtol": self.rtol, "atol": self.atol}
        if self.kind == "tensors":
            return common | {
                "inputs": [tensor.to_json() for tensor in self.inputs],
                "outputs": [tensor.to_json() for tensor in self.outputs],
            }
        return common | {
            "content_type": self.content_type,
            "body": base64.b64encode(self.body).decode("ascii"),
            "answer": self.answer,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Golden:
        return cls(
            name=data["name"],
            inputs=tuple(Tensor.from_json(tensor) for tensor in data.get("inputs", ())),
            outputs=tuple(Tensor.from_json(tensor) for tensor in data.get("outputs", ())),
            content_type=data.get("content_type", ""),
            body=base64.b64decode(data.get("body", "")),
            answer=data.get("answer"),
            rtol=float(data.get("rtol", RTOL)),
            atol=float(data.get("atol", ATOL)),
        )


def load_goldens(folder: Path) -> tuple[Golden, ...]:
    """Read ``golden/*.json`` in name order; raises `InvalidBundleError` naming the file.

    Numbers that JSON has no form for may be bare (``NaN``) or in quotes (``"-Infinity"``).
    """
    paths = (path for path in folder.glob("*.json") if not path.name.startswith("."))
    return tuple(_load(path) for path in sorted(paths))


def _load(path: Path) -> Golden:
    try:
        data = json.loads(path.read_bytes())
        if "body" in data:
            body = path.parent / data["body"]
            if body.resolve().parent != path.parent.resolve():
                raise ValueError(f"body {data['body']!r} is not a file beside it")
            data["body"] = base64.b64encode(body.read_bytes()).decode("ascii")
            if "answer" not in data or "content_type" not in data:
                raise ValueError("a raw golden needs 'content_type', 'body' and 'answer'")
        elif not (isinstance(data.get("inputs"), list) and data.get("outputs")):
            raise ValueError("a golden needs 'inputs' and 'outputs', or 'body' and 'answer'")
        for role in ("inputs", "outputs"):
            if role in data:
                data[role] = [_checked(tensor) for tensor in data[role]]
        return Golden.from_json(data | {"name": path.stem})
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise InvalidBundleError(path, f"not a golden request: {error}") from None


def _checked(data: dict[str, Any]) -> dict[str, Any]:
    """The tensor with values of its datatype, or `ValueError` naming the first that is none."""
    tensor = Tensor.from_json(data)
    datatype = tensor.datatype
    values = []
    for position, value in enumerate(tensor.data):
        found = _value(datatype, value)
        if found is None:
            shown = repr(value)[:60]
            raise ValueError(
                f"tensor {tensor.name!r}: value {position} is {shown}, which is no {datatype}"
            )
        values.append(found)
    return data | {"data": values}


def _value(datatype: str, value: Any) -> Any:
    """The value as one of a datatype; None when it is none."""
    if datatype == "BYTES":
        return value if isinstance(value, str) and _encodable(value) else None
    if datatype == "BOOL":
        return value if isinstance(value, bool) else None
    if datatype.startswith(("FP", "BF")):
        value = _NOT_FINITE.get(value, value) if isinstance(value, str) else value
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return None
        finite = isinstance(value, int) or math.isfinite(value)
        return value if not finite or abs(value) <= _LARGEST[datatype] else None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    bits, unsigned = 8 * DATATYPES[datatype], datatype.startswith("U")
    least, most = (0, 2**bits - 1) if unsigned else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    return value if least <= value <= most else None


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _flatten(data: Any) -> Iterator[Any]:
    if isinstance(data, (list, tuple)):
        for item in data:
            yield from _flatten(item)
    else:
        yield data


def _b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode("ascii")

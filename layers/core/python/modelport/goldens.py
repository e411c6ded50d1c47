"""Golden requests: inputs with the answers a version must give, and how to ask and judge.

One artefact serves warm-up, the deploy gate and the documentation's examples. Plain Python, no
numpy: the registrar runs this in a zip function. It builds requests and compares answers; it sends
nothing.
"""

from __future__ import annotations

import base64
import json
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from modelport.errors import InvalidBundleError
from modelport.signature import DATATYPES

RTOL = 1e-4
ATOL = 1e-5
#: Datatypes that JSON protocols have no form for (Open Inference Protocol V2).
BINARY_ONLY = frozenset({"FP16", "BF16"})


@dataclass(frozen=True, slots=True)
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
        for dim in reversed(self.shape[1:]):
            values = (
                [values[i : i + dim] for i in range(0, len(values), dim)]
                if dim
                else [[] for _ in range(math.prod(self.shape[:1]))]
            )
        return values if self.shape else values[0]


@dataclass(frozen=True, slots=True)
class GoldenRequest:
    """One golden in one protocol: what to send."""

    protocol: str
    verb: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
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
        return "tensors" if self.inputs else "raw"

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

    @cached_property
    def unsendable(self) -> dict[str, str]:
        """Protocols that cannot carry this golden, each with the reason."""
        if self.kind == "raw":
            reason = "raw bytes go to inference.py, which only /invocations reaches"
            return {"v1": reason, "v2": reason}
        used = {t.datatype for t in (*self.inputs, *self.outputs)} & BINARY_ONLY
        if used:
            reason = f"{', '.join(sorted(used))} has no JSON form"
            return {"v1": reason, "v2": reason}
        if any(not _finite(t) for t in (*self.inputs, *self.outputs)):
            return {"v2": "NaN and infinities have no strict JSON form"}
        return {}

    def requests(self) -> list[GoldenRequest]:
        """This golden in every protocol that can carry it (see `unsendable` for the others)."""
        if self.kind == "raw":
            return [
                GoldenRequest(
                    "sagemaker", "invocations", {"content-type": self.content_type}, self.body
                )
            ]
        bodies = {
            "v1": ("predict", {"inputs": {t.name: t.nested() for t in self.inputs}}),
            "v2": ("infer", {"inputs": [t.to_json() for t in self.inputs]}),
        }
        headers = {"content-type": "application/json"}
        return [
            GoldenRequest(protocol, verb, headers, json.dumps(body, separators=(",", ":")).encode())
            for protocol, (verb, body) in bodies.items()
            if protocol not in self.unsendable
        ]

    def check(self, protocol: str, body: bytes) -> str | None:
        """What is wrong with this answer, or None when it agrees within the tolerances."""
        try:
            answer = json.loads(body)
        except ValueError:
            return "the answer is not JSON"
        if self.kind == "raw":
            return self._compare("answer", self.answer, answer)
        if not isinstance(answer, dict):
            return "the answer is not a JSON object"
        if protocol == "v1":
            return self._check_v1(answer)
        return self._check_v2(answer)

    def _check_v1(self, answer: dict[str, Any]) -> str | None:
        if "outputs" not in answer:
            return "the answer has no 'outputs'"
        got = answer["outputs"]
        for tensor in self.outputs:
            # TensorFlow Serving leaves the name out when the model has one output.
            named = isinstance(got, dict) and tensor.name in got
            # It also sends text as base64 only where the output's name asks for it.
            want = tensor.nested(b64=tensor.name.endswith("_bytes"))
            problem = self._compare(tensor.name, want, got[tensor.name] if named else got)
            if problem:
                return problem
        return None

    def _check_v2(self, answer: dict[str, Any]) -> str | None:
        outputs = answer.get("outputs")
        if not isinstance(outputs, list):
            return "the answer has no 'outputs'"
        got = {tensor.get("name"): tensor for tensor in outputs if isinstance(tensor, dict)}
        for tensor in self.outputs:
            have = got.get(tensor.name)
            if have is None:
                return f"output {tensor.name!r} is missing"
            for key, want in (("datatype", tensor.datatype), ("shape", list(tensor.shape))):
                if have.get(key) != want:
                    return f"output {tensor.name!r}: expected {key} {want}, got {have.get(key)}"
            problem = self._compare(tensor.name, list(tensor.data), list(_flatten(have["data"])))
            if problem:
                return problem
        return None

    def _compare(self, where: str, want: Any, got: Any) -> str | None:
        if isinstance(want, dict) and isinstance(got, dict):
            if want.keys() != got.keys():
                return f"{where}: expected keys {sorted(want)}, got {sorted(got)}"
            pairs = [(f"{where}.{key}", want[key], got[key]) for key in want]
        elif isinstance(want, (list, tuple)) and isinstance(got, list):
            if len(want) != len(got):
                return f"{where}: expected {len(want)} values, got {len(got)}"
            pairs = [
                (f"{where}[{i}]", w, g) for i, (w, g) in enumerate(zip(want, got, strict=True))
            ]
        else:
            return None if self._equal(want, got) else f"{where}: expected {want!r}, got {got!r}"
        return next((p for pair in pairs if (p := self._compare(*pair)) is not None), None)

    def _equal(self, want: Any, got: Any) -> bool:
        if _number(want) and _number(got):
            if math.isfinite(want) and math.isfinite(got):
                return bool(abs(want - got) <= self.atol + self.rtol * abs(want))
            return bool(want == got or (math.isnan(want) and math.isnan(got)))
        return type(want) is type(got) and bool(want == got)


def load_goldens(folder: Path) -> tuple[Golden, ...]:
    """Read ``golden/*.json`` in name order; raises `InvalidBundleError` naming the file."""
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
        elif not (data.get("inputs") and data.get("outputs")):
            raise ValueError("a golden needs 'inputs' and 'outputs', or 'body' and 'answer'")
        return Golden.from_json(data | {"name": path.stem})
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise InvalidBundleError(path, f"not a golden request: {error}") from None


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _finite(tensor: Tensor) -> bool:
    return all(not isinstance(value, float) or math.isfinite(value) for value in tensor.data)


def _flatten(data: Any) -> Any:
    if isinstance(data, (list, tuple)):
        for item in data:
            yield from _flatten(item)
    else:
        yield data


def _b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode("ascii")

"""Whether an answer agrees with a golden: values against values, within the golden's tolerances.

Floats that were expected are rounded to their datatype first, so that 0.1 may be asked of a model
in half precision. It knows no protocol; what comes in has been read by the protocol's module.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable
from typing import Any

from modelport.goldens.golden import Golden, Tensor

#: Longest that a value is shown in full.
_SHOWN = 80


def bf16_bits(value: float) -> int:
    """The 16 bits of the bfloat16 nearest to ``value``, ties to even; NaN stays NaN."""
    if math.isnan(value):
        return 0x7FC0
    try:
        (bits,) = struct.unpack("<I", struct.pack("<f", value))
    except OverflowError:  # beyond FP32, and so infinite
        return 0xFF80 if value < 0 else 0x7F80
    if bits & 0x7F800000 == 0x7F800000:
        return int(bits >> 16)
    return int((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16)


def bf16_value(bits: int) -> float:
    """The number that 16 bits of bfloat16 stand for."""
    value: float = struct.unpack("<f", struct.pack("<I", bits << 16))[0]
    return value


def rounded(tensor: Tensor) -> Tensor:
    """The tensor with the values its datatype really has."""
    if tensor.datatype == "BF16":
        data = tuple(bf16_value(bf16_bits(value)) for value in tensor.data)
    elif tensor.datatype in ("FP16", "FP32"):
        form = f"<{len(tensor.data)}{'e' if tensor.datatype == 'FP16' else 'f'}"
        data = struct.unpack(form, struct.pack(form, *tensor.data))
    else:
        return tensor
    return Tensor(tensor.name, tensor.datatype, tensor.shape, data)


def agree(golden: Golden, where: str, want: Any, got: Any) -> str | None:
    """The first place where ``got`` (JSON values) is not ``want``, in words; None when it is."""
    if isinstance(want, dict) and isinstance(got, dict):
        if want.keys() != got.keys():
            return f"{where}: expected keys {sorted(want)}, got {sorted(map(str, got))}"
        return _first(golden, ((f"{where}.{key}", want[key], got[key]) for key in want))
    if isinstance(want, (list, tuple)) and isinstance(got, (list, tuple)):
        if len(want) != len(got):
            return f"{where}: expected {len(want)} values, got {len(got)}"
        pairs = zip(want, got, strict=True)
        return _first(golden, ((f"{where}[{i}]", w, g) for i, (w, g) in enumerate(pairs)))
    if _equal(golden, want, got):
        return None
    return f"{where}: expected {_shown(want)}, got {_shown(got)}"


def agree_with(golden: Golden, tensor: Tensor, datatype: Any, shape: Any, data: Any) -> str | None:
    """The same for an output tensor that says its datatype and shape; ``data`` is flat."""
    for what, want, got in (
        ("datatype", tensor.datatype, datatype),
        ("shape", list(tensor.shape), shape),
    ):
        if want != got:
            return f"output {tensor.name!r}: expected {what} {want}, got {str(got)[:_SHOWN]}"
    return agree(golden, tensor.name, rounded(tensor).data, data)


def _first(golden: Golden, pairs: Iterable[tuple[str, Any, Any]]) -> str | None:
    return next((found for pair in pairs if (found := agree(golden, *pair)) is not None), None)


def _equal(golden: Golden, want: Any, got: Any) -> bool:
    if _number(want) and _number(got):
        if math.isfinite(want) and math.isfinite(got):
            return bool(abs(want - got) <= golden.atol + golden.rtol * abs(want))
        return bool(want == got or (math.isnan(want) and math.isnan(got)))
    return type(want) is type(got) and bool(want == got)


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"

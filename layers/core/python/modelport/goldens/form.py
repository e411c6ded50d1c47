"""The seam of the goldens' protocols: a form builds a request of a golden or says why it cannot.

One of these per way that clients put tensors into a protocol, in a module per protocol. A form must
not send anything, and its reasons are for people: they stand in publish's and deploy's reports.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from modelport.goldens.golden import Golden, Tensor
from modelport.signature import Signature

JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Asked:
    """What a golden is asked of: its signature, and whether ``inference.py`` has /invocations."""

    signature: Signature
    script: bool = False


@dataclass(frozen=True, slots=True)
class Form:
    """One way to ask: ``obstacle`` is why it cannot carry a golden, "" when it can.

    ``protocol`` and ``verb`` are the grammar's. ``build`` gives headers (lower-case) and body;
    ``check`` says what disagrees in an answer's headers and body, or None.
    """

    name: str
    protocol: str
    verb: str
    obstacle: Callable[[Golden, Asked], str]
    build: Callable[[Golden, Asked], tuple[dict[str, str], bytes]]
    check: Callable[[Golden, Mapping[str, str], bytes], str | None]


def dumped(document: Any) -> bytes:
    """Compact JSON; bare NaN and Infinity where there are some."""
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def loaded(body: bytes) -> tuple[dict[str, Any], str]:
    """The JSON object of an answer, or what is wrong with it."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return {}, "the answer is not JSON"
    if not isinstance(answer, dict):
        return {}, "the answer is not a JSON object"
    return answer, ""


def first(*reasons: str) -> str:
    """The first reason there is, else ""."""
    return next(filter(None, reasons), "")


def without(tensors: Iterable[Tensor], *datatypes: str) -> str:
    """Why the datatypes of tensors stand in the way, where JSON has no form for them."""
    used = sorted({tensor.datatype for tensor in tensors} & set(datatypes))
    return f"{', '.join(used)} has no JSON form" if used else ""


def tensors(golden: Golden) -> tuple[Tensor, ...]:
    """All of a golden's tensors."""
    return (*golden.inputs, *golden.outputs)


def finite(tensor: Tensor) -> bool:
    """Whether strict JSON has a form for every value."""
    return all(not isinstance(value, float) or math.isfinite(value) for value in tensor.data)


def unnestable(golden: Golden) -> str:
    """Why nested lists cannot say a shape: ``[]`` may be of shape [0], but also of [0,3]."""
    for tensor in golden.inputs:
        if 0 in tensor.shape[:-1]:
            shape = ",".join(map(str, tensor.shape))
            return f"lists cannot say the shape [{shape}] of input {tensor.name!r}"
    return ""


def rows_of(golden: Golden, asked: Asked) -> tuple[int, str]:
    """The rows that all inputs and outputs share, or why they have none."""
    counts: set[int] = set()
    for tensor in tensors(golden):
        if not tensor.shape:
            return 0, f"{tensor.name!r} is a single value, which has no rows"
        counts.add(tensor.shape[0])
    if len(counts) != 1:
        listed = ", ".join(f"{t.name!r} {t.shape[0]}" for t in tensors(golden))
        return 0, f"inputs and outputs have different numbers of rows: {listed}"
    count = counts.pop()
    if not golden.inputs or not count:
        return 0, "there are no rows in it"
    told = {tensor.name for tensor in golden.outputs}
    for spec in asked.signature.outputs:
        if spec.name not in told and spec.shape[:1] != (count,):
            return 0, f"it does not say how many rows output {spec.name!r} has"
    return count, ""

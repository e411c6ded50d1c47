"""JSON by orjson where it is installed and says the same, else by the standard library.

For events and envelopes, whose bodies are strings of megabytes: orjson writes those twenty times
faster. Model images and the router's layer have it; who has not still works.
"""

from __future__ import annotations

import json
from typing import Any

try:
    import orjson
except ModuleNotFoundError:
    orjson = None  # type: ignore[assignment]

_SAFE = frozenset({str, int, bool, type(None)})


def loads(text: bytes | bytearray) -> Any:
    """Read JSON; raises ValueError, or RecursionError where it is nested too deep.

    orjson refuses half surrogates and NaN, which the standard library takes: it decides.
    """
    if orjson is not None:
        try:
            return orjson.loads(text)
        except ValueError:
            pass
    return json.loads(text)


def dumps(value: Any) -> bytes:
    """Write JSON as the standard library would, without spaces; raises TypeError or ValueError.

    orjson takes types that have no JSON form, and writes NaN as null: so it writes only objects of
    text, whole numbers and flat objects of text, which is what an envelope is.
    """
    if orjson is not None and _is_plain(value):
        try:
            return orjson.dumps(value)
        except TypeError:  # half surrogates, numbers over 64 bits, names that are no text
            pass
    return json.dumps(value, separators=(",", ":")).encode()


def _is_plain(value: Any) -> bool:
    if type(value) is not dict:
        return False
    for member in value.values():
        if type(member) in _SAFE:
            continue
        if type(member) is not dict:
            return False
        for inner in member.values():
            if type(inner) is not str:
                return False
    return True

"""The requests that ``modelport replay`` sends: recorded in a file, or a version's goldens.

A file has one JSON object a line: ``body`` (JSON as it stands, or text), and where they are not
what the body looks like ``verb`` (predict, classify, regress, infer, invocations) and
``content_type``; ``base64`` says that the text is that. Reads; sends nothing.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from modelport.cli.call_data import JSON_TYPE, Given, protocol_of
from modelport.cli.failures import InvalidUsageError
from modelport.goldens.forms import asked_of, requests
from modelport.manifest import Manifest

#: Verbs that can be compared, with their protocol in `modelport.grammar`.
VERBS = {
    "predict": "v1",
    "classify": "v1",
    "regress": "v1",
    "infer": "v2",
    "invocations": "sagemaker",
}
_BY_PROTOCOL = {"v1": "predict", "v2": "infer", "raw": "invocations"}
#: The API takes no larger body, and a file without line breaks shall not fill the memory.
LONGEST_LINE = 16_000_000


@dataclass(frozen=True, slots=True)
class Recorded:
    """One request, for whatever version gets it; ``name`` is for people."""

    name: str
    verb: str
    headers: dict[str, str]
    body: bytes

    @property
    def protocol(self) -> str:
        """The protocol of its verb."""
        return VERBS[self.verb]


def from_lines(file: BinaryIO, name: str) -> Iterator[Recorded]:
    """The requests of a file, read one at a time; raises `InvalidUsageError` naming the line."""
    number = 0
    while line := file.readline(LONGEST_LINE + 1):
        number += 1
        where = f"{name} line {number}"
        if len(line) > LONGEST_LINE:
            raise _unusable(where, f"it is longer than {LONGEST_LINE:,} bytes")
        if line.strip():
            yield _recorded(line, where)


def from_goldens(manifest: Manifest) -> Iterator[Recorded]:
    """Each golden of a version, in the first form that can carry it."""
    asked = asked_of(manifest.content)
    for golden in manifest.content.goldens:
        for request in requests(golden, asked)[:1]:
            name = f"golden {golden.name} ({request.form})"
            yield Recorded(name, request.verb, dict(request.headers), request.body)


def first(requests: Iterable[Recorded], limit: int | None) -> Iterator[Recorded]:
    """The first ``limit`` of them; all without one."""
    for at, request in enumerate(requests):
        if at == limit:
            return
        yield request


def _recorded(line: bytes, where: str) -> Recorded:
    try:
        document = json.loads(line)
    except (ValueError, RecursionError):
        raise _unusable(where, "it is not JSON") from None
    if not isinstance(document, dict) or "body" not in document:
        raise _unusable(where, 'it is not an object with a "body"')
    unknown = sorted(document.keys() - {"verb", "content_type", "body", "base64"})
    if unknown:
        raise _unusable(where, f"it has {', '.join(unknown)[:60]}, which nothing here reads")
    body = _body(document, where)
    kind = document.get("content_type", JSON_TYPE)
    if not isinstance(kind, str) or not (kind.isascii() and kind.isprintable()):
        raise _unusable(where, "its content_type is no media type")
    verb = document.get("verb") or _verb(body, kind)
    if not isinstance(verb, str) or verb not in VERBS:
        raise _unusable(where, f"its verb is none of {', '.join(VERBS)}")
    return Recorded(where, verb, {"content-type": kind}, body)


def _body(document: dict[str, Any], where: str) -> bytes:
    value = document["body"]
    if document.get("base64"):
        try:
            return base64.b64decode(value, validate=True)
        except (ValueError, TypeError):
            raise _unusable(where, "its body is not base64") from None
    text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise _unusable(where, "its body is no text") from None


def _verb(body: bytes, kind: str) -> str:
    """The verb that a body is for, as ``modelport invoke`` sees it."""
    if kind.partition(";")[0].strip().lower() != JSON_TYPE:
        return "invocations"
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return "invocations"
    return _BY_PROTOCOL[protocol_of(Given(body, kind, document)) or "raw"]


def _unusable(where: str, problem: str) -> InvalidUsageError:
    hint = '{"verb": "predict", "body": {"instances": [[1, 2]]}}'
    return InvalidUsageError(f"{where}: {problem}", hint=f"a line of it reads {hint}")

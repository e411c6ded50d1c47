"""Every form a golden can be asked in, and what no form can carry: one table for all protocols.

Publish and deploy go through the same list. A golden that a form cannot carry is never passed over
in silence: it is told with its reason.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from modelport.goldens import mlflow, sagemaker, v1, v2
from modelport.goldens.agreement import agree
from modelport.goldens.form import Asked, Form, first
from modelport.goldens.golden import Golden, GoldenRequest

if TYPE_CHECKING:
    from modelport.manifest import Content

__all__ = [
    "FORMS",
    "Asked",
    "Uncarried",
    "asked_of",
    "each",
    "grouped",
    "requests",
    "told",
    "uncarried",
]

#: Those of tensors, in the order they are asked.
FORMS: tuple[Form, ...] = (*v1.FORMS, *v2.FORMS, *sagemaker.FORMS, *mlflow.FORMS)
#: Largest body that every home of a version takes, as text and as bytes, which Lambda gets as
#: base64 (6 MB each way).
MAX_TEXT, MAX_BYTES = 6_000_000, 4_500_000
_ANSWERS_ITSELF = "inference.py answers /invocations in its own words; a raw golden asks it"
_RAW = "raw bytes go to inference.py, which only /invocations reaches"
#: What reading an answer that is anything at all may raise.
_UNREADABLE = (ValueError, TypeError, AttributeError, LookupError, SyntaxError, struct.error)


@dataclass(frozen=True, slots=True)
class Uncarried:
    """A golden that a form cannot carry, and why."""

    golden: str
    form: str
    reason: str


def asked_of(content: Content) -> Asked:
    """What goldens are asked of, for a version's content."""
    return Asked(content.signature, content.settings.script is not None)


def each(golden: Golden, asked: Asked) -> Iterator[GoldenRequest | Uncarried]:
    """The golden in every form, built one at a time; or why not."""
    if golden.kind == "raw":
        yield from (Uncarried(golden.name, form.name, _RAW) for form in FORMS)
        yield _raw(golden)
        return
    for form in FORMS:
        taken = asked.script and form.protocol == "sagemaker"
        reason = first(_ANSWERS_ITSELF if taken else "", form.obstacle(golden, asked))
        if not reason:
            found = _built(form, golden, asked)
            if isinstance(found, GoldenRequest):
                yield found
                continue
            reason = found
        yield Uncarried(golden.name, form.name, reason)


def requests(golden: Golden, asked: Asked) -> list[GoldenRequest]:
    """The golden in every form that can carry it."""
    return [one for one in each(golden, asked) if isinstance(one, GoldenRequest)]


def uncarried(goldens: Iterable[Golden], asked: Asked) -> list[Uncarried]:
    """What no request is made of."""
    found = (one for golden in goldens for one in each(golden, asked))
    return [one for one in found if isinstance(one, Uncarried)]


def grouped(found: Iterable[Uncarried]) -> list[tuple[tuple[str, ...], tuple[str, ...], str]]:
    """Goldens, forms and reason: a row for all that share goldens and reason, or forms and reason.

    >>> grouped([Uncarried("a", "v1 rows", "no rows"), Uncarried("b", "v1 rows", "no rows")])
    [(('a', 'b'), ('v1 rows',), 'no rows')]
    """
    by_golden: dict[tuple[str, str], list[str]] = {}
    for one in found:
        by_golden.setdefault((one.golden, one.reason), []).append(one.form)
    by_forms: dict[tuple[tuple[str, ...], str], list[str]] = {}
    for (golden, reason), forms in by_golden.items():
        by_forms.setdefault((tuple(forms), reason), []).append(golden)
    return [(tuple(goldens), forms, reason) for (forms, reason), goldens in by_forms.items()]


def told(forms: Iterable[str]) -> str:
    """Forms in a line; a protocol whose forms are all among them goes by its own name.

    >>> told(["v1 columns", "v1 rows", "v2 json"])
    'v1, v2 json'
    """
    found = dict.fromkeys(forms)
    for family in dict.fromkeys(form.name.partition(" ")[0] for form in FORMS):
        own = [form.name for form in FORMS if form.name.startswith(family + " ")]
        if found.keys() >= set(own):
            found = {
                family if name == own[0] else name: None for name in found if name not in own[1:]
            }
    return ", ".join(found)


def _built(form: Form, golden: Golden, asked: Asked) -> GoldenRequest | str:
    try:
        headers, body = form.build(golden, asked)
    except (struct.error, OverflowError, ValueError, TypeError) as error:
        return f"a value is none of its datatype: {error}"
    limit = MAX_TEXT if headers["content-type"].startswith(("application/json", "text/")) else 0
    limit = limit or MAX_BYTES
    if len(body) > limit:
        return f"a body of {len(body):,} bytes; a version on Lambda takes {limit:,} in this form"

    def check(headers: Mapping[str, str], body: bytes) -> str | None:
        try:
            return form.check(golden, headers, body)
        except _UNREADABLE as error:
            return f"the answer cannot be read: {error}"

    return GoldenRequest(form.name, form.protocol, form.verb, headers, body, check)


def _raw(golden: Golden) -> GoldenRequest:
    def check(headers: Mapping[str, str], body: bytes) -> str | None:
        import json

        try:
            answer: Any = json.loads(body)
        except ValueError:
            return "the answer is not JSON"
        return agree(golden, "answer", golden.answer, answer)

    headers = {"content-type": golden.content_type} if golden.content_type else {}
    return GoldenRequest("raw", "sagemaker", "invocations", headers, golden.body, check)

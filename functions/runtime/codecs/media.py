"""Media types of ``/invocations``: which there are, what a caller sent, what it would take.

Pure text; reads no body. A parameter that would change what a body means is understood or refused,
never passed over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from modelport.errors import UnsupportedMediaTypeError

JSON = "application/json"
CSV = "text/csv"
NPY = "application/x-npy"
JSON_LINES = "application/jsonlines"
JSON_LINES_X = "application/x-jsonlines"
OCTETS = "application/octet-stream"
#: Triton's way to say where the JSON ends and the tensors begin where SageMaker strips headers.
TRITON = "application/vnd.sagemaker-triton.binary+json"
#: What is read and what is written; the first is what a caller gets who does not mind.
ALLOWED = (JSON, CSV, NPY, JSON_LINES, JSON_LINES_X, OCTETS, TRITON)

HEADER_SIZE = "json-header-size"
_PARAMETERS: Mapping[str, frozenset[str]] = {
    CSV: frozenset({"charset", "header"}),
    TRITON: frozenset({"charset", HEADER_SIZE}),
}
_UTF_8 = ("utf-8", "utf8", "us-ascii")


@dataclass(frozen=True, slots=True)
class ContentType:
    """A media type in lower case, with its parameters."""

    media: str
    parameters: Mapping[str, str] = field(default_factory=dict)


def media_type(header: str | None) -> str:
    """The media type without parameters; JSON when nothing was said."""
    return (header or JSON).partition(";")[0].strip().lower() or JSON


def content_type(header: str | None) -> ContentType:
    """What a body is; raises `UnsupportedMediaTypeError` for what cannot be read."""
    media = media_type(header)
    if media not in ALLOWED:
        raise UnsupportedMediaTypeError(media, ALLOWED)
    parameters = _parameters((header or "").split(";")[1:])
    for name in parameters:
        if name not in _PARAMETERS.get(media, ("charset",)):
            got = f"{media}; {name}=…"
            raise UnsupportedMediaTypeError(got, (media, f"{media}; charset=utf-8"))
    if parameters.get("charset", "utf-8").lower() not in _UTF_8:
        got = f"{media}; charset={parameters['charset']}"
        raise UnsupportedMediaTypeError(got, (f"{media}; charset=utf-8",))
    return ContentType(media, parameters)


def choose(accept: str | None, allowed: tuple[str, ...] = ALLOWED) -> str:
    """The one of ``allowed`` that ``Accept`` likes best.

    By its quality values, then by its order, then by ours; of several ranges the narrowest speaks
    for a type. Raises `UnsupportedMediaTypeError` when it takes none of them.
    """
    ranges = [_range(part) for part in (accept or "*/*").split(",")]
    best, best_rank = "", (0.0, 0)
    for have in allowed:
        quality, place = _liked(have, ranges)
        if quality > 0 and (not best or (quality, -place) > best_rank):
            best, best_rank = have, (quality, -place)
    if not best:
        raise UnsupportedMediaTypeError(accept or "", allowed)
    return best


def _liked(media: str, ranges: list[tuple[str, float]]) -> tuple[float, int]:
    """Quality and place of the narrowest range with ``media``; 0 when there is none."""
    for wanted in (media, media.partition("/")[0] + "/*", "*/*"):
        for place, (name, quality) in enumerate(ranges):
            if name == wanted:
                return quality, place
    return 0.0, 0


def _range(part: str) -> tuple[str, float]:
    name, *parameters = part.split(";")
    quality = _parameters(parameters).get("q", "1")
    try:
        return name.strip().lower() or "*/*", min(1.0, max(0.0, float(quality)))
    except ValueError:  # what cannot be read says nothing
        return name.strip().lower(), 1.0


def _parameters(parts: list[str]) -> dict[str, str]:
    pairs = (part.partition("=") for part in parts if part.strip())
    return {name.strip().lower(): value.strip().strip('"') for name, _, value in pairs}

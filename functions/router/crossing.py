"""Which headers cross the router, in each direction; everything else stays on its side.

An allow-list, so that credentials, cookies and connection headers cannot slip through. Knows no
protocol and looks at no body.
"""

from __future__ import annotations

from collections.abc import Mapping

from modelport.envelope import REFERENCE
from modelport.errors import UnsupportedMediaTypeError
from modelport.sagemaker_envelope import VARIANT_HEADER

_FORWARDED = frozenset(
    {
        "accept",
        "accept-encoding",
        "content-encoding",
        "content-type",
        "inference-header-content-length",
    }
)
_RETURNED = frozenset(
    {
        "allow",
        "content-encoding",
        "content-type",
        "inference-header-content-length",
        "retry-after",
        "server-timing",
    }
)
_OUR_PREFIXES = ("x-amzn-sagemaker-", "x-modelport-")
#: Said to the router: which version, whose call, and how body and answer travel.
_CONSUMED = frozenset(
    {
        VARIANT_HEADER,
        "x-modelport-answer",
        "x-modelport-body",
        "x-modelport-key",
        "x-modelport-version",
        "x-modelport-webhook",
    }
)
#: Said by the router alone.
_OURS_TO_SAY = frozenset({"x-modelport-fallback"})
_NOT_FORWARDED = _CONSUMED | _OURS_TO_SAY


def by_reference(headers: Mapping[str, str]) -> bool:
    """Whether the caller has body or answer go another way than the call."""
    asked = headers.get("x-modelport-answer", "").strip().lower() == "by-reference"
    return asked or "x-modelport-body" in headers


def check_content(headers: Mapping[str, str]) -> None:
    """Refuse a body that claims to be what only the router says to a version."""
    said = headers.get("content-type", "")
    if said.partition(";")[0].strip().lower() == REFERENCE:
        raise UnsupportedMediaTypeError(REFERENCE, ("what the model reads",))


def forwarded(headers: Mapping[str, str], variant: str | None = None) -> dict[str, str]:
    """What a model version gets of a caller's headers; ``variant`` is for its endpoint."""
    kept = _only(headers, _FORWARDED, without=_NOT_FORWARDED)
    return kept if variant is None else kept | _only({VARIANT_HEADER: variant}, frozenset())


def returned(headers: Mapping[str, str]) -> dict[str, str]:
    """What a caller gets of a model version's headers."""
    return _only(headers, _RETURNED, without=_OURS_TO_SAY)


def _only(
    headers: Mapping[str, str], names: frozenset[str], *, without: frozenset[str] = frozenset()
) -> dict[str, str]:
    """The named headers and our own families, if they are plain ASCII.

    Gateways refuse a whole answer for one header that is not.
    """
    kept = {}
    for name, value in headers.items():
        name = name.lower()
        wanted = name in names or name.startswith(_OUR_PREFIXES)
        if wanted and name not in without and value.isascii() and value.isprintable():
            kept[name] = value
    return kept

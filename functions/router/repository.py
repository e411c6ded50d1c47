"""V2's repository index: every model of the registry and the versions of it that answer.

Reads routes through the router's own cache, one document per model, so a page is bounded: at most
`PAGE` models, the next page by ``?after=``. It must not write, and never wakes a model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from modelport import metadata
from modelport.errors import MalformedRequestError, ModelNotFoundError
from modelport.grammar import Call
from modelport.routes import Routes

#: Models of one answer: each may cost one read of the registry, within one request's time.
PAGE = 200
#: Says which ``?after=`` continues; absent on the last page.
NEXT_HEADER = "x-modelport-next"


def index(
    call: Call, body: bytes, names: Sequence[str], routes_of: Callable[[str], Routes]
) -> tuple[list[dict[str, Any]], str | None]:
    """The entries of one page, and the name to continue after if there are more.

    Raises `MalformedRequestError` for a body that is not ``{"ready": bool}`` or nothing.
    """
    ready_only = metadata.v2_ready_only(body)
    after, limit = call.option("after") or "", _limit(call.option("limit"))
    wanted = sorted(name for name in names if name > after)
    page = wanted[:limit]
    entries = [
        entry for name in page for entry in _entries(name, routes_of) if _fits(entry, ready_only)
    ]
    return entries, page[-1] if len(wanted) > limit else None


def _entries(name: str, routes_of: Callable[[str], Routes]) -> list[dict[str, Any]]:
    try:
        routes = routes_of(name)
    except ModelNotFoundError:  # gone since the names were read
        return []
    if not routes.deployments:
        return [metadata.v2_repository_entry(name, routes.latest, "not deployed")]
    return [metadata.v2_repository_entry(name, version) for version in routes.deployments]


def _fits(entry: dict[str, Any], ready_only: bool) -> bool:
    return not ready_only or bool(entry["state"] == "READY")


def _limit(text: str | None) -> int:
    if text is None:
        return PAGE
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and int(text) > 0):
        raise MalformedRequestError(f"'limit' is a whole number from 1 to {PAGE}")
    return min(int(text), PAGE)

"""Which versions callers may choose by themselves, by a header, and what they are told otherwise.

Pure. Reads what the model's policy says; knows nothing of HTTP but the header's name.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from modelport.refs import MAX_VERSION
from modelport.routes.document import Routes
from modelport.routes.errors import VersionNotOfferedError

#: Versions named in a refusal; the highest come first.
SHOWN = 20


def selected(routes: Routes, text: str) -> tuple[int | None, str | None]:
    """The version, or the alias, that a caller's header names: one of the two is None.

    Raises `VersionNotOfferedError`, which says what could be named.
    """
    allowed = routes.policy.version_header
    if allowed != "off":
        if text in routes.aliases:
            return None, text
        if text.isascii() and text.isdigit() and len(text) <= len(str(MAX_VERSION)):
            version = int(text)
            if version in routes.deployments and (allowed == "any" or _is_routed(routes, version)):
                return version, None
    raise VersionNotOfferedError(routes.model, text, offered(routes))


def offered(routes: Routes) -> tuple[str, ...]:
    """What a caller may name, at most `SHOWN` versions of it: aliases, then versions."""
    match routes.policy.version_header:
        case "off":
            return ()
        case "any":
            versions = reversed(routes.deployments)
        case _:
            versions = iter(sorted(set(_routed(routes)), reverse=True))
    return (*sorted(routes.aliases), *map(str, islice(versions, SHOWN)))


def _is_routed(routes: Routes, version: int) -> bool:
    return any(version == routed for routed in _routed(routes))


def _routed(routes: Routes) -> Iterator[int]:
    """The versions that an alias, a rollout or a shadow names."""
    for alias in routes.aliases.values():
        yield from (part.version for part in alias)
    yield from (rollout.candidate for rollout in routes.active_rollouts)
    yield from (shadow.version for shadow in routes.policy.shadows)

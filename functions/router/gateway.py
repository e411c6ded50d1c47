"""API Gateway's events, made plain before the adapter sees them: the path without what precedes it.

An HTTP API puts its stage in front of the path (unless that is ``$default``), a custom domain puts
its mapping there; a REST API's proxy resource says which part is ours. Nothing else of an event is
touched. Pure functions over dicts; no AWS, no ASGI.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from modelport.grammar import allowed_methods

Event = dict[str, Any]


def without_base_path(event: Event) -> Event:
    """A copy of ``event`` whose path starts at the router's own root.

    >>> event = {"version": "2.0", "rawPath": "/prod/v2", "requestContext": {"stage": "prod",
    ...     "http": {"path": "/prod/v2"}}}
    >>> without_base_path(event)["rawPath"]
    '/v2'
    """
    context = event.get("requestContext") or {}
    http = context.get("http")
    if isinstance(http, Mapping):
        path = _rest(event, str(event.get("rawPath") or http.get("path") or "/"), context)
        context = {**context, "http": {**http, "path": path}}
        return {**event, "rawPath": path, "requestContext": context}
    return {**event, "path": _rest(event, str(event.get("path") or "/"), context)}


def _rest(event: Event, path: str, context: Mapping[str, Any]) -> str:
    proxy = (event.get("pathParameters") or {}).get("proxy")
    resource = event.get("resource")
    if isinstance(resource, str) and resource.startswith("/v2"):
        return _last(path, resource.replace("{proxy+}", str(proxy).strip("/")).count("/"))
    if isinstance(proxy, str) and proxy:
        return _after_prefix(path, f"/{proxy.lstrip('/')}")
    stage = context.get("stage")
    if "http" not in context or stage in (None, "", "$default") or allowed_methods(path):
        # A path that is one of ours as it stands has no stage in front, even if a stage is called
        # v1 or v2: a custom domain leaves the stage out.
        return path
    prefix = f"/{stage}"
    return (path.removeprefix(prefix) or "/") if f"{path}/".startswith(f"{prefix}/") else path


def _last(path: str, segments: int) -> str:
    """The end of ``path`` that the template of a resource holds, still encoded where path is."""
    return "/" + "/".join(path.rstrip("/").split("/")[-segments:])


def _after_prefix(path: str, proxy: str) -> str:
    """The end of ``path`` that the greedy path parameter holds, still encoded where path is."""
    for start in (index for index, char in enumerate(path) if char == "/"):
        if path[start:] == proxy or unquote(path[start:]) == unquote(proxy):
            return path[start:]
    return proxy

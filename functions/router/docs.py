"""Documentation from the registry, without waking a model: OpenAPI and pages to read it on.

Manifests are immutable, and what is kept of one is small (`About`): the router reads it once. Only
`dispatch` decides which version a document is about.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any

from modelport import openapi
from modelport.envelope import Response
from modelport.grammar import Call
from modelport.manifest import Manifest
from modelport.openapi import About, Place

#: Versions whose documentation is kept: tens of kilobytes each at most.
KEPT = 64


class Docs:
    """Answers questions for documentation; safe to call from many threads."""

    def __init__(self, manifest: Callable[[str, int], Manifest], auth: str) -> None:
        """``auth`` is what the door asks of callers: ``iam`` or ``none``."""
        self._auth = auth

        @lru_cache(maxsize=KEPT)
        def about(model: str, version: int) -> About:
            return About.of(manifest(model, version))

        self._about = about

    def of_model(self, call: Call, model: str, version: int) -> Response:
        """The document of a version, or its page."""
        selector = call.alias or (str(call.version) if call.version is not None else "")
        # From …/v2/models/M[/versions/V]/openapi.json to the root, whatever a gateway puts before.
        root = "../../../../.." if selector else "../../.."
        place = Place(router=True, root=root, selector=selector, auth=self._auth)
        document = openapi.model_document(self._about(model, version), place)
        if call.verb == "openapi":
            return _json(document)
        return _page(openapi.model_page(document))

    def of_server(self, call: Call, models: Callable[[], Iterable[str]]) -> Response:
        """The document of the server, or the list of its models."""
        document = openapi.server_document(Place(router=True, root=".", auth=self._auth))
        if call.verb == "server-openapi":
            return _json(document)
        return _page(openapi.server_page(document, models()))


def _json(document: Mapping[str, Any]) -> Response:
    return Response(200, {"content-type": "application/json"}, json.dumps(document).encode())


def _page(body: bytes) -> Response:
    return Response(200, dict(openapi.PAGE_HEADERS), body)

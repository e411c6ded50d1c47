"""OpenAPI and a page to read it on: what this version answers, in every protocol.

The document is made anew each time somebody asks, which few do; what makes it is imported then.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from modelport.envelope import Request, Response
from modelport.grammar import Call

from functions.runtime.codecs.codec import JSON_HEADERS, Subject

if TYPE_CHECKING:
    from modelport.openapi import About


class Docs:
    """Answers questions; no protocol of its own."""

    def describe(self, call: Call, request: Request, subject: Subject) -> Response:
        from modelport import openapi

        # One version stands at the root of its own server: its paths need not name it.
        place = openapi.Place(router=False)
        of_server = call.verb.startswith("server")
        if of_server:
            document = openapi.server_document(place)
        else:
            document = openapi.model_document(_about(subject), place)
        if call.verb.endswith("openapi"):
            return Response(200, dict(JSON_HEADERS), json.dumps(document).encode())
        if of_server:
            page = openapi.server_page(document, [subject.model])
        else:
            page = openapi.model_page(document)
        return Response(200, dict(openapi.PAGE_HEADERS), page)


def _about(subject: Subject) -> About:
    from modelport.openapi import About

    if subject.record is not None:
        return About.of(subject.record())
    return About(subject.model, subject.version, subject.digest, subject.signature)

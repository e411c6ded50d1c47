"""Copies of answered calls for shadow versions: the port that the router hands them to."""

from __future__ import annotations

from typing import Protocol

from modelport.envelope import Request, Response
from modelport.grammar import Call
from modelport.routes import Deployment, Routes


class Shadows(Protocol):
    """Takes copies; safe to call from many threads."""

    def offer(
        self,
        routes: Routes,
        call: Call,
        asked: Request,
        deployment: Deployment,
        response: Response,
    ) -> None:
        """Note that ``deployment`` answered ``asked`` (as the version got it) with ``response``.

        ``call`` names the version or alias that was meant, by the path, a header or a rule.
        Called only for predictions of models whose policy has shadows. It must return at once and
        must not touch the pieces of a `Stream`; what it raises is logged and goes no further.
        """
        ...

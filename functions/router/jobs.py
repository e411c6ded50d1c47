"""Calls that are answered later: the port that the router hands them to."""

from __future__ import annotations

from typing import Protocol

from modelport.envelope import Request, Response
from modelport.errors import ModelTimeoutError
from modelport.grammar import Call
from modelport.routes import Deployment, Routes


class Jobs(Protocol):
    """Takes calls, and answers questions about those it took; safe to call from many threads."""

    def answer(self, call: Call, request: Request) -> Response:
        """Answer a verb of protocol ``jobs``; raises `ModelportError`."""
        ...

    def accept(
        self,
        routes: Routes,
        call: Call,
        deployment: Deployment,
        asked: Request,
        request: Request,
        timed_out: ModelTimeoutError | None,
    ) -> Response:
        """Take a prediction that ``deployment`` shall answer later; raises `ModelportError`.

        ``asked`` is what the version gets, ``request`` what the caller sent. ``timed_out`` is how
        the version failed to answer in time, or None where the caller wants no answer now; where
        it takes no such job it raises ``timed_out``.
        """
        ...

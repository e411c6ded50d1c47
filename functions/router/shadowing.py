"""Copies of answered calls for shadow versions: the port that the router hands them to."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from modelport.envelope import Request, Response
from modelport.grammar import Call
from modelport.routes import Deployment, Routes
from modelport.settings import RouterSettings

from functions.router.routes_cache import Log

if TYPE_CHECKING:
    from functions.router.shadow_queue import QueueClient


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


class LateShadows:
    """Shadows made for the first copy: most models have none, and every start would pay."""

    def __init__(self, make: Callable[[], Shadows]) -> None:
        self._make = make
        self._made: Shadows | None = None

    def offer(
        self,
        routes: Routes,
        call: Call,
        asked: Request,
        deployment: Deployment,
        response: Response,
    ) -> None:
        """Hand the copy to what has been made, or is made now."""
        if self._made is None:
            self._made = self._make()
        self._made.offer(routes, call, asked, deployment, response)


def shadows_of(
    settings: RouterSettings, new_client: Callable[[], QueueClient], log: Log
) -> Shadows | None:
    """What takes copies in an environment that has a queue for them; None where it has none.

    ``new_client`` makes an SQS client, in the thread that sends and for it alone.
    """
    url = settings.shadow_queue_url
    if not url:
        return None

    def make() -> Shadows:
        from functions.router.shadow_queue import ShadowQueue, SqsSender

        sender = SqsSender(new_client, url)
        return ShadowQueue(sender, environment=settings.environment, log=log)

    return LateShadows(make)

"""The router whole, for whatever carries requests to it: what answers, and how much it takes.

Neither HTTP framework nor AWS: `functions.router.straight` brings it Lambda's events,
`functions.router.app` what comes over ASGI.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from modelport.backends import Backend
from modelport.errors import PayloadTooLargeError
from modelport.settings import RouterSettings

from functions.router.dispatch import Dispatcher, Source
from functions.router.exchange import Exchange
from functions.router.routes_cache import Clock, Log

if TYPE_CHECKING:
    from functions.router.jobs import Jobs
    from functions.router.shadowing import Shadows

_FEWER_ROWS = "send fewer rows per request"
_UPLOAD = f"{_FEWER_ROWS}, or upload the body: POST /uploads"


@dataclass(frozen=True, slots=True)
class Router:
    """What answers requests, and the bytes that a body may have; safe to call from many threads."""

    exchange: Exchange
    max_body: int
    way_out: str

    def refused_size(self, headers: Mapping[str, str]) -> PayloadTooLargeError | None:
        """What is wrong with a body that says itself how large it is; None for no such thing."""
        declared = headers.get("content-length")
        if declared is None or not (declared.isascii() and declared.isdigit()):
            return None
        # As many digits as no body has bytes: more are refused all the same, and cost nothing.
        return self.too_large(int(declared.lstrip("0")[:20] or "0"))

    def too_large(self, size: int) -> PayloadTooLargeError | None:
        """What is wrong with a body of ``size`` bytes, if anything is."""
        if size <= self.max_body:
            return None
        return PayloadTooLargeError(size, self.max_body, "the request body", self.way_out)


def router_over(
    registry: Source,
    backends: Mapping[str, Backend],
    *,
    settings: RouterSettings,
    log: Log,
    clock: Clock = time.monotonic,
    shadows: Shadows | None = None,
    jobs: Callable[[], Jobs] | None = None,
) -> Router:
    """The router over a registry and one backend per deployment target.

    Without ``shadows`` no answers are copied, without ``jobs`` no calls are answered later.
    """
    dispatcher = Dispatcher(
        registry,
        backends,
        routes_ttl_s=settings.routes_ttl_s,
        clock=clock,
        log=log,
        auth=settings.auth,
        shadows=shadows,
        jobs=jobs,
    )
    exchange = Exchange(dispatcher, clock, log, settings.environment)
    return Router(exchange, settings.max_body_bytes, _UPLOAD if jobs else _FEWER_ROWS)

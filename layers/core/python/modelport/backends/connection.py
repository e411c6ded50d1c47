"""When a call may be sent a second time: only when its connection was dead before it was used."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from botocore.exceptions import ConnectionClosedError

#: How long a model is waited for unless told otherwise.
DEFAULT_TIMEOUT_S = 30.0
#: A connection found dead fails at once; one that ends later may have died under a running model.
DEAD_ON_USE_S = 1.0

Answer = TypeVar("Answer")


def sent(send: Callable[[], Answer], clock: Callable[[], float]) -> Answer:
    """Send, and a second time only when a pooled connection turns out to be dead.

    An environment that was frozen finds its connections closed by the other side, and finds out at
    once. What breaks later may have had the model at work: that is not run twice.
    """
    asked_at = clock()
    try:
        return send()
    except ConnectionClosedError:
        if clock() - asked_at > DEAD_ON_USE_S:
            raise
        return send()

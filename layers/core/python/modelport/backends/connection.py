"""When a call may be sent again: at once if its connection was dead, later if a place was full."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from modelport.aws import HungUpError, RefusedError

#: How long a model is waited for unless told otherwise.
DEFAULT_TIMEOUT_S = 30.0
#: A connection found dead fails at once; one that ends later may have died under a running model.
DEAD_ON_USE_S = 1.0
#: No caller is told to wait longer than this for a place that is full.
LONGEST_RETRY_AFTER_S = 60

Answer = TypeVar("Answer")


def sent(send: Callable[[], Answer], clock: Callable[[], float]) -> Answer:
    """Send, and a second time only when a pooled connection turns out to be dead.

    An environment that was frozen finds its connections closed by the other side, and finds out at
    once. What breaks later, or over a connection that is new, may have had the model at work: that
    is not run twice.
    """
    asked_at = clock()
    try:
        return send()
    except HungUpError as error:
        if not error.kept or clock() - asked_at > DEAD_ON_USE_S:
            raise
        return send()


def retry_after_s(error: RefusedError) -> int:
    """Whole seconds after which a place that is full wants to be asked again; 1 if it names none.

    Dates, which the header may hold as well, are those of another clock: they count as none.
    """
    said = error.headers.get("retry-after", "")
    if not (said.isascii() and said.isdigit() and len(said) < 10):
        return 1
    return min(max(int(said), 1), LONGEST_RETRY_AFTER_S)

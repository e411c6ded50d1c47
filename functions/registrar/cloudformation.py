"""The custom resource protocol: read CloudFormation's event, answer it exactly once, in time.

CloudFormation waits up to an hour for an answer that never comes, so this module answers whatever
happens: work that raises, work that outlasts the function (a watchdog answers shortly before the
end), a response URL that fails now and then. Standard library only, so that nothing that can fail
to import stands between an event and its answer. It knows nothing of models. The response URL is
a credential: it is never logged.
"""

from __future__ import annotations

import http.client
import json
import logging
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

logger = logging.getLogger(__name__)

#: CloudFormation takes 4,096 bytes of answer in all.
MAX_REASON = 2_000
#: Of one wait on the socket. A try has up to four: to connect, twice in the TLS handshake, and for
#: the answer.
PUT_TIMEOUT_S = 2.0
PUT_WAITS = 4
BACKOFF_S = (0.2, 0.5, 1.0, 2.0)
#: Kept back from the function's time for telling CloudFormation that time ran out. Five tries of
#: four waits of 2 s and 3.7 s between them are 43.7 s at worst.
MARGIN_S = 45.0


@dataclass(frozen=True)
class Event:
    """What CloudFormation asks for."""

    kind: str
    response_url: str
    stack_id: str
    request_id: str
    logical_id: str
    physical_id: str
    properties: dict[str, Any]
    resource_type: str = ""

    @classmethod
    def parse(cls, event: dict[str, Any]) -> Event:
        """Read the raw event; raises `KeyError` for one that nobody could answer."""
        return cls(
            kind=event["RequestType"],
            response_url=event["ResponseURL"],
            stack_id=event["StackId"],
            request_id=event["RequestId"],
            logical_id=event["LogicalResourceId"],
            physical_id=event.get("PhysicalResourceId", ""),
            properties=event.get("ResourceProperties", {}),
            resource_type=event.get("ResourceType", ""),
        )


@dataclass(frozen=True)
class Outcome:
    """How it went: the resource's stable id, its attributes, and the reason when it failed."""

    physical_id: str
    reason: str = ""
    data: dict[str, str] | None = None

    @property
    def failed(self) -> bool:
        return bool(self.reason)


Work = Callable[[Event, float], Outcome]
Put = Callable[[str, bytes], None]


def put(url: str, body: bytes) -> None:
    """PUT to the pre-signed URL; a few tries, then the last error without the URL in it."""
    for pause in (*BACKOFF_S, None):
        request = urllib.request.Request(url, data=body, method="PUT")
        # The URL is signed for an empty content type; urllib would add a form's.
        request.add_header("Content-Type", "")
        try:
            with urllib.request.urlopen(request, timeout=PUT_TIMEOUT_S):
                return
        except (OSError, http.client.HTTPException) as error:
            problem = f"HTTP {error.code}" if isinstance(error, urllib.error.HTTPError) else error
            if isinstance(error, urllib.error.HTTPError):
                error.close()
            if pause is None:
                raise ConnectionError(f"CloudFormation cannot be answered: {problem}") from None
            logger.warning("answering CloudFormation failed, trying again: %s", problem)
            time.sleep(pause)


class _Reply:
    """Sends one answer; the second and later ones are dropped."""

    def __init__(self, event: Event, send: Put) -> None:
        self._event = event
        self._send = send
        self._lock = threading.Lock()
        self._sent = False

    def __call__(self, outcome: Outcome) -> None:
        with self._lock:
            if self._sent:
                return
            self._send(self._event.response_url, _answer(self._event, outcome))
            self._sent = True


def respond(event: Event, remaining_s: float, work: Work, send: Put = put) -> None:
    """Run ``work`` with the seconds it has, and answer with its outcome or what went wrong."""
    reply = _Reply(event, send)
    budget = max(remaining_s - MARGIN_S, remaining_s * 0.75)
    fallback_id = event.physical_id or f"{event.logical_id}-{event.request_id}"
    late = Outcome(fallback_id, reason=f"not finished within {budget:.0f} s")
    watchdog = threading.Timer(budget, reply, [late])
    watchdog.daemon = True
    watchdog.start()
    try:
        outcome = work(event, budget)
    except Exception as error:
        logger.exception("%s of %s failed", event.kind, event.logical_id)
        outcome = Outcome(fallback_id, reason=f"{type(error).__name__}: {error}")
    finally:
        watchdog.cancel()
    reply(outcome)


def _answer(event: Event, outcome: Outcome) -> bytes:
    answer = {
        "Status": "FAILED" if outcome.failed else "SUCCESS",
        "Reason": outcome.reason[:MAX_REASON] or "done",
        "PhysicalResourceId": outcome.physical_id,
        "StackId": event.stack_id,
        "RequestId": event.request_id,
        "LogicalResourceId": event.logical_id,
        "Data": outcome.data or {},
    }
    return json.dumps(answer).encode()

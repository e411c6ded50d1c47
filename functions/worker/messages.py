"""Messages of SQS, each to the runner of its kind; what was not done is said one by one.

A runner returns True when its message is done for. False, or whatever it raises, has the message
come again, until it has come too often and goes to the dead letters. From there it comes once more,
marked, for its runner to say so where it matters. It must not know what any kind means.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Log = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Message:
    """One message; ``receives`` counts this time, ``dead`` is whether it came too often."""

    id: str
    body: dict[str, Any]
    receipt: str
    receives: int
    dead: bool

    @property
    def kind(self) -> str:
        """Who it is for."""
        return str(self.body.get("kind", ""))


#: Does what a message says, until a time of day in seconds; whether it is done for.
Runner = Callable[[Message, float], bool]


def consume(
    event: Mapping[str, Any],
    runners: Mapping[str, Runner],
    until: float,
    log: Log,
    dead_arn: str | None = None,
) -> dict[str, Any]:
    """Have every message of the event done; the answer names those that are not."""
    failed = []
    for record in event.get("Records", ()):
        if not _done(record, runners, until, log, dead_arn):
            failed.append({"itemIdentifier": record["messageId"]})
    return {"batchItemFailures": failed}


def _done(
    record: Mapping[str, Any],
    runners: Mapping[str, Runner],
    until: float,
    log: Log,
    dead_arn: str | None,
) -> bool:
    message = _message(record, dead_arn)
    runner = runners.get(message.kind)
    try:
        if runner is not None:
            return runner(message, until)
        log({"event": "message-unknown", "message": message.id, "kind": message.kind[:64]})
    except Exception as error:
        trace = "".join(traceback.format_exception(error))
        log({"event": "message-failed", "message": message.id, "traceback": trace})
    return message.dead  # nobody reads the dead letters' dead letters


def _message(record: Mapping[str, Any], dead_arn: str | None) -> Message:
    try:
        body = json.loads(record["body"])
    except (ValueError, RecursionError):
        body = None
    return Message(
        record["messageId"],
        body if isinstance(body, dict) else {},
        record["receiptHandle"],
        int(record.get("attributes", {}).get("ApproximateReceiveCount", 1)),
        dead_arn is not None and record.get("eventSourceARN") == dead_arn,
    )

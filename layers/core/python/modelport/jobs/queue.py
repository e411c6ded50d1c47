"""The port for messages that come until somebody has done what they say, and SQS behind it.

A message is a small JSON object whose ``kind`` says who it is for. Knows nothing of jobs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from botocore.exceptions import BotoCoreError, ClientError

from modelport.jobs.errors import QueueUnavailableError

#: SQS hides a message at most so long, in seconds, counted from when it was received.
LONGEST_LATER_S = 43_200


class Queue(Protocol):
    """Where messages wait; methods raise `QueueUnavailableError` when that is away."""

    def send(self, message: Mapping[str, Any]) -> None:
        """Add a message."""
        ...

    def later(self, receipt: str, seconds: float) -> None:
        """Have a message that was received come again after so long."""
        ...


class SqsClient(Protocol):
    """The calls used of boto3's SQS client."""

    def send_message(self, *, QueueUrl: str, MessageBody: str) -> Any: ...
    def change_message_visibility(
        self, *, QueueUrl: str, ReceiptHandle: str, VisibilityTimeout: int
    ) -> Any: ...


class SqsQueue:
    """Messages in an SQS queue."""

    def __init__(self, client: SqsClient, url: str) -> None:
        self._client, self._url = client, url

    def send(self, message: Mapping[str, Any]) -> None:
        """Add a message."""
        body = json.dumps(message, separators=(",", ":"))
        with _translated():
            self._client.send_message(QueueUrl=self._url, MessageBody=body)

    def later(self, receipt: str, seconds: float) -> None:
        """Have a message that was received come again after so long."""
        hidden = max(0, min(LONGEST_LATER_S, round(seconds)))
        with _translated():
            self._client.change_message_visibility(
                QueueUrl=self._url, ReceiptHandle=receipt, VisibilityTimeout=hidden
            )


def job_message(id: str) -> dict[str, str]:
    """The message that has a job run."""
    return {"kind": "job", "id": id}


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (ClientError, BotoCoreError) as error:
        raise QueueUnavailableError(f"the queue: {error}") from error

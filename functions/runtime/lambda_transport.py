"""Lambda's side of the data plane: event to request, response to event, and Lambda's size limit.

A model that fails is still a well-formed answer; a function error would tell the router only that
something broke. It must not read the environment: `handler` is the composition root.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

from modelport.envelope import Handler, Request, Response, Stream
from modelport.errors import AnswerTooLargeError, ModelportError

from functions.runtime.failures import failure

#: Largest answer of a synchronous invoke, as JSON, in bytes (6 MB).
MAX_ANSWER = 6 * 1024 * 1024
_WAY_OUT = "send fewer rows per request or ask for fewer outputs"
# Room for status, headers and JSON punctuation around the body.
_FRAME = 4096


class Context(Protocol):
    """What is used of the Lambda context."""

    aws_request_id: str


LambdaHandler = Callable[[Any, Context], dict[str, Any] | Stream]


def lambda_handler(handle: Handler, stream: Handler | None = None) -> LambdaHandler:
    """A Lambda handler over a data plane's ``handle``.

    Callers who take streams get what ``stream`` answers, which the loop must know how to send.
    """

    def handler(event: Any, context: Context) -> dict[str, Any] | Stream:
        try:
            request = Request.from_event(event)
        except ModelportError as error:
            return failure(error, context.aws_request_id).to_event()
        if not request.request_id:
            request = replace(request, request_id=context.aws_request_id)
        if stream is None or not event.get("streams"):
            return handle(request).to_event()
        answer = stream(request)
        return answer if isinstance(answer, Stream) else answer.to_event()

    return handler


def check_answer_size(response: Response) -> None:
    """Raise `AnswerTooLargeError` when Lambda would not carry this answer."""
    size = answer_size(response.body)
    if size > MAX_ANSWER:
        raise AnswerTooLargeError(size, MAX_ANSWER, "the answer, as Lambda carries it,", _WAY_OUT)


def answer_size(body: bytes) -> int:
    """Bytes that ``body`` takes inside the envelope, never less than it will really be."""
    if len(body) * 6 + _FRAME <= MAX_ANSWER:  # even if every byte had to be escaped
        return len(body) + _FRAME
    try:
        # awslambdaric escapes like this on some Python versions; on others it writes less.
        return len(json.dumps(body.decode())) + _FRAME
    except UnicodeDecodeError:
        return -(-len(body) // 3) * 4 + _FRAME

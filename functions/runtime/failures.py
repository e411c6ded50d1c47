"""Errors as a model function's answers: `modelport.refusals`, and a log line for what it hides.

Tracebacks never leave the process. Which status and which words an error has is not decided here.
"""

from __future__ import annotations

import logging

from modelport.envelope import Request, Response
from modelport.errors import IntegrityError, InvalidSettingError, ModelportError
from modelport.grammar import Call
from modelport.refusals import refusal, refused, status_of

__all__ = ["failure", "refusal", "status_of"]

logger = logging.getLogger(__name__)


def failure(
    error: ModelportError,
    request_id: str,
    request: Request | None = None,
    call: Call | None = None,
) -> Response:
    """The error as an answer, in the words of the protocol that ``request`` is in, if it is known.

    ``request`` is None where there is none yet, as for an event that is not an envelope.
    """
    if isinstance(error, IntegrityError | InvalidSettingError):
        logger.error("request %s: %s", request_id, error.message)  # a caller is not told
    return refused(error, request or Request("", "", request_id=request_id), call)

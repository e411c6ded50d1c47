"""The calls that bring answers of models, without an SDK: one request each, never tried again.

What they ask, and what their errors are called, is as in the services' API references.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import quote

from modelport.aws.answers import Answer
from modelport.aws.caller import Caller
from modelport.aws.errors import RefusedError

_UNRESERVED = "-._~"


@dataclass(frozen=True, slots=True)
class Invocation:
    """What a function answered, or, when it ``failed``, Lambda's report of how."""

    payload: bytes = field(repr=False)
    failed: bool = False


class Functions(Protocol):
    """Lambda, as far as it is called."""

    def invoke(self, function: str, payload: bytes) -> Invocation:
        """Have a function answer; raises `CallError`, of a refusal `RefusedError`."""
        ...


@dataclass(frozen=True, slots=True)
class Inference:
    """What a container answered: its body, and the headers that SageMaker carries."""

    headers: dict[str, str] = field(repr=False)
    body: bytes = field(repr=False)


class Endpoints(Protocol):
    """SageMaker's endpoints, as far as they are called."""

    def invoke(self, endpoint: str, body: bytes, headers: Mapping[str, str]) -> Inference:
        """Have an endpoint answer; raises `CallError`, of a refusal `RefusedError`.

        Of ``headers``, lower case, SageMaker takes content-type, accept and its own.
        """
        ...


class LambdaFunctions:
    """`Functions` over HTTP."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def invoke(self, function: str, payload: bytes) -> Invocation:
        """``POST /2015-03-31/functions/{name}/invocations``."""
        path = f"/2015-03-31/functions/{quote(function, safe=_UNRESERVED)}/invocations"
        headers = {
            "content-type": "application/json",
            "x-amz-invocation-type": "RequestResponse",
        }
        answer = self._caller.ask("POST", path, headers, payload)
        if answer.status >= 300:
            raise _refused(answer)
        return Invocation(answer.body, bool(answer.headers.get("x-amz-function-error")))


class SageMakerEndpoints:
    """`Endpoints` over HTTP."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def invoke(self, endpoint: str, body: bytes, headers: Mapping[str, str]) -> Inference:
        """``POST /endpoints/{name}/invocations``."""
        path = f"/endpoints/{quote(endpoint, safe=_UNRESERVED)}/invocations"
        answer = self._caller.ask("POST", path, headers, body)
        if answer.status >= 300:
            raise _refused(answer)
        return Inference(answer.headers, answer.body)


def _refused(answer: Answer) -> RefusedError:
    """The error in an answer of a service that speaks JSON, found where botocore looks for it."""
    try:
        said: Any = json.loads(answer.body)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        said = {}
    code = answer.headers.get("x-amzn-errortype") or said.get("__type")
    code = str(code or said.get("code") or said.get("Code") or answer.status)
    message = said.get("message", said.get("Message", ""))
    original = said.get("OriginalStatusCode")
    return RefusedError(
        answer.status,
        code.partition(":")[0].rpartition("#")[2],
        str(message),
        answer.headers,
        original if isinstance(original, int) else None,
    )

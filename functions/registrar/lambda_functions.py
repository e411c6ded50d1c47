"""Model functions on AWS Lambda, as the prober sees them."""

from __future__ import annotations

import json
from typing import Any

from botocore.exceptions import ClientError
from modelport.envelope import Request, Response
from modelport.errors import MalformedRequestError

from functions.registrar.place import FAILED, PENDING, READY, Failure, State


class LambdaFunctions:
    """`place.Place` over a boto3 Lambda client."""

    target, noun = "lambda", "function"

    def __init__(self, client: Any) -> None:
        self._client = client

    def state(self, resource: str) -> State | None:
        try:
            found = self._client.get_function_configuration(FunctionName=resource)
        except self._client.exceptions.ResourceNotFoundException:
            return None
        for key in ("State", "LastUpdateStatus"):
            value = found.get(key) or "Active"
            if value == "Failed":
                return State(FAILED, found.get(f"{key}Reason", value))
            # Lambda puts functions nobody called for weeks to sleep; a call wakes them.
            if value not in ("Active", "Inactive", "Successful"):
                return State(PENDING, f"{key} {value}")
        return State(READY)

    def ask(self, resource: str, request: Request) -> Response | Failure | None:
        try:
            answer = self._client.invoke(FunctionName=resource, Payload=request.to_event())
        except (
            self._client.exceptions.TooManyRequestsException,
            self._client.exceptions.ResourceConflictException,
            self._client.exceptions.ResourceNotReadyException,  # Just waking up.
        ):
            return None
        payload: bytes = answer["Payload"].read()
        if answer.get("FunctionError"):
            return _failure(payload)
        try:
            return Response.from_event(payload)
        except MalformedRequestError as error:
            return Failure(error.message)

    def log_group(self, resource: str) -> str:
        # Asked for, because a group that is kept has a name of CloudFormation's making.
        try:
            found = self._client.get_function_configuration(FunctionName=resource)
        except ClientError:  # Whatever failed before this must still be told.
            found = {}
        named = found.get("LoggingConfig", {}).get("LogGroup")
        return str(named or f"/aws/lambda/{resource.partition(':')[0]}")


def _failure(payload: bytes) -> Failure:
    """What the function did instead of answering, as Lambda or its runtime client wrote it."""
    words, late = payload.decode(errors="replace"), b"timed out" in payload.lower()
    try:
        said = json.loads(payload)
    except ValueError:
        said = None
    if not isinstance(said, dict):
        return Failure(words, late)
    kind = str(said.get("errorType") or "")
    # The runtime client names the request of every error but one: that of loading the handler.
    lines = str(said.get("errorMessage") or "").strip().splitlines() or [""]
    loading = said.get("requestId") == ""
    return Failure(words, late, kind, f"{kind}: {lines[0]}" if loading else "")

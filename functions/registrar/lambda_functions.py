"""Model functions on AWS Lambda, as the prober sees them."""

from __future__ import annotations

from typing import Any

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
            return Failure(payload.decode(errors="replace"), b"timed out" in payload.lower())
        try:
            return Response.from_event(payload)
        except MalformedRequestError as error:
            return Failure(error.message)

"""Model versions on SageMaker endpoints, as the prober sees them."""

from __future__ import annotations

from typing import Any

from botocore.exceptions import ClientError, ReadTimeoutError
from modelport.envelope import Request, Response
from modelport.errors import MalformedRequestError
from modelport.sagemaker_envelope import HEADER, attributes_of, body_of, unwrapped

from functions.registrar.place import FAILED, PENDING, READY, Failure, State

#: The endpoint has no capacity left, or none yet, or SageMaker itself stumbled.
_NOT_NOW = frozenset(
    {
        "InternalDependencyException",
        "InternalFailure",
        "ModelNotReadyException",
        "ServiceUnavailable",
        "ThrottlingException",
    }
)
_ENDED = frozenset({"Deleting", "Failed", "OutOfService", "UpdateRollbackFailed"})


class SageMakerEndpoints:
    """`place.Place` over boto3's clients for SageMaker and for its runtime."""

    target, noun = "sagemaker", "endpoint"

    def __init__(self, client: Any, runtime: Any) -> None:
        self._client = client
        self._runtime = runtime

    def state(self, resource: str) -> State | None:
        try:
            found = self._client.describe_endpoint(EndpointName=resource)
        except ClientError as error:
            # SageMaker has no error of its own for an endpoint that is not there.
            if _code(error) == "ValidationException":
                return None
            raise
        status = found["EndpointStatus"]
        if status == "InService":
            return State(READY)
        if status in _ENDED:
            return State(FAILED, found.get("FailureReason", status))
        return State(PENDING, status)

    def ask(self, resource: str, request: Request) -> Response | Failure | None:
        parameters = {
            parameter: request.headers[header]
            for header, parameter in (("content-type", "ContentType"), ("accept", "Accept"))
            if header in request.headers
        }
        try:
            answer = self._runtime.invoke_endpoint(
                EndpointName=resource,
                Body=body_of(request),
                CustomAttributes=attributes_of(request),
                **parameters,
            )
            headers = {HEADER: answer.get("CustomAttributes", "")}
            if "ContentType" in answer:
                headers["content-type"] = answer["ContentType"]
            carried = Response(200, headers, answer["Body"].read())
        except ReadTimeoutError as error:
            return Failure(str(error), timed_out=True)
        except ClientError as error:
            if _code(error) in _NOT_NOW:
                return None
            if _code(error) == "ModelError":
                return _failure(error)
            raise
        try:
            return unwrapped(carried) or Failure("something else than a model version answered")
        except MalformedRequestError as error:
            return Failure(error.message)

    def log_group(self, resource: str) -> str:
        return f"/aws/sagemaker/Endpoints/{resource}"


def _failure(error: ClientError) -> Failure:
    """What the container did instead of answering, and where its log is."""
    said = error.response
    words = str(said.get("Error", {}).get("Message", ""))
    where = said.get("LogStreamArn")
    return Failure(f"{words} (log: {where})" if where else words, "timed out" in words)


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))

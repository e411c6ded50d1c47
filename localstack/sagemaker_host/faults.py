"""How SageMaker says no: error codes, HTTP statuses and the service's own words.

Control plane and runtime have different words for the same thing (`ValidationException` and
`ValidationError`); both are here. This module must not do I/O.
"""

import json

from lambda_host.wire import Answer

BODY_LIMIT = 6_291_456
"""Bytes a request or an answer of InvokeEndpoint may have."""
SERVERLESS_BODY_LIMIT = 4 * 1024 * 1024
NO_STATUS = 0
"""What SageMaker names as the container's status when the container gave none."""


class ServiceError(Exception):
    """A refusal; `code` is what a client library raises by."""

    def __init__(self, code: str, message: str, status: int = 400, **fields: object) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
        self.fields = fields

    def answer(self) -> Answer:
        """The refusal as it goes over the wire: code in a header, message in the body."""
        code = {"x-amzn-ErrorType": self.code} if self.code else {}
        document = {"message": self.message, "Message": self.message, **self.fields}
        if self.code:
            document["__type"] = self.code
        return Answer(self.status, json.dumps(document).encode(), code)


def invalid(message: str) -> ServiceError:
    """The control plane's most used refusal."""
    return ServiceError("ValidationException", message)


def not_found(kind: str, arn: str) -> ServiceError:
    """There is no such thing; the service has no code of its own for that."""
    return invalid(f'Could not find {kind} "{arn}".')


def already_there(kind: str, arn: str) -> ServiceError:
    """Names are taken once."""
    return invalid(f'Cannot create already existing {kind} "{arn}".')


def in_progress(arn: str) -> ServiceError:
    """Something is being done to the endpoint already."""
    return invalid(f'Cannot update in-progress endpoint "{arn}".')


def not_invocable(message: str) -> ServiceError:
    """The runtime's refusal of a request it does not pass on."""
    return ServiceError("ValidationError", message)


def body_too_large(limit: int) -> ServiceError:
    """The load balancer in front of the service says this one, without a code."""
    return ServiceError("", f"HTTP content length exceeded {limit} bytes.", 413)


def not_ready(message: str) -> ServiceError:
    """What serves the endpoint is still being provisioned."""
    return ServiceError("ModelNotReadyException", message, 429)


def unavailable(message: str) -> ServiceError:
    """Nobody is there to answer now."""
    return ServiceError("ServiceUnavailable", message, 503)


def model_error(status: int, said: str, log_stream: str, log: str) -> ServiceError:
    """The container answered with an error, or not as it must."""
    side = "client" if 400 <= status < 500 else "server"
    message = (
        f'Received {side} error ({status}) from primary with message "{said}". See {log} '
        "for more information."
    )
    return ServiceError(
        "ModelError",
        message,
        424,
        OriginalStatusCode=status,
        OriginalMessage=said,
        LogStreamArn=log_stream,
    )


def timed_out() -> str:
    """What the caller reads when the container took too long."""
    return (
        "Your invocation timed out while waiting for a response from container primary. "
        "Review the latency metrics for each container in Amazon CloudWatch, resolve the "
        "issue, and try again."
    )


def no_ping(variant: str) -> str:
    """Why an endpoint failed whose container never became healthy."""
    return (
        f"The primary container for production variant {variant} did not pass the ping health "
        "check. Please check CloudWatch logs for this endpoint."
    )

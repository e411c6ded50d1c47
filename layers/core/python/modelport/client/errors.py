"""What can go wrong with a call to a model, as typed exceptions.

An answer with an error status carries what the server said: message, code, request id, version and
when to come back. Each class is also one of the branches of `modelport.errors`, so whoever handles
those handles these.

    ModelportError
    ├── AnswerError                      the server answered with an error status
    │   ├── CallRefusedError             400, 413, 415, 501 …: the call itself (InvalidInputError)
    │   ├── CallerDeniedError            401, 403: who calls
    │   ├── NothingThereError            404 (NotFoundError)
    │   ├── StateForbidsError            409 (ConflictError)
    │   ├── TooBusyError                 429, 503 (BackendError)
    │   └── ServerFailedError            every other 5xx (BackendError)
    ├── EndpointUnavailableError         nobody answered (BackendError)
    ├── DeadlineError                    no answer within the time given (BackendError)
    │   └── JobPendingError              … and there is a job that will have it
    ├── UnreadableAnswerError            an answer that breaks its protocol (BackendError)
    └── InvalidValueError                an input that cannot be sent (InvalidInputError)
"""

from __future__ import annotations

from collections.abc import Mapping

from modelport.errors import (
    BackendError,
    ConflictError,
    InvalidInputError,
    ModelportError,
    NotFoundError,
)

_HINTS: Mapping[int, str] = {
    401: "the API wants signed requests: check your AWS credentials",
    403: "the API refused the caller: check your AWS credentials and execute-api:Invoke",
    413: "send less in one call",
    429: "try again in a moment",
}


class AnswerError(ModelportError):
    """The server answered with an error ``status``.

    ``remote_code`` is the server's stable code for it, ``request_id`` what its logs know it by,
    ``version`` the model version that answered ("" where the answer does not say), and
    ``retry_after_s`` how long it asks to be left alone.
    """

    code = "call-failed"

    def __init__(
        self,
        status: int,
        message: str,
        *,
        remote_code: str = "",
        request_id: str = "",
        version: str = "",
        retry_after_s: float | None = None,
    ) -> None:
        self.status, self.remote_code, self.request_id = status, remote_code, request_id
        self.version, self.retry_after_s = version, retry_after_s
        told = f" (request {request_id})" if request_id else ""
        super().__init__(f"the API answered {status}: {message}{told}", hint=_HINTS.get(status, ""))


class CallRefusedError(AnswerError, InvalidInputError):
    """The server will not take this call as it is."""


class CallerDeniedError(AnswerError):
    """The server does not know the caller, or does not let it in."""


class NothingThereError(AnswerError, NotFoundError):
    """There is no such model, version, alias or path."""


class StateForbidsError(AnswerError, ConflictError):
    """The call is fine, the present state does not allow it."""


class TooBusyError(AnswerError, BackendError):
    """The server has too much to do, or is not ready yet."""


class ServerFailedError(AnswerError, BackendError):
    """The server, or the model, failed."""


_BY_STATUS: Mapping[int, type[AnswerError]] = {
    401: CallerDeniedError,
    403: CallerDeniedError,
    404: NothingThereError,
    409: StateForbidsError,
    429: TooBusyError,
    501: CallRefusedError,
    503: TooBusyError,
}


def error_class(status: int) -> type[AnswerError]:
    """The class of an error status (400 to 599)."""
    return _BY_STATUS.get(status, CallRefusedError if status < 500 else ServerFailedError)


class EndpointUnavailableError(BackendError):
    """The endpoint of the API cannot be reached."""

    code = "endpoint-unavailable"

    def __init__(self, endpoint: str, problem: str) -> None:
        super().__init__(
            f"{endpoint} cannot be reached: {problem}",
            hint="check --endpoint or MODELPORT_ENDPOINT; locally: make up",
        )


class DeadlineError(BackendError):
    """No answer came within the call's time, over all its attempts."""

    code = "deadline"

    def __init__(self, endpoint: str, timeout_s: float, attempts: int, last: str = "") -> None:
        tries = "1 attempt" if attempts == 1 else f"{attempts} attempts"
        because = f"; the last one: {last}" if last else ""
        super().__init__(
            f"{endpoint} gave no answer within {timeout_s:.3g} s ({tries}){because}",
            hint="give the call more time (timeout=, --timeout)",
        )


class JobPendingError(DeadlineError):
    """The call has become job ``job``, which is not over yet: its answer can be asked for later."""

    code = "job-pending"

    def __init__(self, endpoint: str, timeout_s: float, job: str) -> None:
        super().__init__(endpoint, timeout_s, 1, f"job {job} is not over")
        self.job = job
        self.hint = f"ask again: client.job({job!r}), or modelport jobs wait {job}"


class UnreadableAnswerError(BackendError):
    """The answer is not what its protocol promises."""

    code = "unreadable-answer"

    def __init__(self, endpoint: str, problem: str) -> None:
        super().__init__(
            f"the answer of {endpoint} cannot be used: {problem}",
            hint="is the endpoint the API of modelport, and nothing in between changes answers?",
        )


class InvalidValueError(InvalidInputError):
    """An input, parameter or setting that cannot be sent; nothing was."""

    code = "invalid-value"

    def __init__(self, what: str, problem: str, *, hint: str = "") -> None:
        super().__init__(f"{what}: {problem}", hint=hint)

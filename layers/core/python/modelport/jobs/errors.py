"""What can go wrong with uploads and jobs, as branches of `modelport.errors`.

NotFoundError
├── JobNotFoundError
└── UploadNotFoundError
ConflictError
├── JobNotDoneError
├── JobEndedError
└── KeyReusedError
MalformedRequestError
└── WebhookRefusedError
RegistryUnavailableError
└── QueueUnavailableError
"""

from __future__ import annotations

from modelport.errors import (
    BackendError,
    ConflictError,
    MalformedRequestError,
    NotFoundError,
    RegistryUnavailableError,
)


class JobNotFoundError(NotFoundError):
    """There is no such job, it has expired, or it is somebody else's."""

    code = "job-not-found"

    def __init__(self, id: str) -> None:
        super().__init__(
            f"there is no job {id[:64]!r}, or no longer, or it is another caller's",
            hint="send the request again with the header Prefer: respond-async",
        )


class UploadNotFoundError(NotFoundError):
    """There is no such upload, it has expired, or it is somebody else's."""

    code = "upload-not-found"

    def __init__(self, id: str) -> None:
        hint = "POST /uploads, PUT the body to the URL it answers, then send this request"
        super().__init__(
            f"there is no upload {id[:64]!r}, or no longer, or it is another caller's; {hint}",
            hint=hint,
        )


class JobNotDoneError(ConflictError):
    """The job has no answer yet, or never will."""

    code = "job-not-done"

    def __init__(self, id: str, state: str, retry_after_s: int | None = None) -> None:
        super().__init__(f"job {id} has no answer: it is {state}")
        self.retry_after_s = retry_after_s


class JobEndedError(ConflictError):
    """The job is over: there is nothing left to do to it."""

    code = "job-ended"

    def __init__(self, id: str, state: str, wanted: str) -> None:
        super().__init__(f"job {id} cannot be {wanted}: it is {state}")


class KeyReusedError(ConflictError):
    """An idempotency key came with another request than before, which was ``job``.

    "" where the caller may not be told: an id is all that an unknown caller needs for an answer.
    """

    code = "idempotency-key-reused"

    def __init__(self, job: str = "") -> None:
        named = f", job {job}" if job else ""
        super().__init__(
            f"this Idempotency-Key belongs to another request{named}",
            hint="send a new key with every new request",
        )


class WebhookRefusedError(MalformedRequestError):
    """A job's end shall be told where this environment tells nobody."""

    code = "webhook-refused"

    def __init__(self, problem: str) -> None:
        super().__init__(
            f"x-modelport-webhook {problem}",
            hint="the environment's setting webhook_hosts names the hosts that may be told",
        )


class QueueUnavailableError(RegistryUnavailableError):
    """The queue of jobs cannot be reached."""

    code = "queue-unavailable"
    what = "the queue of jobs"

    def __init__(self, problem: str) -> None:
        super().__init__(problem)


class JobFailedError(BackendError):
    """A job ended without an answer."""

    code = "job-failed"

    def __init__(self, id: str, why: str, dead: bool) -> None:
        hint = f"have it run once more: modelport jobs retry {id}" if dead else ""
        super().__init__(f"job {id} failed: {why}", hint=hint)

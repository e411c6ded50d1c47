"""Answers that lie in the payloads bucket, as callers get them: whole, or by a URL of their own.

Made with the first job or large call, beside `functions.router.jobs`. It must not take calls or
change a job.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from modelport.envelope import Request, Response
from modelport.jobs.carrying import Stored
from modelport.jobs.errors import JobNotDoneError, JobNotFoundError
from modelport.jobs.job import Job
from modelport.jobs.payloads import Payloads
from modelport.refusals import refusal

from functions.router.carriage import ROOM, Elsewhere, carried
from functions.router.crossing import returned

#: How long the URL of an answer works, in seconds.
OPEN_S = 3_600
_IDENTITY = tuple(f"x-modelport-{name}" for name in ("model", "version", "digest", "route"))


class Answers:
    """Hands answers out; ``clock`` is the time of day in seconds."""

    def __init__(self, payloads: Payloads, clock: Callable[[], float]) -> None:
        self._payloads, self._clock = payloads, clock

    def of(self, job: Job, request: Request, protocol: str) -> Response:
        """The answer of a job, in the words of its protocol where it has none of its version.

        Raises `JobNotDoneError`, and `JobNotFoundError` for one that has just expired.
        """
        answer, failure = job.answer, job.error
        if answer is not None:
            headers = {**returned(answer.headers), **_about(job)}
            lying = Stored(answer.status, headers, answer.key, answer.size)
            if answer.size > ROOM:
                return self.elsewhere(lying)
            body = self._payloads.get(answer.key, ROOM)
            if body is None:  # it went a moment before its job does
                raise JobNotFoundError(job.id)
            response = Response(answer.status, headers, body)
            return response if carried(response) else self.elsewhere(lying)
        if failure is not None:
            response = refusal(
                failure.status, failure.message, failure.code, request.request_id, protocol
            )
            response.headers.update(_about(job))
            return response
        raise JobNotDoneError(
            job.id, job.state, None if job.over else pause(self._clock() - job.created)
        )

    def elsewhere(self, answer: Stored) -> Response:
        """Says where the answer lies: what its own headers say of the body comes with it.

        What says no keeps its status, which whoever follows a redirect would never see.
        """
        headers = {
            name: text
            for name, text in returned(answer.headers).items()
            if name not in ("content-type", "content-encoding", "retry-after")
        }
        headers["location"] = self._payloads.get_url(answer.key, OPEN_S)
        headers["cache-control"] = "no-store"
        if answer.status < 400:
            return Elsewhere(303, headers)
        words = {"error": f"the version answered {answer.status}; its words lie at the location"}
        headers["content-type"] = "application/json"
        return Elsewhere(answer.status, headers, json.dumps(words).encode())


def pause(age_s: float) -> int:
    """Seconds until it is worth asking again for a job of this age.

    >>> [pause(age) for age in (0, 10, 60)]
    [1, 2, 5]
    """
    return 1 if age_s < 10 else 2 if age_s < 60 else 5


def _about(job: Job) -> dict[str, str]:
    """Which job an answer is of, and who answered it, or should have."""
    said = {name: job.asked.headers[name] for name in _IDENTITY if name in job.asked.headers}
    return {**said, "x-modelport-job": job.id}

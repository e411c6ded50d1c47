"""What a job's run counts for: of the version that was asked, as the router counts its calls.

A job may take as long as it likes, so its time is no version's latency and not counted. What kept
the run from reaching the version, or from keeping its answer, is no failure of the version. Numbers
by the names of `modelport.telemetry`; it writes nothing.
"""

from __future__ import annotations

from modelport import telemetry
from modelport.jobs.job import Answer, Failure, Job

Counts = dict[str, float]

#: Codes of what is raised in a version's stead when its process did not answer.
_CRASHED = frozenset({"model-failed", "backend-gone"})
_THROTTLED = frozenset({"throttled", "busy"})
_TIMED_OUT = "model-timeout"
#: What a version has not is no failure of it.
_NOT_SUPPORTED = 501


def of_run(job: Job, outcome: Answer | Failure) -> Counts:
    """The counts of one run; empty where the version had no part in how it ended."""
    counts: Counts = {
        telemetry.REQUESTS: 1,
        telemetry.by_protocol(job.protocol): 1,
        telemetry.BYTES_IN: job.asked.size,
    }
    if isinstance(outcome, Answer):
        if outcome.status >= 500 and outcome.status != _NOT_SUPPORTED:
            counts[telemetry.ERRORS] = 1
        counts[telemetry.BYTES_OUT] = outcome.size
        told = outcome.headers.get(telemetry.PREDICTED_HEADER, "")
        return counts | telemetry.predictions(told)
    if outcome.code in _THROTTLED:
        counts[telemetry.THROTTLES] = 1
    elif outcome.code in _CRASHED:
        counts |= {telemetry.ERRORS: 1, telemetry.CRASHES: 1}
    elif outcome.code == _TIMED_OUT:
        counts[telemetry.ERRORS] = 1
    else:
        return {}
    return counts

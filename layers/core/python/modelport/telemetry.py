"""What is counted of every answer, and under which names: written by functions, read by rollouts.

A line of the log that carries CloudWatch's embedded metric format is both a record and its metrics:
no call, no agent. (Amazon CloudWatch, "Specification: Embedded metric format".) Dimensions are
environment, model and version, never a caller, a path or a value. Pure; it writes and reads
nothing.

The router is the one home of what callers' predictions count; a version tells it what only a
version knows, in the headers of its answer (``server-timing``, `PREDICTED_HEADER`), so nothing is
counted twice. What did not happen is not written: a count that is missing is 0, and costs nothing.
"""

from __future__ import annotations

import re

NAMESPACE = "modelport"
DIMENSIONS = ("environment", "model", "version")

#: One each per prediction that a version answered or failed to answer, as the router saw it.
REQUESTS = "requests"
#: Of these: failed through the version's or its place's fault (5xx, 429 not included).
ERRORS = "errors"
#: Of the errors: the version's process died or could not start.
CRASHES = "crashes"
#: Refused because the version has no capacity left.
THROTTLES = "throttles"
#: Answered by another version, because this one failed.
FALLBACKS = "fallbacks"
#: Answers that were the first of their process.
COLD_STARTS = "cold_starts"
#: Milliseconds, of the router's own work, of the way to the version and back with its work, and of
#: the model's run alone.
ROUTER_MS, BACKEND_MS, MODEL_MS = "router_ms", "backend_ms", "model_ms"
BYTES_IN, BYTES_OUT = "bytes_in", "bytes_out"
#: The header in which an answer tells its predictions, category → rows: ``cat=3,dog=1``.
PREDICTED_HEADER = "x-modelport-predicted"
#: Categories of one answer that are counted, and what each may look like.
MOST_CATEGORIES = 32
_CATEGORY = re.compile(r"([A-Za-z0-9_.-]{1,64})=([0-9]{1,9})")
_LONGEST = MOST_CATEGORIES * (64 + len("=999999999,"))
#: Of shadowed calls: compared with what the caller got, and those of them that did not agree.
COMPARED, DISAGREED = "compared", "disagreed"
#: Copies that a shadow version was asked, apart from `REQUESTS` that callers wait for; of these: it
#: failed on or its place was away, its process died, and how long answers took in milliseconds.
SHADOW_REQUESTS, SHADOW_ERRORS = "shadow_requests", "shadow_errors"
SHADOW_CRASHES, SHADOW_MS = "shadow_crashes", "shadow_ms"
#: Copies whose two answers have no form in which they could be compared.
INCOMPARABLE = "incomparable"
#: Copies that were given up before they reached the shadow version.
SHADOWS_LOST = "shadows_lost"


def slower_than(milliseconds: float) -> str:
    """The count of requests whose backend took longer, of a rollout's latency guard."""
    return f"slower_than_{milliseconds:g}_ms"


def by_protocol(protocol: str) -> str:
    """The count of requests in one protocol."""
    return f"requests_{protocol}"


#: Rows whose categories were counted, of all categories together.
PREDICTIONS = "predictions"


def predicted(category: str) -> str:
    """The count of rows whose first output falls into ``category`` (see the runtime's summary)."""
    return f"predicted_{category}"


def categories(told: str) -> dict[str, int]:
    """Category → rows of a `PREDICTED_HEADER`; what is no such pair is passed over.

    Versions write it, and one may write anything: at most 32 categories are taken.

    >>> categories("cat=3,dog=1,<script>=1")
    {'cat': 3, 'dog': 1}
    """
    found: dict[str, int] = {}
    for part in told[:_LONGEST].split(",", MOST_CATEGORIES)[:MOST_CATEGORIES]:
        match = _CATEGORY.fullmatch(part)
        if match:
            found[match[1]] = found.get(match[1], 0) + int(match[2])
    return found


def predictions(told: str) -> dict[str, int]:
    """The counts of a `PREDICTED_HEADER`: of each category, and of all together.

    >>> predictions("cat=3,dog=1")
    {'predicted_cat': 3, 'predicted_dog': 1, 'predictions': 4}
    """
    found = categories(told)
    counts = {predicted(category): rows for category, rows in found.items()}
    return {**counts, PREDICTIONS: sum(found.values())} if found else {}

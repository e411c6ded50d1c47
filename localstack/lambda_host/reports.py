"""What AWS Lambda tells CloudWatch of invocations, told of those that the emulator did not see.

Metrics as of the `AWS/Lambda` namespace, and the lines of the functions' logs, together every
second: one call for many invocations, and no invocation waits for it. Nothing here runs functions.
"""

import asyncio
import contextlib
import logging
import time
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from lambda_host.function import Function

log = logging.getLogger(__name__)
INTERVAL_S = 1.0
#: CloudWatch's bounds: values of a datum; events of a call.
MOST_VALUES, MOST_EVENTS = 150, 10_000


@dataclass
class Counted:
    """What a function did since it was last told."""

    function: Function
    durations_ms: Counter[float] = field(default_factory=Counter)
    """How often which; to a tenth, because alarms look at each one that there is."""
    failed: int = 0
    throttled: int = 0


class Reports:
    """Counts invocations, and tells CloudWatch."""

    def __init__(self, metrics: Any, logs: Any, news: Callable[[Function], bytes]) -> None:
        """Clients of CloudWatch and CloudWatch Logs; `news` are new lines of a function's log."""
        self._metrics = metrics
        self._logs = logs
        self._news = news
        self._counted: dict[str, Counted] = {}
        self._streams: dict[str, str] = {}

    def invoked(self, function: Function, duration_ms: float, failed: bool) -> None:
        """A function ran an event."""
        counted = self._of(function)
        counted.durations_ms[round(duration_ms, 1)] += 1
        counted.failed += failed

    def throttled(self, function: Function) -> None:
        """A function was not to run an event."""
        self._of(function).throttled += 1

    def _of(self, function: Function) -> Counted:
        return self._counted.setdefault(function.name, Counted(function))

    async def run(self, interval_s: float = INTERVAL_S) -> None:
        """Tell what there is to tell, for as long as the host runs."""
        while True:
            await asyncio.sleep(interval_s)
            await self.tell()

    async def tell(self) -> None:
        """Tell what was counted; what CloudWatch does not take is lost, and said in our log."""
        counted, self._counted = self._counted, {}
        for each in counted.values():
            lines = self._news(each.function)
            try:
                await asyncio.to_thread(self._tell, each, lines)
            except (BotoCoreError, ClientError):
                self._streams.pop(each.function.name, None)
                log.exception("CloudWatch was not told of %s", each.function.name)

    def _tell(self, counted: Counted, lines: bytes) -> None:
        self._metrics.put_metric_data(Namespace="AWS/Lambda", MetricData=data(counted))
        told = [line for line in lines.decode("utf-8", "replace").splitlines() if line]
        now_ms = round(time.time() * 1000)
        events = [{"timestamp": now_ms, "message": line} for line in told]
        for first in range(0, len(events), MOST_EVENTS):
            group, stream = self._stream(counted.function)
            some = events[first : first + MOST_EVENTS]
            self._logs.put_log_events(logGroupName=group, logStreamName=stream, logEvents=some)

    def _stream(self, function: Function) -> tuple[str, str]:
        """The log group of a function and our stream in it, which are there."""
        group = f"/aws/lambda/{function.name}"
        if function.name not in self._streams:
            taken = self._logs.exceptions.ResourceAlreadyExistsException
            with contextlib.suppress(taken):
                self._logs.create_log_group(logGroupName=group)
            stream = f"{datetime.now(UTC):%Y/%m/%d}/[{function.version}]{uuid.uuid4().hex}"
            self._logs.create_log_stream(logGroupName=group, logStreamName=stream)
            self._streams[function.name] = stream
        return group, self._streams[function.name]


def data(counted: Counted) -> list[dict[str, Any]]:
    """Lambda's metrics of a function, as PutMetricData takes them."""
    dimensions = [{"Name": "FunctionName", "Value": counted.function.name}]
    durations = list(counted.durations_ms.items())
    whole = counted.durations_ms.total()
    groups: list[tuple[str, str, list[tuple[float, int]]]] = [
        ("Invocations", "Count", [(1.0, whole)]),
        ("Errors", "Count", [(1.0, counted.failed), (0.0, whole - counted.failed)]),
        ("Throttles", "Count", [(1.0, counted.throttled), (0.0, whole)]),
    ]
    for first in range(0, len(durations), MOST_VALUES):
        groups.append(("Duration", "Milliseconds", durations[first : first + MOST_VALUES]))
    found = []
    for name, unit, pairs in groups:
        seen = [(value, float(count)) for value, count in pairs if count]
        if seen:
            of = {"MetricName": name, "Dimensions": dimensions, "Unit": unit}
            found.append({**of, "Values": [v for v, _ in seen], "Counts": [c for _, c in seen]})
    return found

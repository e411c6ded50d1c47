"""Calls a handler of Lambda again and again in its own process: `timed MODULE SECONDS < events`.

The events are one JSON array, taken in turns. Prints the first answer, the median and 99th
percentile in µs, and the calls per second, as JSON; what the handler writes goes nowhere.
"""

import importlib
import json
import os
import statistics
import sys
import time

WARM_UP = 200


def main() -> None:
    out, sys.stdout = sys.stdout, open(os.devnull, "w")  # noqa: SIM115
    handler = importlib.import_module(sys.argv[1]).handler
    events = json.loads(sys.stdin.read())
    answers = [handler(event, None) for event in events]
    for turn in range(WARM_UP):
        handler(events[turn % len(events)], None)
    times: list[float] = []
    turn = 0
    began = now = time.perf_counter()
    until = began + float(sys.argv[2])
    while now < until or len(times) < 100:
        event = events[turn % len(events)]
        turn += 1
        started = time.perf_counter()
        handler(event, None)
        now = time.perf_counter()
        times.append((now - started) * 1e6)
    for event, first in zip(events, answers, strict=True):
        if handler(event, None)["body"] != first["body"]:
            raise SystemExit("another answer than the first")
    spent = {
        "p50": statistics.median(times),
        "p99": statistics.quantiles(times, n=100)[98],
        "rate": len(times) / (now - began),
    }
    print(json.dumps({"answers": answers, **spent}), file=out)


if __name__ == "__main__":
    main()

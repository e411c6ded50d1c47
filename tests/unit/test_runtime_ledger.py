"""What is kept of answered requests, at once or held: nothing is lost, all of it in order."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from modelport.envelope import Request

from functions.runtime.ledger import MOST, Ledger
from functions.runtime.loading import load
from functions.runtime.logs import configure
from functions.runtime.statistics import Spent, Statistics
from tests.support import runtime_bundles as bundles
from tests.support.runtime_planes import V1

STATISTICS = "/v2/models/demo/versions/3/stats"


@pytest.fixture(autouse=True)
def runtime_logger() -> Iterator[logging.Logger]:
    logger = logging.getLogger("functions.runtime")
    before = (logger.handlers[:], logger.level, logger.propagate)
    yield logger
    logger.handlers[:], level, logger.propagate = before
    logger.setLevel(level)


def line(verb: str = "predict", status: int = 200) -> dict[str, Any]:
    return {"verb": verb, "status": status}


def successes(statistics: Statistics) -> int:
    stats = statistics.document("demo", 3)["model_stats"][0]["inference_stats"]
    return int(stats["success"]["count"])


def test_notes_are_settled_as_they_come_unless_they_are_held() -> None:
    logged: list[tuple[Mapping[str, Any], int]] = []
    seen: list[Mapping[str, Any]] = []
    statistics = Statistics()
    ledger = Ledger(statistics, lambda line, level: logged.append((line, level)))
    ledger.observe(seen.extend)
    ledger.note(line(), Spent(), 5)
    ledger.note(line("ping"), None, 5)
    assert logged == [(line(), logging.INFO), (line("ping"), logging.DEBUG)]
    ledger.hold()
    ledger.note(line(status=400), Spent(), 5)
    assert len(logged) == len(seen) == 2
    ledger.settle()
    ledger.settle()
    assert len(logged) == len(seen) == 3
    assert successes(statistics) == 1


def test_no_note_is_lost_or_settled_twice_among_threads() -> None:
    logged: list[Mapping[str, Any]] = []
    statistics = Statistics()
    ledger = Ledger(statistics, lambda line, level: logged.append(line))
    ledger.hold()

    def work(thread: int) -> None:
        for number in range(500):
            ledger.note({**line(), "n": (thread, number)}, Spent(), 1)
            if number % 7 == 0:
                ledger.settle()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    ledger.settle()
    assert len({noted["n"] for noted in logged}) == len(logged) == successes(statistics) == 2000


def test_not_more_is_held_than_is_good() -> None:
    logged: list[Mapping[str, Any]] = []
    ledger = Ledger(Statistics(), lambda line, level: logged.append(line))
    ledger.hold()
    for _ in range(MOST + 1):
        ledger.note(line(), None, 1)
    assert len(logged) == MOST


def test_a_servers_held_lines_are_counted_for_whoever_asks_and_written_before_others(
    tmp_path: Path, runtime_logger: logging.Logger
) -> None:
    stream = io.TextIOWrapper(io.BytesIO())
    lines = configure("info", stream)
    plane = load(bundles.write_bundle(tmp_path, bundles.DOUBLE), log=lines.request)
    plane.ledger.hold()
    lines.hold(plane.ledger.settle)

    def written() -> list[dict[str, Any]]:
        assert isinstance(stream.buffer, io.BytesIO)
        return [json.loads(one) for one in stream.buffer.getvalue().splitlines()]

    predict = Request("POST", V1, {}, b'{"instances": [[1, 2]]}', "a")
    assert plane.handle(predict).status == 200
    assert not written()
    runtime_logger.error("afterwards")
    assert [one.get("request_id", one.get("message")) for one in written()] == ["a", "afterwards"]
    plane.handle(predict)
    stats = json.loads(plane.handle(Request("GET", STATISTICS)).body)["model_stats"][0]
    assert stats["inference_stats"]["success"]["count"] == 2
    lines.flush()
    assert [one.get("verb") for one in written()] == ["predict", None, "predict", "stats"]

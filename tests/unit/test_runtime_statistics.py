"""V2's statistics: real counts, rows and runs, of one process and of several."""

from __future__ import annotations

import asyncio
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import orjson
import pytest
from modelport.envelope import Request, Response
from modelport.manifest import Batching

from functions.runtime.batching import Batcher
from functions.runtime.gathering import GatheringPlane
from functions.runtime.metrics import Metrics, shared_memory
from functions.runtime.statistics import Spent, Statistics
from tests.support import runtime_bundles as bundles
from tests.support.runtime_planes import SAGEMAKER, V1, V2, Plane, open_plane, v2_tensor

STATS = "/v2/models/demo/stats"
ZERO = {"count": 0, "ns": 0}


def stats(plane: Plane, path: str = STATS) -> dict[str, Any]:
    answer = plane.plane.handle(Request("GET", path))
    assert answer.status == 200, answer.body
    (entry,) = orjson.loads(answer.body)["model_stats"]
    return dict(entry)


def test_a_version_that_nobody_asked_has_counted_nothing(tmp_path: Path) -> None:
    entry = stats(open_plane(tmp_path, bundles.DOUBLE))
    assert (entry["name"], entry["version"], entry["last_inference"]) == ("demo", "3", 0)
    assert (entry["inference_count"], entry["execution_count"]) == (0, 0)
    assert set(map(str, entry["inference_stats"].values())) == {str(ZERO)}


def test_rows_runs_and_failures_of_every_protocol(tmp_path: Path) -> None:
    plane = open_plane(tmp_path, bundles.DOUBLE)
    before = time.time() * 1000
    plane.answer(V1, {"instances": [[1, 2]] * 3})
    plane.answer(V2, {"inputs": [v2_tensor("x", [1, 2], [1, 2])]})
    plane.answer(SAGEMAKER, {"instances": [[1, 2]] * 2})
    plane.refusal(V1, {})
    entry = stats(plane)
    assert (entry["inference_count"], entry["execution_count"]) == (6, 3)
    assert before - 1 <= entry["last_inference"] <= time.time() * 1000
    parts = entry["inference_stats"]
    counts = {name: part["count"] for name, part in parts.items()}
    assert counts == {
        "success": 3, "fail": 1, "queue": 3, "compute_input": 3, "compute_infer": 3,
        "compute_output": 3, "cache_hit": 0, "cache_miss": 0,
    }  # fmt: skip
    spent = sum(parts[part]["ns"] for part in ("compute_input", "compute_infer", "compute_output"))
    assert 0 < spent <= parts["success"]["ns"]
    assert parts["queue"]["ns"] == 0
    assert parts["fail"]["ns"] > 0


@pytest.mark.parametrize("path", ["/v2/models/stats", "/v2/models/demo/versions/3/stats"])
def test_every_path_says_the_same(tmp_path: Path, path: str) -> None:
    plane = open_plane(tmp_path, bundles.DOUBLE)
    plane.answer(V1, {"instances": [[1, 2]]})
    assert stats(plane, path) == stats(plane)


def test_without_a_free_first_dimension_a_request_is_one(tmp_path: Path) -> None:
    plane = open_plane(tmp_path, bundles.COUNT)
    plane.answer(V2, {"inputs": [v2_tensor("n", [1, 2, 3], [1, 3], "INT64")]})
    assert stats(plane)["inference_count"] == 1


def test_the_warm_up_and_questions_are_not_inferences(tmp_path: Path) -> None:
    plane = open_plane(tmp_path, bundles.DOUBLE)
    plane.plane.handle(Request("GET", "/v2/models/demo"))
    plane.plane.handle(Request("POST", "/v2/repository/index"))
    assert stats(plane)["inference_stats"]["success"] == ZERO


def test_gathered_requests_share_one_run(tmp_path: Path) -> None:
    plane = open_plane(tmp_path, bundles.DOUBLE)
    body = orjson.dumps({"instances": [[1, 2], [3, 4]]})

    async def ask() -> list[Response]:
        with ThreadPoolExecutor(1) as pool:
            batcher = Batcher(plane.plane.model, Batching(64, 5.0), pool)
            gathering = GatheringPlane(plane.plane, batcher, pool)
            asked = (gathering.handle(Request("POST", V1, {}, body, "id")) for _ in range(8))
            return list(await asyncio.gather(*asked))

    assert {answer.status for answer in asyncio.run(ask())} == {200}
    entry = stats(plane)
    assert entry["inference_count"] == 16
    assert entry["execution_count"] == 2  # the first finds the model free, the others meet
    assert entry["inference_stats"]["compute_infer"]["count"] == 8
    assert entry["inference_stats"]["queue"]["ns"] > 0


def test_a_request_as_large_as_a_batch_counts_its_own_run(tmp_path: Path) -> None:
    plane = open_plane(tmp_path, bundles.DOUBLE)
    body = orjson.dumps({"instances": [[1, 2]] * 4})

    async def ask() -> Response:
        with ThreadPoolExecutor(1) as pool:
            batcher = Batcher(plane.plane.model, Batching(4, 5.0), pool)
            gathering = GatheringPlane(plane.plane, batcher, pool)
            return await gathering.handle(Request("POST", V1, {}, body, "id"))

    assert asyncio.run(ask()).status == 200
    entry = stats(plane)
    assert (entry["inference_count"], entry["execution_count"]) == (4, 1)
    assert entry["inference_stats"]["compute_infer"]["ns"] > 0


def test_workers_of_one_server_say_what_all_of_them_did() -> None:
    memory = shared_memory(3)
    workers = [Metrics(memory, slot, {}).statistics() for slot in range(3)]
    for slot, worker in enumerate(workers):
        worker.count([(Spent(1, 2, 3, 4, rows=10, executions=slot % 2), 100, True)])
    workers[0].count([(Spent(), 50, False)])
    documents = [worker.document("demo", 3) for worker in workers]
    os.close(memory)
    assert documents[0] == documents[1] == documents[2]
    (entry,) = documents[0]["model_stats"]
    assert (entry["inference_count"], entry["execution_count"]) == (30, 1)
    parts = entry["inference_stats"]
    assert parts["success"] == {"count": 3, "ns": 300}
    assert parts["fail"] == {"count": 1, "ns": 50}
    assert parts["queue"] == {"count": 3, "ns": 6}
    assert parts["compute_output"] == {"count": 3, "ns": 12}


def test_counting_from_several_threads_loses_nothing() -> None:
    statistics = Statistics()
    with ThreadPoolExecutor(4) as pool:
        for _ in range(2000):
            pool.submit(statistics.count, [(Spent(), 1, True)])
    (entry,) = statistics.document("demo", 3)["model_stats"]
    assert entry["inference_stats"]["success"] == {"count": 2000, "ns": 2000}

"""Requests that share a run of the model: the same answers, nobody else's errors, no vain wait."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from modelport.goldens import Golden, Tensor
from modelport.manifest import Batching, Content, ModelSettings
from modelport.settings import RuntimeSettings
from modelport.signature import Signature, TensorSpec

from functions.runtime.batching import Batcher, in_force, mixes_rows, sample_of, unbatchable
from functions.runtime.model import OnnxModel, Runner
from functions.runtime.tensors import Array, Tensors
from tests.support import runtime_bundles as bundles
from tests.support.runtime_planes import open_plane

FOREVER_MS = 1e6
FLOAT = int(bundles.FLOAT)
X = TensorSpec("x", "FP32", (-1, 2))
Y = TensorSpec("y", "FP32", (-1, 2))


class Recorder:
    """A model that remembers the rows of each run; may be held, fail or answer too few rows."""

    def __init__(self, model: Runner | None = None) -> None:
        self.model = model
        self.runs: list[int] = []
        self.gate = Event()
        self.gate.set()

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str] = ()) -> Tensors:
        self.gate.wait(30)
        (first, *_) = inputs.values()
        self.runs.append(len(first))
        if self.model is not None:
            return self.model.run(inputs, outputs)
        return {"y": first * 2}


def gathered(
    model: Runner,
    work: Callable[[Batcher], Awaitable[Any]],
    *,
    rows: int = 8,
    delay_ms: float = FOREVER_MS,
) -> Any:
    """The result of ``work`` with a batcher on a loop of its own."""

    async def main() -> Any:
        with ThreadPoolExecutor(2) as pool:
            return await work(Batcher(model, Batching(rows, delay_ms), pool))

    return asyncio.run(main())


def row(*values: float) -> dict[str, Array]:
    return {"x": np.array([values], np.float32)}


@pytest.fixture(scope="module")
def double(tmp_path_factory: pytest.TempPathFactory) -> Runner:
    return open_plane(tmp_path_factory.mktemp("double"), bundles.DOUBLE).plane.model


@pytest.fixture(scope="module")
def branches(tmp_path_factory: pytest.TempPathFactory) -> Runner:
    """Two free dimensions, two outputs of other widths, text beside numbers."""
    body = bundles.model(
        [
            bundles.node("Constant", [], ["axes"], value_ints=[1]),
            bundles.node("ReduceSum", ["x", "axes"], ["sum"], keepdims=1),
            bundles.node("Identity", ["text"], ["same"]),
            bundles.node("Relu", ["x"], ["positive"]),
        ],
        [("x", FLOAT, ["N", "L"]), ("text", bundles.STRING, ["N"])],
        [
            ("sum", FLOAT, ["N", 1]),
            ("same", bundles.STRING, ["N"]),
            ("positive", FLOAT, ["N", "L"]),
        ],
    )
    return open_plane(tmp_path_factory.mktemp("branches"), body).plane.model


@st.composite
def mixes(draw: st.DrawFn) -> list[tuple[dict[str, Array], tuple[str, ...]]]:
    """Requests of several rows, lengths and wanted outputs."""
    requests = []
    for number in range(draw(st.integers(1, 12))):
        rows, length = draw(st.integers(0, 5)), draw(st.integers(1, 3))
        x = np.arange(rows * length, dtype=np.float32).reshape(rows, length) - number
        text = np.array([f"{number}.{one}" for one in range(rows)], object)
        wanted = draw(
            st.sampled_from([("sum", "same", "positive"), ("same",), ("positive", "sum")])
        )
        requests.append(({"x": x, "text": text}, wanted))
    return requests


@settings(max_examples=60, deadline=None)
@given(requests=mixes(), rows=st.integers(2, 9))
def test_batched_answers_are_the_unbatched_ones(
    branches: Runner, requests: list[tuple[dict[str, Array], tuple[str, ...]]], rows: int
) -> None:
    async def all_at_once(batcher: Batcher) -> list[Tensors]:
        return await asyncio.gather(*(batcher.run(*request) for request in requests))

    answers = gathered(branches, all_at_once, rows=rows, delay_ms=1)
    for (inputs, wanted), answer in zip(requests, answers, strict=True):
        want = branches.run(inputs, wanted)
        assert list(answer) == list(want)
        for name in want:
            assert answer[name].shape == want[name].shape
            np.testing.assert_array_equal(answer[name], want[name])


def test_what_arrives_while_the_model_runs_shares_the_next_run(double: Runner) -> None:
    model = Recorder(double)

    async def crowd(batcher: Batcher) -> list[Tensors]:
        model.gate.clear()
        first = asyncio.ensure_future(batcher.run(row(0, 0)))
        others = [asyncio.ensure_future(batcher.run(row(n, -n))) for n in range(1, 8)]
        await asyncio.sleep(0)
        model.gate.set()
        await first
        # Eight were in its hands, so it waits for the eighth to come back before it runs again.
        again = asyncio.ensure_future(batcher.run(row(8, -8)))
        return [await one for one in [first, *others, again]]

    answers = gathered(model, crowd)
    assert [answer["y"].tolist() for answer in answers] == [[[2.0 * n, -2.0 * n]] for n in range(9)]
    assert model.runs == [1, 8]


def test_a_lone_caller_never_waits(double: Runner) -> None:
    model = Recorder(double)

    async def alone(batcher: Batcher) -> None:
        for _ in range(5):  # would take an hour if any of them waited for company
            await batcher.run(row(1, 2))

    gathered(model, alone)
    assert model.runs == [1] * 5


def test_a_wait_ends_when_the_rows_are_full_or_the_time_is_up(double: Runner) -> None:
    model = Recorder(double)

    async def main(batcher: Batcher) -> None:
        await asyncio.gather(*(batcher.run(row(n, n)) for n in range(4)))
        # Four were there a moment ago; one comes back and waits no longer than it may.
        await batcher.run(row(1, 1))
        await batcher.run({"x": np.ones((7, 2), np.float32)})

    gathered(model, main, rows=8, delay_ms=5)
    assert model.runs == [1, 3, 1, 7]
    model.runs.clear()
    gathered(
        model, lambda batcher: asyncio.gather(*(batcher.run(row(n, n)) for n in range(7))), rows=3
    )
    assert model.runs == [1, 3, 3]


def test_more_rows_than_a_batch_takes_run_at_once_and_whole(double: Runner) -> None:
    model = Recorder(double)
    gathered(model, lambda batcher: batcher.run({"x": np.ones((9, 2), np.float32)}), rows=4)
    assert model.runs == [9]


def test_a_request_that_fails_fails_alone() -> None:
    class Picky(Recorder):
        def run(self, inputs: Mapping[str, Array], outputs: Sequence[str] = ()) -> Tensors:
            if (inputs["x"] == 13).any():
                raise ArithmeticError("13")
            return super().run(inputs, outputs)

    model = Picky()

    async def crowd(batcher: Batcher) -> list[Any]:
        requests = (batcher.run(row(n, 0)) for n in (1, 2, 13, 3))
        return list(await asyncio.gather(*requests, return_exceptions=True))

    one, two, bad, three = gathered(model, crowd, delay_ms=1)
    assert [a["y"][0, 0] for a in (one, two, three)] == [2, 4, 6]
    assert isinstance(bad, ArithmeticError)
    assert model.runs == [1, 1, 1]


def test_a_caller_who_gives_up_harms_nobody(double: Runner) -> None:
    model = Recorder(double)

    async def crowd(batcher: Batcher) -> Tensors:
        model.gate.clear()
        callers = [asyncio.ensure_future(batcher.run(row(n, n))) for n in range(3)]
        await asyncio.sleep(0)
        callers[0].cancel()
        callers[1].cancel()
        model.gate.set()
        return await callers[2]

    assert gathered(model, crowd, delay_ms=1)["y"].tolist() == [[4.0, 4.0]]


def test_what_nobody_waits_for_any_more_is_not_run(double: Runner) -> None:
    model = Recorder(double)

    async def crowd(batcher: Batcher) -> Tensors:
        await asyncio.gather(*(batcher.run(row(n, n)) for n in range(3)))  # so that it waits
        caller = asyncio.ensure_future(batcher.run(row(4, 4)))
        await asyncio.sleep(0)
        caller.cancel()
        await asyncio.wait([caller])
        await asyncio.sleep(0.02)  # the end of their wait finds nobody
        return await batcher.run(row(5, 5))

    assert gathered(model, crowd, delay_ms=1)["y"].tolist() == [[10.0, 10.0]]
    assert model.runs == [1, 2, 1]


def test_rows_that_do_not_match_end_batching_and_nobody_gets_them(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Folding(Recorder):
        """One row out for every two in: right alone only by chance."""

        def run(self, inputs: Mapping[str, Array], outputs: Sequence[str] = ()) -> Tensors:
            super().run(inputs, outputs)
            return {"y": inputs["x"][: max(1, len(inputs["x"]) // 2)]}

    model = Folding()

    async def crowd(batcher: Batcher) -> list[Tensors]:
        answers = await asyncio.gather(*(batcher.run(row(n, n)) for n in range(4)))
        return [*answers, *await asyncio.gather(*(batcher.run(row(n, n)) for n in range(4, 6)))]

    answers = gathered(model, crowd, delay_ms=1)
    assert [answer["y"].tolist() for answer in answers] == [[[n, n]] for n in range(6)]
    assert model.runs == [1, 3, 1, 1, 1, 1, 1]
    assert caplog.text.count("batching is off from here on: output 'y' has 1 rows for 3") == 1


def test_a_pool_that_takes_nothing_fails_its_callers_and_keeps_nobody_waiting() -> None:
    """As where the container may start no more threads, which is over a moment later."""

    class Full(ThreadPoolExecutor):
        refusals = 2

        def submit(self, *args: Any, **more: Any) -> Any:
            if self.refusals:
                self.refusals -= 1
                raise RuntimeError("can't start new thread")
            return super().submit(*args, **more)

    async def main() -> list[Any]:
        with Full(1) as pool:
            batcher = Batcher(Recorder(), Batching(8, 1.0), pool)
            requests = (batcher.run(row(n, n)) for n in range(6))
            refused = await asyncio.gather(*requests, return_exceptions=True)
            return [*refused, await batcher.run(row(6, 6))]

    *refused, answer = asyncio.run(main())
    assert [str(error) for error in refused] == ["can't start new thread"] * 6
    assert answer["y"].tolist() == [[12, 12]]


def test_it_is_told_rows_and_time_of_every_run() -> None:
    seen: list[tuple[int, float]] = []

    async def main() -> None:
        with ThreadPoolExecutor(1) as pool:
            batching = Batching(8, 1.0)
            batcher = Batcher(Recorder(), batching, pool, observe=lambda *run: seen.append(run))
            await asyncio.gather(*(batcher.run(row(n, n)) for n in range(4)))

    asyncio.run(main())
    assert [rows for rows, _ in seen] == [1, 3]
    assert all(seconds >= 0 for _, seconds in seen)


# --- which models may be batched ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (bundles.DOUBLE, None),
        (bundles.COUNT, "input 'n' is INT64 [1,3]: its first dimension is not free"),
        (bundles.SCALE, "input 'factor' is FP32 []: its first dimension is not free"),
        (bundles.TOTAL, "output 'total' is FP32 []: its first dimension is not free"),
        (bundles.RECURRENT, "input 'x' is FP32 [3,-1,1]: its first dimension is not free"),
    ],
    ids=["double", "count", "scale", "total", "recurrent"],
)
def test_only_free_first_dimensions_can_be_joined(
    tmp_path: Path, body: bytes, words: str | None
) -> None:
    assert unbatchable(open_plane(tmp_path, body).plane.subject.signature) == words


def mixing(kind: str, **attributes: Any) -> bytes:
    """A model whose shapes look innocent."""
    shape: list[int | str] = ["N", 2]
    nodes = [bundles.node(kind, ["x"], ["y"], **attributes)]
    return bundles.model(nodes, [("x", FLOAT, shape)], [("y", FLOAT, shape)])


@pytest.mark.parametrize(
    ("body", "refused"),
    [
        (bundles.DOUBLE, False),
        (mixing("Softmax", axis=1), False),
        (mixing("Softmax", axis=0), True),
        (mixing("LpNormalization", axis=0), True),
    ],
    ids=["double", "softmax-of-a-row", "softmax-of-a-column", "norm-of-a-column"],
)
def test_rows_that_influence_each_other_are_found_by_running_them(
    tmp_path: Path, body: bytes, refused: bool
) -> None:
    plane = open_plane(tmp_path, body).plane
    assert unbatchable(plane.subject.signature) is None
    problem = mixes_rows(plane.model, plane.subject.signature)
    assert (problem == "output 'y' of a row changes with the rows beside it") is refused


def test_a_sum_over_everything_is_found_by_its_rows(tmp_path: Path) -> None:
    body = bundles.model(
        [bundles.node("ReduceSum", ["x"], ["y"], keepdims=1)],
        [("x", FLOAT, ["N", 2])],
        [("y", FLOAT, ["M", 1])],
    )
    plane = open_plane(tmp_path, body).plane
    problem = mixes_rows(plane.model, plane.subject.signature)
    assert problem == "output 'y' has 1 rows for 3 rows of input"


def test_an_output_without_rows_is_found_too() -> None:
    class Scalar:
        def run(self, inputs: Mapping[str, Array], outputs: Sequence[str] = ()) -> Tensors:
            return {"y": np.float32(inputs["x"].sum())}  # type: ignore[dict-item]

    problem = mixes_rows(Scalar(), Signature((X,), (Y,)))
    assert problem == "output 'y' has 0 rows for 3 rows of input"


def test_what_cannot_be_tried_is_left_to_the_rows_of_each_run(
    tmp_path: Path, branches: Runner, caplog: pytest.LogCaptureFixture
) -> None:
    assert isinstance(branches, OnnxModel)
    assert mixes_rows(branches, branches.signature) is None  # lengths and text to make up

    class Broken:
        def run(self, inputs: Mapping[str, Array], outputs: Sequence[str] = ()) -> Tensors:
            raise ValueError("no such token")

    with caplog.at_level(logging.INFO, "functions.runtime"):
        assert mixes_rows(Broken(), Signature((X,), (Y,))) is None
    assert "was not checked: no such token" in caplog.text


def test_the_sample_is_the_first_golden_in_tensors(branches: Runner) -> None:
    assert isinstance(branches, OnnxModel)
    tensors = (
        Tensor("x", "FP32", (1, 2), (1.0, 2.0)),
        Tensor("text", "BYTES", (1,), ("a",)),
    )
    raw, golden = Golden("raw", body=b"x"), Golden("tensors", tensors)
    sample = sample_of(Content((), branches.signature, goldens=(raw, golden)))
    assert sample is not None
    assert sample["text"].tolist() == ["a"]
    assert mixes_rows(branches, branches.signature, sample) is None
    assert sample_of(Content((), branches.signature, goldens=(raw,))) is None


@pytest.mark.parametrize(
    ("said", "rows", "delay", "want"),
    [
        (None, None, None, None),
        (Batching(8, 2.0), None, None, Batching(8, 2.0)),
        (Batching(8, 2.0), 1, None, None),
        (Batching(8, 2.0), 4, 0.0, Batching(4, 0.0)),
        (None, 16, None, Batching(16, 5.0)),
        (None, None, 3.0, None),
    ],
)
def test_the_operator_may_change_what_the_version_says(
    said: Batching | None, rows: int | None, delay: float | None, want: Batching | None
) -> None:
    runtime = RuntimeSettings("m", 1, "sha256:0", max_batch_rows=rows, max_batch_delay_ms=delay)
    assert in_force(ModelSettings(batching=said).batching, runtime) == want

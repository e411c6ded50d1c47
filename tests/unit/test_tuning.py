"""Choosing how a version is opened: by figures, robust to noise, and never at publishing's cost."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnxruntime as ort
import pytest
from modelport.bundle import load_bundle
from modelport.goldens import Golden, Tensor
from modelport.manifest import Draft, File, Manifest, ModelSettings, Tuning, machine
from modelport.offline_graph import share_weights
from modelport.registry import Actor
from modelport.registry.memory import MemoryRegistry
from modelport.tuning import Measured, Way, best, told, tune, ways
from modelport.weights_layout import WORTH_IT, lay_out
from onnx import numpy_helper

from tests.support import runtime_bundles as bundles
from tests.support.weighty_models import MOVES, PAYS, RANDOM, adding, answer, saved, weights

ADA = Actor("ada")
DEFAULT = Way(False, "all", False)


def drafted(folder: Path, *, goldens: tuple[Golden, ...] = ()) -> Draft:
    """The draft of a model with weights of 1 MB, laid out below ``folder``."""
    path = saved(adding(weights("a", PAYS), weights("b", MOVES)), folder / "model")
    work = folder / "work"
    work.mkdir(exist_ok=True)
    draft = load_bundle(path, work=work)
    return replace(draft, content=replace(draft.content, goldens=goldens))


def program(path: Path, text: str) -> str:
    """A stand-in for the Python that measures; it gets the same command line."""
    path.write_text(f"#!{sys.executable}\n{text}")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


# --- the rule -------------------------------------------------------------------------------------


def measured(way: Way, opened: float, first: float, warm: float) -> Measured:
    return Measured(way, opened, first, warm)


def test_the_cheapest_for_a_start_and_twenty_requests_is_taken() -> None:
    plain = measured(DEFAULT, 80, 7, 3.6)
    quick = measured(Way(False, "all", True), 3, 7, 3.9)
    assert best([plain, quick]) is quick


def test_a_start_saved_is_not_worth_much_slower_requests() -> None:
    plain = measured(DEFAULT, 14, 8, 6)
    quick = measured(Way(False, "extended", False), 7, 10, 8)
    assert best([plain, quick]) is plain


def test_what_is_within_noise_changes_nothing() -> None:
    plain = measured(DEFAULT, 10, 5, 2)
    other = measured(Way(True, "disabled", True), 9, 5, 1.95)
    assert best([plain, other]) is plain
    tiny = [measured(DEFAULT, 0.5, 0.1, 0.01), measured(Way(False, "all", True), 0.2, 0.1, 0.01)]
    assert best(tiny) is tiny[0]


def test_of_two_good_ways_the_plainer_is_taken() -> None:
    ways_ = [
        measured(DEFAULT, 80, 7, 3),
        measured(Way(False, "all", True), 4, 7, 3),
        measured(Way(True, "disabled", True), 3, 7, 3),
    ]
    assert best(ways_) is ways_[1]


def test_what_was_said_is_not_varied() -> None:
    assert ways(ModelSettings())[0] == DEFAULT
    assert {way.disable_prepacking for way in ways(ModelSettings(disable_prepacking=True))} == {
        True
    }
    assert ways(ModelSettings(graph_optimization="basic")) == (
        Way(False, "basic", False),
        Way(False, "basic", True),
    )


def test_everything_said_leaves_nothing_to_measure(tmp_path: Path) -> None:
    draft = drafted(tmp_path)
    said = ModelSettings(disable_prepacking=False, graph_optimization="all")
    draft = replace(draft, content=replace(draft.content, settings=said))
    assert tune(draft, tmp_path / "work", os.environ, python="/nowhere") == (
        draft,
        "not measured: model.toml says how to open it",
    )


# --- measuring for real ---------------------------------------------------------------------------


def test_a_model_is_measured_in_every_way_on_its_goldens(tmp_path: Path) -> None:
    x = Tensor("x", "FP32", (2,), (1.0, 2.0))
    before = drafted(tmp_path, goldens=(Golden("two", (x,), (replace(x, name="y"),)),))
    draft, sentence = tune(before, tmp_path / "work", os.environ)
    assert draft.tuning is not None
    assert draft.content == before.content
    figures = draft.tuning.figures
    assert (figures["onnxruntime"], figures["machine"]) == (ort.__version__, machine())
    assert (figures["inputs"], figures["threads"]) == ("goldens", 1)
    measured_ways = [
        Way(row["optimized"], row["graph_optimization"], row["disable_prepacking"])
        for row in figures["ways"]
    ]
    assert measured_ways == list(ways(ModelSettings()))
    assert [row["chosen"] for row in figures["ways"]].count(True) == 1
    assert all(row["open_ms"] > 0 and row["warm_ms"] > 0 for row in figures["ways"])
    manifest = Manifest("m", 1, draft.content, "now", tuning=draft.tuning)
    assert told(manifest.tuning) == sentence
    assert Manifest.from_bytes(manifest.to_bytes()) == manifest


@pytest.mark.parametrize(
    "body", [bundles.TEXT, bundles.SCALE, bundles.COUNT, bundles.HALF, bundles.RECURRENT]
)
def test_any_signature_can_be_measured_on_zeros(tmp_path: Path, body: bytes) -> None:
    (tmp_path / "model.onnx").write_bytes(body)
    draft, _ = tune(load_bundle(tmp_path / "model.onnx"), tmp_path, os.environ)
    assert draft.tuning is not None
    assert draft.tuning.figures["inputs"] == "zeros"


def test_a_model_that_fails_on_its_goldens_is_told_and_published_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(bundles.MATCH)
    draft = load_bundle(tmp_path / "model.onnx")
    a, b = Tensor("a", "FP32", (2,), (1.0, 2.0)), Tensor("b", "FP32", (3,), (1.0, 2.0, 3.0))
    golden = Golden("bad", (a, b), (replace(a, name="c"),))
    draft = replace(draft, content=replace(draft.content, goldens=(golden,)))
    after, sentence = tune(draft, tmp_path, os.environ)
    assert after == draft
    assert sentence.startswith("not measured: the model does not run on the goldens: ")


def test_a_model_too_slow_for_every_way_is_measured_in_the_plain_one(tmp_path: Path) -> None:
    no_time = program(
        tmp_path / "slow",
        "import json, runpy, sys\n"
        "sys.argv = sys.argv[2:]\n"
        "job = json.load(open(sys.argv[1]))\n"
        "json.dump({**job, 'limit_s': 0}, open(sys.argv[1], 'w'))\n"
        "runpy.run_module('modelport.tuning_probe', run_name='__main__')\n",
    )
    draft, sentence = tune(drafted(tmp_path), tmp_path / "work", os.environ, python=no_time)
    assert sentence.endswith("the plain way")
    assert draft.tuning is not None
    assert len(draft.tuning.figures["ways"]) == 1


def test_nothing_that_lies_in_the_folder_of_the_caller_runs(tmp_path: Path) -> None:
    drafted(tmp_path)
    here = tmp_path / "model"
    (here / "numpy.py").write_text("open('ran', 'w')\n")
    measure = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from modelport.bundle import load_bundle\n"
        "from modelport.tuning import tune\n"
        "print(tune(load_bundle(Path('model.onnx')), Path('../work'), os.environ)[1])\n"
    )
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-P", "-c", measure],
        cwd=here,
        env=environ,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("in ")
    assert not (here / "ran").exists()


# --- when measuring fails -------------------------------------------------------------------------


def test_without_onnxruntime_the_way_to_get_it_is_told(tmp_path: Path) -> None:
    text = "import runpy, sys\nsys.modules['onnxruntime'] = None\nsys.argv = sys.argv[2:]\n"
    python = program(
        tmp_path / "bare", text + "runpy.run_module('modelport.tuning_probe', run_name='__main__')"
    )
    draft = drafted(tmp_path)
    after, sentence = tune(draft, tmp_path / "work", os.environ, python=python)
    assert after == draft
    assert sentence == (
        "not measured: onnxruntime is not installed (pip install 'modelport[runtime]')"
    )


def test_an_onnxruntime_that_is_broken_is_told_in_its_words(tmp_path: Path) -> None:
    (tmp_path / "onnxruntime.py").write_text("raise OSError('libdnnl.so.3: no such file')")
    text = f"import runpy, sys\nsys.path.insert(0, {str(tmp_path)!r})\nsys.argv = sys.argv[2:]\n"
    python = program(
        tmp_path / "broken",
        text + "runpy.run_module('modelport.tuning_probe', run_name='__main__')",
    )
    _, sentence = tune(drafted(tmp_path), tmp_path / "work", os.environ, python=python)
    assert sentence == "not measured: onnxruntime cannot be imported: libdnnl.so.3: no such file"


def test_a_model_that_crashes_onnxruntime_does_not_end_the_command(tmp_path: Path) -> None:
    python = program(tmp_path / "crash", "import os\nos.kill(os.getpid(), 11)")
    after, sentence = tune(drafted(tmp_path), tmp_path / "work", os.environ, python=python)
    assert sentence == "not measured: onnxruntime crashed with signal 11"
    assert after.tuning is None


def test_measuring_that_leaves_no_result_is_not_blamed_on_onnxruntime(tmp_path: Path) -> None:
    python = program(tmp_path / "full", "raise SystemExit(1)")
    found = tune(drafted(tmp_path), tmp_path / "work", os.environ, python=python)
    assert found[1] == "not measured: measuring ended with status 1"


def test_measuring_that_hangs_is_ended(tmp_path: Path) -> None:
    python = program(tmp_path / "hang", "import time\ntime.sleep(600)")
    found = tune(drafted(tmp_path), tmp_path / "work", os.environ, limit_s=0.5, python=python)
    assert found[1] == "not measured: it took over 0.5 s"


def test_a_python_that_is_gone_is_said(tmp_path: Path) -> None:
    found = tune(drafted(tmp_path), tmp_path / "work", os.environ, python="/nowhere/python")
    assert found[1] == "not measured: /nowhere/python does not start: No such file or directory"


def test_a_work_folder_that_cannot_be_used_costs_only_the_figures(tmp_path: Path) -> None:
    draft = drafted(tmp_path)
    gone = tmp_path / "gone"
    assert tune(draft, gone, os.environ) == (
        draft,
        f"not measured: {gone}: No such file or directory",
    )


def test_a_crash_over_the_optimised_graph_costs_only_that(tmp_path: Path) -> None:
    python = program(
        tmp_path / "fragile",
        "import json, os, runpy, sys\n"
        "sys.argv = sys.argv[2:]\n"
        "if json.load(open(sys.argv[1]))['graph']: os.abort()\n"
        "runpy.run_module('modelport.tuning_probe', run_name='__main__')\n",
    )
    draft, _ = tune(drafted(tmp_path), tmp_path / "work", os.environ, python=python)
    assert draft.tuning is not None
    assert draft.tuning.figures["optimized_graph"] == "not tried"
    assert not any(row["optimized"] for row in draft.tuning.figures["ways"])


# --- a graph optimised beforehand -----------------------------------------------------------------


def figured(tmp_path: Path, **result: Any) -> str:
    """A probe that finds the optimised graph best by far."""
    rows = [
        {"way": way, "open_ms": opened, "first_ms": 1, "warm_ms": 1}
        for way, opened in (
            ({"optimized": False, "graph_optimization": "all", "disable_prepacking": False}, 900),
            ({"optimized": True, "graph_optimization": "disabled", "disable_prepacking": True}, 1),
        )
    ]
    answer_ = {"measured": rows, "onnxruntime": ort.__version__, "machine": machine(), **result}
    return program(
        tmp_path / "figured",
        "import json, sys\n"
        "job = json.load(open(sys.argv[3]))\n"
        "open(job['graph'], 'wb').write(b'the graph')\n"
        f"open(sys.argv[4], 'w').write({json.dumps(answer_)!r})\n",
    )


def test_a_chosen_graph_is_published_with_the_version(tmp_path: Path) -> None:
    before = drafted(tmp_path)
    draft, sentence = tune(before, tmp_path / "work", os.environ, python=figured(tmp_path))
    assert "optimised beforehand, without prepacking (plain: 901.0 ms, then" in sentence
    assert draft.content == before.content
    assert draft.lineage["optimized_graph"] == {
        "onnxruntime": ort.__version__,
        "file": "model.optimized.onnx",
    }
    registry = MemoryRegistry()
    manifest = registry.publish("m", draft, who=ADA)
    *_, graph = manifest.files
    assert [file.path for file in manifest.files] == [
        "model.onnx",
        "model.onnx.data",
        "model.optimized.onnx",
    ]
    registry.fetch(graph, tmp_path / "fetched")
    assert (tmp_path / "fetched").read_bytes() == b"the graph"


def test_other_figures_are_the_same_version(tmp_path: Path) -> None:
    registry = MemoryRegistry()
    tuned, _ = tune(
        drafted(tmp_path), tmp_path / "work", os.environ, python=figured(tmp_path, rounds=3)
    )
    first = registry.publish("m", tuned, who=ADA)
    model, work = tmp_path / "model/model.onnx", tmp_path / "again"
    work.mkdir()
    again = registry.publish("m", load_bundle(model, work=work), who=ADA)
    assert again == first
    assert first.tuning is not None
    assert first.tuning.figures["rounds"] == 3


def test_the_graph_is_for_its_own_onnxruntime_and_machine() -> None:
    graph = File("model.optimized.onnx", "sha256:0", 9)
    figures = {"onnxruntime": "1.31.1", "machine": "x86_64"}
    tuning = Tuning(True, "disabled", figures, graph)
    content = drafted_content()
    manifest = Manifest("m", 1, content, "now", tuning=tuning)
    assert Manifest.from_bytes(manifest.to_bytes()) == manifest
    plain = replace(content.settings, disable_prepacking=True, graph_optimization="all")
    assert manifest.settings == plain
    assert manifest.settings_on("1.30.0", "x86_64") == plain
    assert manifest.settings_on("1.31.1", "aarch64") == plain
    assert manifest.settings_on("1.31.1", "x86_64") == replace(
        plain, entry="model.optimized.onnx", graph_optimization="disabled"
    )


def drafted_content() -> Any:
    from modelport.manifest import Content
    from modelport.signature import Signature, TensorSpec

    x = TensorSpec("x", "FP32", (-1,))
    return Content((File("model.onnx", "sha256:1", 1),), Signature((x,), (replace(x, name="y"),)))


def optimized(model: Path, into: Path) -> Path:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(into)
    ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    return into


def scaled(folder: Path) -> Path:
    """A model whose large weights stay what they are when its graph is optimised."""
    from onnx import TensorProto, helper

    array = RANDOM.standard_normal((3, PAYS), dtype="float32")
    nodes = [
        helper.make_node("Gather", ["table", "row"], ["picked"]),
        helper.make_node("Identity", ["picked"], ["same"]),
        helper.make_node("Mul", ["same", "one"], ["y"]),
    ]
    row = helper.make_tensor_value_info("row", TensorProto.INT64, ["N"])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", PAYS])
    one = numpy_helper.from_array(RANDOM.standard_normal(1, dtype="float32"), "one")
    graph = helper.make_graph(
        nodes, "g", [row], [y], [numpy_helper.from_array(array, "table"), one]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return saved(model, folder)


@pytest.mark.parametrize("inline", [True, False])
def test_an_optimised_graph_shares_the_weights_of_the_original(
    tmp_path: Path, inline: bool
) -> None:
    model = scaled(tmp_path)
    layout = lay_out(model, tmp_path / "work", "model.onnx")
    assert layout is not None
    whole = optimized(model if inline else layout.model, tmp_path / "whole.onnx")
    shared = layout.model.with_name("shared.onnx")
    size = share_weights(whole, layout.model, shared)
    assert size == shared.stat().st_size < 10_000
    assert (whole.stat().st_size > WORTH_IT) == inline
    session = ort.InferenceSession(str(shared), providers=["CPUExecutionProvider"])
    original = ort.InferenceSession(str(layout.model), providers=["CPUExecutionProvider"])
    feeds = {"row": [2, 0]}
    assert (session.run(None, feeds)[0] == original.run(None, feeds)[0]).all()


def test_a_graph_with_other_weights_under_the_same_names_shares_nothing(tmp_path: Path) -> None:
    layout = lay_out(scaled(tmp_path / "one"), tmp_path / "work", "model.onnx")
    other = scaled(tmp_path / "two")
    assert layout is not None
    assert share_weights(other, layout.model, tmp_path / "shared.onnx") == 0
    assert not (tmp_path / "shared.onnx").exists()


def test_a_small_graph_may_bring_its_own_weights(tmp_path: Path) -> None:
    path = saved(adding(weights("a", 100)), tmp_path)
    shared = tmp_path / "shared.onnx"
    assert share_weights(path, path, shared) == path.stat().st_size
    assert answer(shared) == answer(path)

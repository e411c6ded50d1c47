"""Training in folds: what is held out is unseen, and a bundle's own faults are shown as its own."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
from modelport.evaluation import fold_program
from modelport.evaluation.errors import BundleCodeError, DataSetError, NotTrainableError
from modelport.evaluation.k_fold import Rows, Trainer, check_trainable, splits

from tests.support import evaluation_world as world
from tests.support.cli_world import Terminal

#: The nearest centre, with its distance as a score.
CENTRES = """
import json
from pathlib import Path
import numpy as np

def fit(features, labels, model_dir):
    print("training on", features.shape)
    assert not Path(model_dir, "centres.json").exists(), "another fold was here"
    centres = [features[labels == name].mean(0).tolist() for name in sorted(set(labels.tolist()))]
    Path(model_dir, "centres.json").write_text(json.dumps(centres))

def model_fn(model_dir):
    return np.array(json.loads(Path(model_dir, "centres.json").read_text()))

def predict_fn(data, model):
    return -((data["x"][:, None] - model) ** 2).sum(2)
"""


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    """A bundle that can be trained, and data for it."""
    world.bundle(tmp_path / "mail", world.POOR, inference_py=CENTRES, labels_txt="ham\nspam\n")
    world.spam(tmp_path / "all.csv")
    return Terminal(tmp_path)


LINE = ("evaluate", "mail", "--data", "all.csv", "--task", "classification", "--bootstrap", "100")


def test_folds_are_reported_one_by_one_with_mean_and_deviation(terminal: Terminal) -> None:
    told = terminal.ok(*LINE, "--k-fold", "3", "--report", "out", "--json").json
    folds = told["details"]["folds"]
    assert [fold["rows"] for fold in folds] == [67, 67, 66]
    accuracies = [fold["metrics"]["accuracy"] for fold in folds]
    assert told["metrics"]["accuracy"]["value"] == pytest.approx(np.mean(accuracies))
    assert told["details"]["spread"]["accuracy"] == pytest.approx(np.std(accuracies, ddof=1))
    assert np.mean(accuracies) > 0.8
    assert sum(each["rows"] for each in told["details"]["classes"]) == 200
    assert (told["model"], told["version"]) == ("mail", 0)
    assert "Folds" in (terminal.folder / "out" / "report.html").read_text()
    assert not (terminal.folder / "mail" / "centres.json").exists()  # a copy was trained
    assert list(terminal.registry.models()) == []


def test_people_see_folds(terminal: Terminal) -> None:
    found = terminal.ok(*LINE, "--k-fold", "2")
    assert "± SD OVER FOLDS" in found.out
    assert any(line.split()[:2] == ["FOLD", "ROWS"] for line in found.out.splitlines())
    assert "fold 2 of 2" in found.err


def test_the_shares_of_classes_are_kept_and_nothing_is_seen_twice() -> None:
    labels = ["a"] * 30 + ["b"] * 12
    found = splits("classification", labels, 3, 0)
    held = [row for _, rows in found for row in rows.tolist()]
    assert sorted(held) == list(range(42))
    for train, rows in found:
        assert not set(train.tolist()) & set(rows.tolist())
        assert sum(labels[row] == "b" for row in rows) == 4
    again = splits("classification", labels, 3, 0)
    assert [rows.tolist() for _, rows in again] == [rows.tolist() for _, rows in found]
    values = splits("regression", [0.5] * 10, 5, 0)
    assert [len(rows) for _, rows in values] == [2] * 5


def test_too_few_rows_for_so_many_folds() -> None:
    with pytest.raises(DataSetError, match="class 'b' has 2 rows, too few for 3 folds"):
        splits("classification", ["a"] * 9 + ["b"] * 2, 3, 0)
    with pytest.raises(DataSetError, match="2 rows are too few for 3 folds"):
        splits("regression", [1, 2], 3, 0)


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (None, "it has no inference.py"),
        ("def predict_fn(data, model): pass\n", "its inference.py has no function fit"),
        ("def fit(:\n", "inference.py is not Python"),
    ],
)
def test_what_cannot_be_trained_is_refused_without_running_it(
    tmp_path: Path, script: str | None, said: str
) -> None:
    folder = world.bundle(tmp_path / "b", world.POOR)
    if script is not None:
        (folder / "inference.py").write_text(script)
    with pytest.raises(NotTrainableError, match=said):
        check_trainable(folder)
    with pytest.raises(NotTrainableError, match="it is no folder"):
        check_trainable(folder / "model.onnx")


def trained(
    tmp_path: Path, script: str, limit_s: float = 60, labels: list[str] | None = None
) -> list[int]:
    """Train one fold of a bundle with this script; the shape of its answers."""
    folder = world.bundle(tmp_path / "b", world.POOR, inference_py=script)
    trainer = Trainer(folder, "model.onnx", {}, limit_s)
    rows = Rows({"x": world.features(6).astype(np.float32)}, (labels or ["0", "1"]) * 3)
    fold = trainer.fold(1, "classification", rows, np.arange(4), np.array([4, 5]))
    assert fold.held.tolist() == [4, 5]
    return list(fold.answers.shape)


FIT = "def fit(features, labels, model_dir):\n    {}\n"
WRITE = "import pathlib; pathlib.Path(model_dir, 'model.onnx').touch()"


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (FIT.format("1 / 0"), r"fails: fit: ZeroDivisionError.*\n  inference.py:2 in fit: 1 / 0"),
        (FIT.format("pass") + "import nowhere\n", "fails: at import: ModuleNotFoundError"),
        (FIT.format("raise SystemExit(3)"), "fails: fit: SystemExit: 3"),
        (FIT.format("import os; print('bye', flush=True); os._exit(4)"), r"with status 4\n  bye"),
        (FIT.format("import os; os.kill(os.getpid(), 9)"), "with signal 9"),
        (FIT.format("import os; print('x' * 9999, flush=True); os._exit(0)"), r"status 0\n  x"),
        (FIT.format("pass"), r"fails: fit: RuntimeError: it did not write model\.onnx"),
        (
            FIT.format("pass") + "def model_fn(model_dir): return model\n",
            "fails: model_fn: Name",
        ),
        (
            FIT.format(WRITE) + "def predict_fn(data, model): return [object()] * 2\n",
            "fails: predict_fn: TypeError: the answer '' is no array of numbers or text",
        ),
        (
            FIT.format(WRITE) + "def predict_fn(data, model): return [1]\n",
            r"answers 2 rows with shape \[1\]",
        ),
        (
            FIT.format("open(model_dir + '/model.onnx', 'w').write('no')"),
            "fails: opening the trained model",
        ),
    ],
)
def test_what_fails_in_the_bundle_is_told_as_its_own(
    tmp_path: Path, script: str, said: str
) -> None:
    with pytest.raises(BundleCodeError, match=said):
        trained(tmp_path, script)


def test_a_fold_that_takes_too_long_is_ended_with_all_it_started(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    script = (
        "import subprocess, sys, time\n"
        "def fit(features, labels, model_dir):\n"
        "    child = subprocess.Popen(['sleep', '600'])\n"
        f"    open({str(note)!r}, 'w').write(str(child.pid))\n"
        "    time.sleep(600)\n"
    )
    for limit_s in (1, 20):  # a busy machine may need longer to begin
        with pytest.raises(BundleCodeError, match=f"took more than {limit_s} s; --fold-limit"):
            trained(tmp_path, script, limit_s=limit_s)
        if note.exists() and note.read_text():
            break
    state = Path(f"/proc/{note.read_text()}/stat")
    for _ in range(100):
        if not state.exists() or state.read_text().split()[2] == "Z":
            return
        time.sleep(0.1)
    pytest.fail("what it started still runs")


def test_the_ways_to_be_asked(tmp_path: Path) -> None:
    check = "    assert (features.dtype, labels.dtype) == ('float32', 'int64')\n"
    fit = FIT.format(WRITE) + check
    assert trained(tmp_path / "1", fit) == [2, 2]  # the model itself
    own = fit + "def predict_fn(data, model, context):\n    return model.run(data)['y'][:, 0] > 0\n"
    assert trained(tmp_path / "2", own) == [2]
    parsed = fit + (
        "def input_fn(data, content_type): ...\n"
        "def predict_fn(features, model):\n"
        "    return {'label': ['a'] * len(features), 'n': [1, 2]}\n"
    )
    assert trained(tmp_path / "3", parsed) == [2]
    bare = fit + "def model_fn(model_dir):\n    return lambda data: data['x'] * 2\n"
    assert trained(tmp_path / "4", bare) == [2, 3]


def test_text_goes_to_the_process_and_back(tmp_path: Path) -> None:
    inputs = {"t": np.array(["a", "é"], object), "x": np.ones((2, 1))}
    fold_program.save(tmp_path / "a.npz", inputs, np.array(["u", "v"]))
    found, labels = fold_program.load(tmp_path / "a.npz")
    assert found["t"].tolist() == ["a", "é"]
    assert labels.tolist() == ["u", "v"]
    assert json.dumps(sorted(found)) == '["t", "x"]'


@pytest.mark.parametrize(
    ("labels", "given"),
    [(["1", "0"], "[1, 0]"), (["01", "1"], "['01', '1']"), (["1_0", "10"], "['1_0', '10']")],
)
def test_labels_that_differ_stay_different(tmp_path: Path, labels: list[str], given: str) -> None:
    script = FIT.format(f"assert labels.tolist() == {given} * 2, labels; {WRITE}")
    assert trained(tmp_path, script, labels=labels) == [2, 2]

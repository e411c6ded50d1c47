"""Training a bundle in folds: each fold's rows are answered by a model that has not seen them.

Every fold is trained in a fresh process on a copy of the bundle
(`modelport.evaluation.fold_program`), so that neither a fold nor the bundle's own folder can see
what another one left. Folds are drawn with a seed; for classification every fold has each class's
share (stratified). The bundle's code runs with the rights of whoever calls this.
"""

from __future__ import annotations

import ast
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from modelport.evaluation import fold_program as program
from modelport.evaluation.errors import BundleCodeError, DataSetError, NotTrainableError
from modelport.evaluation.report import Task
from modelport.raw_tensors import Array, datatype_of
from modelport.signature import Signature, TensorSpec
from modelport.v1_results import evaluated

SCRIPT = "inference.py"
_PRINTED = "printed.txt"
#: Bytes of what the bundle's code printed that are shown when it ends without a word.
_TAIL = 2_000


@dataclass(frozen=True)
class Rows:
    """A whole data set: inputs by name, and labels [N]."""

    inputs: Mapping[str, Array]
    labels: Sequence[Any]


@dataclass(frozen=True)
class Fold:
    """One fold: the rows that were held out, and the answers to them."""

    held: Array
    answers: Array


@dataclass(frozen=True)
class Trainer:
    """Trains one bundle, fold by fold."""

    bundle: Path
    entry: str
    environ: Mapping[str, str]
    limit_s: float
    python: str = sys.executable

    def fold(self, number: int, task: Task, rows: Rows, train: Array, held: Array) -> Fold:
        """Train on some rows and ask the others; raises `BundleCodeError` where that fails."""
        with tempfile.TemporaryDirectory(prefix="modelport-fold-") as work:
            folder = Path(work)
            shutil.copytree(
                self.bundle,
                folder / program.BUNDLE,
                ignore=shutil.ignore_patterns(".*", "__pycache__", "*.pyc"),
            )
            (folder / program.PLAN).write_text(json.dumps({"entry": self.entry}))
            labels = _labels(task, [rows.labels[row] for row in train.tolist()])
            program.save(folder / program.TRAIN, _taken(rows.inputs, train), labels)
            program.save(folder / program.HELD, _taken(rows.inputs, held))
            self._run(number, folder)
            outputs, _ = program.load(folder / program.ANSWER)
        answers = _answer(number, task, outputs)
        if not answers.ndim or len(answers) != len(held):
            shape = list(answers.shape)
            raise BundleCodeError(number, f"answers {len(held)} rows with shape {shape}")
        return Fold(held, answers)

    def _run(self, number: int, folder: Path) -> None:
        command = [self.python, "-m", "modelport.evaluation.fold_program", str(folder)]
        path = os.pathsep.join(path for path in sys.path if path)
        environ = {**self.environ, "PYTHONPATH": path, "PYTHONSAFEPATH": "1"}
        with (folder / _PRINTED).open("wb") as printed:
            # A session of its own: what the code starts ends with it.
            process = subprocess.Popen(
                command,
                env=environ,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=printed,
                start_new_session=True,
            )
            try:
                code = process.wait(self.limit_s)
            except subprocess.TimeoutExpired:
                raise BundleCodeError(
                    number, f"took more than {self.limit_s:g} s; --fold-limit gives it longer"
                ) from None
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if code or not (folder / program.ANSWER).is_file():
            raise _failure(number, folder, code)


def check_trainable(bundle: Path) -> None:
    """Raise `NotTrainableError` unless the bundle's script has a ``fit``; runs nothing of it."""
    if not bundle.is_dir():
        problem = "it is no folder" if bundle.exists() else "there is no such folder"
        raise NotTrainableError(bundle, problem)
    script = bundle / SCRIPT
    if not script.is_file():
        raise NotTrainableError(bundle, f"it has no {SCRIPT}")
    try:
        tree = ast.parse(script.read_bytes())
    except (SyntaxError, ValueError) as error:
        raise NotTrainableError(bundle, f"{SCRIPT} is not Python: {error}") from None
    if not any(isinstance(node, ast.FunctionDef) and node.name == "fit" for node in tree.body):
        raise NotTrainableError(bundle, f"its {SCRIPT} has no function fit")


def splits(task: Task, labels: Sequence[Any], folds: int, seed: int) -> list[tuple[Array, Array]]:
    """Rows to train on and rows held out, for each fold."""
    from sklearn.model_selection import KFold, StratifiedKFold

    if len(labels) < folds:
        raise DataSetError("data", f"{len(labels)} rows are too few for {folds} folds")
    if task == "regression":
        return list(KFold(folds, shuffle=True, random_state=seed).split(np.empty(len(labels))))
    names = [str(label) for label in labels]
    rarest, rows = min(Counter(names).items(), key=lambda item: item[1])
    if rows < folds:
        raise DataSetError("data", f"class {rarest!r} has {rows} rows, too few for {folds} folds")
    drawn = StratifiedKFold(folds, shuffle=True, random_state=seed)
    return list(drawn.split(np.empty(len(names)), names))


def trained(
    trainer: Trainer,
    task: Task,
    rows: Rows,
    folds: int,
    seed: int,
    tell: Callable[[int], None],
) -> list[Fold]:
    """Every fold, in order; ``tell`` is called with the number of each as it begins."""
    found = []
    for number, (train, held) in enumerate(splits(task, rows.labels, folds, seed), 1):
        tell(number)
        found.append(trainer.fold(number, task, rows, train, held))
    return found


def _taken(inputs: Mapping[str, Array], rows: Array) -> dict[str, Array]:
    return {name: array[rows] for name, array in inputs.items()}


def _labels(task: Task, labels: Sequence[Any]) -> Array:
    """Labels as ``fit`` gets them: values, whole numbers where all are, else text."""
    if task == "regression":
        return np.array(labels, np.float64)
    texts = [str(label) for label in labels]
    with suppress(ValueError, OverflowError):
        numbers = np.array([int(text) for text in texts], np.int64)
        if [str(number) for number in numbers.tolist()] == texts:  # 007 is a name
            return numbers
    return np.array(texts)


def _answer(number: int, task: Task, outputs: Mapping[str, Array]) -> Array:
    """The output that is compared with labels, by the rule for versions."""
    if len(outputs) == 1:
        return next(iter(outputs.values()))
    specs = tuple(
        TensorSpec(name, datatype_of(array), (-1, *array.shape[1:]) if array.ndim else ())
        for name, array in outputs.items()
    )
    chosen = evaluated(task, Signature((), specs))
    if chosen is None:
        told = ", ".join(f"{spec.name} {spec}" for spec in specs)
        raise BundleCodeError(number, f"answers nothing that fits {task} ({told})")
    return outputs[chosen.name]


def _failure(number: int, folder: Path, code: int) -> BundleCodeError:
    told = folder / program.FAILED
    if told.exists():
        said = json.loads(told.read_text(encoding="utf-8"))
        return BundleCodeError(number, f"fails: {said['step']}: {said['problem']}", said["lines"])
    how = f"signal {-code}" if code < 0 else f"status {code}"
    with (folder / _PRINTED).open("rb") as printed:  # which may be longer than memory
        printed.seek(max(0, printed.seek(0, os.SEEK_END) - _TAIL))
        tail = printed.read(_TAIL).decode(errors="replace")
    return BundleCodeError(number, f"ended the process with {how}", tail.splitlines()[-5:])

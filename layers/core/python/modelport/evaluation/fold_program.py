"""One fold in a process of its own: ``python -m modelport.evaluation.fold_program FOLDER``.

Trains the copy of a bundle in FOLDER with its own ``fit`` on ``train.npz`` and asks the result
``held.npz``; what comes of it lies in ``answer.npz``, or in ``failed.json`` with the lines of the
bundle's code that failed. `modelport.evaluation.k_fold` starts it and reads that.

The trained model is asked as the runtime would ask it: ``predict_fn`` on what ``model_fn`` returns,
where the script has one of them, else the ONNX model that ``fit`` wrote. Without an ``input_fn``,
``predict_fn`` gets a dict of arrays by input name, as it does when it serves; with one it gets the
features as ``fit`` had them.
"""

from __future__ import annotations

import importlib.util
import inspect
import json
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")

BUNDLE, TRAIN, HELD, PLAN = "bundle", "train.npz", "held.npz", "plan.json"
ANSWER, FAILED = "answer.npz", "failed.json"
#: The array of labels, and what an answer without a name is called.
LABELS, ONLY = "labels", ""
_PREFIX = "input:"
_MOST_LINES = 8


class StepError(Exception):
    """A step of the bundle's code that failed; the cause is its own error."""

    def __init__(self, step: str) -> None:
        super().__init__(step)
        self.step = step


def main(folder: Path) -> int:
    """Train and ask; 0 when there is an answer."""
    try:
        outputs = _outputs(folder)
    except StepError as error:
        cause = error.__cause__
        told = {
            "step": error.step,
            "problem": f"{type(cause).__name__}: {cause}",
            "lines": _own_lines(cause, folder / BUNDLE),
        }
        (folder / FAILED).write_text(json.dumps(told), encoding="utf-8")
        return 1
    np.savez(
        folder / ANSWER, allow_pickle=False, **{f"{_PREFIX}{k}": v for k, v in outputs.items()}
    )
    return 0


def save(path: Path, inputs: Mapping[str, Any], labels: Any = None) -> None:
    """Write features, and labels, for the process."""
    named = {f"{_PREFIX}{name}": _plain(array) for name, array in inputs.items()}
    if labels is not None:
        named[LABELS] = labels
    np.savez(path, allow_pickle=False, **named)


def load(path: Path) -> tuple[dict[str, Any], Any]:
    """What `save` wrote."""
    with np.load(path, allow_pickle=False) as archive:
        found = {name: archive[name] for name in archive.files}
    labels = found.pop(LABELS, None)
    return {name.removeprefix(_PREFIX): array for name, array in found.items()}, labels


def _plain(array: Any) -> Any:
    return array.astype(str) if array.dtype.hasobject else array


def _outputs(folder: Path) -> dict[str, Any]:
    bundle = folder / BUNDLE
    plan = json.loads((folder / PLAN).read_text(encoding="utf-8"))
    train, labels = load(folder / TRAIN)
    held, _ = load(folder / HELD)
    module = _step("at import", lambda: _imported(bundle / "inference.py"))
    entry = bundle / plan["entry"]
    before = entry.stat().st_mtime_ns
    _step("fit", lambda: _call(module.fit, _as_given(train), labels, str(bundle)))
    model_fn = getattr(module, "model_fn", None)
    if model_fn is None:
        _step("fit", lambda: _check_written(entry, before))
        model = _step("opening the trained model", lambda: _Onnx(entry))
    else:
        model = _step("model_fn", lambda: _call(model_fn, str(bundle)))
    step = "predict_fn" if hasattr(module, "predict_fn") else "the trained model"
    return _step(step, lambda: _answered(module, model, held))


def _check_written(entry: Path, before: int) -> None:
    """Raise unless the model is another file than it was: that one may have seen what is held."""
    if entry.exists() and entry.stat().st_mtime_ns == before:
        raise RuntimeError(f"it did not write {entry.name}, and no model_fn opens another model")


def _answered(module: ModuleType, model: Any, held: dict[str, Any]) -> dict[str, Any]:
    """The trained model's answers, as the runtime would get them."""
    if not hasattr(module, "predict_fn"):
        return _named(getattr(model, "run", model)(held))
    data = _as_given(held) if hasattr(module, "input_fn") else held
    return _named(_call(module.predict_fn, data, model))


def _as_given(inputs: dict[str, Any]) -> Any:
    """Features as ``fit`` gets them: the array of a model with one input, else arrays by name."""
    return next(iter(inputs.values())) if len(inputs) == 1 else inputs


def _named(answer: Any) -> dict[str, Any]:
    """What was answered, as arrays by name; TypeError for what numpy cannot keep."""
    outputs = dict(answer) if isinstance(answer, Mapping) else {ONLY: answer}
    found = {str(name): np.asarray(value) for name, value in outputs.items()}
    for name, array in found.items():
        if array.dtype.hasobject:
            texts = array.reshape(-1).tolist()
            if not all(isinstance(text, str) for text in texts):
                raise TypeError(f"the answer {name!r} is no array of numbers or text")
            found[name] = array.astype(str)
    return found


def _step(name: str, run: Callable[[], T]) -> T:
    try:
        return run()
    except (Exception, SystemExit) as error:  # a script that exits has failed
        raise StepError(name) from error


def _call(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function of the script, which may take a context behind its own arguments."""
    needed = [
        each
        for each in inspect.signature(function).parameters.values()
        if each.default is each.empty
        and each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)
    ]
    more = len(needed) == len(arguments) + 1
    return function(*arguments, *([None] if more else []))


def _imported(path: Path) -> ModuleType:
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location("modelport_inference", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["modelport_inference"] = module
    spec.loader.exec_module(module)
    return module


class _Onnx:
    """A trained ONNX model: arrays by name in, arrays by name out."""

    def __init__(self, path: Path) -> None:
        import onnxruntime

        self._session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def run(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """All outputs for some rows."""
        names = [output.name for output in self._session.get_outputs()]
        texts = {
            name: array.astype(object) if array.dtype.kind == "U" else array
            for name, array in inputs.items()
        }
        return _named(dict(zip(names, self._session.run(names, texts), strict=True)))


def _own_lines(error: BaseException | None, bundle: Path) -> list[str]:
    """Where in the bundle's own files it failed."""
    if error is None:
        return []
    root = str(bundle.resolve())
    found = [
        f"{Path(frame.filename).resolve().relative_to(root)}:{frame.lineno} in {frame.name}:"
        f" {frame.line}"
        for frame in traceback.extract_tb(error.__traceback__)
        if str(Path(frame.filename).resolve()).startswith(root)
    ]
    return found[-_MOST_LINES:]


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))

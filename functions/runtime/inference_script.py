"""A bundle's ``inference.py``: the four functions of the SageMaker contract, defaults for the rest.

``model_fn(model_dir)``, ``input_fn(data, content_type)``, ``predict_fn(data, model)``,
``output_fn(prediction, accept)``. Without ``model_fn`` the script gets the runtime's own
`OnnxModel`. What the script raises becomes `ModelFailedError` in the data plane; an error of
`modelport.errors` passes as it is, so a script may refuse input in the product's words.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from threading import Lock
from types import ModuleType
from typing import Any

from modelport.envelope import Request
from modelport.errors import InvalidBundleError, TensorError
from modelport.grammar import Call

from functions.runtime.codecs.codec import JSON, Headers, Parsed, Subject, write_strict
from functions.runtime.codecs.sagemaker import SageMakerCodec
from functions.runtime.model import OnnxModel
from functions.runtime.tensors import Array

_MODULE = "modelport_inference"
_SENDABLE = re.compile(r"[\x20-\x7e]+")


class InferenceScript:
    """The script, ready to answer ``/invocations`` for every content type."""

    def __init__(self, module: ModuleType, model: OnnxModel) -> None:
        self._own_model = model
        self._input_fn = _function(module, "input_fn")
        self._predict_fn = _function(module, "predict_fn")
        self._output_fn = _function(module, "output_fn")
        model_fn = _function(module, "model_fn")
        self._model: Any = model_fn(str(model.directory)) if model_fn else model
        if not self._predict_fn and not hasattr(self._model, "run") and not callable(self._model):
            raise InvalidBundleError(
                Path(module.__file__ or "").name,
                "model_fn returns an object with no run() and the script has no predict_fn",
            )
        # SageMaker's own servers give a worker one request at a time; scripts rely on it.
        self._lock = Lock()

    def answer(self, call: Call, request: Request, subject: Subject) -> tuple[Headers, bytes]:
        """Run one request through the script."""
        headers = request.headers
        accept = headers.get("accept", "*/*").partition(",")[0].strip()
        accept = JSON if accept in ("", "*/*") else accept
        content_type = headers.get("content-type") or JSON
        with self._lock:
            if self._input_fn:
                parsed, data = None, self._input_fn(request.body, content_type)
            else:
                parsed = SageMakerCodec().parse(call, self._readable(request), subject)
                data = parsed.tensors
            prediction = self._predict(data)
            if self._output_fn:
                return _answer(self._output_fn(prediction, accept), accept)
        return _default_output(prediction, parsed, subject, accept)

    def _readable(self, request: Request) -> Request:
        # What the caller accepts is for output_fn to judge, if there is one.
        if not self._output_fn:
            return request
        return replace(request, headers={**request.headers, "accept": "*/*"})

    def _predict(self, data: Any) -> Any:
        if self._predict_fn:
            return self._predict_fn(data, self._model)
        if not hasattr(self._model, "run"):
            return self._model(data)
        if self._model is self._own_model and not isinstance(data, Mapping):
            data = self._named(data)
        return self._model.run(data)

    def _named(self, data: Array) -> dict[str, Array]:
        inputs = self._own_model.signature.inputs
        if len(inputs) != 1:
            raise TensorError(inputs[0].name, "a dict of arrays from input_fn", type(data).__name__)
        return {inputs[0].name: data}


def open_script(path: Path, model: OnnxModel) -> InferenceScript:
    """Import ``path`` as its own module, its folder first on the import path."""
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(_MODULE, path)
    if spec is None or spec.loader is None:
        raise InvalidBundleError(path.name, "it is not a Python module")
    module = importlib.util.module_from_spec(spec)
    sys.modules[_MODULE] = module
    try:
        spec.loader.exec_module(module)
        return InferenceScript(module, model)
    except InvalidBundleError:
        raise
    except (Exception, SystemExit) as error:  # a script that exits at load has failed to load
        problem = f"it fails at load with {type(error).__name__}: {error}"
        raise InvalidBundleError(path.name, problem) from error


def _function(module: ModuleType, name: str) -> Callable[..., Any] | None:
    found = getattr(module, name, None)
    if found is not None and not callable(found):
        raise InvalidBundleError(Path(module.__file__ or "").name, f"{name} is not a function")
    return found


def _answer(result: Any, accept: str) -> tuple[Headers, bytes]:
    """What ``output_fn`` returned: a body, or a body with its content type."""
    if isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], str):
        result, accept = result
        if not _SENDABLE.fullmatch(accept):
            raise ValueError(f"output_fn: {accept!r} is no content type that a header can carry")
    if isinstance(result, str):
        result = result.encode()
    if isinstance(result, bytes | bytearray):
        return {"content-type": accept}, bytes(result)
    return {"content-type": JSON}, write_strict("output_fn", result)


def _default_output(
    prediction: Any, parsed: Parsed | None, subject: Subject, accept: str
) -> tuple[Headers, bytes]:
    if parsed is not None and _is_tensors(prediction, subject):
        return SageMakerCodec().format(dict(prediction), parsed, subject)
    return {"content-type": JSON}, write_strict("prediction", prediction)


def _is_tensors(prediction: Any, subject: Subject) -> bool:
    return isinstance(prediction, Mapping) and set(prediction) == {
        spec.name for spec in subject.signature.outputs
    }

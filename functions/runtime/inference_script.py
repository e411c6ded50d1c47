"""A bundle's ``inference.py``: the functions of the SageMaker contract, defaults for the rest.

``model_fn(model_dir)``, ``input_fn(data, content_type)``, ``predict_fn(data, model)`` and
``output_fn(prediction, accept)``, or ``transform_fn(model, data, content_type, accept)`` in place
of the last three; each may take a `ScriptContext` as well. A generator
``generate_fn(prompt, parameters, model)`` answers V2's generate. As in SageMaker's own containers,
``data`` is text when it came as JSON or CSV and bytes otherwise. Without ``model_fn`` the script
gets the runtime's own `OnnxModel`.

A script answers ``/invocations`` in every content type; the tensor protocols go past it, to the
model. What it raises becomes `ModelFailedError` in the data plane; an error of `modelport.errors`
passes as it is, so a script may refuse input in the product's words.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Generator, Mapping
from dataclasses import replace
from pathlib import Path
from threading import Lock
from types import ModuleType
from typing import Any

import modelport
import numpy as np
from modelport.envelope import Request, Response
from modelport.errors import (
    InvalidBundleError,
    MalformedRequestError,
    NotSupportedError,
    TensorError,
)
from modelport.grammar import Call

from functions.runtime.codecs.codec import JSON, Headers, Parsed, Subject, write_strict
from functions.runtime.codecs.sagemaker import SageMakerCodec
from functions.runtime.model import OnnxModel
from functions.runtime.script_context import Identity, ScriptContext
from functions.runtime.script_function import ScriptFunction, find_function
from functions.runtime.tensors import Array

_MODULE = "modelport_inference"
_SENDABLE = re.compile(r"[\x20-\x7e]+")
#: What SageMaker's inference toolkit decodes before a script sees it.
_TEXT = (JSON, "text/csv")


class InferenceScript:
    """The script, ready to answer ``/invocations`` for every content type."""

    def __init__(self, module: ModuleType, model: OnnxModel, identity: Identity) -> None:
        self._own_model = model
        self._system = _system_properties(model)
        self._input_fn = find_function(module, "input_fn", 2)
        self._predict_fn = find_function(module, "predict_fn", 2)
        self._output_fn = find_function(module, "output_fn", 2)
        self._transform_fn = find_function(module, "transform_fn", 4)
        self._generate_fn = find_function(module, "generate_fn", 3)
        model_fn = find_function(module, "model_fn", 1)
        name = Path(module.__file__ or "").name
        if self._transform_fn and (self._input_fn or self._predict_fn or self._output_fn):
            raise InvalidBundleError(
                name, "transform_fn is there instead of input_fn, predict_fn and output_fn: drop it"
            )
        self._model: Any = model
        if model_fn:
            self._model = model_fn(ScriptContext(self._system, identity), str(model.directory))
        if not self._predicts() and not self.generates:
            raise InvalidBundleError(
                name, "model_fn returns an object with no run() and the script has no predict_fn"
            )
        # SageMaker's own servers give a worker one request at a time; scripts rely on it.
        self._lock = Lock()

    @property
    def generates(self) -> bool:
        """Whether the script has a ``generate_fn``."""
        return self._generate_fn is not None

    def generate(
        self, prompt: str, parameters: Mapping[str, Any], request: Request, subject: Subject
    ) -> Generator[str]:
        """The text that ``generate_fn`` makes of ``prompt``, in its pieces.

        Nobody else runs the script from the first piece to the last, or until this is closed.
        """
        assert self._generate_fn is not None
        context = ScriptContext(self._system, subject, request)
        with self._lock:
            made = self._generate_fn(context, prompt, dict(parameters), self._model)
            pieces = iter([made] if isinstance(made, str) else made)
            try:
                for piece in pieces:
                    if not isinstance(piece, str):
                        kind = type(piece).__name__
                        raise TypeError(f"generate_fn yields text (str), not {kind}")
                    yield piece
            finally:
                if close := getattr(pieces, "close", None):
                    close()

    def _predicts(self) -> bool:
        if self._predict_fn or self._transform_fn:
            return True
        return hasattr(self._model, "run") or callable(self._model)

    def answer(self, call: Call, request: Request, subject: Subject) -> Response:
        """Run one request through the script."""
        context = ScriptContext(self._system, subject, request)
        with self._lock:
            if self._transform_fn:
                headers, body = self._transform(self._transform_fn, context, request)
            else:
                headers, body = self._steps(context, call, request, subject)
        return Response(context.status, {**headers, **context.response_headers}, body)

    def _transform(
        self, transform_fn: ScriptFunction, context: ScriptContext, request: Request
    ) -> tuple[Headers, bytes]:
        accept, content_type = _accept(request), _content_type(request)
        result = transform_fn(context, self._model, _data(request), content_type, accept)
        return _answer("transform_fn", result, accept)

    def _steps(
        self, context: ScriptContext, call: Call, request: Request, subject: Subject
    ) -> tuple[Headers, bytes]:
        parsed = None
        if self._input_fn:
            data = self._input_fn(context, _data(request), _content_type(request))
        else:
            parsed = SageMakerCodec().parse(call, self._readable(request), subject)
            data = parsed.tensors
        prediction = self._predict(context, data)
        if self._output_fn:
            accept = _accept(request)
            return _answer("output_fn", self._output_fn(context, prediction, accept), accept)
        return _default_output(prediction, parsed, subject)

    def _readable(self, request: Request) -> Request:
        # What the caller accepts is for output_fn to judge, if there is one.
        if not self._output_fn:
            return request
        return replace(request, headers={**request.headers, "accept": "*/*"})

    def _predict(self, context: ScriptContext, data: Any) -> Any:
        if self._predict_fn:
            return self._predict_fn(context, data, self._model)
        if not self._predicts():
            raise NotSupportedError("/invocations", "the version's script has only a generate_fn")
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


def open_script(path: Path, model: OnnxModel, identity: Identity) -> InferenceScript:
    """Import ``path`` as its own module, its folder first on the import path."""
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(_MODULE, path)
    if spec is None or spec.loader is None:
        raise InvalidBundleError(path.name, "it is not a Python module")
    module = importlib.util.module_from_spec(spec)
    sys.modules[_MODULE] = module
    try:
        spec.loader.exec_module(module)
        return InferenceScript(module, model, identity)
    except InvalidBundleError:
        raise
    except (Exception, SystemExit) as error:  # a script that exits at load has failed to load
        problem = f"it fails at load with {type(error).__name__}: {error}"
        raise InvalidBundleError(path.name, problem) from error


def _system_properties(model: OnnxModel) -> dict[str, Any]:
    return {
        "model_dir": str(model.directory),
        "gpu_id": model.gpu_id,
        "batch_size": 1,
        "server_name": "modelport",
        "server_version": modelport.__version__,
    }


def _content_type(request: Request) -> str:
    return request.headers.get("content-type") or JSON


def _accept(request: Request) -> str:
    accept = request.headers.get("accept", "*/*").partition(",")[0].strip()
    return JSON if accept in ("", "*/*") else accept


def _data(request: Request) -> str | bytes:
    """The body, as text where the caller said that it is JSON or CSV."""
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media not in _TEXT:
        return request.body
    try:
        return request.body.decode()
    except UnicodeDecodeError as error:
        raise MalformedRequestError(
            f"the {media} body is not UTF-8 at offset {error.start}"
        ) from None


def _answer(function: str, result: Any, accept: str) -> tuple[Headers, bytes]:
    """What ``output_fn`` returned: a body, or a body with its content type."""
    if isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], str):
        result, accept = result
        if not _SENDABLE.fullmatch(accept):
            raise ValueError(f"{function}: {accept!r} is no content type that a header can carry")
    if isinstance(result, str):
        result = result.encode()
    if isinstance(result, bytes | bytearray):
        return {"content-type": accept}, bytes(result)
    return {"content-type": JSON}, write_strict(function, result)


def _default_output(
    prediction: Any, parsed: Parsed | None, subject: Subject
) -> tuple[Headers, bytes]:
    if parsed is not None and _is_tensors(prediction, subject):
        wanted = {name: prediction[name] for name in parsed.outputs}
        return SageMakerCodec().format(wanted, parsed, subject)
    return {"content-type": JSON}, write_strict("prediction", prediction)


def _is_tensors(prediction: Any, subject: Subject) -> bool:
    """Whether it is what the model itself answers, which has a form in every media type."""
    if not isinstance(prediction, Mapping):
        return False
    names = {spec.name for spec in subject.signature.outputs}
    return set(prediction) == names and all(
        isinstance(value, np.ndarray) for value in prediction.values()
    )

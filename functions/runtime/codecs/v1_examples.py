"""TensorFlow Serving's ``:classify`` and ``:regress``: examples of named features in, results out.

Features are the model's inputs by name. Every example has all of them, its own or the context's;
a feature is one value or a flat list that fills the input's shape without its batch axis. Which
output is the result, `modelport.v1_results` says. Labels come from a text output called ``classes``
of the same rank, else from the bundle's labels by position, else they are empty, as TensorFlow
Serving leaves them.

Messages follow json_tensor.cc, classifier.cc and regressor.cc. It must not know HTTP.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from modelport.errors import MalformedRequestError, PayloadTooLargeError, TensorError
from modelport.signature import Signature, TensorSpec
from modelport.v1_results import result_of

from functions.runtime.codecs.codec import Parsed, Subject, write_bare, write_json
from functions.runtime.codecs.v1 import is_object
from functions.runtime.tensors import Array, Tensors, check_shape, describe, from_json

#: Bytes that the context may grow to, once it stands in every example.
MAX_CONTEXT = 64 * 1024 * 1024
_KINDS = {"classify": "classification", "regress": "regression"}
_WANTED = {"classify": "of shape [N,K]", "regress": "of shape [N] or [N,1]"}
CLASSES = "classes"

Features = Mapping[str, Any]


def parse(verb: str, document: dict[str, Any], signature: Signature) -> Parsed:
    """Read the object of a request; raises where this version's outputs cannot be its result."""
    result = result_of(verb, signature)
    if result is None:
        raise _cannot(verb, signature)
    context = _features(document.get("context", {}))
    examples = _examples(verb, document)
    _check_names(examples, context, signature)
    tensors = {spec.name: _column(spec, examples, context) for spec in signature.inputs}
    outputs = (result.name, *_classes(verb, signature, result))
    return Parsed(tensors, outputs, {"results": verb, "size": len(examples)})


def results(outputs: Tensors, parsed: Parsed, subject: Subject) -> bytes:
    """The answer's JSON: labels with scores for each example, or its value."""
    verb, size, name = parsed.form["results"], parsed.form["size"], parsed.outputs[0]
    array = outputs[name]
    expected = 2 if verb == "classify" else 1
    if verb == "regress" and array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != expected or array.shape[0] != size:
        raise MalformedRequestError(
            f"Expected {name} output batch size of {size} {_WANTED[verb]}."
            f" Got: {describe(outputs[name])}; :predict answers it as it is"
        )
    if verb == "regress":
        return write_json({"results": write_bare(array)})
    labels = _labels(outputs, parsed, array, subject)
    return write_json(
        {
            "results": [
                [[label, _score(score)] for label, score in zip(row, scores, strict=True)]
                for row, scores in zip(labels, array, strict=True)
            ]
        }
    )


def _score(score: Any) -> Any:
    # A numpy scalar is written in its own shortest form; a Python float would show float32 noise.
    return score if math.isfinite(score) else write_bare(np.asarray(score))


def _labels(outputs: Tensors, parsed: Parsed, scores: Array, subject: Subject) -> list[list[str]]:
    size, count = scores.shape
    if CLASSES in parsed.outputs[1:]:
        classes = outputs[CLASSES]
        if classes.shape != scores.shape:
            raise MalformedRequestError(
                f"Tensors class and score should match in shape. Got {describe(classes)}"
                f" vs. {describe(scores)}"
            )
        named: list[list[str]] = classes.tolist()
        return named
    row = [*subject.labels[:count], *[""] * (count - len(subject.labels))]
    return [row] * size


def _classes(verb: str, signature: Signature, result: TensorSpec) -> tuple[str, ...]:
    classes = signature.output(CLASSES)
    if verb != "classify" or classes is None or classes.datatype != "BYTES":
        return ()
    return (CLASSES,) if len(classes.shape) == len(result.shape) else ()


def _cannot(verb: str, signature: Signature) -> MalformedRequestError:
    """TensorFlow Serving's words, why, and what this version can do."""
    able = [":predict"] + [f":{other}" for other in _KINDS if result_of(other, signature)]
    outputs = ", ".join(f"{spec.name} {spec}" for spec in signature.outputs)
    return MalformedRequestError(
        f"Expected {_KINDS[verb]} signature method_name to be tensorflow/serving/{verb}."
        f" Was: tensorflow/serving/predict; no output is floating and {_WANTED[verb]}"
        f" ({outputs}); this version answers {', '.join(able)}"
    )


def _features(value: Any) -> Features:
    if not isinstance(value, dict):
        raise MalformedRequestError(f"Example must be JSON object but got JSON {_kind(value)}")
    return value


def _examples(verb: str, document: dict[str, Any]) -> list[Features]:
    if "examples" not in document:
        raise MalformedRequestError(
            f"When method is {verb}, key 'examples' is expected and was not found"
        )
    examples = document["examples"]
    if not isinstance(examples, list):
        raise MalformedRequestError("Expecting 'examples' value to be an list/array of objects")
    if not examples:
        raise MalformedRequestError("'examples' value is an empty array")
    return [_features(example) for example in examples]


def _check_names(examples: list[Features], context: Features, signature: Signature) -> None:
    known = {spec.name: spec for spec in signature.inputs}
    inputs = ", ".join(known)
    for name in context:
        if name not in known:
            raise MalformedRequestError(
                f"Context feature: {name} is not an input of the model; inputs: {inputs}"
            )
    for position, example in enumerate(examples):
        for name in example:
            if name not in known:
                raise MalformedRequestError(
                    f"Example {position}: feature: {name} is not an input of the model;"
                    f" inputs: {inputs}"
                )
        for name, spec in known.items():
            if name not in example and name not in context:
                raise MalformedRequestError(
                    f"Example {position}: Feature: {name} (data type: {spec.datatype}) is required"
                    " but could not be found."
                )


def _column(spec: TensorSpec, examples: list[Features], context: Features) -> Array:
    """One input's tensor: a row for each example, its own value or else the context's."""
    if not spec.shape:
        raise TensorError(
            spec.name, str(spec), "examples, which carry a batch; send a scalar to :predict"
        )
    shared = None
    if spec.name in context:
        shared = _row(spec, context[spec.name], "Context")
        borrowed = sum(spec.name not in example for example in examples)
        grown = borrowed * max(shared.nbytes, 1)
        if grown > MAX_CONTEXT:
            where = f"context feature {spec.name!r}, once it stands in every example,"
            raise PayloadTooLargeError(grown, MAX_CONTEXT, where, "send fewer examples per request")
    rows: list[Array] = []
    for position, example in enumerate(examples):
        own = spec.name in example or shared is None
        row = _row(spec, example[spec.name], f"Example {position}:") if own else shared
        assert row is not None  # there is a context where there is no value of its own
        if rows and row.shape != rows[0].shape:
            raise MalformedRequestError(
                f"Example {position}: feature: {spec.name} has {row.size} values where"
                f" example 0 has {rows[0].size}"
            )
        rows.append(row)
    return check_shape(spec, np.stack(rows))


def _row(spec: TensorSpec, value: Any, place: str) -> Array:
    """A feature's values in the shape of one row of the input."""
    if is_object(value) or value is None:
        raise _unexpected(spec.name, value, place)
    single = isinstance(value, str | int | float | dict)
    flat = TensorSpec(spec.name, spec.datatype, (-1,))
    try:
        values = from_json(flat, [value] if single else value, b64=True)
    except TensorError as error:
        raise MalformedRequestError(f"{place} {error.message}") from None
    if values.ndim != 1:
        raise _unexpected(spec.name, [], place)
    shape = spec.shape[1:]
    known = math.prod(size for size in shape if size >= 0)
    free = sum(size < 0 for size in shape)
    if free > 1:
        raise TensorError(
            spec.name, str(spec), "a flat feature, which fits it in many ways; use :predict"
        )
    if (free == 0 and values.size != known) or (free and (not known or values.size % known)):
        raise MalformedRequestError(
            f"{place} Feature: {spec.name}. Number of values != expected. values size:"
            f" {values.size} but output shape: [{','.join(map(str, shape))}]"
        )
    return values.reshape([size if size >= 0 else values.size // known for size in shape])


def _unexpected(name: str, value: Any, place: str) -> MalformedRequestError:
    return MalformedRequestError(
        f"{place} Feature: {name} has element with unexpected JSON type: {_kind(value)}"
    )


def _kind(value: Any) -> str:
    """What json_tensor.cc calls a JSON value's type."""
    if isinstance(value, bool):
        return "True" if value else "False"
    kinds = {dict: "Object", str: "String", int: "Number", float: "Number", type(None): "Null"}
    return kinds.get(type(value), "Array")

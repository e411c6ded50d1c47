"""Checks requests against SageMaker's own service model: required, types, sizes, patterns, enums.

The model is the one that botocore ships, so names, limits and instance types are the service's
and nobody keeps a list here. Rules between members are the control plane's business.
"""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import botocore.session
from botocore.model import ListShape, MapShape, ServiceModel, Shape, StructureShape
from sagemaker_host.faults import ServiceError

SHOWN = 200
_CLASSES = {
    r"\p{ASCII}": r"\x00-\x7f",
    r"\p{Print}": r"\x20-\x7e",
    r"\p{L}": r"\w",
    r"\p{M}": r"\u0300-\u036f",
    r"\p{N}": r"\d",
    r"\p{P}": "!-/:-@",
    r"\p{S}": "+<->",
    r"\p{Z}": r"\s",
}
_SURROGATES = r"\uD800\uDC00-\uDBFF\uDFFF"
_TOKENS = re.compile(r"\\p\{\w+\}|\\.|.", re.DOTALL)
_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "long": (int,),
    "float": (int, float),
    "double": (int, float),
    "boolean": (bool,),
    "list": (list,),
    "map": (dict,),
    "structure": (dict,),
    "timestamp": (int, float, str),
}


@cache
def service_model(service: str) -> ServiceModel:
    """A service as botocore describes it."""
    return botocore.session.get_session().get_service_model(service)


def input_shape(service: str, operation: str) -> StructureShape:
    """What an operation is asked with."""
    shape = service_model(service).operation_model(operation).input_shape
    assert shape is not None
    return shape


def check(shape: Shape, value: object, code: str = "ValidationException") -> None:
    """Raise `ServiceError` with every constraint that a request does not meet."""
    problems = list(_problems(shape, value, ""))
    if problems:
        count = f"{len(problems)} validation error{'s' * (len(problems) > 1)} detected: "
        raise ServiceError(code, count + "; ".join(problems))


def _problems(shape: Shape, value: object, where: str) -> Iterator[str]:
    if isinstance(value, bool) and shape.type_name != "boolean":
        yield _failed(value, where, f"Member must be of type {shape.type_name}")
        return
    if not isinstance(value, _TYPES.get(shape.type_name, (object,))):
        yield _failed(value, where, f"Member must be of type {shape.type_name}")
        return
    yield from (_failed(value, where, rule) for rule in _broken(shape, value))
    if isinstance(shape, StructureShape):
        yield from _in_structure(shape, value, where)
    elif isinstance(shape, ListShape):
        assert isinstance(value, list)
        for at, each in enumerate(value, 1):
            yield from _problems(shape.member, each, f"{where}.{at}.member")
    elif isinstance(shape, MapShape):
        assert isinstance(value, dict)
        for key, each in value.items():
            yield from _problems(shape.key, key, where)
            yield from _problems(shape.value, each, f"{where}.{key}.member")


def _in_structure(shape: StructureShape, value: Any, where: str) -> Iterator[str]:
    prefix = f"{where}." if where else ""
    for name in shape.required_members:
        if value.get(name) is None:
            yield _failed(None, prefix + _camel(name), "Member must not be null")
    for name, each in value.items():
        if name in shape.members and each is not None:
            yield from _problems(shape.members[name], each, prefix + _camel(name))


def _broken(shape: Shape, value: Any) -> Iterator[str]:
    rules = shape.metadata
    if "enum" in rules and value not in rules["enum"]:
        yield f"Member must satisfy enum value set: [{', '.join(rules['enum'])}]"
    measure: float
    if isinstance(value, str | list | dict):
        measure, words = len(value), "length"
    elif isinstance(value, int | float) and shape.type_name != "timestamp":
        measure, words = value, "value"
    else:
        return
    if measure > rules.get("max", measure):
        yield f"Member must have {words} less than or equal to {rules['max']}"
    if measure < rules.get("min", measure):
        yield f"Member must have {words} greater than or equal to {rules['min']}"
    if "pattern" in rules and isinstance(value, str) and not _fits(rules["pattern"], value):
        yield f"Member must satisfy regular expression pattern: {rules['pattern']}"


def _fits(pattern: str, value: str) -> bool:
    return compiled(pattern).fullmatch(value) is not None


@cache
def compiled(pattern: str) -> re.Pattern[str]:
    """A pattern of the model, which is written for Java."""
    pattern = pattern.replace(_SURROGATES, "\U00010000-\U0010ffff").replace(r"\z", r"\Z")
    translated, inside = "", False
    for token in _TOKENS.findall(pattern):
        inside = (inside or token == "[") and token != "]"
        characters = _CLASSES.get(token, token)
        translated += f"[{characters}]" if token in _CLASSES and not inside else characters
    return re.compile(translated)


def _failed(value: object, where: str, rule: str) -> str:
    shown = "null" if value is None else f"'{str(value)[:SHOWN]}'"
    return f"Value {shown} at '{where}' failed to satisfy constraint: {rule}"


def _camel(name: str) -> str:
    return name[:1].lower() + name[1:]

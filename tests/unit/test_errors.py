"""The error tree: drawn as it is, with one stable code per class."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

from modelport import errors
from modelport.errors import ModelportError


def tree(root: type[ModelportError], depth: int = 0) -> Iterator[tuple[str, int]]:
    yield root.__name__, depth
    for child in root.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from tree(child, depth + 1)


def test_the_docstring_draws_the_tree() -> None:
    drawn = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.fullmatch(r"    ((?:│   |    |├── |└── )*)(\w+Error)", line)
        if match:
            drawn.append((match[2], len(match[1]) // 4))
    assert drawn == list(tree(ModelportError))


def test_every_class_has_a_code_of_its_own() -> None:
    codes = [
        cls.__dict__.get("code")
        for _, cls in inspect.getmembers(errors, inspect.isclass)
        if issubclass(cls, ModelportError)
    ]
    assert all(code and re.fullmatch(r"[a-z]+(-[a-z]+)*", code) for code in codes)
    assert len(codes) == len(set(codes))


def test_messages_name_the_facts() -> None:
    error = errors.PayloadTooLargeError(7_000_000, 6_291_456, "the request body", "use S3")
    assert "7,000,000" in error.message
    assert "6,291,456" in error.message
    assert "use S3" in error.message
    assert str(errors.VersionInUseError("m", 3, ["b", "a"])).endswith("by a, b")


def test_a_timeout_the_router_set_is_not_blamed_on_the_models_own() -> None:
    assert "longer --timeout" in errors.ModelTimeoutError("m", 1, 26.9).hint
    for limit_s in (errors.ROUTER_LIMIT_S, 60):
        hint = errors.ModelTimeoutError("m", 1, limit_s).hint
        assert "longer --timeout" not in hint
        assert "more --memory" in hint
        assert "27 s" in hint

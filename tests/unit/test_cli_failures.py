"""Every error class has an exit code, and reads the same for people and machines."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator

import modelport.cli.failures as failures
import modelport.errors as errors
import pytest
from modelport.cli.console import Output
from modelport.cli.failures import exit_code
from modelport.client.errors import error_class
from modelport.errors import ModelportError


def classes(root: type[ModelportError]) -> Iterator[type[ModelportError]]:
    yield root
    for child in root.__subclasses__():
        yield from classes(child)


ALL = [c for c in classes(ModelportError) if c.__module__ in (errors.__name__, failures.__name__)]
BRANCHES = {
    errors.InvalidInputError: 2,
    errors.NotFoundError: 3,
    errors.ConflictError: 4,
    errors.BackendError: 5,
    errors.IntegrityError: 6,
}


@pytest.mark.parametrize("kind", ALL)
def test_an_error_exits_with_the_code_of_its_branch(kind: type[ModelportError]) -> None:
    expected = next((code for base, code in BRANCHES.items() if issubclass(kind, base)), 1)
    assert exit_code(kind.__new__(kind)) == expected


def test_an_error_of_no_branch_is_unexpected() -> None:
    assert exit_code(ZeroDivisionError("x")) == 1


@pytest.mark.parametrize(
    ("status", "code"),
    [(400, 2), (401, 1), (403, 1), (404, 3), (409, 4), (413, 2), (415, 2), (429, 5), (500, 5),
     (501, 2), (503, 5), (504, 5)],
)  # fmt: skip
def test_an_error_answer_exits_by_its_status(status: int, code: int) -> None:
    assert exit_code(error_class(status)(status, "no")) == code


def output(*, as_json: bool) -> tuple[Output, io.StringIO, io.StringIO]:
    out, err = io.StringIO(), io.StringIO()
    return Output(out, err, {}, as_json), out, err


def test_an_error_is_one_line_what_and_one_line_hint() -> None:
    writer, out, err = output(as_json=False)
    writer.failure(errors.NoVersionDeployedError("magika"), debug=False)
    assert out.getvalue() == ""
    assert err.getvalue().splitlines() == [
        "error: no version of model magika is deployed",
        "hint: modelport deploy magika:VERSION",
    ]


def test_an_error_is_one_json_document() -> None:
    writer, out, err = output(as_json=True)
    writer.failure(errors.ModelNotFoundError("nope"), debug=False)
    assert json.loads(out.getvalue()) == {
        "error": {
            "code": "model-not-found",
            "message": "Could not find any versions of model nope",
            "hint": "",
        }
    }
    assert err.getvalue() == ""


def test_a_bug_is_told_without_its_traceback_unless_debugging() -> None:
    for debug in (False, True):
        writer, _, err = output(as_json=False)
        try:
            raise KeyError("surprise")
        except KeyError as error:
            writer.failure(error, debug=debug)
        assert ("Traceback" in err.getvalue()) is debug
        assert "KeyError" in err.getvalue()

"""The command documents itself: help, examples and the common options of every verb."""

from __future__ import annotations

import inspect
import re

import pytest
import typer.main
from modelport.cli.app import EPILOG, VERBS, create_app
from modelport.cli.failures import EXIT_CODES

FIXED = {
    *("publish", "list", "show", "deploy", "undeploy", "route", "promote", "rollback"),
    *("invoke", "log", "status"),
}
COMMANDS = typer.main.get_command(create_app()).commands  # type: ignore[attr-defined]
NAMES = [name for name, *_ in VERBS]


def test_the_verbs_are_the_ones_people_know() -> None:
    assert set(NAMES) == FIXED
    assert set(COMMANDS) == FIXED


@pytest.mark.parametrize("name", NAMES)
def test_every_command_says_what_it_does_in_a_sentence(name: str) -> None:
    first = COMMANDS[name].help.split("\n\n")[0]
    assert first[0].isupper()
    assert first.endswith(".")
    assert len(first) <= 90


@pytest.mark.parametrize("name", NAMES)
def test_every_command_has_examples_of_itself(name: str) -> None:
    examples = [line for line in COMMANDS[name].epilog.splitlines() if "$ " in line]
    assert examples
    assert all(f"modelport {name}" in line for line in examples)


@pytest.mark.parametrize("name", NAMES)
def test_every_command_speaks_json_and_debugs(name: str) -> None:
    options = {option for parameter in COMMANDS[name].params for option in parameter.opts}
    assert {"--json", "--debug", "--bucket"} <= options


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_has_help(name: str) -> None:
    silent = [p.name for p in COMMANDS[name].params if not getattr(p, "help", "")]
    assert not silent


@pytest.mark.parametrize(("name", "function"), [(name, verb) for name, _, verb, _ in VERBS])
def test_help_is_the_functions_docstring(name: str, function: object) -> None:
    flat = " ".join((inspect.getdoc(function) or "").split())
    assert " ".join(COMMANDS[name].help.replace("\\[", "[").split()) == flat


def test_every_exit_code_is_documented() -> None:
    documented = {int(code) for code in re.findall(r"(?<!\S)(\d)  \w", EPILOG)}
    assert documented == {0, *EXIT_CODES.values()}

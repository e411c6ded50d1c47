"""The command documents itself: help, examples and the common options of every verb."""

from __future__ import annotations

import inspect
import re
import shlex

import pytest
import typer.main
from modelport.cli.app import EPILOG, create_app
from modelport.cli.failures import EXIT_CODES
from modelport.cli.verbs import GROUPS, VERBS

FIXED = {
    *("publish", "list", "show", "deploy", "undeploy", "route", "promote", "rollback"),
    *("invoke", "log", "status", "build", "image show", "image base", "export kubernetes"),
    *("export bundle", "evaluate", "evaluations", "replay"),
    *(f"jobs {verb}" for verb in ("list", "show", "wait", "cancel", "retry")),
    *("protect", "proposals", "approve", "reject"),
    *("tag", "describe", "diff", "export version", "import", "copy", "verify", "gc"),
    *(f"traffic {verb}" for verb in ("show", "sticky", "version-header", "rule")),
    *("traffic fallback", "traffic shadow"),
    *(f"rollout {verb}" for verb in ("start", "status", "pause", "resume", "abort", "tick")),
}
TOP = typer.main.get_command(create_app()).commands  # type: ignore[attr-defined]
COMMANDS = {
    name: command
    for top, found in TOP.items()
    for name, command in (
        [(f"{top} {verb}", command) for verb, command in found.commands.items()]
        if hasattr(found, "commands")
        else [(top, found)]
    )
}
FUNCTIONS = {name: function for name, _, function, _ in VERBS} | {
    f"{noun} {verb}": function for noun, _, _, verbs in GROUPS for verb, function, _ in verbs
}
NAMES = list(FUNCTIONS)


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


@pytest.mark.parametrize(("name", "function"), FUNCTIONS.items())
def test_help_is_the_functions_docstring(name: str, function: object) -> None:
    flat = " ".join((inspect.getdoc(function) or "").split())
    assert " ".join(COMMANDS[name].help.replace("\\[", "[").split()) == flat


@pytest.mark.parametrize("noun", [noun for noun, *_ in GROUPS])
def test_a_noun_says_what_its_verbs_are_about(noun: str) -> None:
    assert TOP[noun].help.endswith(".")
    assert len(TOP[noun].help) <= 90


def test_every_exit_code_is_documented() -> None:
    documented = {int(code) for code in re.findall(r"(?<!\S)(\d)  \w", EPILOG)}
    assert documented == {0, *EXIT_CODES.values()}


@pytest.mark.parametrize("name", NAMES)
def test_every_example_is_one_that_the_command_takes(name: str) -> None:
    lines = [line.partition("$ ")[2] for line in COMMANDS[name].epilog.splitlines()]
    for line in filter(None, (typed(line) for line in lines)):
        words = shlex.split(line)[1 + len(name.split()) :]
        COMMANDS[name].make_context(name, words)  # raises what is wrong with it


def typed(line: str) -> str:
    """The part of a shell line that calls the command."""
    calls = (part.strip() for part in re.split(r" [|>] ", line))
    return next((part for part in calls if part.startswith("modelport ")), "")

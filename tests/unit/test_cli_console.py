"""What a terminal sees: bars, spinners and colours; and what nobody but a terminal sees."""

from __future__ import annotations

import io
import os
import pty
import select
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

import pytest
from modelport.cli.console import Output, facts, harmless, size, table
from modelport.errors import BackendError, InvalidInputError
from rich.console import Console


@contextmanager
def terminal() -> Iterator[tuple[TextIO, int]]:
    """A real pseudo-terminal: the side to write to, the side to read from."""
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as stream:
        yield stream, ours
    os.close(ours)


def shown(stream: TextIO, side: int) -> str:
    stream.flush()
    seen = b""
    while select.select([side], [], [], 0.2)[0]:
        seen += os.read(side, 1 << 16)
    return seen.decode()


ENVIRON = {"TERM": "xterm-256color", "COLUMNS": "120"}


def test_a_terminal_sees_a_bar_per_file() -> None:
    with terminal() as (stream, side):
        output = Output(io.StringIO(), stream, ENVIRON)
        with output.transfers() as progress:
            progress("model.onnx", 0, 100)
            progress("model.onnx", 100, 100)
        seen = shown(stream, side)
    assert "model.onnx" in seen
    assert "100/100 bytes" in seen


def test_a_terminal_sees_how_far_the_work_is() -> None:
    with terminal() as (stream, side):
        output = Output(io.StringIO(), stream, ENVIRON)
        with output.working("deploying magika:1") as tell:
            tell("3/8 Function")
            output.note("by the way")
        seen = shown(stream, side)
    assert "deploying magika:1" in seen


def test_a_line_goes_above_the_bars_not_through_them() -> None:
    with terminal() as (stream, side):
        output = Output(io.StringIO(), stream, ENVIRON)
        with output.transfers() as progress:
            progress("model.onnx", 50, 100)
            output.note("waiting for a registry", style="")
        seen = shown(stream, side)
    assert "\nwaiting for a registry" in seen or "\x1b[2Kwaiting for a registry" in seen


def test_nobody_looking_means_plain_lines() -> None:
    err = io.StringIO()
    output = Output(io.StringIO(), err, {})
    with output.working("deploying magika:1") as tell, output.transfers() as progress:
        tell("3/8 Function")
        progress("model.onnx", 1, 2)
    assert err.getvalue() == "deploying magika:1\n  3/8 Function\n"


def test_machines_are_told_nothing_on_the_way() -> None:
    out, err = io.StringIO(), io.StringIO()
    output = Output(out, err, {}, as_json=True)
    with output.working("deploying") as tell, output.transfers() as progress:
        tell("3/8")
        progress("model.onnx", 1, 2)
        output.note("by the way")
    assert (out.getvalue(), err.getvalue()) == ("", "")


@pytest.mark.parametrize(("more", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_colours_are_for_terminals_that_want_them(more: dict[str, str], coloured: bool) -> None:
    with terminal() as (stream, side):
        Output(io.StringIO(), stream, {**ENVIRON, **more}).note("careful", style="red")
        seen = shown(stream, side)
    assert ("\x1b[31m" in seen) is coloured
    assert "careful" in seen


def test_a_terminal_is_not_flooded_with_bytes() -> None:
    with terminal() as (stream, side):
        err = io.StringIO()
        Output(stream, err, ENVIRON).raw(b"\x00\x01")
        stream.write("end")
        assert shown(stream, side) == "end"
    assert "redirect" in err.getvalue()


def test_a_table_takes_brackets_as_they_are() -> None:
    out = io.StringIO()
    Output(out, io.StringIO(), {}).result({}, lambda c: c.print(table(("A",), [("[bold]x",)])))
    assert "[bold]x" in out.getvalue()


COPIED = "curl 'http://127.0.0.1:8080/v1/models/magika:1:predict' --data-binary @FILE " + "x" * 80


@pytest.mark.parametrize("environ", [{"TERM": "xterm", "COLUMNS": "80"}, {}])
def test_what_is_copied_from_a_terminal_has_no_line_break(environ: dict[str, str]) -> None:
    with terminal() as (stream, side):
        output = Output(stream, stream, environ)
        output.result({}, lambda c: c.print(facts([("try it", COPIED), ("next", COPIED)])))
        output.result({}, lambda c: c.print(f"next: {COPIED}", style="dim"))
        output.note(COPIED)
        output.failure(BackendError(COPIED, hint=COPIED), debug=False)
        seen = shown(stream, side)
    assert seen.count(COPIED) == 6


def test_a_pipe_gets_whole_cells_and_whole_lines() -> None:
    out = io.StringIO()
    output = Output(out, io.StringIO(), {})
    output.result({}, lambda c: c.print(table(("A", "B"), [(COPIED, COPIED)])))
    output.result({}, lambda c: c.print(facts([("try it", COPIED)])))
    assert out.getvalue().count(COPIED) == 3
    assert out.getvalue().splitlines()[-1] == f"try it {COPIED}"


def test_what_was_there_already_has_no_speed() -> None:
    with terminal() as (stream, side):
        with Output(io.StringIO(), stream, ENVIRON).transfers() as progress:
            progress("deps layer", 100, 100)
        seen = shown(stream, side)
    assert "100/100 bytes" in seen
    assert "?" not in seen.replace("\x1b[?", "")


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (3_200_000, "3.2 MB"),
        (5 * 10**12, "5000.0 GB"),
    ],
)
def test_sizes_are_for_people(count: int, text: str) -> None:
    assert size(count) == text


def test_a_strangers_text_cannot_steer_the_terminal() -> None:
    hostile = "cat\x1b[2J\x07\r\x9b31mdog\nline"
    assert harmless(hostile) == "cat␛[2J␇␍�31mdog\nline"
    console = Console(file=io.StringIO(), width=80)
    console.print(table((hostile,), [(hostile,)]), facts([("class", hostile)]))
    assert not {"\x1b", "\x07", "\x9b"} & set(console.file.getvalue())  # type: ignore[attr-defined]
    stderr = io.StringIO()
    output = Output(io.StringIO(), stderr, {})
    output.note(hostile)
    output.failure(InvalidInputError(hostile, hint=hostile), debug=False)
    assert stderr.getvalue().count("cat␛[2J␇") == 3
    assert not {"\x1b", "\x07", "\x9b"} & set(stderr.getvalue())

"""What people and machines see: results on standard output, everything else on standard error.

With ``--json`` standard output carries exactly one JSON document and nothing is written beside it
unless the command fails in a way only ``--debug`` explains. Decides nothing; knows no command.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TextIO

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    Task,
    TextColumn,
    TransferSpeedColumn,
)
from rich.table import Table
from rich.text import Text

from modelport.errors import ModelportError

#: What would move a terminal's cursor or change its colours, drawn as a picture of it: names,
#: labels and messages come from strangers.
_CONTROLS = {
    code: chr(0x2400 + code) if code < 0x20 else "\ufffd"
    for code in (*range(0x20), *range(0x7F, 0xA0))
    if code not in (0x09, 0x0A)
}
#: So wide that no cell of a table is ever folded for a program to read.
WIDTH_WITHOUT_TERMINAL = 10_000


def _console(stream: TextIO, environ: Mapping[str, str], *, live: bool = False) -> Console:
    """A console that leaves wrapping to the terminal: what is copied from it has no line break.

    Only what is drawn again and again (``live``) has to fit.
    """
    tty = stream.isatty()
    return Console(
        file=stream,
        force_terminal=tty,
        no_color=not tty or bool(environ.get("NO_COLOR")),
        highlight=False,
        emoji=False,
        markup=False,
        soft_wrap=not live,
        width=None if tty else WIDTH_WITHOUT_TERMINAL,
        _environ=environ,
    )


@dataclass(frozen=True)
class Output:
    """Where a command writes; ``as_json`` chooses between people and machines."""

    stdout: TextIO
    stderr: TextIO
    environ: Mapping[str, str]
    as_json: bool = False
    #: What is being drawn again and again right now: lines go above it, not through it.
    _drawn: list[Console] = field(default_factory=list, repr=False)

    def result(self, document: Any, render: Callable[[Console], None]) -> None:
        """Write the command's one result: the document, or its rendering for people."""
        if self.as_json:
            self.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
        else:
            render(_console(self.stdout, self.environ))
        self.stdout.flush()

    def line(self, document: Any) -> None:
        """Write one of many documents, each on a line of its own."""
        self.stdout.write(json.dumps(document, ensure_ascii=False) + "\n")
        self.stdout.flush()

    @contextmanager
    def redrawn(self) -> Iterator[Callable[[Callable[[int, bool], RenderableType]], None]]:
        """A callback that draws over what it drew last, on standard output while the block runs.

        It is given what to draw for a width in columns, and whether only ASCII can be shown.
        """
        from rich.live import Live  # one command draws so

        console = _console(self.stdout, self.environ, live=True)
        with Live(console=console, auto_refresh=False) as live, self._drawing(console):

            def draw(drawn: Callable[[int, bool], RenderableType]) -> None:
                live.update(drawn(console.width, console.options.ascii_only), refresh=True)

            yield draw

    def raw(self, body: bytes) -> None:
        """Write bytes that are no text to standard output, unless that is a terminal."""
        if self.stdout.isatty():
            self.note("the answer is binary: redirect it into a file")
            return
        self.stdout.flush()
        self.stdout.buffer.write(body)
        self.stdout.buffer.flush()

    def note(self, text: str, style: str = "dim") -> None:
        """Tell people what is going on; machines are not told."""
        if not self.as_json:
            console = self._drawn[-1] if self._drawn else _console(self.stderr, self.environ)
            console.print(Text(harmless(text), style=style), soft_wrap=True)

    def failure(self, error: BaseException, *, debug: bool) -> None:
        """Report an error: one line what, one line what to do; a traceback only when debugging."""
        code, message, hint = described(error)
        if debug:
            traceback.print_exception(error, file=self.stderr)
        if self.as_json:
            body = {"error": {"code": code, "message": message, "hint": hint}}
            self.stdout.write(json.dumps(body, indent=2, ensure_ascii=False) + "\n")
            self.stdout.flush()
            return
        console = _console(self.stderr, self.environ)
        console.print(Text.assemble(("error: ", "bold red"), harmless(message)))
        if hint:
            console.print(Text.assemble(("hint: ", "bold cyan"), harmless(hint)))

    @contextmanager
    def transfers(self) -> Iterator[Callable[[str, int, int], None]]:
        """A progress callback that draws one bar per file while the block runs."""
        if self.as_json or not self.stderr.isatty():
            yield lambda what, done, total: None
            return
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), _Speed())
        console = _console(self.stderr, self.environ, live=True)
        with Progress(*columns, console=console) as progress, self._drawing(console):
            yield _Bars(progress)

    @contextmanager
    def working(self, title: str) -> Iterator[Callable[[str], None]]:
        """Show that something long is going on; the callback says how far it is."""
        if self.as_json:
            yield lambda text: None
        elif not self.stderr.isatty():
            self.note(title)
            yield lambda text: self.note(f"  {text}")
        else:
            console = _console(self.stderr, self.environ, live=True)
            with console.status(Text(title)) as status, self._drawing(console):
                yield lambda text: status.update(Text(f"{title} · {text}"))

    @contextmanager
    def _drawing(self, console: Console) -> Iterator[None]:
        self._drawn.append(console)
        try:
            yield
        finally:
            self._drawn.pop()


class _Speed(TransferSpeedColumn):
    """Bytes per second; nothing where they are not known, as of what was there already."""

    def render(self, task: Task) -> Text:
        """The cell of one bar."""
        return super().render(task) if task.finished_speed or task.speed else Text()


class _Bars:
    """One progress bar per thing being transferred."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, Any] = {}

    def __call__(self, what: str, done: int, total: int) -> None:
        if what not in self._tasks:
            self._tasks[what] = self._progress.add_task(what, total=total)
        self._progress.update(self._tasks[what], completed=done, total=total)


def described(error: BaseException) -> tuple[str, str, str]:
    """Code, message and hint of any error."""
    if isinstance(error, ModelportError):
        # What an API said of its own error is worth more than that it said one.
        return getattr(error, "remote_code", "") or error.code, error.message, error.hint
    said = str(error).strip() or type(error).__name__
    return (
        "unexpected",
        f"{type(error).__name__}: {said}",
        "run it again with --debug for the traceback",
    )


def table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """A plain table: no box, bold headers."""
    grid = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    for header in headers:
        grid.add_column(harmless(header), overflow="fold")
    for row in rows:
        grid.add_row(*(Text(harmless(str(cell))) for cell in row))
    return grid


def harmless(text: str) -> str:
    """Text whose control characters a terminal shows instead of obeying."""
    return text.translate(_CONTROLS)


def facts(pairs: Iterable[tuple[str, object]]) -> Text:
    """Names and values, one pair a line; pairs without a value are left out.

    No table: a value in it would be folded at the terminal's width, and could not be copied.
    """
    told = [
        (name, harmless(str(value))) for name, value in pairs if value not in (None, "", (), [])
    ]
    width = max((len(name) for name, _ in told), default=0) + 1
    lines = []
    for name, value in told:
        below = value.replace("\n", "\n" + " " * width)
        lines.append(Text.assemble((name.ljust(width), "bold"), below))
    return Text("\n").join(lines)


def size(count: int) -> str:
    """A byte count for people: 3.2 MB."""
    if count < 1000:
        return f"{count} B"
    power = 3 if count >= 1_000_000_000 else 2 if count >= 1_000_000 else 1
    return f"{count / 1000**power:.1f} {('kB', 'MB', 'GB')[power - 1]}"


def short(digest: str) -> str:
    """The part of a digest that people compare: sha256:0123456789ab."""
    return digest[: len("sha256:") + 12]

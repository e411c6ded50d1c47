"""The ``modelport`` command, and the one place that builds the world its verbs act on.

Only `main` reads the process environment and creates clients. `run` is the whole command with
everything passed in: arguments in, exit code out.
"""

from __future__ import annotations

import inspect
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, TextIO

import httpx
import typer

from modelport import __version__
from modelport.cli.cloud import Aws
from modelport.cli.console import Output
from modelport.cli.failures import (
    INTERRUPTED,
    INVALID,
    InterruptedRunError,
    InvalidUsageError,
    exit_code,
)
from modelport.cli.lineage import commit_of
from modelport.cli.local_cloud import explained
from modelport.cli.session import World
from modelport.cli.verbs import GROUPS, VERBS

CALL_TIMEOUT_S = 310

#: The base of everything typer raises about arguments; typer itself exports only this one leaf.
USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[1]

HELP = """
A model file in, a versioned HTTPS service on AWS out, with nothing to keep running.

[bold]publish[/bold] a model, [bold]deploy[/bold] a version, [bold]invoke[/bold] it by number, then
move callers with [bold]route[/bold], [bold]promote[/bold] and [bold]rollback[/bold].
"""

EPILOG = """
[bold]Environment[/bold]
  MODELPORT_BUCKET       the registry's bucket
  MODELPORT_ENDPOINT     the API's URL
  MODELPORT_PAYLOADS_BUCKET, MODELPORT_JOBS_QUEUE_URL
                         where jobs are kept and queued
  MODELPORT_DEPLOYMENTS  the desired state; else deployments.toml
  MODELPORT_USER         who changes are logged as; else the AWS caller
  MODELPORT_CDK          the cdk command
  MODELPORT_CACHE        keeps image layers; else ~/.cache/modelport
  MODELPORT_LOGS         where its whole output goes; else .local/logs
  MODELPORT_DEBUG        show tracebacks
  NO_COLOR               no colours
  AWS_*                  credentials, region, AWS_ENDPOINT_URL

[bold]Exit codes[/bold]
  0  ok                  3  not found
  1  unexpected failure  4  conflict
  2  invalid input       5  a backend or the registry failed or is away
                         6  stored bytes are not what they should be
"""


def create_app() -> typer.Typer:
    """The typer application with every verb; its context object must be a `World`."""
    app = typer.Typer(
        name="modelport",
        help=HELP,
        epilog=EPILOG,
        no_args_is_help=True,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    for name, panel, function, examples in VERBS:
        _add(app, name, function, examples, panel)
    for noun, panel, about, verbs in GROUPS:
        group = typer.Typer(name=noun, help=about, no_args_is_help=True, rich_markup_mode="rich")
        for name, function, examples in verbs:
            _add(group, name, function, examples, None)
        app.add_typer(group, rich_help_panel=panel)
    return app


def _add(
    app: typer.Typer,
    name: str,
    function: Callable[..., None],
    examples: Sequence[str],
    panel: str | None,
) -> None:
    epilog = "\n".join(["[bold]Examples[/bold]", *(f"  $ {_plain(e)}" for e in examples)])
    app.command(name, help=_reflowed(function), epilog=epilog, rich_help_panel=panel)(function)


def run(arguments: Sequence[str], world: World) -> int:
    """Run one command line in a world; returns the exit code and never raises."""
    debug = "--debug" in arguments or bool(world.environ.get("MODELPORT_DEBUG"))
    output = Output(world.stdout, world.stderr, world.environ, "--json" in arguments)
    try:
        code: Any = create_app()(
            list(arguments), prog_name="modelport", standalone_mode=False, obj=world
        )
    except USAGE_ERROR as error:
        return _usage(error, output)
    except Exception as error:
        told = explained(error, world.environ)
        output.failure(told, debug=debug)
        return exit_code(told)
    if code == INTERRUPTED:  # What typer makes of Ctrl-C.
        output.failure(InterruptedRunError(), debug=debug)
    return code if isinstance(code, int) else 0


def process_world(stdout: TextIO | None = None) -> World:
    """The world of this process; ``stdout`` replaces its own standard output."""
    aws = Aws(os.environ)
    return World(
        environ=os.environ,
        folder=Path.cwd(),
        stdin=sys.stdin.buffer,
        stdout=stdout or sys.stdout,
        stderr=sys.stderr,
        registry=aws.registry,
        elsewhere=aws.elsewhere,
        identity=aws.identity,
        outputs=aws.outputs,
        credentials=aws.credentials,
        region=lambda: aws.region,
        container_login=aws.container_login,
        download=aws.download,
        jobs=aws.jobs,
        commit=commit_of,
        observations=aws.observations,
        http=lambda: httpx.Client(timeout=httpx.Timeout(CALL_TIMEOUT_S, connect=10)),
    )


def main() -> None:
    """The console script: build the world from this process, run, exit."""
    # Stopped is stopped, whoever asks: what a command began is put back on either signal.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(run(sys.argv[1:], process_world()))


def _usage(error: Exception, output: Output) -> int:
    said = getattr(error, "format_message", error.__str__)()
    if not said.strip():
        return INVALID  # A bare command: typer has printed the help.
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "modelport"
    output.failure(InvalidUsageError(said, hint=f"see: {command} --help"), debug=False)
    return INVALID


def _reflowed(function: Callable[..., None]) -> str:
    """A function's docstring with each paragraph on one line, for the terminal to wrap."""
    paragraphs = inspect.getdoc(function) or ""
    return _plain("\n\n".join(" ".join(p.split()) for p in paragraphs.split("\n\n")))


def _plain(text: str) -> str:
    """Text that rich's markup leaves as it is."""
    return text.replace("[", "\\[")


def _version(value: bool) -> None:
    if value:
        typer.echo(f"modelport {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    pass


if __name__ == "__main__":
    main()

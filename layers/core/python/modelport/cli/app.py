"""The ``modelport`` command: its verbs, and the one place that builds the world they act on.

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
from modelport.cli import (
    approving,
    building,
    calling,
    cleaning,
    comparing,
    deploying,
    evaluating,
    export,
    history,
    jobs,
    listing,
    policy,
    publishing,
    replaying,
    rollouts,
    tagging,
    traffic,
    transfer,
)
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

PUBLISHING, RUNNING, MOVING, LOOKING = "Publish", "Run", "Move traffic", "Look"
KEEPING = "Keep the registry"
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

#: Every verb in the order of the help: its name, panel, function and examples.
VERBS: tuple[tuple[str, str, Callable[..., None], tuple[str, ...]], ...] = (
    (
        "publish",
        PUBLISHING,
        publishing.publish,
        (
            "modelport publish model.onnx --name magika",
            "modelport publish ./bundle -n magika --metric accuracy=0.98 -m 'retrained on May'",
        ),
    ),
    (
        "deploy",
        RUNNING,
        deploying.deploy,
        ("modelport deploy magika:3", "modelport deploy magika:3 --memory 3008 --timeout 10"),
    ),
    (
        "build",
        RUNNING,
        building.build,
        (
            "modelport build magika:3",
            "modelport build magika:3 --to ghcr.io/me/magika:3 --platform linux/arm64",
            "modelport build magika:3 --layout ./image --budget 500MB",
        ),
    ),
    ("undeploy", RUNNING, deploying.undeploy, ("modelport undeploy magika:2",)),
    (
        "invoke",
        RUNNING,
        calling.invoke,
        (
            "modelport invoke magika --data report.pdf",
            "modelport invoke magika@stable --data inputs.npz --output outputs.npz",
            "modelport invoke magika:3 --data '{\"bytes\": [[1, 2, 3]]}'",
            "modelport invoke magika:3 --data '{\"instances\": [[1, 2, 3]]}'",
            "cat request.json | modelport invoke magika@canary --data - --protocol v2 --json",
            "modelport invoke magika --data film.npz --later",
        ),
    ),
    (
        "replay",
        RUNNING,
        replaying.replay,
        (
            "modelport replay magika --goldens --to 4",
            "modelport replay magika --requests calls.jsonl --from 3 --to 4 --limit 1000",
        ),
    ),
    (
        "evaluate",
        RUNNING,
        evaluating.evaluate,
        (
            "modelport evaluate magika:3 --data test.csv --task classification",
            "modelport evaluate magika:4 -d s3://sets/test.npz --task classification --compare"
            " stable --report ./report",
            "modelport evaluate ./bundle -d all.csv --task regression --labels price --k-fold 5",
        ),
    ),
    (
        "route",
        MOVING,
        traffic.route,
        (
            "modelport route magika canary=4",
            "modelport route magika stable=3:90,4:10 -m 'ten percent to 4'",
            "modelport route magika canary=",
        ),
    ),
    (
        "promote",
        MOVING,
        traffic.promote,
        (
            "modelport promote magika:4",
            "modelport promote magika:4 --alias canary",
            "modelport promote magika:4 --require 'f1>=0.92' --no-worse-than stable",
        ),
    ),
    (
        "rollback",
        MOVING,
        traffic.rollback,
        ("modelport rollback magika", "modelport rollback magika --alias canary -m 'drift'"),
    ),
    (
        "protect",
        MOVING,
        approving.protect,
        ("modelport protect magika", "modelport protect magika --alias prod --lift"),
    ),
    ("proposals", MOVING, approving.proposals, ("modelport proposals magika",)),
    (
        "approve",
        MOVING,
        approving.approve,
        ("modelport approve magika stable -m 'numbers look right'",),
    ),
    ("reject", MOVING, approving.reject, ("modelport reject magika stable",)),
    (
        "list",
        LOOKING,
        listing.list_,
        (
            "modelport list",
            "modelport list magika --metric 'accuracy>=0.9' --since 30d",
            "modelport list --tag team=vision --deployed --json",
        ),
    ),
    (
        "show",
        LOOKING,
        listing.show,
        ("modelport show magika", "modelport show magika:3", "modelport show magika@canary"),
    ),
    (
        "diff",
        LOOKING,
        comparing.diff,
        ("modelport diff magika:3 magika:4", "modelport diff magika@stable magika@canary --json"),
    ),
    (
        "evaluations",
        LOOKING,
        evaluating.evaluations,
        (
            "modelport evaluations magika:3",
            "modelport evaluations magika:3 20260102T030405678901-0123456789ab --json",
        ),
    ),
    (
        "log",
        LOOKING,
        history.log,
        ("modelport log magika", "modelport log magika --verify --json"),
    ),
    (
        "status",
        LOOKING,
        history.status,
        ("modelport status", "modelport status magika --watch", "modelport status --json"),
    ),
    (
        "tag",
        KEEPING,
        tagging.tag,
        ("modelport tag magika:3 team=vision keep", "modelport tag magika:3 --remove keep"),
    ),
    ("describe", KEEPING, tagging.describe, ("modelport describe magika:3 'trained on May'",)),
    (
        "import",
        KEEPING,
        transfer.import_,
        (
            "modelport import magika-3.modelport",
            "modelport import magika-3.modelport --name magika-eu",
        ),
    ),
    (
        "copy",
        KEEPING,
        transfer.copy,
        ("modelport copy magika:3 --to s3://registry-of-production --profile production",),
    ),
    (
        "verify",
        KEEPING,
        cleaning.verify,
        ("modelport verify", "modelport verify magika --blobs", "modelport verify magika:3 --json"),
    ),
    (
        "gc",
        KEEPING,
        cleaning.gc,
        ("modelport gc", "modelport gc --keep 10 --older-than 90d --yes -m 'spring cleaning'"),
    ),
)

_JOB = "7c0e4a9f2b6d4c1e8a3f5d7b9c1e3a5f"
Verb = tuple[str, Callable[..., None], tuple[str, ...]]
#: Verbs of a noun: its name, panel and what it is about, and its verbs as above.
GROUPS: tuple[tuple[str, str, str, tuple[Verb, ...]], ...] = (
    (
        "jobs",
        RUNNING,
        "See to the calls that are answered later.",
        (
            (
                "list",
                jobs.list_,
                (
                    "modelport jobs list",
                    "modelport jobs list --model magika --state failed",
                    "modelport jobs list --dead --json",
                ),
            ),
            ("show", jobs.show, (f"modelport jobs show {_JOB}",)),
            ("wait", jobs.wait, (f"modelport jobs wait {_JOB} --output outputs.npz",)),
            ("cancel", jobs.cancel, (f"modelport jobs cancel {_JOB}",)),
            ("retry", jobs.retry, (f"modelport jobs retry {_JOB}",)),
        ),
    ),
    (
        "image",
        LOOKING,
        "Look into container images, and choose what they are built on.",
        (
            (
                "show",
                building.show,
                ("modelport image show magika:3", "modelport image show ghcr.io/me/magika:3"),
            ),
            (
                "base",
                building.base,
                ("modelport image base public.ecr.aws/lambda/python:3.12",),
            ),
        ),
    ),
    (
        "traffic",
        MOVING,
        "Say who stays where, who gets what, and who answers or looks on besides.",
        (
            ("show", policy.show, ("modelport traffic show magika",)),
            (
                "sticky",
                policy.sticky,
                ("modelport traffic sticky magika header:x-user cookie:session caller",),
            ),
            (
                "version-header",
                policy.version_header,
                ("modelport traffic version-header magika off",),
            ),
            (
                "rule",
                policy.rule,
                (
                    "modelport traffic rule add magika x-tenant=acme canary",
                    "modelport traffic rule remove magika x-tenant=acme",
                ),
            ),
            (
                "fallback",
                policy.fallback,
                (
                    "modelport traffic fallback magika stable=3",
                    "modelport traffic fallback magika stable=",
                ),
            ),
            (
                "shadow",
                policy.shadow,
                (
                    "modelport traffic shadow magika:4 --percent 10 --of stable",
                    "modelport traffic shadow magika:4 --off",
                ),
            ),
        ),
    ),
    (
        "rollout",
        MOVING,
        "Move traffic in steps that watch themselves, and go back by themselves.",
        (
            (
                "start",
                rollouts.start,
                (
                    "modelport rollout start magika:4",
                    "modelport rollout start magika:4 --steps 1,10,100 --every 10m"
                    " --guard 'errors<1%' --guard 'p95<=1.2x'",
                ),
            ),
            (
                "status",
                rollouts.status,
                ("modelport rollout status", "modelport rollout status magika --json"),
            ),
            ("pause", rollouts.pause, ("modelport rollout pause magika -m 'looking into it'",)),
            ("resume", rollouts.resume, ("modelport rollout resume magika",)),
            ("abort", rollouts.abort, ("modelport rollout abort magika -m 'wrong version'",)),
            ("tick", rollouts.tick, ("modelport rollout tick", "modelport rollout tick magika")),
        ),
    ),
    (
        "export",
        RUNNING,
        "Write what other tools need of a version.",
        (
            ("bundle", export.bundle, ("modelport export bundle magika:3 ./magika",)),
            (
                "version",
                transfer.version,
                ("modelport export version magika:3 magika-3.modelport",),
            ),
            (
                "kubernetes",
                export.kubernetes,
                (
                    "modelport export kubernetes magika:3 | kubectl apply -f -",
                    "modelport export kubernetes magika:3 --gpu 1 --output magika.yaml",
                ),
            ),
        ),
    ),
)


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

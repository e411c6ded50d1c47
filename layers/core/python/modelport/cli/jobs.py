"""``modelport jobs``: calls that are answered later, as whoever runs the environment sees them.

Reads and writes the environment's bucket, with your AWS rights, so it sees every caller's jobs. The
callers' own view is the API's: ``/jobs/ID``.
"""

from __future__ import annotations

import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from modelport.cli.console import table
from modelport.cli.failures import InvalidUsageError
from modelport.cli.session import COMMON, AsJson, Debug, DeploymentsFile, Session
from modelport.jobs.job import STATES, Job, moment
from modelport.refs import check_name

JobId = Annotated[str, typer.Argument(metavar="ID", help="The job.", show_default=False)]
Bucket = Annotated[
    str | None,
    typer.Option(
        "--bucket",
        help="The bucket that jobs are kept in. Without it: the platform stack's output."
        " [dim]\\[env: MODELPORT_PAYLOADS_BUCKET][/dim]",
        rich_help_panel=COMMON,
        show_default=False,
    ),
]
#: Documents read at a time; each is one request.
AT_ONCE = 16
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS


def list_(
    context: typer.Context,
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="NAME", help="Of this model.", show_default=False),
    ] = None,
    state: Annotated[
        str | None,
        typer.Option("--state", help=f"In this state: {', '.join(STATES)}.", show_default=False),
    ] = None,
    dead: Annotated[
        bool, typer.Option("--dead", help="Given up after too many tries, to be retried.")
    ] = False,
    limit: Annotated[
        int, typer.Option("--limit", min=1, help="At most so many, newest first.")
    ] = 50,
    bucket: Bucket = None,
    deployments: DeploymentsFile = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """List the jobs of an environment, newest first.

    Jobs are kept for a day. One that is queued for long waits for a worker, or for its version to
    have capacity: the last column says what is in its way.
    """
    session = Session.of(context, as_json, bucket, deployments)
    if model is not None:
        check_name(model)
    if state is not None and state not in STATES:
        raise InvalidUsageError(f"--state {state}: states are {', '.join(STATES)}")
    board = session.office.board

    def read(id: str) -> list[Job]:
        return list(board.jobs([id]))

    with session.output.working("reading jobs"), ThreadPoolExecutor(AT_ONCE) as pool:
        found = [job for jobs in pool.map(read, list(board.ids())) for job in jobs]
    fitting = [
        job
        for job in found
        if model in (None, job.model) and state in (None, job.state) and (job.dead or not dead)
    ]
    fitting.sort(key=lambda job: (-job.created, job.id))
    shown = fitting[:limit]

    def render(console: Console) -> None:
        if not shown:
            console.print("no jobs" if not found else f"none of {len(found):,} jobs")
            return
        head = ("job", "model", "state", "created", "attempts", "took", "remark")
        console.print(table(head, [_row(job) for job in shown]))
        if len(fitting) > limit:
            console.print(f"{len(fitting) - limit:,} more: --limit")

    session.output.result({"jobs": [described(job) for job in shown], "of": len(fitting)}, render)


def show(
    context: typer.Context,
    id: JobId,
    bucket: Bucket = None,
    deployments: DeploymentsFile = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Show all that is known of a job."""
    session = Session.of(context, as_json, bucket, deployments)
    _shown(session, session.office.board.get(id))


def cancel(
    context: typer.Context,
    id: JobId,
    bucket: Bucket = None,
    deployments: DeploymentsFile = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Cancel a job that is not over.

    A model that runs for it is not stopped; its answer is dropped.
    """
    session = Session.of(context, as_json, bucket, deployments)
    _shown(session, session.office.board.cancel(id))


def retry(
    context: typer.Context,
    id: JobId,
    bucket: Bucket = None,
    deployments: DeploymentsFile = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Have a job run once more that ended without an answer.

    Also one that is queued or running for too long, should its message be lost: a message more than
    needed does no harm.
    """
    session = Session.of(context, as_json, bucket, deployments)
    _shown(session, session.office.retry(id))


def wait(
    context: typer.Context,
    id: JobId,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Where to: .npz, .npy or .json for tensors, any file for a body.",
            show_default=False,
        ),
    ] = None,
    timeout: Annotated[
        float, typer.Option("--timeout", metavar="S", min=0.0, help="Seconds to wait at most.")
    ] = 900.0,
    bucket: Bucket = None,
    deployments: DeploymentsFile = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Wait for a job to be over and print its answer, as invoke would have."""
    from modelport.cli.call_answer import show_outputs, show_reply
    from modelport.client import Reply
    from modelport.client.conversation import error_of
    from modelport.client.messages import read_outputs
    from modelport.jobs.errors import JobFailedError, JobNotDoneError

    session = Session.of(context, as_json, bucket, deployments)
    office, destination = session.office, session.world.folder / output if output else None
    with session.output.working(f"waiting for job {id}"):
        job = office.awaited(id, timeout)
    if job.answer is None:
        if job.error is not None:
            raise JobFailedError(id, job.error.message, job.dead)
        raise JobNotDoneError(id, job.state)
    body = office.payloads.get(job.answer.key)
    if body is None:
        raise JobFailedError(id, "its answer is no longer there", False)
    body = _unpacked(id, body, job.answer.headers.get("content-encoding", ""))
    took = (job.ended or 0.0) - (job.started or 0.0)
    reply = Reply(job.answer.status, job.answer.headers, body, took, job.attempts)
    if not reply.ok:
        raise error_of(reply)
    if "inference-header-content-length" in reply.headers:
        show_outputs(session.output, read_outputs(reply, f"job {id}"), destination)
    else:
        show_reply(session.output, reply, destination)


def _unpacked(id: str, body: bytes, coding: str) -> bytes:
    """The answer as it was before its caller had it packed."""
    from modelport.jobs.errors import JobFailedError

    if coding not in ("gzip", "deflate"):
        return body
    try:
        return zlib.decompress(body, wbits=_GZIP_OR_ZLIB)
    except zlib.error as error:
        raise JobFailedError(id, f"its answer is no {coding}: {error}", False) from None


def described(job: Job) -> dict[str, Any]:
    """A job as JSON: what its caller sees, and what only an operator may."""
    return {
        **job.described(),
        "dead": job.dead,
        "path": job.asked.path,
        "request_id": job.asked.request_id,
        "bytes": job.asked.size,
        "owner": job.owner,
        "leased_until": moment(job.leased_until or None),
        "webhook": job.webhook,
        "told": job.told,
    }


def _shown(session: Session, job: Job) -> None:
    document = described(job)

    def render(console: Console) -> None:
        rows = [(name, _text(value)) for name, value in document.items() if value not in (None, "")]
        console.print(table(("", f"job {job.id}"), rows))

    session.output.result(document, render)


def _row(job: Job) -> tuple[str, ...]:
    problem = job.error or (None if job.over else job.trouble)
    took = "" if job.started is None or job.ended is None else f"{job.ended - job.started:.1f} s"
    status = f"answered {job.answer.status}" if job.answer and job.answer.status >= 400 else ""
    return (
        job.id,
        f"{job.model}:{job.version}",
        job.state,
        moment(job.created) or "",
        str(job.attempts),
        took,
        f"{problem.code}: {problem.message}" if problem else status,
    )


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(inner)}" for name, inner in value.items())
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)

"""``modelport invoke``: call a model as any client would, over HTTP."""

from __future__ import annotations

import base64
import json
import mimetypes
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal

import typer
from rich.console import Console
from rich.text import Text

from modelport.cli.caller import KEY_HEADER, Answer, Caller, Signer, path_of, protocol_of
from modelport.cli.failures import AwsUnavailableError, CallFailedError, InvalidUsageError
from modelport.cli.session import AsJson, Bucket, Debug, DeploymentsFile, Session
from modelport.errors import InvalidSettingError
from modelport.refs import parse_ref

CALL = "The call"
JSON_TYPE = "application/json"


def invoke(
    context: typer.Context,
    ref: Annotated[str, typer.Argument(metavar="NAME[:V|@ALIAS]", help="What to call.")],
    data: Annotated[
        str,
        typer.Option(
            "--data",
            "-d",
            metavar="FILE|-|JSON",
            help="The request's body: a file, standard input, or JSON as it stands.",
            rich_help_panel=CALL,
        ),
    ],
    content_type: Annotated[
        str | None,
        typer.Option(
            "--content-type",
            help="What the body is. Without it: JSON, or by the file's name.",
            rich_help_panel=CALL,
            show_default=False,
        ),
    ] = None,
    accept: Annotated[
        str, typer.Option("--accept", help="What the answer shall be.", rich_help_panel=CALL)
    ] = "*/*",
    key: Annotated[
        str | None,
        typer.Option(
            "--key",
            help="The caller's key in a split: the same key always gets the same version.",
            rich_help_panel=CALL,
            show_default=False,
        ),
    ] = None,
    protocol: Annotated[
        Literal["auto", "v1", "v2", "raw"],
        typer.Option(
            "--protocol",
            help="TensorFlow Serving / KServe V1, Open Inference V2, or the body as it is to"
            " /invocations. auto: by the body.",
            rich_help_panel=CALL,
        ),
    ] = "auto",
    endpoint: Annotated[
        str | None,
        typer.Option(
            "--endpoint",
            help="The API's URL. Without it: the platform stack's output."
            " [dim]\\[env: MODELPORT_ENDPOINT][/dim]",
            rich_help_panel=CALL,
            show_default=False,
        ),
    ] = None,
    bucket: Bucket = None,
    deployments: DeploymentsFile = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Call a model and print its answer.

    Without a selector the alias stable answers, or, when there is none, the highest deployed
    version. Requests are signed with your AWS credentials unless deployments.toml says
    auth = "none".
    """
    session = Session.of(context, as_json, bucket, deployments)
    target = parse_ref(ref)
    body, guessed = read_data(data, session.world.stdin, session.world.folder)
    kind = content_type or guessed
    spoken = protocol_of(kind, body) if protocol == "auto" else protocol
    headers = {"content-type": kind, "accept": accept, **({KEY_HEADER: key} if key else {})}
    url = endpoint or session.endpoint
    if not url:
        raise InvalidSettingError("MODELPORT_ENDPOINT", None, "nothing says where the API is")
    with session.world.http() as client:
        caller = Caller(url, client, _signer(session))
        answer = caller.post(path_of(target, spoken), body, headers)
    if not answer.ok:
        raise _failure(answer)
    _print(session, answer)


def read_data(text: str, stdin: BinaryIO, folder: Path) -> tuple[bytes, str]:
    """The body that ``--data`` names, and the content type it looks like."""
    if text == "-":
        body = stdin.read()
        return body, JSON_TYPE if _is_json(body) else "application/octet-stream"
    if _is_json(text.encode()):
        return text.encode(), JSON_TYPE
    path = folder / text.removeprefix("@")
    try:
        body = path.read_bytes()
    except (OSError, ValueError) as error:
        raise InvalidUsageError(
            f"--data {text[:80]!r} is neither JSON nor a file that can be read: {error}",
            hint="give a file, JSON in quotes, or - for standard input",
        ) from None
    return body, mimetypes.guess_type(path.name)[0] or "application/octet-stream"


def _is_json(body: bytes) -> bool:
    try:
        json.loads(body)
    except ValueError:
        return False
    return True


def _signer(session: Session) -> Signer | None:
    if session.deployments.environment.auth == "none":
        return None
    credentials = session.world.credentials()
    if credentials is None:
        raise AwsUnavailableError("the API's IAM auth", "there are no AWS credentials to sign with")
    return Signer(credentials, session.world.region())


def _failure(answer: Answer) -> CallFailedError:
    return CallFailedError(
        answer.status,
        answer.headers.get("x-modelport-error", ""),
        answer.problem,
        answer.headers.get("x-modelport-request-id", ""),
    )


def _print(session: Session, answer: Answer) -> None:
    kind = answer.headers.get("content-type", "")
    session.output.note(_summary(answer, kind))
    text = _text(answer.body)
    document = {
        "status": answer.status,
        **answer.served_by,
        "duration_ms": round(answer.duration_ms, 1),
        "content_type": kind,
        **_body(answer.body, text),
    }
    if text is None and not session.output.as_json:
        session.output.raw(answer.body)
        return

    def render(console: Console) -> None:
        console.print(Text(_pretty(text or "")))

    session.output.result(document, render)


def _summary(answer: Answer, kind: str) -> str:
    by = answer.served_by
    who = f"{by.get('model', '?')}:{by.get('version', '?')}"
    route = f" · {by['route']}" if "route" in by else ""
    size = f" · {len(answer.body):,} bytes of {kind}" if kind != JSON_TYPE else ""
    return f"{who}{route} · {answer.status} in {answer.duration_ms:.0f} ms{size}"


def _text(body: bytes) -> str | None:
    try:
        return body.decode()
    except UnicodeDecodeError:
        return None


def _body(body: bytes, text: str | None) -> dict[str, Any]:
    if text is None:
        return {"base64": base64.b64encode(body).decode("ascii")}
    try:
        return {"body": json.loads(text)}
    except ValueError:
        return {"body": text}


def _pretty(text: str) -> str:
    try:
        document = json.loads(text)
    except ValueError:
        return text
    flat = json.dumps(document, ensure_ascii=False)
    return flat if len(flat) <= 100 else json.dumps(document, indent=2, ensure_ascii=False)

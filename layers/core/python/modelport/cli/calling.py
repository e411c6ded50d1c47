"""``modelport invoke``: call a model as any client would, over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelport.cli.call_data import JSON_TYPE, Asked, Given, arrays_of, protocol_of, read_data
from modelport.cli.failures import AwsUnavailableError, InvalidUsageError
from modelport.cli.session import AsJson, Bucket, Debug, DeploymentsFile, Session
from modelport.errors import InvalidSettingError, ModelportError, NotSupportedError
from modelport.refs import parse_ref

if TYPE_CHECKING:
    from modelport.client import Job, Model, Signer
    from modelport.client.paths import Protocol

CALL = "The call"
ANSWER = "The answer"
#: API Gateway ends no request later than after 300 s.
TIMEOUT_S = 310.0


def invoke(
    context: typer.Context,
    ref: Annotated[str, typer.Argument(metavar="NAME[:V|@ALIAS]", help="What to call.")],
    data: Annotated[
        str,
        typer.Option(
            "--data",
            "-d",
            metavar="FILE|-|JSON",
            help="What to send: a file, standard input, or JSON as it stands.",
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
        str,
        typer.Option(
            "--accept", help="What the answer to a body shall be.", rich_help_panel=ANSWER
        ),
    ] = "*/*",
    outputs: Annotated[
        list[str] | None,
        typer.Option(
            "--only",
            metavar="OUTPUT",
            help="An output to send back; may be repeated. Without it: all.",
            rich_help_panel=ANSWER,
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Where to: .npz, .npy or .json for tensors, any file for a body.",
            rich_help_panel=ANSWER,
            show_default=False,
        ),
    ] = None,
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
        Asked,
        typer.Option(
            "--protocol",
            help="TensorFlow Serving / KServe V1, Open Inference V2, or the body as it is to"
            " /invocations. auto: by the body.",
            rich_help_panel=CALL,
        ),
    ] = "auto",
    timeout: Annotated[
        float,
        typer.Option(
            "--timeout",
            metavar="S",
            min=0.001,
            help="Seconds for the call with all its attempts.",
            rich_help_panel=CALL,
        ),
    ] = TIMEOUT_S,
    compress: Annotated[
        bool,
        typer.Option(
            "--gzip", help="Compress what is sent and what comes back.", rich_help_panel=CALL
        ),
    ] = False,
    later: Annotated[
        bool,
        typer.Option(
            "--later",
            help="Print the job that will have the answer; wait for it with: jobs wait.",
            rich_help_panel=CALL,
        ),
    ] = False,
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
    version.

    Tensors go in binary: a .npz file with an array for each input, a .npy file for a model with one
    input, or JSON that names each input, such as '{"x": [[1, 2]]}'. Numbers of JSON take the dtype
    that the model declares; arrays keep theirs. A table shows of each output its datatype, its
    shape and how it begins; --json and --output have all of it.

    Everything else goes as it is: JSON in the form of TensorFlow Serving ("instances", "inputs"),
    of Open Inference V2 or of MLflow ("dataframe_split" …) to where it belongs, any other file to
    the model's inference.py. What is larger than the API takes is uploaded beside it.

    Requests are signed with your AWS credentials unless deployments.toml says auth = "none". What
    fails in passing (no connection, 429, 502, 503) is tried again, up to three times.
    """
    # Imported here: numpy and the client take longer to load than other commands to run.
    from modelport.cli.call_answer import check_destination, show_outputs, show_reply
    from modelport.client import Client, Retries
    from modelport.client.paths import path_of

    session = Session.of(context, as_json, bucket, deployments)
    target = parse_ref(ref)
    given = read_data(data, session.world.stdin, session.world.folder)
    url = endpoint or session.endpoint
    if not url:
        raise InvalidSettingError("MODELPORT_ENDPOINT", None, "nothing says where the API is")
    destination = session.world.folder / output if output else None
    with session.world.http() as http:
        client = Client(
            url,
            auth=signer(session),
            timeout=timeout,
            retries=Retries(),
            compression="gzip" if compress else None,
            http=http,
        )
        model = client.model(target)
        spoken, tensors = _understood(given, content_type, protocol, model)
        check_destination(destination, tensors=tensors is not None)
        if tensors is not None:
            if later:
                _show_job(session, model.predict_later(tensors, outputs=outputs, key=key or ""))
                return
            found = model.predict(tensors, outputs=outputs, key=key or "")
            show_outputs(session.output, found, destination)
            return
        if outputs:
            raise InvalidUsageError(
                "--only is for tensors; a body that goes as it is says itself what it wants"
            )
        headers = {"content-type": content_type or given.content_type, "accept": accept}
        path = path_of(target, spoken)
        if later:
            _show_job(session, client.post_later(path, given.body, headers, key=key or ""))
            return
        reply = client.post(path, given.body, headers, key=key or "")
        show_reply(session.output, reply, destination)


def _show_job(session: Session, job: Job) -> None:
    """Print the id, alone on its line; raises where the API answered at once, having no jobs."""
    if not job.id:
        raise NotSupportedError("--later", "this API has no jobs: it answered at once")
    wait = f"modelport jobs wait {job.id}"
    session.output.note(f"its answer: {wait}")
    document = {"job": job.id, "wait": wait}
    session.output.result(document, lambda console: console.print(job.id))


def _understood(
    given: Given, content_type: str | None, protocol: Asked, model: Model
) -> tuple[Protocol, Any]:
    """The protocol to call in, and the tensors to pack, if the data are some."""
    if protocol == "raw" or content_type not in (None, JSON_TYPE):
        return (protocol if protocol != "auto" else "raw"), None
    arrays = arrays_of(given)
    if arrays is not None:
        if protocol == "v1":
            raise InvalidUsageError(
                "V1 has no form for numpy's files", hint="leave --protocol out: they go as V2"
            )
        return "v2", arrays
    written = protocol_of(given)
    if written is None and protocol != "v1" and (protocol == "v2" or _names_inputs(given, model)):
        return "v2", given.document
    return (protocol if protocol != "auto" else written or "raw"), None


def _names_inputs(given: Given, model: Model) -> bool:
    """Whether a JSON object names exactly the model's inputs; only the model can tell."""
    try:
        signature = model.signature()
    except ModelportError:  # The call itself fails in the same way, and says more.
        return False
    return {spec.name for spec in signature.inputs} == set(given.document)


def signer(session: Session) -> Signer | None:
    """What signs calls of the environment's API; None where it wants none."""
    if session.deployments.environment.auth == "none":
        return None
    from modelport.client import Signer

    credentials = session.world.credentials()
    if credentials is None:
        raise AwsUnavailableError("the API's IAM auth", "there are no AWS credentials to sign with")
    return Signer(credentials, session.world.region())

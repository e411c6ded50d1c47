"""What a command has to hand: the outside world as passed in, and its settings resolved.

`World` is built once by the composition root (`modelport.cli.app`) or by a test; nothing below it
reads the process environment or creates a client. `Session` is one command's view of it: option
beats environment variable beats what the deployed platform says of itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO, TextIO

import typer

from modelport.cli.console import Output
from modelport.cli.failures import AwsUnavailableError, InvalidUsageError
from modelport.deployments import Deployments, platform_stack
from modelport.errors import InvalidSettingError
from modelport.refs import parse_ref
from modelport.registry import Actor, Registry
from modelport.rollouts.errors import ObservationsUnavailableError

if TYPE_CHECKING:
    import httpx
    from botocore.credentials import Credentials

    from modelport.jobs.office import Office
    from modelport.rollouts.observations import Observations

COMMON = "Every command"

#: Options that every command has, written once.
AsJson = Annotated[
    bool,
    typer.Option(
        "--json",
        help="Write one JSON document to standard output, and nothing else.",
        rich_help_panel=COMMON,
    ),
]
Debug = Annotated[
    bool,
    typer.Option(
        "--debug",
        help="Show the traceback of an error. [dim]\\[env: MODELPORT_DEBUG][/dim]",
        rich_help_panel=COMMON,
    ),
]
Bucket = Annotated[
    str | None,
    typer.Option(
        "--bucket",
        help="The registry's bucket. Without it: the platform stack's output."
        " [dim]\\[env: MODELPORT_BUCKET][/dim]",
        rich_help_panel=COMMON,
        show_default=False,
    ),
]
DeploymentsFile = Annotated[
    Path | None,
    typer.Option(
        "--deployments",
        help="The desired state. [dim]\\[env: MODELPORT_DEPLOYMENTS;"
        " default: deployments.toml][/dim]",
        rich_help_panel=COMMON,
        show_default=False,
    ),
]
Message = Annotated[
    str, typer.Option("--message", "-m", help="Why; kept in the log.", show_default=False)
]

#: Outputs of the platform stack that the command line reads.
BUCKET_OUTPUT = "BucketName"
ENDPOINT_OUTPUT = "ApiEndpoint"
PAYLOADS_OUTPUT = "PayloadsBucketName"
QUEUE_OUTPUT = "JobsQueueUrl"


def unobserved(environment: str) -> Observations:
    """The observations of a world that has none."""
    raise ObservationsUnavailableError(f"nothing observes environment {environment} here")


def _no_other_registry(bucket: str, prefix: str, profile: str | None) -> Registry:
    raise AwsUnavailableError("another registry", "there is no AWS here")


def _no_jobs(bucket: str, queue_url: str) -> Office:
    raise AwsUnavailableError(f"s3://{bucket}", "nothing here keeps jobs")


def _no_download(bucket: str, key: str, to: Path) -> None:
    raise AwsUnavailableError(f"s3://{bucket}/{key}", "nothing here reads S3")


@dataclass(frozen=True)
class World:
    """Everything the commands reach outside themselves, handed in."""

    environ: Mapping[str, str]
    folder: Path
    stdin: BinaryIO
    stdout: TextIO
    stderr: TextIO
    registry: Callable[[str], Registry]
    identity: Callable[[], str]
    outputs: Callable[[str], Mapping[str, str] | None]
    credentials: Callable[[], Credentials | None]
    http: Callable[[], httpx.Client]
    region: Callable[[], str]
    #: User and password of a container registry that AWS keeps; None for any other.
    container_login: Callable[[str], tuple[str, str] | None] = lambda registry: None
    #: The registry in another bucket, below a prefix, as an AWS profile sees it.
    elsewhere: Callable[[str, str, str | None], Registry] = _no_other_registry
    #: The git commit of a folder; "" where there is none.
    commit: Callable[[Path], str] = lambda folder: ""
    #: Writes an object of S3 (bucket, key) to a file.
    download: Callable[[str, str, Path], None] = _no_download
    #: The jobs of an environment, by their bucket and the URL of their queue.
    jobs: Callable[[str, str], Office] = _no_jobs
    #: What the versions of an environment did, as rollouts see it.
    observations: Callable[[str], Observations] = unobserved


@dataclass(frozen=True)
class Session:
    """One run of one command."""

    world: World
    output: Output
    bucket_option: str | None = None
    deployments_option: Path | None = None

    @classmethod
    def of(
        cls,
        context: typer.Context,
        as_json: bool,
        bucket: str | None = None,
        deployments: Path | None = None,
    ) -> Session:
        """The session of a typer context whose object is a `World`."""
        world: World = context.obj
        output = Output(world.stdout, world.stderr, world.environ, as_json)
        return cls(world, output, bucket, deployments)

    @cached_property
    def registry(self) -> Registry:
        """The registry in the bucket that option, environment or platform names."""
        return self.world.registry(self.bucket)

    @cached_property
    def bucket(self) -> str:
        """The registry's bucket; raises `InvalidSettingError` when nothing names one."""
        named = self.bucket_option or self.world.environ.get("MODELPORT_BUCKET")
        found = named or self.platform_output(BUCKET_OUTPUT)
        if not found:
            raise _missing("MODELPORT_BUCKET", "give --bucket, or deploy the platform first")
        return found

    @cached_property
    def office(self) -> Office:
        """The environment's jobs; raises `InvalidSettingError` when nothing says where they are."""
        named = self.bucket_option or self.world.environ.get("MODELPORT_PAYLOADS_BUCKET")
        bucket = named or self.platform_output(PAYLOADS_OUTPUT)
        queue = self.world.environ.get("MODELPORT_JOBS_QUEUE_URL")
        queue = queue or self.platform_output(QUEUE_OUTPUT)
        if not bucket or not queue:
            name = "JOBS_QUEUE_URL" if bucket else "PAYLOADS_BUCKET"
            raise _missing(f"MODELPORT_{name}", "set it, or deploy the platform first")
        return self.world.jobs(bucket, queue)

    @cached_property
    def endpoint(self) -> str | None:
        """The API's base URL, if anything names one."""
        named = self.world.environ.get("MODELPORT_ENDPOINT")
        return named or self.platform_output(ENDPOINT_OUTPUT)

    @cached_property
    def deployments_path(self) -> Path:
        """Where the desired state lies, or would lie."""
        named = self.deployments_option or self.world.environ.get("MODELPORT_DEPLOYMENTS")
        return self.world.folder / (named or "deployments.toml")

    @cached_property
    def observations(self) -> Observations:
        """What the versions of this environment did."""
        return self.world.observations(self.deployments.environment.name)

    @property
    def deployments(self) -> Deployments:
        """The desired state, read afresh."""
        return Deployments.load(self.deployments_path)

    @property
    def named(self) -> str | None:
        """What whoever acts wants to be called, if they say so: MODELPORT_USER."""
        return self.world.environ.get("MODELPORT_USER") or None

    def actor(self, message: str = "") -> Actor:
        """Who acts, from which commit: MODELPORT_USER, else the AWS caller, else the local user."""
        who = self.named or self.world.identity()
        return Actor(who, message, self.world.commit(self.world.folder))

    def platform_output(self, name: str) -> str | None:
        """What the platform's stack says under a name; None without a platform or AWS."""
        stack = platform_stack(self.deployments.environment.name)
        try:
            outputs = self.world.outputs(stack)
        except AwsUnavailableError:
            return None
        return (outputs or {}).get(name)


def _missing(name: str, problem: str) -> InvalidSettingError:
    error = InvalidSettingError(name, None, problem)
    error.hint = "locally: make up, then: source .local/env"
    return error


def version_ref(text: str) -> tuple[str, int]:
    """Parse NAME:VERSION, both needed."""
    ref = parse_ref(text)
    if ref.version is None:
        raise InvalidUsageError(
            f"{text!r} names no version", hint=f"write NAME:VERSION, such as {ref.name}:1"
        )
    return ref.name, ref.version

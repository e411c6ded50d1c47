"""``modelport deploy`` and ``undeploy``: change the desired state, then make it so with cdk.

``deployments.toml`` changes together with the stack: when cdk fails or is stopped, the file's entry
is put back as it was. Once cdk has succeeded the entry stays, whatever the registry says of it.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

from modelport.cli.cdk import Cdk, find_cdk
from modelport.cli.console import facts
from modelport.cli.desired import attributed, edited, entry_for, entry_of
from modelport.cli.failures import CdkFailedError, PlatformMissingError, ShadowInUseError
from modelport.cli.pinning import with_image
from modelport.cli.session import (
    AsJson,
    Bucket,
    Debug,
    DeploymentsFile,
    Message,
    Session,
    version_ref,
)
from modelport.deployments import (
    DeploymentEntry,
    platform_stack,
    version_stack,
    without_entry,
)
from modelport.errors import ROUTER_LIMIT_S, NotDeployedError, VersionInUseError
from modelport.goldens.forms import asked_of, requests
from modelport.manifest import Manifest
from modelport.refs import ModelRef
from modelport.routes import STABLE, Routes

SIZING = "What it runs on"
MAX_EXAMPLE_BYTES = 400
#: The output of a version's stack that says what its goldens came to.
VERIFIED_OUTPUT = "Verified"
VersionRef = Annotated[str, typer.Argument(metavar="NAME:V", help="The model and its version.")]


def deploy(
    context: typer.Context,
    ref: VersionRef,
    target: Annotated[
        Literal["lambda", "sagemaker"] | None,
        typer.Option(
            "--target",
            help="Where. Without it: as before, else lambda.",
            rich_help_panel=SIZING,
            show_default=False,
        ),
    ] = None,
    memory: Annotated[
        int | None,
        typer.Option(
            "--memory",
            metavar="MB",
            help="128 to 10240; CPU grows with it. Without it: as before, else 1769 (one vCPU).",
            rich_help_panel=SIZING,
            show_default=False,
        ),
    ] = None,
    timeout: Annotated[
        int | None,
        typer.Option(
            "--timeout",
            metavar="S",
            help=f"1 to 900; callers of the API wait {ROUTER_LIMIT_S:g} at most."
            f" Without it: as before, else {ROUTER_LIMIT_S:g}.",
            rich_help_panel=SIZING,
            show_default=False,
        ),
    ] = None,
    image: Annotated[
        str | None,
        typer.Option(
            "--image",
            metavar="URI",
            help="The container image, by digest. Without it: as before, else built and pushed.",
            rich_help_panel=SIZING,
            show_default=False,
        ),
    ] = None,
    instance_type: Annotated[
        str | None,
        typer.Option(
            "--instance-type",
            metavar="TYPE",
            help="Of a SageMaker endpoint, such as ml.g5.xlarge (GPU) or ml.c6i.large.",
            rich_help_panel=SIZING,
            show_default=False,
        ),
    ] = None,
    instances: Annotated[
        int | None,
        typer.Option(
            "--instances",
            metavar="N",
            help="How many of them. Without it: as before, else 1.",
            rich_help_panel=SIZING,
            show_default=False,
        ),
    ] = None,
    message: Message = "",
    bucket: Bucket = None,
    deployments: DeploymentsFile = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Run a version: write it into deployments.toml and deploy its stack.

    A version without an image, or whose image is gone, is built and pushed first, and so is one
    that moves to a GPU or away from it; the file names the image by digest from then on, so later
    code changes no version that runs.

    The stack sends a new version its golden requests before any caller can reach it; one that
    answers wrongly fails the deploy, and everything is put back. Aliases stay as they are. A model
    without the alias stable is answered by its highest deployed version: set stable to decide.

    Deploying a version again (memory, timeout, image) makes a new version of its function, which
    takes over once it has answered the goldens. A SageMaker endpoint is changed in place: its new
    instances take over when they are healthy, and the goldens are asked then.
    """
    session = Session.of(context, as_json, bucket, deployments)
    name, version = version_ref(ref)
    asked = {"target": target, "memory_mb": memory, "timeout_s": timeout, "image": image}
    endpoint = {"instance_type": instance_type, "instances": instances}
    manifest, entry, stack = deployed(session, name, version, asked, endpoint, message)
    _report_deployed(session, manifest, entry, stack)


def deployed(
    session: Session,
    name: str,
    version: int,
    asked: Mapping[str, Any],
    endpoint: Mapping[str, Any] | None = None,
    message: str = "",
) -> tuple[Manifest, DeploymentEntry, str]:
    """Deploy a version; its manifest, its entry in the file, and the name of its stack.

    ``asked`` and ``endpoint`` are settings of the entry, and of its SageMaker endpoint; None is not
    asked.
    """
    manifest = session.registry.manifest(name, version)
    before = session.deployments.entry(name, version)
    entry = entry_for(manifest, before, dict(asked), endpoint)
    environment = session.deployments.environment.name
    platform = platform_stack(environment)
    # Read before anything is written: without AWS or its platform there is nothing to begin.
    if session.world.outputs(platform) is None:
        raise PlatformMissingError(platform)
    cdk = _cdk(session)
    stack = version_stack(environment, name, version)
    given = asked.get("image") is not None
    entry = with_image(session, manifest, before, entry, given=given)
    entry = attributed(entry, before, session.actor(message))
    if entry.timeout_s > ROUTER_LIMIT_S:
        session.output.note(
            f"{name}:{version} may take {entry.timeout_s} s, but callers of the API are answered"
            f" 504 after {ROUTER_LIMIT_S:g} s",
            style="yellow",
        )
    with edited(session.deployments_path, before, entry):
        _run(session, cdk, "deploy", stack, f"deploying {name}:{version}")
    _verify(session, "deploy", name, version, stack, deployed=True)
    return manifest, entry, stack


def undeploy(
    context: typer.Context,
    ref: VersionRef,
    bucket: Bucket = None,
    deployments: DeploymentsFile = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Stop a version: destroy its stack and take it out of deployments.toml.

    Refuses, before touching anything, while an alias still names the version or an endpoint has it
    as its shadow. The version itself stays published and can be deployed again.
    """
    session = Session.of(context, as_json, bucket, deployments)
    name, version = version_ref(ref)
    stack = undeployed(session, name, version)
    document = {"model": name, "version": version, "stack": stack, "deployed": False}
    session.output.result(document, lambda c: c.print(f"{name}:{version} is no longer deployed"))


def undeployed(session: Session, name: str, version: int) -> str:
    """Stop a version; the name of the stack that is gone."""
    routes = _routes(session, name)
    users = routes.users_of(version)
    if users:
        raise VersionInUseError(name, version, users)
    if shadowed := session.deployments.shadowed_by(name, version):
        raise ShadowInUseError(name, version, shadowed)
    before = session.deployments.entry(name, version)
    running = routes.deployments.get(version)
    entry = before or (entry_of(name, running) if running else None)
    if entry is None:
        session.registry.manifest(name, version)  # or it never was published
        error = NotDeployedError(name, version, routes.deployments)
        error.hint = "there is nothing to undo; see what runs: modelport status"
        raise error
    stack = version_stack(session.deployments.environment.name, name, version)
    cdk = _cdk(session)
    # The app only knows the stacks of entries: one that lost its entry gets it back for this.
    with edited(session.deployments_path, before, entry):
        _run(session, cdk, "destroy", stack, f"undeploying {name}:{version}")
    without_entry(session.deployments_path, name, version)
    _verify(session, "destroy", name, version, stack, deployed=False)
    return stack


def _cdk(session: Session) -> Cdk:
    path = session.deployments_path
    environ = {
        **session.world.environ,
        "MODELPORT_DEPLOYMENTS": str(path.resolve()),
        "MODELPORT_BUCKET": session.bucket,
    }
    return find_cdk(environ, starts=(session.world.folder, path.parent))


def _run(session: Session, cdk: Cdk, verb: str, stack: str, title: str) -> None:
    with session.output.working(title) as tell:
        if verb == "deploy":
            cdk.deploy([stack], tell)
        else:
            cdk.destroy([stack], tell)


def _routes(session: Session, name: str) -> Routes:
    snapshot = session.registry.routes(name)
    return snapshot.routes if snapshot else Routes(name)


def _verify(
    session: Session, verb: str, name: str, version: int, stack: str, *, deployed: bool
) -> None:
    """Ask the registry, not cdk, whether it worked: a stack can succeed over a missing resource."""
    if (version in _routes(session, name).deployments) != deployed:
        problem = "did not register the version" if deployed else "left the version registered"
        raise CdkFailedError(verb, stack, [f"the stack succeeded but {problem}"], "cdk's own log")


def _report_deployed(
    session: Session, manifest: Manifest, entry: DeploymentEntry, stack: str
) -> None:
    name, version = entry.key
    routes = _routes(session, name)
    running = routes.deployments[version]
    unpinned = None if STABLE in routes.aliases else max(routes.deployments)
    endpoint = session.endpoint
    call = curl(endpoint, manifest, signed=_signed(session)) if endpoint else None
    verified = (session.world.outputs(stack) or {}).get(VERIFIED_OUTPUT)
    document = {
        "model": name,
        "version": version,
        "digest": manifest.digest,
        "target": running.target,
        "resource": running.resource,
        "stack": stack,
        "verified": verified,
        "memory_mb": entry.memory_mb,
        "timeout_s": entry.timeout_s,
        "image": entry.image,
        "endpoint": endpoint,
        "curl": call,
        # The version that callers without a selector reach for want of the alias stable.
        "unpinned": unpinned,
    }

    def render(console: Console) -> None:
        console.print(f"{name}:{version} is deployed: {running.target} {running.resource}")
        console.print(
            facts([("goldens", _lines(verified)), ("endpoint", endpoint), ("try it", call)])
        )
        console.print(f"next: modelport promote {name}:{version}", style="dim")

    session.output.result(document, render)
    if unpinned is not None:
        session.output.note(
            f"{name} has no alias {STABLE}: callers without a selector now reach version"
            f" {unpinned}; pin with: modelport promote {name}:{unpinned}",
            style="yellow",
        )


def curl(endpoint: str, manifest: Manifest, *, signed: str) -> str:
    """A command that calls the version, made from its goldens; ``signed`` is curl's auth part."""
    from modelport.client.paths import path_of  # with numpy beside it, which other commands lack

    ref = ModelRef(manifest.model, version=manifest.version)
    goldens = manifest.content.goldens
    if goldens and goldens[0].kind == "raw":
        kind = shlex.quote(f"content-type: {goldens[0].content_type}")
        url = endpoint.rstrip("/") + path_of(ref, "raw")
        return f"curl{signed} {shlex.quote(url)} -H {kind} --data-binary @FILE"
    url = endpoint.rstrip("/") + path_of(ref, "v1")
    return f"curl{signed} {shlex.quote(url)} -d {shlex.quote(_example(manifest))}"


def _lines(verified: str | None) -> str:
    """What the registrar found, a line for each of its parts."""
    return "\n".join((verified or "").split("; "))


def _signed(session: Session) -> str:
    if session.deployments.environment.auth != "iam":
        return ""
    who = '"$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY"'
    return f" --aws-sigv4 aws:amz:{session.world.region()}:execute-api --user {who}"


def _example(manifest: Manifest) -> str:
    for golden in manifest.content.goldens:
        for request in requests(golden, asked_of(manifest.content)):
            if request.form == "v1 columns" and len(request.body) <= MAX_EXAMPLE_BYTES:
                return request.body.decode()
    return "@request.json"

"""``deployments.toml``: the desired state, in git. Which versions run, where, how large.

Parsed here for the command line and the CDK app; edits keep the rest of the file, comments
included. Also the one home of the names that AWS resources get. Not shipped to functions.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import tomlkit
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from tomlkit.exceptions import TOMLKitError

from modelport.errors import ROUTER_LIMIT_S, InvalidSettingError
from modelport.refs import MODEL_NAME
from modelport.sagemaker_settings import SageMaker

__all__ = [
    "DeploymentEntry",
    "Deployments",
    "Environment",
    "SageMaker",
    "function_name",
    "platform_stack",
    "version_stack",
    "with_base_image",
    "with_entry",
    "without_entry",
]

MAX_RESOURCE_NAME = 63
_BY_DIGEST = r"^[^@\s]+@sha256:[0-9a-f]{64}$"
_HOST = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*(:[0-9]{1,5})?$"
_STRICT = ConfigDict(extra="forbid", frozen=True)


class Environment(BaseModel):
    """What all deployments of one environment share."""

    model_config = _STRICT

    # No hyphen: it ends the environment's part of every resource name, so that a permission for
    # "modelport-dev-*" cannot reach an environment that would be called "dev-eu".
    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9]{0,11}$")] = "dev"
    auth: Literal["iam", "none"] = "iam"
    api: Literal["http", "rest"] = "http"
    #: Send generated text while it is made; only a REST API can, and not on every cloud.
    streaming: bool = True
    function_environment: dict[str, str] = Field(default_factory=dict)
    #: Image of the entries that name none; only a cloud that ignores the image can use one for all.
    image: str | None = None
    #: What images are built on, by digest: …@sha256:…; any with Python 3.11 or newer and glibc.
    base_image: Annotated[str, Field(pattern=_BY_DIGEST)] | None = None
    #: The same for endpoints with a GPU: one with CUDA in it.
    cuda_base_image: Annotated[str, Field(pattern=_BY_DIGEST)] | None = None
    #: Where built images go, HOST/NAME without tag; not said = the platform's repository in ECR.
    image_repository: str | None = None
    #: What the zip functions (router, registrar) run on; their layer is built for it.
    python: Annotated[str, Field(pattern=r"^3\.1[1-4]$")] = "3.12"
    architecture: Literal["arm64", "x86_64"] = "arm64"
    #: SnapStart of the router; not said = wherever Lambda has it (Python 3.12 and later).
    snapstart: bool | None = None
    #: Keep bucket, key and logs when the platform stack is deleted. Undeploy endpoints before a
    #: change of it: SageMaker fixes the name of their logs, and kept ones are made another way.
    retain: bool = True
    log_retention_days: Literal[1, 3, 7, 14, 30, 60, 90, 180, 365, 731, 1827, 3653] = 30
    #: ARN of the SNS topic that alarms notify; alarms without one only show on the dashboard.
    alarm_topic: Annotated[str, Field(pattern=r"^arn:[^:]+:sns:")] | None = None
    #: How many jobs run beside each other; the others wait in their queue.
    jobs_at_once: Annotated[int, Field(ge=2, le=1_000)] = 10
    #: Hosts that may be told of finished jobs; a job that names another is refused.
    webhook_hosts: tuple[Annotated[str, Field(pattern=_HOST)], ...] = ()
    #: Where model versions find what is too large for an event; not said = the bucket's address.
    payloads_url: Annotated[str, Field(pattern=r"^https?://[^/\s]+/(\S+/)?$")] | None = None
    throttle_rate: Annotated[int, Field(gt=0)] = 100
    throttle_burst: Annotated[int, Field(gt=0)] = 200

    @property
    def streams(self) -> bool:
        """Whether generated text leaves while it is made."""
        return self.streaming and self.api == "rest"

    @property
    def uses_snapstart(self) -> bool:
        """Whether the router is started from a snapshot."""
        return self.python != "3.11" if self.snapstart is None else self.snapstart


class DeploymentEntry(BaseModel):
    """One version that shall run."""

    model_config = _STRICT

    model: Annotated[str, Field(pattern=f"^{MODEL_NAME.pattern}$")]
    version: Annotated[int, Field(gt=0)]
    digest: str
    target: Literal["lambda", "sagemaker"] = "lambda"
    memory_mb: Annotated[int, Field(ge=128, le=10_240)] = 1769
    #: As long as the router waits for a model; callers of the API never see more than that.
    timeout_s: Annotated[int, Field(ge=1, le=900)] = int(ROUTER_LIMIT_S)
    image: str | None = None
    reserved_concurrency: Annotated[int, Field(ge=0)] | None = None
    #: Start the function from a snapshot, where the account has that for images.
    snapstart: bool = False
    sagemaker: SageMaker = SageMaker()
    #: Who wanted it so, from which git commit, and why: the model's log says it.
    by: str | None = None
    commit: str | None = None
    why: str | None = None

    @property
    def key(self) -> tuple[str, int]:
        return (self.model, self.version)


class Deployments(BaseModel):
    """The whole file."""

    model_config = _STRICT

    environment: Environment = Environment()
    deployment: tuple[DeploymentEntry, ...] = ()

    @property
    def deployments(self) -> tuple[DeploymentEntry, ...]:
        """The entries, in the file's order."""
        return self.deployment

    def entry(self, model: str, version: int) -> DeploymentEntry | None:
        """The entry of one version, if it has one."""
        return next((e for e in self.deployment if e.key == (model, version)), None)

    def shadowed_by(self, model: str, version: int) -> list[int]:
        """The versions whose entries name this one as their shadow."""
        return [
            entry.version
            for entry in self.deployment
            if entry.model == model
            and entry.sagemaker.shadow is not None
            and entry.sagemaker.shadow.version == version
        ]

    @classmethod
    def load(cls, path: Path) -> Deployments:
        """Read the file (a missing one is an empty one); raises `InvalidSettingError`."""
        return cls.parse(path.read_text() if path.exists() else "", path)

    @classmethod
    def parse(cls, text: str, path: Path) -> Deployments:
        """Parse the file's text; ``path`` only names it in errors."""
        try:
            loaded = cls.model_validate(tomlkit.parse(text).unwrap())
        except TOMLKitError as error:
            raise InvalidSettingError(str(path), "…", f"not TOML: {error}") from None
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise InvalidSettingError(f"{path}: {where}", first["input"], first["msg"]) from None
        keys = [entry.key for entry in loaded.deployment]
        for key in keys:
            if keys.count(key) > 1:
                raise InvalidSettingError(str(path), f"{key[0]}:{key[1]}", "it stands there twice")
        for entry in loaded.deployment:
            loaded._check_shadow(entry, path)
        return loaded

    def _check_shadow(self, entry: DeploymentEntry, path: Path) -> None:
        shadow = entry.sagemaker.shadow
        if shadow is None:
            return
        where = f"{path}: sagemaker.shadow.version of {entry.model}:{entry.version}"
        if shadow.version == entry.version:
            raise InvalidSettingError(where, shadow.version, "name another version")
        if self.entry(entry.model, shadow.version) is None:
            problem = f"{entry.model}:{shadow.version} has no entry in this file"
            raise InvalidSettingError(where, shadow.version, problem)


def with_entry(path: Path, entry: DeploymentEntry) -> None:
    """Add or replace one version's entry."""
    with _locked(path):
        document = _document(path)
        tables = document.setdefault("deployment", tomlkit.aot())
        fresh = tomlkit.table()
        for key, value in _values(entry).items():
            fresh[key] = value
        at = _position(tables, *entry.key)
        if at is None:
            tables.append(fresh)
        else:
            tables[at] = fresh
        _write(path, document)


def _values(entry: DeploymentEntry) -> dict[str, object]:
    """What is written of an entry; of its endpoint's settings only those that say something."""
    values: dict[str, object] = entry.model_dump(
        mode="json", exclude_none=True, exclude={"sagemaker"}
    )
    endpoint = entry.sagemaker.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
    if entry.target == "sagemaker":
        size = {"instance_type", "instances"}
        endpoint = {**entry.sagemaker.model_dump(include=size), **endpoint}
    return {**values, "sagemaker": endpoint} if endpoint else values


def without_entry(path: Path, model: str, version: int) -> None:
    """Remove one version's entry; nothing happens when there is none."""
    with _locked(path):
        document = _document(path)
        tables = document.get("deployment", [])
        at = _position(tables, model, version)
        if at is None:
            return
        del tables[at]
        if not tables:
            # An empty array of tables would be written inline, where no entry can follow.
            del document["deployment"]
        _write(path, document)


def with_base_image(
    path: Path, image: str, setting: Literal["base_image", "cuda_base_image"] = "base_image"
) -> None:
    """Say what images are built on from now on, by digest."""
    with _locked(path):
        document = _document(path)
        environment = document.setdefault("environment", tomlkit.table())
        environment[setting] = image
        _write(path, document)


def _position(tables: Sequence[Mapping[str, object]], model: str, version: int) -> int | None:
    keys = [(table["model"], table["version"]) for table in tables]
    return keys.index((model, version)) if (model, version) in keys else None


def function_name(environment: str, model: str, version: int) -> str:
    """The Lambda function of a version; also fits a SageMaker endpoint's 63 characters.

    A name too long for that keeps its start and gets a digest of the whole model name.
    """
    name = f"modelport-{environment}-{model}-v{version}"
    over = len(name) - MAX_RESOURCE_NAME
    if over <= 0:
        return name
    mark = hashlib.sha256(model.encode()).hexdigest()[:8]
    return f"modelport-{environment}-{model[: -(over + 9)]}-{mark}-v{version}"


def version_stack(environment: str, model: str, version: int) -> str:
    """The CloudFormation stack of a deployed version."""
    return function_name(environment, model, version)


def platform_stack(environment: str) -> str:
    """The CloudFormation stack everything in an environment shares."""
    return f"modelport-{environment}-platform"


def _document(path: Path) -> tomlkit.TOMLDocument:
    text = path.read_text() if path.exists() else ""
    Deployments.parse(text, path)
    return tomlkit.parse(text)


def _write(path: Path, document: tomlkit.TOMLDocument) -> None:
    text = tomlkit.dumps(document)
    Deployments.parse(text, path)
    path = path.resolve()  # a link stays one; what it points to changes
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as scratch:
        fresh = Path(scratch) / path.name
        fresh.write_text(text)
        if path.exists():
            shutil.copymode(path, fresh)
        os.replace(fresh, path)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Let one process at a time read, edit and write the file; the kernel frees a dead one's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = os.open(path.resolve().parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)

"""What the command's tests share: a terminal over a registry in memory, and a cdk that is a script.

Nothing is patched: the command gets its world passed in, and the fake cdk is a real program that
the real runner starts.
"""

from __future__ import annotations

import io
import json
import stat
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import httpx
from botocore.credentials import Credentials
from modelport.cli.app import run
from modelport.cli.console import Output
from modelport.cli.session import Session, World, unobserved
from modelport.jobs.office import Office
from modelport.manifest import Manifest
from modelport.registry import Actor, Registry
from modelport.registry.memory import MemoryRegistry
from modelport.rollouts.observations import Observations
from modelport.routes import Deployment

from tests.support.registry_world import make_draft

ADA = Actor("ada", "because")


@dataclass(frozen=True)
class Result:
    """What a command left behind."""

    code: int
    out: str
    err: str
    raw: bytes

    @property
    def json(self) -> Any:
        """Standard output as the one JSON document it must be."""
        return json.loads(self.out)


@dataclass
class Terminal:
    """Runs command lines; every collaborator can be exchanged before a run."""

    folder: Path
    registry: Registry = field(default_factory=MemoryRegistry)
    environ: dict[str, str] = field(
        default_factory=lambda: {"MODELPORT_BUCKET": "registry", "MODELPORT_USER": "ada"}
    )
    stacks: dict[str, Mapping[str, str]] = field(default_factory=dict)
    outputs: Callable[[str], Mapping[str, str] | None] | None = None
    identity: Callable[[], str] = lambda: "arn:aws:iam::1:user/eve"
    credentials: Credentials | None = None
    container_login: Callable[[str], tuple[str, str] | None] = lambda registry: None
    commit: Callable[[Path], str] = lambda folder: ""
    observations: Callable[[str], Observations] = unobserved
    office: Office | None = None
    stdin: bytes = b""
    buckets: list[str] = field(default_factory=list)

    def __call__(self, *arguments: str) -> Result:
        written, err = io.BytesIO(), io.StringIO()
        out = io.TextIOWrapper(written, "utf-8")
        code = run(arguments, self.world(out, err))
        out.flush()
        raw = written.getvalue()
        return Result(code, raw.decode("utf-8", "replace"), err.getvalue(), raw)

    def world(self, out: TextIO | None = None, err: TextIO | None = None) -> World:
        """Everything a command reaches outside itself."""
        return World(
            environ=self.environ,
            folder=self.folder,
            stdin=io.BytesIO(self.stdin),
            stdout=out or io.StringIO(),
            stderr=err or io.StringIO(),
            registry=self._open,
            identity=self.identity,
            outputs=self.outputs or self.stacks.get,
            credentials=lambda: self.credentials,
            http=lambda: httpx.Client(timeout=30),
            region=lambda: "eu-central-1",
            container_login=self.container_login,
            jobs=self._jobs,
            commit=self.commit,
            observations=self.observations,
        )

    def session(self) -> Session:
        """What a command that writes nowhere has to hand."""
        world = self.world()
        return Session(world, Output(world.stdout, world.stderr, self.environ))

    def ok(self, *arguments: str) -> Result:
        """Run a command that must succeed."""
        result = self(*arguments)
        assert result.code == 0, result.out + result.err
        return result

    def _jobs(self, bucket: str, queue_url: str) -> Office:
        self.buckets.append(bucket)
        assert self.office is not None
        return self.office

    def _open(self, bucket: str) -> Registry:
        self.buckets.append(bucket)
        return self.registry

    def published(self, model: str = "magika", versions: int = 1) -> list[Manifest]:
        """Publish versions of a model straight into the registry."""
        found = []
        for number in range(1, versions + 1):
            draft = make_draft(self.folder / "drafts" / model / str(number), model=bytes([number]))
            found.append(self.registry.publish(model, draft, who=ADA))
        return found

    def running(self, model: str = "magika", versions: int = 1) -> None:
        """Publish versions and register each as deployed."""
        for manifest in self.published(model, versions):
            register(self.registry, manifest)


def register(registry: Registry, manifest: Manifest) -> None:
    """Do what the registrar does at the end of a deploy."""
    name = f"modelport-dev-{manifest.model}-v{manifest.version}"
    deployment = Deployment(manifest.version, "lambda", name, manifest.digest, {"memory_mb": 1769})
    registry.change(
        manifest.model,
        lambda routes: routes.with_deployment(deployment),
        action="deploy",
        detail={"version": manifest.version},
        who=ADA,
    )


def repository(folder: Path) -> Path:
    """A folder that looks like a checkout: it has a CDK app."""
    (folder / "infra").mkdir(parents=True)
    (folder / "infra" / "app.py").write_text('"""A CDK app."""\n')
    return folder


def fake_cdk(folder: Path, body: str) -> Path:
    """A cdk command: a Python script that notes its arguments and then does ``body``."""
    path = folder / "fake-cdk"
    lines = [
        f"#!{sys.executable}",
        "import json, os, sys, time",
        "from pathlib import Path",
        "here = Path(__file__).parent",
        "noted = {'arguments': sys.argv[1:], 'cwd': os.getcwd(), 'environ': dict(os.environ)}",
        "with (here / 'calls.jsonl').open('a') as file:",
        "    file.write(json.dumps(noted) + '\\n')",
        body,
    ]
    path.write_text("\n".join(lines) + "\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def calls(folder: Path) -> list[dict[str, Any]]:
    """What the fake cdk in ``folder`` was called with."""
    path = folder / "calls.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

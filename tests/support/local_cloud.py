"""A local cloud for tests: started by the real command in a folder of its own, on a free port."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from modelport.cli.cdk import find_cdk
from modelport.deployments import DeploymentEntry, version_stack, with_entry

from tests.conftest import ROOT
from tests.support.turns import turn

SCRIPT = ROOT / "localstack" / "cloud.py"


class LocalCloud:
    """A running cloud: its environment, the command line and plain HTTP against it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.environment = {**os.environ, **read_environment(home / "env"), "NO_COLOR": "1"}
        self.endpoint = self.environment["MODELPORT_ENDPOINT"]
        self.http = httpx.Client(timeout=90)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a `modelport` command to its end, whatever that is."""
        return subprocess.run(
            [sys.executable, "-m", "modelport.cli", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=300,
        )

    def modelport(self, *arguments: str) -> Any:
        """Run a `modelport` command that must succeed; its JSON."""
        done = self.run(*arguments, "--json")
        assert done.returncode == 0, f"{shlex.join(arguments)}: {done.stdout}\n{done.stderr}"
        return json.loads(done.stdout)

    def refused(self, *arguments: str) -> tuple[int, dict[str, str]]:
        """Run a `modelport` command that must fail; its exit code and its error."""
        done = self.run(*arguments, "--json")
        assert done.returncode != 0, done.stdout
        assert "Traceback" not in done.stderr + done.stdout
        return done.returncode, json.loads(done.stdout)["error"]

    def deployed(self, *bundles: Path, model: str, **settings: Any) -> None:
        """Publish bundles as versions of a model and deploy all of them by one run of cdk."""
        desired = Path(self.environment["MODELPORT_DEPLOYMENTS"])
        stacks = []
        for bundle in bundles:
            made = self.modelport("publish", str(bundle), "--name", model)
            version, digest = made["version"], made["digest"]
            entry = DeploymentEntry(model=model, version=version, digest=digest, **settings)
            with_entry(desired, entry)
            stacks.append(version_stack(self.environment["MODELPORT_ENVIRONMENT"], model, version))
        cdk = find_cdk(self.environment, starts=[ROOT], logs=self.home / "logs")
        cdk.deploy(stacks, lambda line: None)

    def post(self, path: str, body: Any, **headers: str) -> httpx.Response:
        """POST JSON, or bytes as they are."""
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        if isinstance(body, bytes):
            names = {"content-type": "application/octet-stream"} | names
            return self.http.post(self.endpoint + path, content=body, headers=names)
        return self.http.post(self.endpoint + path, json=body, headers=names)

    def get(self, path: str) -> httpx.Response:
        return self.http.get(self.endpoint + path)

    def settled(self, model: str) -> None:
        """Wait until the router answers with the routes as they are now."""
        status = self.modelport("status")
        revision = next(m["revision"] for m in status["models"] if m["model"] == model)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            seen = self.get(f"/v2/models/{model}").headers.get("x-modelport-route", "")
            if seen.endswith(f"rev={revision}"):
                return
            time.sleep(0.1)
        raise AssertionError(f"the router still answers {seen}, not revision {revision}")


@contextmanager
def local_cloud(home: Path, engine: str, *options: str) -> Iterator[LocalCloud]:
    """Start a cloud, hand it out, and stop it whatever happened."""
    base = [sys.executable, str(SCRIPT), "--home", str(home)]
    with turn("up"):  # the first one installs the engine and the functions' layer
        up = subprocess.run(
            [*base, "up", "--engine", engine, "--port", "0", *options],
            capture_output=True,
            text=True,
            timeout=600,
        )
    try:
        assert up.returncode == 0, up.stdout + up.stderr
        running = LocalCloud(home)
        with running.http:
            yield running
    finally:
        down = subprocess.run([*base, "down"], capture_output=True, text=True, timeout=60)
    assert down.returncode == 0, down.stdout + down.stderr


def read_environment(path: Path) -> dict[str, str]:
    """The variables of an ``env`` file of `export NAME=value` lines."""
    words = (shlex.split(line) for line in path.read_text().splitlines())
    pairs = (parts[1].partition("=") for parts in words if parts[:1] == ["export"])
    return {name: value for name, _, value in pairs}

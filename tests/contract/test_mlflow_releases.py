"""MLflow's deployments with the functions behind the commands, and a cdk that is a script."""

from __future__ import annotations

from pathlib import Path

import pytest
from modelport.deployments import Deployments
from modelport.mlflow_models import CREATING, Releases, Settings, find_source
from modelport.registry import Snapshot
from modelport.registry.memory import MemoryRegistry
from modelport.routes import STABLE, Weighted

from tests.support import runtime_bundles as bundles
from tests.support.cli_world import ADA, Terminal, calls, fake_cdk, register, repository

IMAGE = "registry.invalid/digits@sha256:" + "0" * 64
MLMODEL = "flavors: {onnx: {data: model.onnx}, python_function: {}}\nrun_id: abc\n"


class RegistrarRegistry(MemoryRegistry):
    """A registry whose registrar does what cdk was called for."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder, self.seen = folder, 0

    def routes(self, model: str, *, etag: str | None = None) -> Snapshot | None:
        for call in calls(self.folder)[self.seen :]:
            self.seen += 1
            stack = next(a for a in call["arguments"] if a.startswith(f"modelport-dev-{model}-v"))
            version = int(stack.rpartition("-v")[2])
            if call["arguments"][0] == "deploy":
                register(self, self.manifest(model, version))
            else:
                self.change(
                    model,
                    lambda routes, version=version: routes.without_deployment(version),  # type: ignore[misc]
                    action="undeploy",
                    detail={},
                    who=ADA,
                )
        return super().routes(model, etag=etag)


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    folder = repository(tmp_path / "checkout")
    terminal = Terminal(folder, registry=RegistrarRegistry(folder))
    terminal.environ["MODELPORT_CDK"] = str(fake_cdk(folder, ""))
    terminal.stacks["modelport-dev-platform"] = {}
    return terminal


def logged(folder: Path, model: bytes) -> Path:
    folder.mkdir()
    (folder / "model.onnx").write_bytes(model)
    (folder / "MLmodel").write_text(MLMODEL)
    return folder


def test_a_model_is_created_updated_and_deleted(terminal: Terminal, tmp_path: Path) -> None:
    releases = Releases(terminal.session())
    config = {"image": IMAGE, "tune": "false", "memory_mb": "512"}
    settings = Settings.read(config, CREATING)
    first = find_source(logged(tmp_path / "first", bundles.DOUBLE), None)
    told = releases.create("digits", first, settings)
    assert (told["version"], told["target"], told["image"]) == (1, "lambda", IMAGE)
    manifest = terminal.registry.manifest("digits", 1)
    assert manifest.content.description == "MLflow model of run abc"
    assert manifest.lineage["mlflow"]["run_id"] == "abc"
    path = terminal.folder / "deployments.toml"
    assert Deployments.load(path).deployments[0].memory_mb == 512

    second = find_source(logged(tmp_path / "second", bundles.NEGATE), "onnx")
    assert releases.update("digits", second, settings)["version"] == 2
    snapshot = terminal.registry.routes("digits")
    assert snapshot is not None
    assert snapshot.routes.aliases[STABLE] == (Weighted(2),)

    releases.delete("digits")
    assert releases.listed() == []
    assert not Deployments.load(path).deployments
    verbs = [call["arguments"][0] for call in calls(terminal.folder)]
    assert verbs == ["deploy", "deploy", "destroy", "destroy"]

"""MLflow's deployments without MLflow: settings, sources, and what is published and deployed."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from modelport.cli.failures import InvalidUsageError
from modelport.cli.session import Session
from modelport.errors import InvalidNameError, InvalidSettingError, NotFoundError
from modelport.manifest import Manifest
from modelport.mlflow_models import (
    CREATING,
    LOCALLY,
    NameTakenError,
    Releases,
    Settings,
    Source,
    Work,
    find_source,
)
from modelport.routes import STABLE, Weighted

from tests.support.cli_world import ADA, Terminal, register
from tests.support.registry_world import make_draft


@dataclass
class Entry:
    target: str = "lambda"
    image: str | None = None


@dataclass
class Workshop:
    """Publishes for real, deploys by registering; notes what it was asked."""

    folder: Path
    asked: list[tuple[str, Any]] = field(default_factory=list)

    def work(self) -> Work:
        return Work(self.published, self.deployed, self.undeployed)

    def published(
        self, session: Session, path: Path, name: str, description: str | None, **rest: Any
    ) -> tuple[Manifest, bool]:
        self.asked.append(("publish", (path, description, rest)))
        count = len(self.asked)
        draft = make_draft(self.folder / str(count), model=bytes([count]))
        draft = replace(draft, lineage={**draft.lineage, **rest["origin"]})
        return session.registry.publish(name, draft, who=ADA), True

    def deployed(
        self, session: Session, name: str, version: int, asked: Any, endpoint: Any
    ) -> tuple[Manifest, Entry, str]:
        self.asked.append(("deploy", (name, version, asked, endpoint)))
        manifest = session.registry.manifest(name, version)
        register(session.registry, manifest)
        return manifest, Entry(), "the-stack"

    def undeployed(self, session: Session, name: str, version: int) -> str:
        self.asked.append(("undeploy", (name, version)))
        session.registry.change(
            name,
            lambda routes: routes.without_deployment(version),
            action="undeploy",
            detail={},
            who=ADA,
        )
        return "the-stack"


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path / "work")


@pytest.fixture
def releases(tmp_path: Path, workshop: Workshop) -> Releases:
    return Releases(Terminal(tmp_path).session(), workshop.work())


SOURCE = Source(Path("model.onnx"), {"mlflow": {"run_id": "abc"}}, "MLflow model of run abc")


def stable(releases: Releases) -> Any:
    snapshot = releases.session.registry.routes("digits")
    assert snapshot is not None
    return snapshot.routes.aliases.get(STABLE)


def test_create_publishes_deploys_and_points_the_alias(
    releases: Releases, workshop: Workshop
) -> None:
    settings = Settings.read({"memory_mb": "3008", "tune": "false"}, CREATING)
    told = releases.create("digits", SOURCE, settings)
    assert (told["name"], told["flavor"], told["version"]) == ("digits", "onnx", 1)
    assert json.loads(json.dumps(told)) == told
    (_, (path, description, rest)), (_, (name, version, asked, _)) = workshop.asked
    assert (path, description) == (Path("model.onnx"), "MLflow model of run abc")
    assert (rest["tune"], name, version, asked["memory_mb"]) == (False, "digits", 1, 3008)
    assert stable(releases) == (Weighted(1),)
    manifest = releases.session.registry.manifest("digits", 1)
    assert manifest.lineage["mlflow"] == {"run_id": "abc"}


def test_a_name_that_is_taken_is_refused(releases: Releases, workshop: Workshop) -> None:
    releases.create("digits", SOURCE, Settings())
    with pytest.raises(NameTakenError) as caught:
        releases.create("digits", SOURCE, Settings())
    assert "update" in caught.value.hint
    assert len(workshop.asked) == 2


def test_update_moves_the_alias_to_the_new_version(releases: Releases) -> None:
    releases.create("digits", SOURCE, Settings())
    assert releases.update("digits", SOURCE, Settings())["version"] == 2
    assert stable(releases) == (Weighted(2),)


def test_update_without_a_model_deploys_the_present_one_again(
    releases: Releases, workshop: Workshop
) -> None:
    releases.create("digits", SOURCE, Settings())
    releases.update("digits", None, Settings(memory_mb=512))
    assert workshop.asked[-1][1][1:3] == (
        1,
        {"target": None, "memory_mb": 512, "timeout_s": None, "image": None},
    )


def test_update_of_nothing_is_not_found(releases: Releases) -> None:
    with pytest.raises(NotFoundError):
        releases.update("digits", SOURCE, Settings())


def test_delete_takes_everything_down_and_may_be_said_twice(releases: Releases) -> None:
    releases.create("digits", SOURCE, Settings())
    releases.update("digits", SOURCE, Settings(alias="canary"))
    releases.delete("digits")
    assert releases.listed() == []
    releases.delete("digits")
    releases.delete("never-was")
    assert releases.create("digits", SOURCE, Settings())["version"] == 3


def test_list_and_get_tell_what_runs(releases: Releases) -> None:
    releases.create("digits", SOURCE, Settings())
    (listed,) = releases.listed()
    assert listed["name"] == "digits"
    assert listed["aliases"] == {"stable": [{"version": 1, "weight": 100.0}]}
    assert [each["version"] for each in listed["versions"]] == [1]
    assert releases.described("digits@stable")["versions"] == listed["versions"]
    with pytest.raises(NotFoundError):
        releases.described("other")


@pytest.mark.parametrize("name", ["My_Model", "a" * 41, ""])
def test_a_name_outside_the_grammar_is_told_what_is_allowed(releases: Releases, name: str) -> None:
    with pytest.raises(InvalidNameError, match="1 to 40 of a-z"):
        releases.create(name, SOURCE, Settings())


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"memory": "1"}, "allowed: alias, bucket"),
        ({"memory_mb": "lots"}, "a whole number from 128 to 10240"),
        ({"memory_mb": True}, "whole number"),
        ({"timeout_s": "0"}, "from 1 to 900"),
        ({"target": "batch"}, "lambda, sagemaker"),
        ({"tune": "maybe"}, "true, false"),
        ({"port": "80"}, "allowed"),
        ({"bucket": " "}, "empty"),
    ],
)
def test_a_config_that_cannot_be_used_is_refused(config: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidSettingError, match=said):
        Settings.read(config, CREATING)


def test_config_values_may_be_text_or_not() -> None:
    text = Settings.read({"instances": "2", "port": "0"}, CREATING | LOCALLY)
    assert text == Settings.read({"instances": 2, "port": 0}, CREATING | LOCALLY)
    assert Settings.read(None, CREATING) == Settings()


def mlmodel(folder: Path, **said: Any) -> Path:
    folder.mkdir()
    (folder / "MLmodel").write_text(yaml.safe_dump(said))
    return folder


def test_an_mlflow_model_in_the_onnx_flavor_is_found(tmp_path: Path) -> None:
    folder = mlmodel(
        tmp_path / "m",
        flavors={"onnx": {"data": "model.onnx"}, "python_function": {}},
        run_id="abc",
        utc_time_created="2026-01-01 00:00:00",
        signature={"inputs": "[]"},
        metadata={"team": "vision"},
    )
    source = find_source(folder, None)
    assert source.path == folder / "model.onnx"
    assert source.description == "MLflow model of run abc"
    assert source.origin["mlflow"] == {
        "run_id": "abc",
        "utc_time_created": "2026-01-01 00:00:00",
        "signature": {"inputs": "[]"},
        "metadata": {"team": "vision"},
    }


def test_a_bundle_is_one_without_mlflow(tmp_path: Path) -> None:
    assert find_source(tmp_path, "onnx") == Source(tmp_path)


@pytest.mark.parametrize(
    ("flavors", "flavor", "said"),
    [
        ({"sklearn": {}}, None, "no flavor onnx"),
        ({"sklearn": {}}, "sklearn", "'sklearn' cannot be deployed"),
        ({"onnx": {"data": "../model.onnx"}}, None, "not beside it"),
        ({"onnx": {"data": "/model.onnx"}}, None, "not beside it"),
        ({"onnx": {"data": 3}}, None, "not beside it"),
        ([], None, "no flavor onnx"),
    ],
)
def test_what_cannot_be_deployed_is_told_with_the_way_out(
    tmp_path: Path, flavors: Any, flavor: str | None, said: str
) -> None:
    with pytest.raises(InvalidUsageError, match=said):
        find_source(mlmodel(tmp_path / "m", flavors=flavors), flavor)


def test_a_record_that_is_no_yaml_is_refused(tmp_path: Path) -> None:
    (tmp_path / "MLmodel").write_text("a: [")
    with pytest.raises(InvalidUsageError, match="cannot be read"):
        find_source(tmp_path, None)

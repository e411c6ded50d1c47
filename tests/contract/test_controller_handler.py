"""The controller's function, as its schedule calls it, on a registry in an S3 that speaks HTTP.

Metrics come from a fake; the adapter to CloudWatch has its own tests.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from modelport.errors import InvalidSettingError
from modelport.registry import Actor, Registry, keys
from modelport.registry.s3 import S3Registry
from modelport.rollouts import operations
from modelport.rollouts.controller import Controller
from modelport.routes import Routes, Weighted
from modelport.settings import ControllerSettings

from functions.controller.handler import build, scheduled
from tests.support.registry_world import BUCKET, s3_client, s3_process
from tests.support.rollout_world import START, Recorded, deployed, rollout

SCHEDULED = {"source": "aws.events", "detail-type": "Scheduled Event", "detail": {}}


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with s3_process(tmp_path_factory.mktemp("s3")) as endpoint:
        client = s3_client(endpoint)
        client.create_bucket(Bucket=BUCKET)
        yield S3Registry(client, BUCKET)


def begin(registry: Registry, model: str) -> None:
    """A model with a rollout of version 2 in its first step."""
    routes = replace(deployed(1, 2, stable=1), model=model)
    first = Routes(model).changed(routes, action="begin", detail={}, who="test", at="then")
    assert registry.store.create(keys.routes(model), first.to_bytes())
    plan = rollout(at=START)
    registry.change(
        model,
        lambda found: operations.start(found, plan),
        action="rollout-start",
        detail={"alias": "stable"},
        who=Actor("ada"),
    )


def current(registry: Registry, model: str) -> Routes:
    found = registry.routes(model)
    assert found is not None
    return found.routes


def observed(**candidate: float) -> Recorded:
    observations = Recorded()
    for minute in range(7):
        at = START + timedelta(minutes=minute)
        observations.write(1, at, requests=900, errors=9)
        observations.write(2, at, **{"requests": 100, "errors": 1, **candidate})
    return observations


def look(
    registry: Registry, observations: Recorded
) -> tuple[dict[str, int], list[Mapping[str, Any]]]:
    lines: list[Mapping[str, Any]] = []

    def now() -> datetime:
        return START + timedelta(minutes=8)

    handle = scheduled(Controller(registry, observations, now=now), lines.append)
    summary = handle(SCHEDULED, None)
    json.dumps([summary, *lines])  # what Lambda makes of the answer, and CloudWatch of the lines
    return summary, lines


def test_a_schedule_moves_every_rollout_and_logs_each_decision(registry: Registry) -> None:
    begin(registry, "one")
    begin(registry, "two")
    summary, lines = look(registry, observed())
    assert summary == {"rollouts": 2, "acted": 2, "held": 0, "failed": 0}
    assert {(line["event"], line["model"], line["action"]) for line in lines} == {
        ("rollout", "one", "advance"),
        ("rollout", "two", "advance"),
    }
    assert lines[0]["evidence"][0]["guard"] == "errors"
    assert current(registry, "one").aliases["stable"] == (Weighted(1, 95.0), Weighted(2, 5.0))
    summary, lines = look(registry, observed())
    assert summary == {"rollouts": 2, "acted": 0, "held": 2, "failed": 0}
    assert "s to go" in lines[0]["reason"]
    summary, lines = look(registry, observed(errors=80))
    assert summary == {"rollouts": 2, "acted": 2, "held": 0, "failed": 0}
    assert current(registry, "two").aliases["stable"] == (Weighted(1),)
    change = next(iter(registry.log("two")))
    assert (change.who, change.action) == ("modelport-controller", "rollout-roll-back")
    assert look(registry, observed())[0]["rollouts"] == 0
    assert json.loads(registry.store.get(keys.ACTIVE_ROLLOUTS).body)["models"] == {}  # type: ignore[union-attr]


def test_one_model_that_cannot_be_read_is_counted_and_the_others_go_on(registry: Registry) -> None:
    begin(registry, "sound")
    begin(registry, "broken")
    document = registry.store.get(keys.routes("broken"))
    assert document is not None
    assert registry.store.replace(keys.routes("broken"), b"{", document.etag)
    summary, lines = look(registry, observed())
    assert summary == {"rollouts": 2, "acted": 1, "held": 0, "failed": 1}
    assert {line["model"]: line["error"] for line in lines} == {
        "broken": "integrity",
        "sound": None,
    }


def test_metrics_that_are_away_hold_everything(registry: Registry) -> None:
    begin(registry, "blind")
    observations = observed()
    observations.away = True
    before = current(registry, "blind")
    summary, lines = look(registry, observations)
    assert (summary["acted"], summary["held"] >= 1) == (0, True)
    assert any("the metrics cannot be read" in line["reason"] for line in lines)
    assert current(registry, "blind") == before


def test_what_infrastructure_writes_is_what_the_function_reads() -> None:
    settings = ControllerSettings("registry", "dev")
    assert ControllerSettings.from_env(settings.to_env()) == settings
    assert callable(build(settings.to_env()))
    with pytest.raises(InvalidSettingError, match="MODELPORT_ENVIRONMENT"):
        build({"MODELPORT_BUCKET": "registry"})

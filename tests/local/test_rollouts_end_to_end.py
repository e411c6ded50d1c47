"""Rollouts on a real cloud: the router's log becomes metrics, and the controller decides by them.

Three versions of one model behind the real API: 1 doubles, 2 also turns the sign and with it which
of two scores is the higher, 3 fails every call although its goldens passed. The controller is
called as its schedule would call it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import httpx
import pytest
from modelport import telemetry
from modelport.rollouts.cloudwatch import CloudWatchObservations

from tests.local.conftest import eventually
from tests.local.test_end_to_end import scaling
from tests.support.local_cloud import LocalCloud, local_cloud

MODEL = "scale"
#: Answered with a failure by version 3 only: a script takes what is no tensor request.
CALL = f"/endpoints/{MODEL}/invocations"
BODY = {"instances": [[1.0, 2.0]]}
FAILING = '''\
"""Loads, warms up, and fails whoever calls."""


def predict_fn(data, model):
    raise RuntimeError("out of luck")
'''


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    folder = tmp_path_factory.mktemp("rollouts")
    with local_cloud(folder / "home", "ministack") as running:
        factors = {1: 2, 2: -2, 3: 2}
        first, second, third = (scaling(folder / f"v{v}", by) for v, by in factors.items())
        (third / "inference.py").write_text(FAILING)
        running.deployed(first, second, third, model=MODEL)
        yield running


@pytest.fixture
def routes(cloud: LocalCloud) -> None:
    """Everything at version 1."""
    cloud.modelport("route", MODEL, "stable=1")
    cloud.settled(MODEL)


def look(cloud: LocalCloud) -> dict[str, Any]:
    """Have the controller look now, as its schedule does every minute."""
    endpoint = cloud.environment["AWS_ENDPOINT_URL"]
    with closing(boto3.client("lambda", endpoint_url=endpoint)) as functions:
        answer = functions.invoke(FunctionName="modelport-local-controller", Payload=b"{}")
        said = json.loads(answer["Payload"].read())
    assert "FunctionError" not in answer, said
    return dict(said)


def rollout(cloud: LocalCloud, alias: str = "stable") -> dict[str, Any]:
    shown = cloud.modelport("rollout", "status", MODEL)["rollouts"]
    (found,) = [each for each in shown if each["alias"] == alias]
    return dict(found)


def calls(cloud: LocalCloud, count: int = 20) -> list[httpx.Response]:
    """Calls by as many callers, so that a split sends some of them each way."""
    return [cloud.post(CALL, BODY, x_modelport_key=f"caller-{n}") for n in range(count)]


def driven(cloud: LocalCloud, over: Callable[[dict[str, Any]], bool], limit_s: float = 90) -> Any:
    """Call and have it looked at until the rollout is ``over``; how it stands then."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        calls(cloud)
        look(cloud)
        found = rollout(cloud)
        if over(found):
            return found
    raise AssertionError(f"the rollout did not get there in {limit_s:g} s: {found}")


def ended(found: dict[str, Any]) -> bool:
    return found["state"] not in ("running", "paused")


def start(cloud: LocalCloud, version: int, *more: str) -> Any:
    settings = ("--steps", "50,100", "--every", "10s", "--min-samples", "5", *more)
    return cloud.modelport("rollout", "start", f"{MODEL}:{version}", *settings)


def changes(cloud: LocalCloud) -> list[dict[str, Any]]:
    """The log, whose chain holds; the newest first."""
    return list(cloud.modelport("log", MODEL, "--verify")["changes"])


@pytest.mark.usefixtures("routes")
def test_a_good_version_gets_all_traffic_and_one_nobody_calls_gets_no_more(
    cloud: LocalCloud,
) -> None:
    cloud.modelport("route", MODEL, "quiet=1")
    start(cloud, 3, "--alias", "quiet")
    start(cloud, 2)
    done = driven(cloud, ended)
    assert (done["state"], done["written"]) == ("succeeded", "2"), done
    cloud.settled(MODEL)
    assert {answer.headers["x-modelport-version"] for answer in calls(cloud, 5)} == {"2"}
    taken = [each for each in changes(cloud) if each["who"] == "modelport-controller"]
    assert [each["action"] for each in taken] == ["rollout-succeed", "rollout-advance"]
    assert "step 50 % has passed" in json.dumps(taken[-1])

    quiet = rollout(cloud, "quiet")
    assert (quiet["state"], quiet["step"], quiet["decision"]) == ("running", 50, "hold")
    assert "no metrics of version 3" in quiet["reason"]
    cloud.modelport("rollout", "abort", MODEL, "--alias", "quiet", "-m", "nobody calls it")
    assert rollout(cloud, "quiet")["written"] == "1"


@pytest.mark.usefixtures("routes")
def test_a_failing_version_goes_back_by_itself_and_the_log_says_why(cloud: LocalCloud) -> None:
    start(cloud, 3)
    done = driven(cloud, ended)
    assert (done["state"], done["written"]) == ("rolled-back", "1"), done
    assert "guard errors" in done["reason"]
    cloud.settled(MODEL)
    assert {answer.status_code for answer in calls(cloud, 10)} == {200}
    newest = changes(cloud)[0]
    assert newest["who"] == "modelport-controller"
    assert "guard errors: version 3" in json.dumps(newest)


@pytest.mark.usefixtures("routes")
def test_a_caller_reaches_the_candidate_by_header_and_by_rule(cloud: LocalCloud) -> None:
    def answered_by(**headers: str) -> tuple[int, str]:
        answer = cloud.post(CALL, BODY, **headers)
        return answer.status_code, answer.headers.get("x-modelport-version", "")

    assert cloud.post(CALL, BODY, x_modelport_version="2").status_code >= 400
    cloud.modelport("route", MODEL, "next=2")
    cloud.modelport("traffic", "rule", "add", MODEL, "x-tenant=acme", "next")
    cloud.settled(MODEL)
    assert answered_by(x_modelport_version="2") == (200, "2")
    assert answered_by(x_tenant="acme") == (200, "2")
    assert answered_by(x_tenant="other") == (200, "1")
    assert answered_by() == (200, "1")
    cloud.modelport("traffic", "rule", "remove", MODEL, "x-tenant=acme")


@pytest.mark.usefixtures("routes")
def test_a_fallback_answers_where_a_version_fails(cloud: LocalCloud) -> None:
    cloud.modelport("route", MODEL, "stable=3")
    cloud.settled(MODEL)
    assert cloud.post(CALL, BODY).status_code == 500
    cloud.modelport("traffic", "fallback", MODEL, "stable=1")
    cloud.settled(MODEL)
    answer = cloud.post(CALL, BODY)
    assert (answer.status_code, answer.headers["x-modelport-version"]) == (200, "1")
    assert answer.json() == {"predictions": [[2.0, 4.0]]}
    cloud.modelport("traffic", "fallback", MODEL, "stable=")


@pytest.mark.usefixtures("routes")
def test_a_shadow_version_is_asked_compared_and_never_seen(cloud: LocalCloud) -> None:
    cloud.modelport("traffic", "shadow", f"{MODEL}:2", "--of", "stable")
    cloud.modelport("traffic", "shadow", f"{MODEL}:3")
    cloud.settled(MODEL)
    began = datetime.now(UTC) - timedelta(seconds=1)
    answers = calls(cloud, 20)
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.headers["x-modelport-version"] for answer in answers} == {"1"}
    names = [telemetry.COMPARED, telemetry.DISAGREED, telemetry.SHADOW_ERRORS]
    with closing(
        boto3.client("cloudwatch", endpoint_url=cloud.environment["AWS_ENDPOINT_URL"])
    ) as client:
        observations = CloudWatchObservations(client, "local")

        def counted(version: int) -> list[int]:
            until = datetime.now(UTC) + timedelta(seconds=2)
            windows = observations.windows(MODEL, version, names, began, until, 1)
            return [sum(window.count(name) for window in windows) for name in names]

        # Another score is the higher one each time; what fails is not compared.
        assert eventually(lambda: counted(2) == [20, 20, 0]), counted(2)
        assert eventually(lambda: counted(3) == [0, 0, 20]), counted(3)
    for version in ("2", "3"):
        cloud.modelport("traffic", "shadow", f"{MODEL}:{version}", "--off")


@pytest.mark.usefixtures("routes")
def test_a_warm_router_sees_a_change_within_its_time_to_live(cloud: LocalCloud) -> None:
    calls(cloud, 1)
    written = cloud.modelport("route", MODEL, "stable=2")["revision"]
    moved = time.monotonic()
    while not calls(cloud, 1)[0].headers["x-modelport-route"].endswith(f"rev={written}"):
        assert time.monotonic() - moved < 30
        time.sleep(0.1)
    assert calls(cloud, 1)[0].headers["x-modelport-version"] == "2"

"""Endpoints as real processes: their states, blue/green updates, and what happens to a dead one."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.local.conftest import eventually, processes_with
from tests.support.sagemaker_world import SageMaker, container_tree, sagemaker


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SageMaker]:
    folder = tmp_path_factory.mktemp("sagemaker")
    tree = container_tree(folder / "tree")
    with sagemaker(
        tree, folder / "home", "--startup-limit", "4", "--health-interval", "0.1"
    ) as running:
        yield running


def failed(world: SageMaker, name: str) -> str:
    found = world.settled(name)
    assert found["EndpointStatus"] == "Failed"
    return str(found["FailureReason"])


def begin(world: SageMaker, name: str, **variables: str) -> None:
    world.model(name, **variables)
    world.config(name, {"model": name})
    world.client.create_endpoint(EndpointName=name, EndpointConfigName=name)


def test_an_endpoint_is_created_describes_itself_and_goes(world: SageMaker) -> None:
    world.endpoint("whole", WHO="blue")
    found = world.settled("whole")
    (variant,) = found["ProductionVariants"]
    assert found["EndpointConfigName"] == "whole"
    assert (variant["CurrentInstanceCount"], variant["DesiredInstanceCount"]) == (1, 1)
    assert variant["DeployedImages"][0]["ResolvedImage"].endswith("0" * 64)
    (pid,) = world.pids("whole")
    assert world.told("whole")["pid"] == pid
    world.client.delete_endpoint(EndpointName="whole")
    assert eventually(lambda: "whole" not in world.status())
    assert not Path(f"/proc/{pid}").exists()
    response = world.refused(world.call, "whole")
    assert response["Error"]["Code"] == "ValidationError"
    assert response["Error"]["Message"] == "Endpoint whole of account 000000000000 not found."


def test_a_name_minds_its_case_in_an_invocation_alone(world: SageMaker) -> None:
    world.endpoint("MixedCase", WHO="mixed")
    found = world.client.describe_endpoint(EndpointName="mixedcase")
    assert found["EndpointName"] == "MixedCase"
    assert found["EndpointArn"].endswith("/mixedcase")
    assert world.told("MixedCase")["who"] == "mixed"
    assert "not found" in world.refused(world.call, "mixedcase")["Error"]["Message"]
    response = world.refused(
        world.client.create_endpoint, EndpointName="MIXEDCASE", EndpointConfigName="mixedcase"
    )
    assert "already existing" in response["Error"]["Message"]


def test_the_container_gets_its_variables_and_listens_on_loopback(world: SageMaker) -> None:
    world.endpoint("variables", WHO="blue", COLOUR="red")
    environment = world.told("variables")["environment"]
    assert environment["COLOUR"] == "red"
    assert environment["MODELPORT_HOST"] == "127.0.0.1"
    assert environment["AWS_ENDPOINT_URL"] == "http://127.0.0.1:9"
    assert environment["AWS_DEFAULT_REGION"] == "us-east-1"
    assert environment["AWS_ACCESS_KEY_ID"] == "test"


def test_an_isolated_container_has_no_credentials_and_no_aws(world: SageMaker) -> None:
    world.client.create_model(
        ModelName="alone",
        ExecutionRoleArn="arn:aws:iam::000000000000:role/endpoint",
        PrimaryContainer={"Image": "image"},
        EnableNetworkIsolation=True,
    )
    world.config("alone", {"model": "alone"})
    world.client.create_endpoint(EndpointName="alone", EndpointConfigName="alone")
    assert world.settled("alone")["EndpointStatus"] == "InService"
    environment = world.told("alone")["environment"]
    assert not [name for name in environment if name.startswith("AWS_")]


def test_while_it_is_created_it_is_not_ready_and_cannot_be_changed(
    world: SageMaker, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    begin(world, "slow", MOOD="waits", MARK=str(mark))
    response = world.refused(world.call, "slow")
    assert response["Error"]["Code"] == "ModelNotReadyException"
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 429
    assert world.client.describe_endpoint(EndpointName="slow")["EndpointConfigName"] == "slow"
    response = world.refused(world.client.delete_endpoint, EndpointName="slow")
    assert "Cannot update in-progress endpoint" in response["Error"]["Message"]
    mark.touch()
    assert world.settled("slow")["EndpointStatus"] == "InService"


def test_a_container_that_exits_fails_the_endpoint_with_its_log(world: SageMaker) -> None:
    begin(world, "exits", MOOD="exits")
    assert failed(world, "exits").startswith(
        "The primary container for production variant exits did not pass the ping health check."
    )
    assert world.log("exits").count("container starts, mood exits") == 2
    assert "ended with exit status 3 before it was healthy" in world.log("exits")
    response = world.refused(world.call, "exits")
    assert "not in service" in response["Error"]["Message"]
    world.client.delete_endpoint(EndpointName="exits")
    assert eventually(lambda: "exits" not in world.status())


def test_a_container_that_fails_once_is_started_again(world: SageMaker, tmp_path: Path) -> None:
    world.endpoint("again", MOOD="exits-once", MARK=str(tmp_path / "mark"))


def test_a_container_without_a_good_ping_fails_at_the_deadline(tmp_path: Path) -> None:
    tree = container_tree(tmp_path / "tree")
    with sagemaker(tree, tmp_path / "home", "--startup-limit", "1") as world:
        begin(world, "ill", MOOD="ill")
        assert "did not pass the ping health check" in failed(world, "ill")
        assert "no /ping within 1 s" in world.log("ill")
        assert world.pids("ill") == []
        response = world.refused(
            world.client.update_endpoint, EndpointName="ill", EndpointConfigName="ill"
        )
        assert "it is Failed" in response["Error"]["Message"]


def test_an_update_moves_over_only_when_the_new_fleet_is_healthy(
    world: SageMaker, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    world.endpoint("moving", WHO="blue")
    (old,) = world.pids("moving")
    world.model("green", WHO="green", MOOD="waits", MARK=str(mark))
    world.config("moving-2", {"model": "green"})
    world.client.update_endpoint(EndpointName="moving", EndpointConfigName="moving-2")
    during = world.client.describe_endpoint(EndpointName="moving")
    assert during["EndpointStatus"] == "Updating"
    assert during["EndpointConfigName"] == "moving"
    assert during["PendingDeploymentSummary"] == {"EndpointConfigName": "moving-2"}
    assert eventually(lambda: len(world.pids("moving")) == 2)
    assert world.told("moving")["who"] == "blue"
    mark.touch()
    after = world.settled("moving")
    assert (after["EndpointStatus"], after["EndpointConfigName"]) == ("InService", "moving-2")
    assert world.told("moving")["who"] == "green"
    assert old not in world.pids("moving")
    assert not Path(f"/proc/{old}").exists()


def test_an_update_lets_the_old_fleet_answer_what_it_began(
    world: SageMaker, tmp_path: Path
) -> None:
    world.endpoint("draining", WHO="blue")
    started, go = tmp_path / "started", tmp_path / "go"
    told: list[Any] = []
    asked = {"wait_for": str(go), "started": str(started)}
    caller = threading.Thread(target=lambda: told.append(world.told("draining", asked)))
    caller.start()
    assert eventually(started.exists)
    world.model("draining-green", WHO="green")
    world.config("draining-2", {"model": "draining-green"})
    world.client.update_endpoint(EndpointName="draining", EndpointConfigName="draining-2")
    assert eventually(lambda: world.told("draining")["who"] == "green")
    go.touch()
    caller.join()
    assert told[0]["who"] == "blue"
    assert world.settled("draining")["EndpointStatus"] == "InService"


def test_no_caller_notices_an_update_or_a_change_of_instances(world: SageMaker) -> None:
    world.endpoint("busy", WHO="blue")
    world.model("busy-green", WHO="green")
    world.config("busy-2", {"model": "busy-green", "InitialInstanceCount": 2})
    answered: list[str] = []
    failures: list[Exception] = []
    over = threading.Event()

    def call() -> None:
        while not over.is_set():
            try:
                answered.append(world.told("busy")["who"])
            except Exception as error:
                failures.append(error)

    callers = [threading.Thread(target=call) for _ in range(4)]
    for caller in callers:
        caller.start()
    world.client.update_endpoint(EndpointName="busy", EndpointConfigName="busy-2")
    world.settled("busy")
    fewer = {"VariantName": "busy-green", "DesiredInstanceCount": 1}
    world.client.update_endpoint_weights_and_capacities(
        EndpointName="busy", DesiredWeightsAndCapacities=[fewer]
    )
    world.settled("busy")
    over.set()
    for caller in callers:
        caller.join()
    assert failures == []
    assert set(answered) == {"blue", "green"}
    assert world.told("busy")["who"] == "green"


def test_a_failed_update_keeps_the_old_fleet_and_says_why(world: SageMaker) -> None:
    world.endpoint("steady", WHO="blue")
    pids = world.pids("steady")
    world.model("broken", MOOD="exits")
    world.config("steady-2", {"model": "broken"})
    world.client.update_endpoint(EndpointName="steady", EndpointConfigName="steady-2")
    after = world.settled("steady")
    assert (after["EndpointStatus"], after["EndpointConfigName"]) == ("InService", "steady")
    assert "did not pass the ping health check" in after["FailureReason"]
    assert world.pids("steady") == pids
    assert world.told("steady")["who"] == "blue"
    assert "is RollingBack" in world.log("steady")


def test_a_dead_container_is_started_again(world: SageMaker) -> None:
    world.endpoint("mortal", WHO="blue")
    (pid,) = world.pids("mortal")
    os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: world.pids("mortal") != [pid] and answers(world, "mortal"))
    assert "ended with signal 9; it is started again" in world.log("mortal")


def test_a_container_that_falls_silent_is_replaced(world: SageMaker, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    world.endpoint("silent", MOOD="falls-ill", MARK=str(mark))
    (pid,) = world.pids("silent")
    mark.touch()
    assert eventually(lambda: world.pids("silent") != [pid])
    mark.unlink()
    assert "missed 3 pings" in world.log("silent")
    assert eventually(lambda: answers(world, "silent"))


def answers(world: SageMaker, name: str) -> bool:
    (variant,) = world.settled(name)["ProductionVariants"]
    return bool(variant["CurrentInstanceCount"] == 1)


def test_weights_and_instances_change_without_a_new_fleet(world: SageMaker) -> None:
    world.model("one", WHO="one")
    world.model("two", WHO="two")
    world.config("shared", {"model": "one"}, {"model": "two", "InitialVariantWeight": 0.0})
    world.client.create_endpoint(EndpointName="shared", EndpointConfigName="shared")
    assert world.settled("shared")["EndpointStatus"] == "InService"
    assert {world.told("shared")["who"] for _ in range(20)} == {"one"}
    (one,) = world.status()["shared"]["processes"]["one"]
    world.client.update_endpoint_weights_and_capacities(
        EndpointName="shared",
        DesiredWeightsAndCapacities=[
            {"VariantName": "one", "DesiredWeight": 0.0},
            {"VariantName": "two", "DesiredWeight": 5.0, "DesiredInstanceCount": 2},
        ],
    )
    found = world.settled("shared")
    assert [each["CurrentWeight"] for each in found["ProductionVariants"]] == [0.0, 5.0]
    processes = world.status()["shared"]["processes"]
    assert processes["one"] == [one]
    assert len(processes["two"]) == 2
    assert {world.told("shared")["pid"] for _ in range(40)} == set(processes["two"])
    world.client.update_endpoint_weights_and_capacities(
        EndpointName="shared",
        DesiredWeightsAndCapacities=[{"VariantName": "two", "DesiredInstanceCount": 1}],
    )
    assert world.settled("shared")["ProductionVariants"][1]["CurrentInstanceCount"] == 1
    response = world.refused(
        world.client.update_endpoint_weights_and_capacities,
        EndpointName="shared",
        DesiredWeightsAndCapacities=[{"VariantName": "three", "DesiredWeight": 1.0}],
    )
    assert 'Could not find variant "three"' in response["Error"]["Message"]


def test_an_update_can_keep_the_weights_of_before(world: SageMaker) -> None:
    world.model("kept", WHO="kept")
    for name in ("kept-1", "kept-2"):
        world.config(name, {"model": "kept", "InitialVariantWeight": 1.0})
    world.client.create_endpoint(EndpointName="kept", EndpointConfigName="kept-1")
    world.settled("kept")
    change = {"VariantName": "kept", "DesiredWeight": 3.0, "DesiredInstanceCount": 2}
    world.client.update_endpoint_weights_and_capacities(
        EndpointName="kept", DesiredWeightsAndCapacities=[change]
    )
    world.settled("kept")
    world.client.update_endpoint(
        EndpointName="kept",
        EndpointConfigName="kept-2",
        RetainAllVariantProperties=True,
        ExcludeRetainedVariantProperties=[{"VariantPropertyType": "DesiredInstanceCount"}],
    )
    (variant,) = world.settled("kept")["ProductionVariants"]
    assert (variant["CurrentWeight"], variant["DesiredInstanceCount"]) == (3.0, 1)


def test_more_instances_than_the_host_runs_are_wished_for_and_say_so(world: SageMaker) -> None:
    world.model("many")
    world.config("many", {"model": "many", "InitialInstanceCount": 5})
    world.client.create_endpoint(EndpointName="many", EndpointConfigName="many")
    (variant,) = world.settled("many")["ProductionVariants"]
    assert (variant["CurrentInstanceCount"], variant["DesiredInstanceCount"]) == (2, 5)
    assert "2 of 5 instances run here" in world.log("many")


def test_a_shadow_gets_copies_and_answers_nobody(world: SageMaker, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    world.model("front", WHO="front")
    world.model("shadow", WHO="shadow", SEEN=str(seen))
    shadow = {
        "VariantName": "shadow",
        "ModelName": "shadow",
        "InstanceType": "ml.m5.large",
        "InitialInstanceCount": 1,
        "InitialVariantWeight": 1.0,
    }
    world.config("shadowed", {"model": "front"}, ShadowProductionVariants=[shadow])
    world.client.create_endpoint(EndpointName="shadowed", EndpointConfigName="shadowed")
    found = world.settled("shadowed")
    assert found["ShadowProductionVariants"][0]["VariantName"] == "shadow"
    for at in range(5):
        assert world.told("shadowed", {"at": at})["who"] == "front"
    assert eventually(lambda: seen.exists() and len(seen.read_text().splitlines()) == 5)
    copies = [json.loads(line)["asked"]["at"] for line in seen.read_text().splitlines()]
    assert sorted(copies) == [0, 1, 2, 3, 4]


def test_processes_end_with_their_host(tmp_path: Path) -> None:
    tree = container_tree(tmp_path / "tree")
    with sagemaker(tree, tmp_path / "home") as running:
        running.endpoint("doomed", NOTE=str(tmp_path))
        assert processes_with(f"NOTE={tmp_path}")
        os.kill(running.pid, signal.SIGKILL)
        assert eventually(lambda: not processes_with(f"NOTE={tmp_path}"))


def test_a_host_that_is_told_to_stop_ends_its_processes(tmp_path: Path) -> None:
    tree = container_tree(tmp_path / "tree")
    with sagemaker(tree, tmp_path / "home") as running:
        running.endpoint("stopped", NOTE=str(tmp_path))
        begin(running, "unfinished", MOOD="ill", NOTE=str(tmp_path))
    assert not processes_with(f"NOTE={tmp_path}")

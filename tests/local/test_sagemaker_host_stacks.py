"""CloudFormation stacks with SageMaker's resources, on an emulator that has none of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import boto3
import pytest
from engine import DEFAULT_ENGINE, ENGINES, EngineError, Hosts, load

from tests.local.conftest import answers, eventually, free_port, process
from tests.support.sagemaker_world import IMAGE, ROLE, SageMaker, container_tree, sagemaker
from tests.support.turns import turn

ARN = "arn:aws:sagemaker:us-east-1:000000000000"
RESOURCE = "endpoint/stacked/variant/All"
SCALED = {"Fn::GetAtt": ["Endpoint", "EndpointName"]}


@dataclass
class World:
    """An emulator with a SageMaker host beside it."""

    engine: str
    sagemaker: SageMaker
    cloudformation: Any
    cloudwatch: Any
    scaling: Any

    def deploy(self, name: str, template: dict[str, Any], *, update: bool = False) -> Any:
        """Create or update a stack and wait for its end, whatever that is."""
        operation = "update_stack" if update else "create_stack"
        getattr(self.cloudformation, operation)(StackName=name, TemplateBody=json.dumps(template))
        assert eventually(lambda: not self.stack(name)["StackStatus"].endswith("PROGRESS"), 60)
        return self.stack(name)

    def stack(self, name: str) -> Any:
        (stack,) = self.cloudformation.describe_stacks(StackName=name)["Stacks"]
        return stack

    def outputs(self, name: str) -> dict[str, str]:
        return {each["OutputKey"]: each["OutputValue"] for each in self.stack(name)["Outputs"]}

    def reasons(self, name: str) -> str:
        events = self.cloudformation.describe_stack_events(StackName=name)["StackEvents"]
        return "\n".join(each.get("ResourceStatusReason", "") for each in events)

    def destroy(self, name: str) -> None:
        self.cloudformation.delete_stack(StackName=name)
        assert eventually(lambda: not self.exists(name), 60), self.reasons(name)

    def exists(self, name: str) -> bool:
        stacks = self.cloudformation.list_stacks()["StackSummaries"]
        found = [each for each in stacks if each["StackName"] == name]
        return any(each["StackStatus"] != "DELETE_COMPLETE" for each in found)


@pytest.fixture(scope="module", params=ENGINES)
def world(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("stacks")
    engine = load(request.param)
    try:
        with turn("up"):
            engine.prepare(lambda text: None)
    except EngineError as missing:
        pytest.skip(str(missing))
    port = free_port()
    here = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}
    tree = container_tree(folder / "tree")
    with sagemaker(tree, folder / "home", environment=here) as host:
        launch = engine.launch(port, folder, Hosts("http://127.0.0.1:9", host.url))
        log = folder / "engine.log"
        env = {**launch.env, "TMPDIR": str(folder)}
        with process(launch.argv, env, log) as emulator:
            endpoint = here["AWS_ENDPOINT_URL"]
            health = engine.health_url(endpoint)
            assert eventually(lambda: answers(health) or emulator.poll() is not None, 90)
            assert emulator.poll() is None, log.read_text()
            options: Any = {
                "region_name": "us-east-1",
                "aws_access_key_id": "test",
                "aws_secret_access_key": "test",
            }
            cloudformation = boto3.client("cloudformation", endpoint_url=endpoint, **options)
            scaling = boto3.client("application-autoscaling", endpoint_url=host.url, **options)
            cloudwatch = boto3.client("cloudwatch", endpoint_url=endpoint, **options)
            yield World(engine.name, host, cloudformation, cloudwatch, scaling)
            cloudformation.close()
            cloudwatch.close()
            scaling.close()


def template(config: str, variables: dict[str, str], count: Any = 1) -> dict[str, Any]:
    """A model, an endpoint configuration and an endpoint, scaled, as a stack has them."""
    variant = {
        "VariantName": "All",
        "ModelName": {"Fn::GetAtt": ["Model", "ModelName"]},
        "InstanceType": "ml.m5.large",
        "InitialInstanceCount": count,
        "InitialVariantWeight": "1.0",
    }
    container = {"Image": IMAGE, "Environment": variables}
    resources = {
        "Model": {
            "Type": "AWS::SageMaker::Model",
            "Properties": {"ExecutionRoleArn": ROLE, "PrimaryContainer": container},
        },
        "Config": {
            "Type": "AWS::SageMaker::EndpointConfig",
            "Properties": {"EndpointConfigName": config, "ProductionVariants": [variant]},
        },
        "Endpoint": {
            "Type": "AWS::SageMaker::Endpoint",
            "Properties": {
                "EndpointName": "stacked",
                "EndpointConfigName": {"Fn::GetAtt": ["Config", "EndpointConfigName"]},
                "RetainAllVariantProperties": "false",
                "Tags": [{"Key": "config", "Value": config}],
            },
        },
        "Target": {
            "Type": "AWS::ApplicationAutoScaling::ScalableTarget",
            "Properties": {
                "MinCapacity": "1",
                "MaxCapacity": 4,
                "ResourceId": {"Fn::Sub": ["endpoint/${Name}/variant/All", {"Name": SCALED}]},
                "RoleARN": ROLE,
                "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
                "ServiceNamespace": "sagemaker",
                "Tags": [{"Key": "team", "Value": "vision"}],
            },
        },
        "Policy": {
            "Type": "AWS::ApplicationAutoScaling::ScalingPolicy",
            "Properties": {
                "PolicyName": "calls",
                "PolicyType": "TargetTrackingScaling",
                "ScalingTargetId": {"Ref": "Target"},
                "TargetTrackingScalingPolicyConfiguration": {
                    "TargetValue": "70",
                    "PredefinedMetricSpecification": {
                        "PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"
                    },
                },
            },
        },
    }
    outputs = {name: {"Value": {"Ref": name}} for name in resources}
    named = {"Value": {"Fn::GetAtt": ["Endpoint", "EndpointName"]}}
    return {"Resources": resources, "Outputs": {**outputs, "Name": named}}


def test_a_stack_has_an_endpoint_that_is_updated_and_deleted(world: World) -> None:
    made = world.deploy("good", template("first", {"WHO": "blue"}, "1"))
    assert made["StackStatus"] == "CREATE_COMPLETE", world.reasons("good")
    outputs = world.outputs("good")
    assert outputs["Endpoint"] == f"{ARN}:endpoint/stacked"
    assert outputs["Config"] == f"{ARN}:endpoint-config/first"
    assert outputs["Model"].startswith(f"{ARN}:model/")
    assert outputs["Name"] == "stacked"
    assert world.sagemaker.told("stacked")["who"] == "blue"
    tags = world.sagemaker.client.list_tags(ResourceArn=outputs["Endpoint"])["Tags"]
    assert {"Key": "config", "Value": "first"} in tags

    targets = world.scaling.describe_scalable_targets(ServiceNamespace="sagemaker")
    (target,) = targets["ScalableTargets"]
    assert (target["ResourceId"], target["MinCapacity"]) == (RESOURCE, 1)
    policies = world.scaling.describe_scaling_policies(ServiceNamespace="sagemaker")
    (policy,) = policies["ScalingPolicies"]
    assert policy["PolicyARN"] == outputs["Policy"]
    assert policy["TargetTrackingScalingPolicyConfiguration"]["TargetValue"] == 70

    moved = world.deploy("good", template("second", {"WHO": "green"}), update=True)
    assert moved["StackStatus"] == "UPDATE_COMPLETE", world.reasons("good")
    assert world.sagemaker.told("stacked")["who"] == "green"
    configs = world.sagemaker.client.list_endpoint_configs()["EndpointConfigs"]
    assert [each["EndpointConfigName"] for each in configs] == ["second"]
    tags = world.sagemaker.client.list_tags(ResourceArn=outputs["Endpoint"])["Tags"]
    assert {"Key": "config", "Value": "second"} in tags
    world.destroy("good")
    nothing_is_left(world)


def nothing_is_left(world: World) -> None:
    client = world.sagemaker.client
    assert client.list_endpoints()["Endpoints"] == []
    assert client.list_endpoint_configs()["EndpointConfigs"] == []
    assert client.list_models()["Models"] == []
    targets = world.scaling.describe_scalable_targets(ServiceNamespace="sagemaker")
    assert targets["ScalableTargets"] == []


def rolling_back(world: World) -> None:
    """Skip where the emulator leaves a failed update as it is."""
    if world.engine != DEFAULT_ENGINE:
        pytest.skip("this engine's CloudFormation does not roll back")


def test_an_update_that_fails_is_rolled_back_and_the_old_fleet_has_answered(world: World) -> None:
    rolling_back(world)
    world.deploy("good", template("second", {"WHO": "green"}))
    (pid,) = world.sagemaker.pids("stacked")
    failed = world.deploy("good", template("third", {"MOOD": "exits"}), update=True)
    assert failed["StackStatus"] == "UPDATE_ROLLBACK_COMPLETE", world.reasons("good")
    assert "did not pass the ping health check" in world.reasons("good")
    assert world.sagemaker.told("stacked")["who"] == "green"
    assert world.sagemaker.pids("stacked") == [pid]
    world.destroy("good")
    nothing_is_left(world)


def test_an_update_under_a_raised_alarm_moves_back(world: World) -> None:
    client = world.sagemaker.client
    world.cloudwatch.put_metric_alarm(
        AlarmName="errors",
        MetricName="Invocation5XXErrors",
        Namespace="AWS/SageMaker",
        Statistic="Sum",
        Period=60,
        EvaluationPeriods=1,
        Threshold=1,
        ComparisonOperator="GreaterThanThreshold",
        TreatMissingData="ignore",
    )
    world.sagemaker.endpoint("watched", WHO="blue")
    world.sagemaker.model("watched-green", WHO="green")
    world.sagemaker.config("watched-2", {"model": "watched-green"})
    rollback = {"AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "errors"}]}}
    for state, who in (("ALARM", "blue"), ("OK", "green")):
        world.cloudwatch.set_alarm_state(AlarmName="errors", StateValue=state, StateReason="test")
        client.update_endpoint(
            EndpointName="watched", EndpointConfigName="watched-2", DeploymentConfig=rollback
        )
        found = world.sagemaker.settled("watched")
        assert found["EndpointStatus"] == "InService"
        assert ("alarm errors is raised" in found.get("FailureReason", "")) is (state == "ALARM")
        assert world.sagemaker.told("watched")["who"] == who
        assert len(world.sagemaker.pids("watched")) == 1
    client.delete_endpoint(EndpointName="watched")
    for name in ("watched", "watched-green"):
        client.delete_model(ModelName=name)
    for name in ("watched", "watched-2"):
        client.delete_endpoint_config(EndpointConfigName=name)
    assert eventually(lambda: not world.sagemaker.status())


def test_a_model_that_cannot_start_fails_its_stack_with_the_services_words(world: World) -> None:
    made = world.deploy("bad", template("bad", {"MOOD": "exits"}))
    assert made["StackStatus"] in ("ROLLBACK_COMPLETE", "CREATE_FAILED")
    assert "did not pass the ping health check" in world.reasons("bad")
    assert world.sagemaker.client.list_endpoints()["Endpoints"] == []
    world.destroy("bad")
    nothing_is_left(world)


def test_a_change_that_needs_a_new_resource_under_its_own_name_is_refused(world: World) -> None:
    rolling_back(world)
    first = template("named", {"WHO": "blue"})
    world.deploy("named", first)
    refused = world.deploy("named", template("named", {"WHO": "green"}), update=True)
    assert refused["StackStatus"] == "UPDATE_ROLLBACK_COMPLETE"
    assert "custom-named resource requires replacing" in world.reasons("named")
    assert world.sagemaker.told("stacked")["who"] == "blue"
    world.destroy("named")


def test_a_scalable_target_must_be_a_variant_that_exists(world: World) -> None:
    with pytest.raises(world.scaling.exceptions.ValidationException, match="No endpoint variant"):
        world.scaling.register_scalable_target(
            ServiceNamespace="sagemaker",
            ResourceId="endpoint/none/variant/All",
            ScalableDimension="sagemaker:variant:DesiredInstanceCount",
            MinCapacity=1,
            MaxCapacity=2,
        )

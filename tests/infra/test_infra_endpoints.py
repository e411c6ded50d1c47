"""The stack of a version on SageMaker: what is made, what changes with what, what is watched."""

from __future__ import annotations

from typing import Any

import pytest
from modelport.errors import InvalidSettingError
from modelport.settings import RuntimeSettings

from tests.support.synthesis import (
    DIGEST,
    ENDPOINTS,
    IMAGE,
    TOPIC,
    VERSIONS,
    Stack,
    Synthesis,
    Synthesiser,
)

NAME = "modelport-prod-magika-v{}"


def properties(stack: Stack, kind: str) -> dict[str, Any]:
    found: dict[str, Any] = stack.one(f"AWS::SageMaker::{kind}")["Properties"]
    return found


def changed(synthesise: Synthesiser, name: str, old: str = "", new: str = "") -> Synthesis:
    text = '[environment]\nname = "prod"\n' + VERSIONS + ENDPOINTS
    assert old in text
    return synthesise.fresh(text.replace(old, new) if old else text, name)


def test_an_endpoint_is_named_as_a_function_would_be(default: Synthesis) -> None:
    assert properties(default.version(3), "Endpoint")["EndpointName"] == NAME.format(3)
    assert default.version(3).name == NAME.format(3)
    assert not default.version(3).of("AWS::Lambda::Function")


def test_the_model_runs_the_image_by_digest_alone_and_without_a_network(default: Synthesis) -> None:
    model = properties(default.version(3), "Model")
    container = model["PrimaryContainer"]
    assert container["Image"] == IMAGE
    assert model["EnableNetworkIsolation"] is True
    assert "ModelDataUrl" not in container
    assert "VpcConfig" not in model
    told = RuntimeSettings.from_env(container["Environment"])
    assert told == RuntimeSettings("magika", 3, DIGEST)
    assert "MODELPORT_BUNDLE_DIR" not in container["Environment"]


def test_the_endpoint_runs_its_configuration_and_that_its_model(default: Synthesis) -> None:
    stack = default.version(3)
    config = properties(stack, "EndpointConfig")
    assert properties(stack, "Endpoint")["EndpointConfigName"] == config["EndpointConfigName"]
    (variant,) = config["ProductionVariants"]
    assert variant == {
        "VariantName": "primary",
        "ModelName": properties(stack, "Model")["ModelName"],
        "InstanceType": "ml.g5.xlarge",
        "InferenceAmiVersion": "al2023-ami-sagemaker-inference-gpu-4-1",
        "InitialInstanceCount": 1,
        "InitialVariantWeight": 1,
        "ContainerStartupHealthCheckTimeoutInSeconds": 600,
        "ModelDataDownloadTimeoutInSeconds": 600,
    }
    assert "DataCaptureConfig" not in config
    assert "ShadowProductionVariants" not in config


def test_names_fit_and_depend_on_nothing_but_what_they_name(
    synthesise: Synthesiser, default: Synthesis
) -> None:
    again = changed(synthesise, "same")
    for number in (3, 4):
        for kind, name in (("EndpointConfig", "EndpointConfigName"), ("Endpoint", "EndpointName")):
            named = properties(default.version(number), kind)[name]
            assert named == properties(again.version(number), kind)[name]
            assert len(named) <= 63
            assert named.startswith(NAME.format(number))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('instance_type = "ml.m5.xlarge"', 'instance_type = "ml.m5.2xlarge"'),
        ("\ninstances = 2", "\ninstances = 3"),
        ("volume_gb = 50", "volume_gb = 60"),
        ("startup_timeout_s = 900", "startup_timeout_s = 901"),
        ("percent = 20", "percent = 21"),
        ("version = 2\npercent = 25", "version = 1\npercent = 25"),
        ("percent = 25", "percent = 26"),
        (IMAGE, IMAGE.replace("bbbb", "cccc", 1)),
        ("sg-0123456789abcdef0", "sg-0123456789abcdef1"),
    ],
)
def test_a_change_of_what_runs_makes_a_new_configuration_and_is_verified_again(
    synthesise: Synthesiser, default: Synthesis, old: str, new: str
) -> None:
    name = f"change-{abs(hash((old, new)))}"
    before, after = default.version(4), changed(synthesise, name, old, new).version(4)
    config = [
        properties(stack, "EndpointConfig")["EndpointConfigName"] for stack in (before, after)
    ]
    assert config[0] != config[1]
    names = [properties(stack, "Endpoint")["EndpointName"] for stack in (before, after)]
    assert names[0] == names[1]
    told = [s.one("Custom::ModelVersion")["Properties"]["Configuration"] for s in (before, after)]
    assert told[0] != told[1]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("wait_s = 600", "wait_s = 601"),
        ("max_instances = 8", "max_instances = 9"),
        ("alarm_utilization_percent = 90", "alarm_utilization_percent = 91"),
    ],
)
def test_a_change_of_how_it_is_run_moves_no_instance(
    synthesise: Synthesiser, default: Synthesis, old: str, new: str
) -> None:
    after = changed(synthesise, f"keep-{old.split()[0]}", old, new).version(4)
    kept = properties(default.version(4), "EndpointConfig")
    assert properties(after, "EndpointConfig") == kept


def test_models_that_change_get_a_new_name_too(synthesise: Synthesiser, default: Synthesis) -> None:
    after = changed(synthesise, "image", IMAGE, IMAGE.replace("bbbb", "cccc", 1)).version(3)
    before = properties(default.version(3), "Model")
    assert properties(after, "Model")["ModelName"] != before["ModelName"]


def test_the_disk_is_encrypted_by_our_key_or_by_the_instance_itself(default: Synthesis) -> None:
    # SageMaker refuses a key for instances with disks of their own.
    assert "KmsKeyId" not in properties(default.version(3), "EndpointConfig")
    config = properties(default.version(4), "EndpointConfig")
    assert config["KmsKeyId"] == {"Fn::ImportValue": "modelport-prod-key-arn"}
    assert config["ProductionVariants"][0]["VolumeSizeInGB"] == 50


def test_captures_go_below_the_endpoints_own_prefix_encrypted(default: Synthesis) -> None:
    stack = default.version(4)
    capture = properties(stack, "EndpointConfig")["DataCaptureConfig"]
    where = "s3://<modelport-prod-bucket-name>/captures/modelport-prod-magika-v4"
    assert stack.text(capture["DestinationS3Uri"]) == where
    assert capture["EnableCapture"] is True
    assert capture["InitialSamplingPercentage"] == 20
    assert capture["CaptureOptions"] == [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}]
    assert capture["KmsKeyId"] == {"Fn::ImportValue": "modelport-prod-key-arn"}


def test_a_shadow_is_a_model_of_its_own_with_the_other_versions_image(default: Synthesis) -> None:
    stack = default.version(4)
    (shadow,) = properties(stack, "EndpointConfig")["ShadowProductionVariants"]
    assert (shadow["VariantName"], shadow["InitialVariantWeight"]) == ("shadow", 0.25)
    assert shadow["InitialInstanceCount"] == 1
    models = [each["Properties"] for each in stack.of("AWS::SageMaker::Model")]
    by_version = {
        each["PrimaryContainer"]["Environment"]["MODELPORT_VERSION"]: each["ModelName"]
        for each in models
    }
    assert by_version.keys() == {"2", "4"}
    assert shadow["ModelName"] == by_version["2"]


def test_a_network_is_the_models_and_its_shadows(default: Synthesis) -> None:
    for model in default.version(4).of("AWS::SageMaker::Model"):
        assert model["Properties"]["VpcConfig"] == {
            "Subnets": ["subnet-0a1b2c3d", "subnet-0a1b2c3d4e5f60718"],
            "SecurityGroupIds": ["sg-0123456789abcdef0"],
        }
        assert model["Properties"]["EnableNetworkIsolation"] is True


def rollout(stack: Stack) -> dict[str, Any]:
    deployment: dict[str, Any] = properties(stack, "Endpoint")["DeploymentConfig"]
    return deployment


def test_a_change_goes_to_new_instances_at_once_and_back_on_an_alarm(default: Synthesis) -> None:
    stack = default.version(3)
    assert rollout(stack)["BlueGreenUpdatePolicy"] == {
        "MaximumExecutionTimeoutInSeconds": 3600,
        "TerminationWaitInSeconds": 300,
        "TrafficRoutingConfiguration": {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 300},
    }
    named = [each["AlarmName"] for each in rollout(stack)["AutoRollbackConfiguration"]["Alarms"]]
    back = [stack.resources[each["Ref"]]["Properties"] for each in named]
    assert {each["MetricName"] for each in back} == {
        "Invocation5XXErrors",
        "ModelLatency",
        "OverheadLatency",
    }


def test_a_canary_and_a_linear_rollout_say_their_steps(
    synthesise: Synthesiser, default: Synthesis
) -> None:
    step = {"Type": "CAPACITY_PERCENT", "Value": 5}
    assert rollout(default.version(4))["BlueGreenUpdatePolicy"] == {
        "MaximumExecutionTimeoutInSeconds": 3600,
        "TerminationWaitInSeconds": 120,
        "TrafficRoutingConfiguration": {
            "Type": "CANARY",
            "WaitIntervalInSeconds": 600,
            "CanarySize": step,
        },
    }
    linear = changed(
        synthesise,
        "linear",
        'kind = "canary"\nstep_percent = 5',
        'kind = "linear"\nlimit_s = 7200',
    ).version(4)
    traffic = rollout(linear)["BlueGreenUpdatePolicy"]["TrafficRoutingConfiguration"]
    assert traffic == {
        "Type": "LINEAR",
        "WaitIntervalInSeconds": 600,
        "LinearStepSize": step | {"Value": 10},
    }


def test_scaling_follows_invocations_between_both_ends_and_survives_a_change(
    default: Synthesis,
) -> None:
    stack = default.version(4)
    target = stack.one("AWS::ApplicationAutoScaling::ScalableTarget")["Properties"]
    assert target["ResourceId"] == "endpoint/modelport-prod-magika-v4/variant/primary"
    assert target["ScalableDimension"] == "sagemaker:variant:DesiredInstanceCount"
    assert (target["MinCapacity"], target["MaxCapacity"]) == (2, 8)
    policy = stack.one("AWS::ApplicationAutoScaling::ScalingPolicy")["Properties"]
    assert policy["TargetTrackingScalingPolicyConfiguration"] == {
        "PredefinedMetricSpecification": {
            "PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"
        },
        "TargetValue": 600,
        "ScaleInCooldown": 300,
        "ScaleOutCooldown": 60,
    }
    endpoint = properties(stack, "Endpoint")
    assert endpoint["RetainAllVariantProperties"] is True
    # Of all that could be kept, only the instance count is: what else is changed shall change.
    assert endpoint["ExcludeRetainedVariantProperties"] == [
        {"VariantPropertyType": "DataCaptureConfig"},
        {"VariantPropertyType": "DesiredWeight"},
    ]
    assert not default.version(3).of("AWS::ApplicationAutoScaling::ScalableTarget")
    plain = properties(default.version(3), "Endpoint")
    assert not [name for name in plain if "Retain" in name]


def watched(stack: Stack) -> dict[str, dict[str, Any]]:
    alarms = [each["Properties"] for each in stack.of("AWS::CloudWatch::Alarm")]
    return {alarm["MetricName"]: alarm for alarm in alarms}


def test_failures_and_both_latencies_are_watched_and_by_setting_what_fills_up(
    default: Synthesis, synthesise: Synthesiser
) -> None:
    always = {"Invocation5XXErrors", "Invocation4XXErrors", "ModelLatency", "OverheadLatency"}
    assert watched(default.version(3)).keys() == always
    assert watched(default.version(4)).keys() == always | {"DiskUtilization"}
    gpu = changed(
        synthesise,
        "gpu",
        'instance_type = "ml.m5.xlarge"\ninstances = 2\nvolume_gb = 50',
        'instance_type = "ml.g5.xlarge"\ninstances = 2',
    )
    full = watched(gpu.version(4))
    assert full.keys() == always | {"DiskUtilization", "GPUMemoryUtilization"}
    assert full["GPUMemoryUtilization"]["Threshold"] == 90
    for alarm in full.values():
        assert alarm["AlarmName"] == f"modelport-prod-magika-v4-{alarm['MetricName'].lower()}"
        assert alarm["TreatMissingData"] == "notBreaching"
        assert {each["Name"]: each["Value"] for each in alarm["Dimensions"]} == {
            "EndpointName": "modelport-prod-magika-v4",
            "VariantName": "primary",
        }


def test_latency_alarms_are_in_the_microseconds_sagemaker_measures(default: Synthesis) -> None:
    latency = watched(default.version(3))["ModelLatency"]
    assert latency["ExtendedStatistic"] == "p99"
    assert latency["Threshold"] == 0.8 * 27 * 1_000_000


def test_a_rollout_watches_its_alarms_long_enough_for_each_to_ring(default: Synthesis) -> None:
    stack = default.version(3)
    policy = rollout(stack)["BlueGreenUpdatePolicy"]
    baked = policy["TrafficRoutingConfiguration"]["WaitIntervalInSeconds"]
    for named in rollout(stack)["AutoRollbackConfiguration"]["Alarms"]:
        alarm = stack.resources[named["AlarmName"]["Ref"]]["Properties"]
        assert alarm["Period"] * alarm["DatapointsToAlarm"] < baked


def test_endpoint_alarms_notify_the_topic_of_the_settings(synthesise: Synthesiser) -> None:
    for alarm in watched(synthesise("rest").version(4)).values():
        assert alarm["AlarmActions"] == [TOPIC]


def test_a_log_that_goes_with_its_stack_is_where_sagemaker_writes_it(
    synthesise: Synthesiser,
) -> None:
    stack = synthesise("open").version(3)
    group = stack.one("AWS::Logs::LogGroup")
    name = "/aws/sagemaker/Endpoints/modelport-test-magika-v3"
    assert group["Properties"]["LogGroupName"] == name
    assert group["DeletionPolicy"] == "Delete"
    assert not stack.of("Custom::EndpointLogs")


def test_a_log_that_is_kept_is_made_by_who_takes_it_as_it_is(default: Synthesis) -> None:
    """One that CloudFormation made and kept would fail the version's next deploy."""
    stack = default.version(3)
    assert not stack.of("AWS::Logs::LogGroup")
    properties = dict(stack.one("Custom::EndpointLogs")["Properties"])
    assert properties.pop("ServiceToken") == {"Fn::ImportValue": "modelport-prod-registrar-arn"}
    assert properties == {
        "LogGroup": "/aws/sagemaker/Endpoints/modelport-prod-magika-v3",
        "RetentionDays": 30,
        "KeyArn": {"Fn::ImportValue": "modelport-prod-key-arn"},
    }


def test_the_log_stands_before_the_endpoint_writes_it(any_environment: Synthesis) -> None:
    stack = any_environment.version(3)
    (log,) = [
        id
        for id, resource in stack.resources.items()
        if resource["Type"] in ("AWS::Logs::LogGroup", "Custom::EndpointLogs")
    ]
    assert log in stack.one("AWS::SageMaker::Endpoint")["DependsOn"]


def test_the_registration_comes_last_and_says_what_runs_where(default: Synthesis) -> None:
    stack = default.version(4)
    registration = stack.one("Custom::ModelVersion")
    for id, resource in stack.resources.items():
        if resource["Type"] in (
            "AWS::SageMaker::Endpoint",
            "AWS::CloudWatch::Alarm",
            "AWS::ApplicationAutoScaling::ScalingPolicy",
        ):
            assert id in registration["DependsOn"]
    told = {k: v for k, v in registration["Properties"].items() if k[0].isupper()}
    for name in ("ServiceToken", "ServiceTimeout", "Configuration"):
        assert told.pop(name)
    assert told == {
        "Model": "magika",
        "Version": 4,
        "Digest": DIGEST,
        "Target": "sagemaker",
        "Resource": "modelport-prod-magika-v4",
        "InstanceType": "ml.m5.xlarge",
        "Instances": 2,
        "TimeoutS": 60,
    }


def test_a_version_can_move_between_lambda_and_sagemaker(
    synthesise: Synthesiser, default: Synthesis
) -> None:
    """CloudFormation never changes a type, and a role in use must not change its service."""
    moved = changed(synthesise, "moved", 'target = "sagemaker"', 'target = "lambda"')
    for number in (3, 4):
        before = default.version(number).resources
        after = moved.version(number).resources
        shared = {before[id]["Type"] for id in before.keys() & after.keys()}
        assert shared - {"AWS::CDK::Metadata"} == {"Custom::ModelVersion"}


def test_an_environment_that_sagemaker_would_refuse_fails_the_synthesis(
    synthesise: Synthesiser,
) -> None:
    long = f'[environment.function_environment]\nLONG = "{"x" * 1025}"\n'
    text = '[environment]\nname = "t"\n' + long + VERSIONS + ENDPOINTS
    with pytest.raises(InvalidSettingError, match="LONG"):
        synthesise.fresh(text, "long")

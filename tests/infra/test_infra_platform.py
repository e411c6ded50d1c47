"""The platform stack: encrypted, private, throttled, watched, and kept when it is deleted."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
from modelport.settings import (
    ControllerSettings,
    RegistrarSettings,
    RouterSettings,
    WorkerSettings,
)

from infra.assets import Assets
from tests.support.synthesis import TOPIC, Stack, Synthesis, Synthesiser


def variables(stack: Stack, function: str) -> dict[str, str]:
    """A function's environment, references written out."""
    properties = stack.properties("AWS::Lambda::Function", FunctionName=function)
    return {k: stack.text(v) for k, v in properties["Environment"]["Variables"].items()}


def bucket_of(stack: Stack, what: str) -> dict[str, Any]:
    """The properties of one of the platform's two buckets."""
    (found,) = [
        each["Properties"]
        for each in stack.of("AWS::S3::Bucket")
        if f"-{what}-" in stack.text(each["Properties"]["BucketName"])
    ]
    return dict(found)


def test_buckets_have_names_that_no_other_account_has(default: Synthesis) -> None:
    stack = default.platform
    names = {stack.text(each["Properties"]["BucketName"]) for each in stack.of("AWS::S3::Bucket")}
    assert names == {
        f"modelport-prod-{what}-<AWS::AccountId>-<AWS::Region>" for what in ("registry", "payloads")
    }


@pytest.mark.parametrize("what", ["registry", "payloads"])
def test_a_bucket_is_encrypted_by_itself_and_private(any_environment: Synthesis, what: str) -> None:
    stack = any_environment.platform
    bucket = bucket_of(stack, what)
    (rule,) = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert rule["BucketKeyEnabled"] is True
    assert rule["ServerSideEncryptionByDefault"]["SSEAlgorithm"] == "aws:kms"
    key = rule["ServerSideEncryptionByDefault"]["KMSMasterKeyID"]
    assert stack.text(key) == "<AWS::KMS::Key.Arn>"
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    assert len(bucket["PublicAccessBlockConfiguration"]) == 4
    assert "CorsConfiguration" not in bucket


def test_only_the_registry_keeps_earlier_versions(any_environment: Synthesis) -> None:
    registry, payloads = (
        bucket_of(any_environment.platform, what) for what in ("registry", "payloads")
    )
    assert registry["VersioningConfiguration"] == {"Status": "Enabled"}
    assert "VersioningConfiguration" not in payloads


def test_payloads_go_after_two_days(any_environment: Synthesis) -> None:
    (rule,) = bucket_of(any_environment.platform, "payloads")["LifecycleConfiguration"]["Rules"]
    assert rule == {
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1},
        "ExpirationInDays": 2,
        "Status": "Enabled",
    }


def test_unfinished_uploads_are_removed_after_a_week(default: Synthesis) -> None:
    (rule,) = bucket_of(default.platform, "registry")["LifecycleConfiguration"]["Rules"]
    assert rule["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 7}
    assert rule["Status"] == "Enabled"
    assert "ExpirationInDays" not in rule


def test_buckets_are_reached_by_tls_only(any_environment: Synthesis) -> None:
    policies = any_environment.platform.of("AWS::S3::BucketPolicy")
    assert len(policies) == 2
    for each in policies:
        statements = each["Properties"]["PolicyDocument"]["Statement"]
        denied = [s["Condition"] for s in statements if s["Effect"] == "Deny"]
        assert {"Bool": {"aws:SecureTransport": "false"}} in denied
        assert {"NumericLessThan": {"s3:TlsVersion": 1.2}} in denied
        assert not [s for s in statements if s["Effect"] == "Allow"]


def test_the_key_is_rotated(any_environment: Synthesis) -> None:
    assert any_environment.platform.one("AWS::KMS::Key")["Properties"]["EnableKeyRotation"] is True


@pytest.mark.parametrize(
    ("environment", "deletion", "replacement"),
    # A failed first create leaves nothing behind whose fixed name would fail the retry.
    [("default", "RetainExceptOnCreate", "Retain"), ("open", "Delete", "Delete")],
)
def test_what_holds_data_stays_unless_the_settings_say_otherwise(
    synthesise: Synthesiser, environment: str, deletion: str, replacement: str
) -> None:
    platform = synthesise(environment).platform
    for kind in ("AWS::S3::Bucket", "AWS::KMS::Key", "AWS::Logs::LogGroup"):
        for resource in platform.of(kind):
            assert resource["DeletionPolicy"] == deletion
            assert resource["UpdateReplacePolicy"] == replacement


@pytest.mark.parametrize(("environment", "days"), [("default", 30), ("open", 7)])
def test_every_log_is_encrypted_and_ends(
    synthesise: Synthesiser, environment: str, days: int
) -> None:
    for stack in synthesise(environment).stacks.values():
        for group in stack.of("AWS::Logs::LogGroup"):
            assert group["Properties"]["RetentionInDays"] == days
            assert "KmsKeyId" in group["Properties"]


def test_every_function_has_a_log_group_of_its_own(any_environment: Synthesis) -> None:
    for stack in any_environment.stacks.values():
        functions = [each["Properties"] for each in stack.of("AWS::Lambda::Function")]
        own = {properties["LoggingConfig"]["LogGroup"]["Ref"] for properties in functions}
        assert len(own) == len(functions)
        for properties in functions:
            group = stack.resources[properties["LoggingConfig"]["LogGroup"]["Ref"]]
            assert group["Type"] == "AWS::Logs::LogGroup"
            name = f"/aws/lambda/{properties['FunctionName']}"
            assert group["Properties"].get("LogGroupName", name) == name


def test_functions_are_told_what_they_read(default: Synthesis) -> None:
    told = RouterSettings.from_env(variables(default.platform, "modelport-prod-router"))
    assert told == RouterSettings(
        "<AWS::S3::Bucket>",
        "prod",
        auth="iam",
        payloads_bucket="<AWS::S3::Bucket>",
        jobs_queue_url="<AWS::SQS::Queue>",
        shadow_queue_url="<AWS::SQS::Queue>",
    )
    registrar = RegistrarSettings.from_env(variables(default.platform, "modelport-prod-registrar"))
    assert registrar == RegistrarSettings("<AWS::S3::Bucket>", "prod")
    worker = variables(default.platform, "modelport-prod-worker")
    assert WorkerSettings.from_env(worker) == WorkerSettings(
        "<AWS::S3::Bucket>",
        "prod",
        payloads_bucket="<AWS::S3::Bucket>",
        jobs_queue_url="<AWS::SQS::Queue>",
        jobs_dead_arn="<AWS::SQS::Queue.Arn>",
    )
    controller = variables(default.platform, "modelport-prod-controller")
    assert ControllerSettings.from_env(controller) == ControllerSettings(
        "<AWS::S3::Bucket>", "prod"
    )


def test_handlers_lie_where_lambda_looks_for_them(default: Synthesis, synthesise: Any) -> None:
    for name in ("router", "registrar", "worker", "controller"):
        function = default.platform.properties(
            "AWS::Lambda::Function", FunctionName=f"modelport-prod-{name}"
        )
        module, _, attribute = function["Handler"].rpartition(".")
        source = getattr(synthesise.assets, name) / (module.replace(".", "/") + ".py")
        assert f"def {attribute}(" in source.read_text()


def test_zip_functions_run_on_the_python_and_architecture_of_the_settings(
    synthesise: Synthesiser,
) -> None:
    for environment, runtime, architecture in (
        ("default", "python3.12", "arm64"),
        ("open", "python3.11", "x86_64"),
    ):
        platform = synthesise(environment).platform
        for function in platform.of("AWS::Lambda::Function"):
            assert function["Properties"]["Runtime"] == runtime
            assert function["Properties"]["Architectures"] == [architecture]
        for layer in platform.of("AWS::Lambda::LayerVersion"):
            assert layer["Properties"]["CompatibleRuntimes"] == [runtime]
            assert layer["Properties"]["CompatibleArchitectures"] == [architecture]


@pytest.mark.parametrize(("environment", "on"), [("default", True), ("open", False)])
def test_the_router_starts_from_a_snapshot_where_lambda_can(
    synthesise: Synthesiser, environment: str, on: bool
) -> None:
    for function in synthesise(environment).platform.of("AWS::Lambda::Function"):
        properties = function["Properties"]
        expected = on and properties["FunctionName"].endswith("-router")
        assert (properties.get("SnapStart") == {"ApplyOn": "PublishedVersions"}) is expected


def test_callers_reach_the_published_version_behind_live(any_environment: Synthesis) -> None:
    stack = any_environment.platform
    alias = stack.one("AWS::Lambda::Alias")["Properties"]
    assert alias["Name"] == "live"
    assert stack.text(alias["FunctionVersion"]) == "<AWS::Lambda::Version.Version>"
    for integration in stack.of("AWS::ApiGatewayV2::Integration"):
        uri = integration["Properties"]["IntegrationUri"]
        assert stack.text(uri) == "<AWS::Lambda::Alias>"
    for method in stack.of("AWS::ApiGateway::Method"):
        integration = method["Properties"]["Integration"]
        # The streamer is never snapshotted, so it needs no published version.
        streams = integration.get("ResponseTransferMode") == "STREAM"
        called = "<AWS::Lambda::Function.Arn>" if streams else "<AWS::Lambda::Alias>"
        assert called in stack.text(integration["Uri"])


def test_the_http_api_hands_every_request_to_the_router(default: Synthesis) -> None:
    route = default.platform.one("AWS::ApiGatewayV2::Route")["Properties"]
    assert route["RouteKey"] == "$default"
    integration = default.platform.one("AWS::ApiGatewayV2::Integration")["Properties"]
    assert integration["PayloadFormatVersion"] == "2.0"


def test_callers_are_authorised_by_iam_unless_the_settings_say_none(
    synthesise: Synthesiser,
) -> None:
    for environment, kind, expected in (
        ("default", "AWS::ApiGatewayV2::Route", "AWS_IAM"),
        ("open", "AWS::ApiGatewayV2::Route", "NONE"),
        ("rest", "AWS::ApiGateway::Method", "AWS_IAM"),
        ("open-rest", "AWS::ApiGateway::Method", "NONE"),
    ):
        doors = synthesise(environment).platform.of(kind)
        assert {door["Properties"]["AuthorizationType"] for door in doors} == {expected}


def test_there_is_one_kind_of_api_at_a_time(synthesise: Synthesiser) -> None:
    assert not synthesise("default").platform.of("AWS::ApiGateway::RestApi")
    assert not synthesise("rest").platform.of("AWS::ApiGatewayV2::Api")


def test_an_environment_can_change_its_kind_of_api(synthesise: Synthesiser) -> None:
    before, after = (synthesise(name).platform.resources for name in ("default", "rest"))
    for logical_id in before.keys() & after.keys():  # CloudFormation never changes a type.
        assert before[logical_id]["Type"] == after[logical_id]["Type"]


def test_the_rest_api_passes_every_body_through_as_it_is(synthesise: Synthesiser) -> None:
    platform = synthesise("rest").platform
    assert platform.one("AWS::ApiGateway::RestApi")["Properties"]["BinaryMediaTypes"] == ["*/*"]
    for method in platform.of("AWS::ApiGateway::Method"):
        assert method["Properties"]["HttpMethod"] == "ANY"
        assert method["Properties"]["Integration"]["Type"] == "AWS_PROXY"


def test_the_rest_api_streams_text_and_nothing_else(synthesise: Synthesiser) -> None:
    platform = synthesise("rest").platform
    resources = {
        name: each["Properties"]
        for name, each in platform.resources.items()
        if each["Type"] == "AWS::ApiGateway::Resource"
    }

    def path(method: Any) -> str:
        at = method["Properties"]["ResourceId"].get("Ref")
        parts: list[str] = []
        while at in resources:
            parts.insert(0, resources[at]["PathPart"])
            at = resources[at]["ParentId"].get("Ref")
        return "/" + "/".join(parts)

    ways = {path(method): method["Properties"] for method in platform.of("AWS::ApiGateway::Method")}
    model = "/v2/models/{model}"
    streamed = {f"{model}/generate_stream", f"{model}/versions/{{version}}/generate_stream"}
    steps = {"/v2", "/v2/models", model, f"{model}/versions", f"{model}/versions/{{version}}"}
    caught = {"/{proxy+}", "/v2/{proxy+}"}
    caught |= {f"{model}/{{proxy+}}", f"{model}/versions/{{version}}/{{proxy+}}"}
    assert ways.keys() == {"/"} | steps | caught | streamed
    for at, properties in ways.items():
        integration = properties["Integration"]
        assert (integration.get("ResponseTransferMode") == "STREAM") is (at in streamed), at
        uri = platform.text(integration["Uri"])
        if at in streamed:
            assert "path/2021-11-15/functions/" in uri
            assert uri.endswith("/response-streaming-invocations")
            assert integration["TimeoutInMillis"] == 900_000
        else:
            assert uri.endswith("/invocations")


def queue_of(stack: Stack, what: str) -> dict[str, Any]:
    return stack.properties("AWS::SQS::Queue", QueueName=f"modelport-prod-{what}")


def test_queues_are_encrypted_with_the_key_and_reached_by_tls_only(
    any_environment: Synthesis,
) -> None:
    stack = any_environment.platform
    queues = stack.of("AWS::SQS::Queue")
    assert len(queues) == 3
    for queue in queues:
        assert stack.text(queue["Properties"]["KmsMasterKeyId"]) == "<AWS::KMS::Key.Arn>"
    policies = [each["Properties"] for each in stack.of("AWS::SQS::QueuePolicy")]
    assert len(policies) == 3
    for policy in policies:
        (statement,) = policy["PolicyDocument"]["Statement"]
        assert (statement["Effect"], statement["Principal"]) == ("Deny", {"AWS": "*"})
        assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_a_job_that_nobody_finishes_is_kept_apart(default: Synthesis) -> None:
    stack = default.platform
    jobs, dead = (queue_of(stack, what) for what in ("jobs", "dead-jobs"))
    assert jobs["RedrivePolicy"]["maxReceiveCount"] == 6
    assert stack.text(jobs["RedrivePolicy"]["deadLetterTargetArn"]) == "<AWS::SQS::Queue.Arn>"
    assert dead["MessageRetentionPeriod"] == 14 * 86_400
    assert "RedrivePolicy" not in queue_of(stack, "shadows")


def test_a_job_waits_no_longer_than_its_payload_is_kept(default: Synthesis) -> None:
    kept = bucket_of(default.platform, "payloads")["LifecycleConfiguration"]["Rules"][0]
    waits = queue_of(default.platform, "jobs")["MessageRetentionPeriod"]
    assert waits == kept["ExpirationInDays"] * 86_400


def test_the_worker_says_of_each_message_whether_it_is_done(synthesise: Synthesiser) -> None:
    text = '[environment]\nname = "prod"\njobs_at_once = 40\n'
    stack = synthesise.fresh(text, "busy").platform
    taken = {}
    for mapping in stack.of("AWS::Lambda::EventSourceMapping"):
        properties = mapping["Properties"]
        function = stack.resources[properties["FunctionName"]["Ref"]]["Properties"]
        queue = stack.resources[properties["EventSourceArn"]["Fn::GetAtt"][0]]["Properties"]
        assert function["FunctionName"] == "modelport-prod-worker"
        assert properties["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
        # Lambda refuses a queue whose messages come again while they are worked on.
        assert queue["VisibilityTimeout"] > function["Timeout"] == 900
        taken[queue["QueueName"].removeprefix("modelport-prod-")] = (
            properties["BatchSize"],
            properties["ScalingConfig"]["MaximumConcurrency"],
        )
    assert taken == {"jobs": (1, 40), "dead-jobs": (1, 2), "shadows": (10, 2)}


def test_rollouts_are_looked_at_every_minute_and_never_a_second_time(
    any_environment: Synthesis,
) -> None:
    stack = any_environment.platform
    rule = stack.one("AWS::Events::Rule")["Properties"]
    assert (rule["ScheduleExpression"], rule["State"]) == ("rate(1 minute)", "ENABLED")
    (target,) = rule["Targets"]
    assert target["RetryPolicy"] == {"MaximumEventAgeInSeconds": 60, "MaximumRetryAttempts": 0}
    function = stack.resources[target["Arn"]["Fn::GetAtt"][0]]["Properties"]
    assert function["FunctionName"].endswith("-controller")
    assert function["Timeout"] < 60
    # A new account has no concurrency to reserve.
    assert "ReservedConcurrentExecutions" not in function
    invoked = stack.one("AWS::Lambda::EventInvokeConfig")["Properties"]
    assert invoked["FunctionName"]["Ref"] == target["Arn"]["Fn::GetAtt"][0]
    assert invoked["MaximumRetryAttempts"] == 0


def test_the_router_is_told_which_hosts_webhooks_may_have(synthesise: Synthesiser) -> None:
    text = '[environment]\nname = "t"\nwebhook_hosts = ["a.example", "127.0.0.1:80"]\n'
    told = variables(synthesise.fresh(text, "webhooks").platform, "modelport-t-router")
    assert RouterSettings.from_env(told).webhook_hosts == "a.example,127.0.0.1:80"


def test_old_and_given_up_jobs_are_watched(any_environment: Synthesis) -> None:
    stack = any_environment.platform
    watched = {
        alarm["Properties"]["MetricName"]: alarm["Properties"]
        for alarm in stack.of("AWS::CloudWatch::Alarm")
        if alarm["Properties"].get("Namespace") == "AWS/SQS"
    }
    assert watched.keys() == {"ApproximateAgeOfOldestMessage", "NumberOfMessagesReceived"}
    assert watched["NumberOfMessagesReceived"]["Threshold"] == 1
    for name, queue in (
        ("ApproximateAgeOfOldestMessage", "jobs"),
        ("NumberOfMessagesReceived", "dead-jobs"),
    ):
        (dimension,) = watched[name]["Dimensions"]
        reference = dimension["Value"]["Fn::GetAtt"][0]
        assert stack.resources[reference]["Properties"]["QueueName"].endswith(f"-{queue}")


def test_a_rest_api_that_shall_not_stream_is_the_router_alone(synthesise: Synthesiser) -> None:
    text = '[environment]\nname = "t"\napi = "rest"\nstreaming = false\n'
    platform = synthesise.fresh(text, "unstreamed").platform
    names = {each["Properties"]["FunctionName"] for each in platform.of("AWS::Lambda::Function")}
    assert "modelport-t-streamer" not in names
    assert len(platform.of("AWS::ApiGateway::Method")) == 2


def test_the_streamer_starts_a_loop_of_its_own_with_the_routers_rights_and_one_more(
    synthesise: Synthesiser, assets: Assets
) -> None:
    platform = synthesise("rest").platform
    functions = {
        each["Properties"]["FunctionName"]: each["Properties"]
        for each in platform.of("AWS::Lambda::Function")
    }
    streamer, router = (functions[f"modelport-prod-{name}"] for name in ("streamer", "router"))
    assert streamer["Timeout"] == 900
    assert "SnapStart" not in streamer
    assert streamer["Code"] == router["Code"]
    told = dict(streamer["Environment"]["Variables"])
    wrapper = told.pop("AWS_LAMBDA_EXEC_WRAPPER")
    queued = ("JOBS_QUEUE_URL", "PAYLOADS_BUCKET", "SHADOW_QUEUE_URL")
    elsewhere = {f"MODELPORT_{name}" for name in queued}
    routers_own = router["Environment"]["Variables"]
    assert told == {name: routers_own[name] for name in routers_own.keys() - elsewhere}
    program = assets.router / wrapper.removeprefix("/var/task/")
    assert os.access(program, os.X_OK)
    streamers, routers = (
        {
            statement["Sid"]: {**statement, "Resource": str(statement["Resource"])}
            for statement in _statements(platform, each["Role"])
            if statement["Sid"] != "OwnLogs"
        }
        for each in (streamer, router)
    )
    streaming = streamers.pop("StreamEndpoints")
    handing_on = {"HandWorkOn", "KeepPayloads", "KnowWhichPayloadsAreMissing", "EncryptPayloads"}
    assert streamers == {sid: each for sid, each in routers.items() if sid not in handing_on}
    assert streaming["Action"] == "sagemaker:InvokeEndpointWithResponseStream"
    assert streaming["Resource"] == routers["InvokeEndpoints"]["Resource"]
    assert not any(
        each["Properties"]["FunctionName"].endswith("-streamer")
        for each in synthesise("default").platform.of("AWS::Lambda::Function")
    )


def _statements(platform: Stack, role: Any) -> list[Any]:
    name = role["Fn::GetAtt"][0]
    policies = platform.resources[name]["Properties"]["Policies"]
    return [each for policy in policies for each in policy["PolicyDocument"]["Statement"]]


def test_both_apis_throttle_and_log_each_access_without_payloads(synthesise: Synthesiser) -> None:
    http = synthesise("default").platform.one("AWS::ApiGatewayV2::Stage")["Properties"]
    assert http["DefaultRouteSettings"]["ThrottlingRateLimit"] == 100
    assert http["DefaultRouteSettings"]["ThrottlingBurstLimit"] == 200
    rest = synthesise("rest").platform.one("AWS::ApiGateway::Stage")["Properties"]
    (method,) = rest["MethodSettings"]
    assert (method["ThrottlingRateLimit"], method["ThrottlingBurstLimit"]) == (100, 200)
    assert method["DataTraceEnabled"] is False
    for fields in (http["AccessLogSettings"]["Format"], rest["AccessLogSetting"]["Format"]):
        assert {"request_id", "status", "path", "latency_ms"} <= json.loads(fields).keys()


def test_errors_throttles_and_p99_of_every_called_function_are_watched(
    any_environment: Synthesis,
) -> None:
    for stack in any_environment.stacks.values():
        watched: dict[str, set[str]] = {}
        for alarm in stack.of("AWS::CloudWatch::Alarm"):
            properties = alarm["Properties"]
            assert properties["TreatMissingData"] == "notBreaching"
            for dimension in properties.get("Dimensions", []):
                if dimension["Name"] == "FunctionName":
                    what = properties.get("ExtendedStatistic", properties["MetricName"])
                    watched.setdefault(dimension["Value"], set()).add(what)
        for function in stack.of("AWS::Lambda::Function"):
            name = function["Properties"]["FunctionName"]
            if not name.endswith("-registrar"):  # Runs in deploys only, which tell by themselves.
                assert watched[name] == {"Errors", "Throttles", "p99"}


def test_alarms_notify_the_topic_of_the_settings(synthesise: Synthesiser) -> None:
    for stack in synthesise("rest").stacks.values():
        for alarm in stack.of("AWS::CloudWatch::Alarm"):
            assert alarm["Properties"]["AlarmActions"] == [TOPIC]
    for alarm in synthesise("default").platform.of("AWS::CloudWatch::Alarm"):
        assert "AlarmActions" not in alarm["Properties"]


def test_the_dashboard_shows_every_version_without_being_told(default: Synthesis) -> None:
    stack = default.platform
    body = stack.text(stack.one("AWS::CloudWatch::Dashboard")["Properties"]["DashboardBody"])
    for metrics in (
        "{AWS/Lambda,FunctionName}",
        "{AWS/SageMaker,EndpointName,VariantName}",
        "{modelport,environment,model,version}",
    ):
        assert f"SEARCH('{metrics} " in body
    assert "modelport-prod-" in body
    assert "magika" not in body


OUTPUTS = {
    "ApiEndpoint",
    "ApiId",
    "BucketName",
    "JobsQueueUrl",
    "KeyArn",
    "PayloadsBucketName",
    "RegistrarArn",
}
OUTPUTS |= {"PayloadsBucketName", "JobsQueueUrl"}


def test_the_outputs_have_the_names_that_tools_read(any_environment: Synthesis) -> None:
    outputs = any_environment.platform.template["Outputs"]
    images = (
        {"ImageRepositoryUri"} if any_environment.platform.of("AWS::ECR::Repository") else set()
    )
    assert outputs.keys() == OUTPUTS | images


@pytest.mark.parametrize(
    ("environment", "deletion"), [("default", "RetainExceptOnCreate"), ("open", "Delete")]
)
def test_images_have_a_repository_whose_tags_never_move(
    synthesise: Synthesiser, environment: str, deletion: str
) -> None:
    platform = synthesise(environment).platform
    repository = platform.one("AWS::ECR::Repository")
    properties = repository["Properties"]
    assert properties["ImageTagMutability"] == "IMMUTABLE"
    assert properties["ImageScanningConfiguration"] == {"ScanOnPush": True}
    encryption = properties["EncryptionConfiguration"]
    assert encryption["EncryptionType"] == "KMS"
    assert platform.text(encryption["KmsKey"]) == "<AWS::KMS::Key.Arn>"
    assert repository["DeletionPolicy"] == deletion
    assert properties.get("EmptyOnDelete", False) is (deletion == "Delete")
    # Versions run by digest, whether tagged or not: nothing may expire under them.
    assert "LifecyclePolicy" not in properties


def test_only_lambda_pulls_and_only_for_this_environments_functions(default: Synthesis) -> None:
    platform = default.platform
    policy = platform.one("AWS::ECR::Repository")["Properties"]["RepositoryPolicyText"]
    (statement,) = policy["Statement"]
    assert statement["Principal"] == {"Service": "lambda.amazonaws.com"}
    assert statement["Action"] == ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
    (source,) = statement["Condition"]["ArnLike"].values()
    assert platform.text(source).endswith(":function:modelport-prod-*-v*")


@pytest.mark.parametrize(
    "settings", ['image_repository = "registry.example/m"', f'image = "m@sha256:{"0" * 64}"']
)
def test_a_cloud_that_names_its_images_gets_no_repository(
    synthesise: Synthesiser, settings: str
) -> None:
    text = f'[environment]\nname = "t"\n{settings}\n'
    platform = synthesise.fresh(text, f"images-{settings[:10].strip()}").platform
    assert not platform.of("AWS::ECR::Repository")
    assert platform.template["Outputs"].keys() == OUTPUTS


def test_the_rest_endpoint_names_its_stage(synthesise: Synthesiser) -> None:
    stack = synthesise("rest").platform
    stage = stack.one("AWS::ApiGateway::Stage")["Properties"]["StageName"]
    endpoint = stack.text(stack.template["Outputs"]["ApiEndpoint"]["Value"])
    assert endpoint.startswith("https://<AWS::ApiGateway::RestApi>.execute-api.")
    assert endpoint.endswith(f"/{stage}")

"""Who may do what. Every right of every function stands here; a new one has to be written down."""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
from modelport.jobs import keys
from modelport.registry.bucket import BucketRegistry
from modelport.registry.memory import MemoryStore
from modelport.registry.notes import NoteEdit

from tests.support.registry_world import ADA, Killed, MortalStore, make_draft
from tests.support.synthesis import ENDPOINTS as ENDPOINT_ENTRIES
from tests.support.synthesis import IMAGE, VERSIONS, Stack, Synthesis, Synthesiser

MODELS = "arn:<AWS::Partition>:lambda:<AWS::Region>:<AWS::AccountId>:function:modelport-{}-*-v*"
ENDPOINTS = (
    "arn:<AWS::Partition>:sagemaker:<AWS::Region>:<AWS::AccountId>:endpoint/modelport-{}-*-v*"
)
ENDPOINT_LOGS = (
    "arn:<AWS::Partition>:logs:<AWS::Region>:<AWS::AccountId>"
    ":log-group:/aws/sagemaker/Endpoints/modelport-{}"
)
BUCKET = "<AWS::S3::Bucket.Arn>"
KEY = "<AWS::KMS::Key.Arn>"
QUEUE = "<AWS::SQS::Queue.Arn>"
LOGS = "<AWS::Logs::LogGroup.Arn>"


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def rights(stack: Stack, function: str) -> set[tuple[str, str]]:
    """Every (action, resource) that a function's role allows."""
    role_id = stack.properties("AWS::Lambda::Function", FunctionName=function)["Role"]
    return allowed(stack, role_id)


def endpoint_rights(stack: Stack) -> set[tuple[str, str]]:
    """Every (action, resource) that the role of a stack's endpoint allows."""
    roles = [model["Properties"]["ExecutionRoleArn"] for model in stack.of("AWS::SageMaker::Model")]
    assert all(role == roles[0] for role in roles)
    return allowed(stack, roles[0])


def allowed(stack: Stack, role_id: dict[str, Any]) -> set[tuple[str, str]]:
    """Every (action, resource) that a role allows."""
    role = stack.resources[role_id["Fn::GetAtt"][0]]["Properties"]
    assert "ManagedPolicyArns" not in role
    policies = [each["PolicyDocument"] for each in role["Policies"]]
    for policy in stack.of("AWS::IAM::Policy"):
        if {"Ref": role_id["Fn::GetAtt"][0]} in policy["Properties"].get("Roles", []):
            policies.append(policy["Properties"]["PolicyDocument"])
    return {
        (action, stack.text(resource))
        for policy in policies
        for statement in policy["Statement"]
        if statement["Effect"] == "Allow"
        for action in as_list(statement["Action"])
        for resource in as_list(statement["Resource"])
    }


OWN_LOGS = {("logs:CreateLogStream", LOGS), ("logs:PutLogEvents", LOGS)}
READ_REGISTRY = {
    ("s3:GetObject", f"{BUCKET}/models/*"),
    ("s3:ListBucket", BUCKET),
    ("kms:Decrypt", KEY),
}


CHANGE_ROUTES = {
    ("s3:PutObject", f"{BUCKET}/models/*/routes.json"),
    ("s3:PutObject", f"{BUCKET}/models/*/log/*"),
    ("s3:PutObject", f"{BUCKET}/models/*/publications/*"),
    ("s3:PutObject", f"{BUCKET}/models/*/notes/*"),
    ("kms:GenerateDataKey", KEY),
}
INVOKE = {
    ("lambda:InvokeFunction", MODELS.format("prod")),
    ("sagemaker:InvokeEndpoint", ENDPOINTS.format("prod")),
}


PLACES = ("uploads", "calls", "jobs", "keys")


def payloads(*places: str) -> set[tuple[str, str]]:
    """Read and write below these places, and the key for it."""
    own = {
        (f"s3:{action}", f"{BUCKET}/{place}/*")
        for action in ("GetObject", "PutObject")
        for place in places
    }
    return own | {("s3:ListBucket", BUCKET), ("kms:GenerateDataKey", KEY), ("kms:Decrypt", KEY)}


def test_the_router_reads_records_calls_models_hands_work_on_and_nothing_else(
    default: Synthesis,
) -> None:
    got = rights(default.platform, "modelport-prod-router")
    work = {("sqs:SendMessage", QUEUE)} | payloads(*PLACES)
    assert got == OWN_LOGS | READ_REGISTRY | INVOKE | work


def test_every_name_that_is_given_to_a_payload_is_within_reach(default: Synthesis) -> None:
    id, owner = keys.new_id(), keys.owner_of("arn:aws:iam::1:user/ada")
    jobs = {keys.record(id), keys.request(id), keys.answer(id, id)}
    others = {keys.upload(owner, id), keys.call(id, "answer"), keys.idempotency(owner, "order-7")}
    for function, names in (("router", jobs | others), ("worker", jobs)):
        places = reached(default.platform, f"modelport-prod-{function}", "s3:PutObject")
        for name in names:
            full = f"modelport-prod-payloads/{name}"
            assert any(fnmatchcase(full, place) for place in places), name


def test_the_worker_takes_work_finishes_jobs_and_nothing_else(default: Synthesis) -> None:
    take = ("ReceiveMessage", "DeleteMessage", "ChangeMessageVisibility", "GetQueueAttributes")
    uploads = {("s3:GetObject", f"{BUCKET}/uploads/*")}
    stack, worker = default.platform, "modelport-prod-worker"
    queues = {(f"sqs:{action}", QUEUE) for action in take}
    assert rights(stack, worker) == (
        OWN_LOGS | READ_REGISTRY | INVOKE | uploads | payloads("jobs") | queues
    )
    assert reached(stack, worker, "s3:PutObject") == {"modelport-prod-payloads/jobs/*"}
    all_three = {f"modelport-prod-{each}" for each in ("jobs", "dead-jobs", "shadows")}
    assert reached(stack, worker, "sqs:ReceiveMessage") == all_three


def reached(stack: Stack, function: str, action: str) -> set[str]:
    """Of a function, the names of the resources that it may do ``action`` with."""
    role_id = stack.properties("AWS::Lambda::Function", FunctionName=function)["Role"]
    (policy,) = stack.resources[role_id["Fn::GetAtt"][0]]["Properties"]["Policies"]
    arns = [
        resource
        for statement in policy["PolicyDocument"]["Statement"]
        if action in as_list(statement["Action"])
        for resource in as_list(statement["Resource"])
    ]
    names = set()
    for arn in arns:
        parts = arn["Fn::Join"][1] if "Fn::Join" in arn else [arn]
        properties = stack.resources[parts[0]["Fn::GetAtt"][0]]["Properties"]
        name = properties.get("QueueName") or stack.text(properties["BucketName"])
        names.add(name.partition("-<")[0] + "".join(parts[1:]))
    return names


def test_the_router_writes_payloads_only_and_of_the_registry_reads_records(
    default: Synthesis,
) -> None:
    stack, router = default.platform, "modelport-prod-router"
    places = {f"modelport-prod-payloads/{each}/*" for each in PLACES}
    assert reached(stack, router, "s3:PutObject") == places
    assert reached(stack, router, "s3:GetObject") == places | {"modelport-prod-registry/models/*"}
    queues = {"modelport-prod-jobs", "modelport-prod-shadows"}
    assert reached(stack, router, "sqs:SendMessage") == queues


def test_the_registrar_also_writes_routes_and_their_log(default: Synthesis) -> None:
    assert rights(default.platform, "modelport-prod-registrar") == (
        OWN_LOGS
        | READ_REGISTRY
        | {
            ("lambda:InvokeFunction", MODELS.format("prod")),
            ("lambda:GetFunctionConfiguration", MODELS.format("prod")),
            ("sagemaker:InvokeEndpoint", ENDPOINTS.format("prod")),
            ("sagemaker:DescribeEndpoint", ENDPOINTS.format("prod")),
            *(
                (f"logs:{action}", ENDPOINT_LOGS.format("prod-*-v*"))
                for action in ("CreateLogGroup", "PutRetentionPolicy", "AssociateKmsKey")
            ),
        }
        | CHANGE_ROUTES
    )


def test_the_controller_changes_routes_sees_metrics_and_nothing_else(default: Synthesis) -> None:
    rollouts = {
        (f"s3:{action}", f"{BUCKET}/rollouts/active.json") for action in ("GetObject", "PutObject")
    }
    metrics = {(f"cloudwatch:{action}", "*") for action in ("GetMetricData", "ListMetrics")}
    assert rights(default.platform, "modelport-prod-controller") == (
        OWN_LOGS | READ_REGISTRY | CHANGE_ROUTES | rollouts | metrics
    )


class WatchedStore(MemoryStore):
    """Notes which keys were written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: set[str] = set()

    def create(self, key: str, body: bytes) -> bool:
        self.written.add(key)
        return super().create(key, body)

    def replace(self, key: str, body: bytes, etag: str) -> bool:
        self.written.add(key)
        return super().replace(key, body, etag)


def interrupted_publish(folder: Path) -> WatchedStore:
    """A store whose latest publish ended right after its routes were written."""
    # Document writes of a publish: record, manifest, routes, then what `settle` writes.
    for at in range(1, 20):
        store = WatchedStore()
        dying = MortalStore(store, at=at, after=True)
        with pytest.raises(Killed):
            BucketRegistry(dying).publish("m", make_draft(folder, model=b"w"), who=ADA)
        if "models/m/routes.json" in store.written:
            return store
    raise AssertionError("no publish ever wrote routes")


def interrupted_note(folder: Path) -> WatchedStore:
    """A store whose latest note ended right after its routes were written."""
    store = WatchedStore()
    BucketRegistry(store).publish("m", make_draft(folder, model=b"w"), who=ADA)
    with pytest.raises(Killed):
        BucketRegistry(MortalStore(store, at=1, after=True)).annotate(
            "m", 1, NoteEdit({"a": "b"}), who=ADA
        )
    return store


@pytest.mark.parametrize(
    ("interrupted", "left"), [(interrupted_publish, "publications"), (interrupted_note, "notes")]
)
def test_the_registrar_may_write_what_was_interrupted_and_is_left_to_it(
    default: Synthesis,
    tmp_path: Path,
    interrupted: Callable[[Path], WatchedStore],
    left: str,
) -> None:
    store = interrupted(tmp_path)
    store.written.clear()
    # As the registrar changes routes: whoever comes next finishes that first.
    BucketRegistry(store).change(
        "m", lambda routes: routes.with_published(2), action="deploy", detail={}, who=ADA
    )
    allowed = [
        resource.removeprefix(f"{BUCKET}/")
        for action, resource in rights(default.platform, "modelport-prod-registrar")
        if action == "s3:PutObject"
    ]
    assert {key.split("/")[2] for key in store.written} == {"routes.json", "log", left}
    for key in store.written:
        assert any(fnmatchcase(key, pattern) for pattern in allowed), key


def test_a_model_function_may_write_its_log_and_nothing_else(default: Synthesis) -> None:
    for number in (1, 2):
        assert rights(default.version(number), f"modelport-prod-magika-v{number}") == OWN_LOGS


def test_a_model_function_has_nothing_that_leads_to_the_registry(default: Synthesis) -> None:
    function = default.version(1).one("AWS::Lambda::Function")
    assert "BUCKET" not in str(function["Properties"]["Environment"]).upper()


REPOSITORY = "arn:<AWS::Partition>:ecr:eu-central-1:123456789012:repository/models"
MEASURE = ("cloudwatch:PutMetricData", "*")
PLATFORM_KEY = "<modelport-prod-key-arn>"
PULL = {
    ("ecr:BatchCheckLayerAvailability", REPOSITORY),
    ("ecr:BatchGetImage", REPOSITORY),
    ("ecr:GetDownloadUrlForLayer", REPOSITORY),
    ("ecr:GetAuthorizationToken", "*"),
}


def own(number: int) -> set[tuple[str, str]]:
    """What every endpoint may do: pull its image, write its log, have its instances measured."""
    log = ENDPOINT_LOGS.format(f"prod-magika-v{number}:*")
    actions = ("CreateLogStream", "DescribeLogStreams", "PutLogEvents")
    return PULL | {MEASURE} | {(f"logs:{action}", log) for action in actions}


def test_an_endpoint_may_pull_its_image_write_its_log_and_nothing_else(
    default: Synthesis,
) -> None:
    assert endpoint_rights(default.version(3)) == own(3)


def test_an_endpoint_may_measure_its_instances_and_nothing_of_others(default: Synthesis) -> None:
    (role,) = default.version(3).of("AWS::IAM::Role")
    statements = role["Properties"]["Policies"][0]["PolicyDocument"]["Statement"]
    (found,) = [each for each in statements if each["Action"] == MEASURE[0]]
    assert found["Condition"] == {
        "StringEquals": {"cloudwatch:namespace": "/aws/sagemaker/Endpoints"}
    }


def test_an_endpoint_may_do_what_its_settings_ask_for_and_nothing_else(default: Synthesis) -> None:
    def ec2(what: str) -> str:
        return f"arn:<AWS::Partition>:ec2:<AWS::Region>:<AWS::AccountId>:{what}"

    captures = "<modelport-prod-bucket-name>/captures/modelport-prod-magika-v4/*"
    interfaces = ec2("network-interface/*")
    assert endpoint_rights(default.version(4)) == (
        own(4)
        | {("kms:Decrypt", PLATFORM_KEY), ("kms:CreateGrant", PLATFORM_KEY)}
        | {
            ("s3:PutObject", f"arn:<AWS::Partition>:s3:::{captures}"),
            ("kms:GenerateDataKey", PLATFORM_KEY),
        }
        | {
            ("ec2:CreateNetworkInterface", resource)
            for resource in (
                ec2("subnet/subnet-0a1b2c3d"),
                ec2("subnet/subnet-0a1b2c3d4e5f60718"),
                ec2("security-group/sg-0123456789abcdef0"),
                interfaces,
            )
        }
        | {
            (f"ec2:{action}", interfaces)
            for action in (
                "CreateNetworkInterfacePermission",
                "DeleteNetworkInterface",
                "DeleteNetworkInterfacePermission",
            )
        }
        | {
            (f"ec2:Describe{what}", "*")
            for what in ("DhcpOptions", "NetworkInterfaces", "SecurityGroups", "Subnets", "Vpcs")
        }
    )


def test_an_image_outside_ecr_needs_no_right_of_aws(synthesise: Synthesiser) -> None:
    image = f"127.0.0.1:5000/modelport@sha256:{'b' * 64}"
    text = '[environment]\nname = "t"\nretain = false\n' + (VERSIONS + ENDPOINT_ENTRIES).replace(
        IMAGE, image
    )
    rights = endpoint_rights(synthesise.fresh(text, "outside-ecr").version(3))
    assert rights == {*OWN_LOGS, ("logs:DescribeLogStreams", LOGS), MEASURE}


#: They know no resources.
NOT_NARROWER = (
    "ecr:GetAuthorizationToken",
    "ec2:Describe",
    "cloudwatch:PutMetricData",
    "cloudwatch:GetMetricData",
    "cloudwatch:ListMetrics",
)


def test_no_role_has_a_wildcard_action_or_every_resource(any_environment: Synthesis) -> None:
    for stack in any_environment.stacks.values():
        for role in stack.of("AWS::IAM::Role"):
            for policy in role["Properties"].get("Policies", []):
                for statement in policy["PolicyDocument"]["Statement"]:
                    actions = as_list(statement["Action"])
                    assert not [action for action in actions if "*" in action]
                    if not all(action.startswith(NOT_NARROWER) for action in actions):
                        assert "*" not in as_list(statement["Resource"])


def test_only_lambda_sagemaker_and_api_gateway_assume_roles(any_environment: Synthesis) -> None:
    for stack in any_environment.stacks.values():
        for role in stack.of("AWS::IAM::Role"):
            for statement in role["Properties"]["AssumeRolePolicyDocument"]["Statement"]:
                service, _, rest = statement["Principal"]["Service"].partition(".")
                assert service in ("lambda", "sagemaker", "apigateway")
                assert rest == "amazonaws.com"


def test_only_this_api_calls_the_router_and_only_its_schedule_the_controller(
    any_environment: Synthesis,
) -> None:
    stack = any_environment.platform
    callers = {
        "apigateway.amazonaws.com": "Api>",
        "events.amazonaws.com": "<AWS::Events::Rule.Arn>",
    }
    seen = set()
    for permission in stack.of("AWS::Lambda::Permission"):
        properties = permission["Properties"]
        assert callers[properties["Principal"]] in stack.text(properties["SourceArn"])
        seen.add(properties["Principal"])
        if properties["Principal"] == "events.amazonaws.com":
            called = stack.resources[properties["FunctionName"]["Fn::GetAtt"][0]]
            assert called["Properties"]["FunctionName"].endswith("-controller")
    assert seen == callers.keys()


def test_the_key_serves_the_account_and_only_this_environments_logs(default: Synthesis) -> None:
    stack = default.platform
    policy = stack.one("AWS::KMS::Key")["Properties"]["KeyPolicy"]["Statement"]
    account, logs = policy
    assert stack.text(account["Principal"]["AWS"]).endswith(":root")
    assert stack.text(logs["Principal"]["Service"]).startswith("logs.")
    (groups,) = logs["Condition"]["ArnLike"].values()
    arn = "arn:<AWS::Partition>:logs:<AWS::Region>:<AWS::AccountId>:log-group:"
    assert {stack.text(group).removeprefix(arn) for group in groups} == {
        "/aws/lambda/modelport-prod-*",
        "/aws/sagemaker/Endpoints/modelport-prod-*",
        "/aws/vendedlogs/modelport-prod-*",
        "modelport-prod-*",
    }

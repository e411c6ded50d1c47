"""Who may do what. Every right of every function stands here; a new one has to be written down."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
from modelport.registry.bucket import BucketRegistry
from modelport.registry.memory import MemoryStore

from tests.support.registry_world import ADA, Killed, MortalStore, make_draft
from tests.support.synthesis import Stack, Synthesis

MODELS = "arn:<AWS::Partition>:lambda:<AWS::Region>:<AWS::AccountId>:function:modelport-{}-*-v*"
BUCKET = "<AWS::S3::Bucket.Arn>"
KEY = "<AWS::KMS::Key.Arn>"
LOGS = "<AWS::Logs::LogGroup.Arn>"


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def rights(stack: Stack, function: str) -> set[tuple[str, str]]:
    """Every (action, resource) that a function's role allows."""
    role_id = stack.properties("AWS::Lambda::Function", FunctionName=function)["Role"]
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


def test_the_router_reads_records_and_calls_models_and_nothing_else(default: Synthesis) -> None:
    invoke = {("lambda:InvokeFunction", MODELS.format("prod"))}
    got = rights(default.platform, "modelport-prod-router")
    assert got == OWN_LOGS | READ_REGISTRY | invoke


def test_the_registrar_also_writes_routes_and_their_log(default: Synthesis) -> None:
    assert rights(default.platform, "modelport-prod-registrar") == (
        OWN_LOGS
        | READ_REGISTRY
        | {
            ("lambda:InvokeFunction", MODELS.format("prod")),
            ("lambda:GetFunctionConfiguration", MODELS.format("prod")),
            ("s3:PutObject", f"{BUCKET}/models/*/routes.json"),
            ("s3:PutObject", f"{BUCKET}/models/*/log/*"),
            ("s3:PutObject", f"{BUCKET}/models/*/publications/*"),
            ("kms:GenerateDataKey", KEY),
        }
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


def test_the_registrar_may_write_what_an_interrupted_publish_left_to_it(
    default: Synthesis, tmp_path: Path
) -> None:
    store = interrupted_publish(tmp_path)
    store.written.clear()
    # As the registrar changes routes: whoever comes next finishes the publish first.
    BucketRegistry(store).change(
        "m", lambda routes: routes.with_published(2), action="deploy", detail={}, who=ADA
    )
    allowed = [
        resource.removeprefix(f"{BUCKET}/")
        for action, resource in rights(default.platform, "modelport-prod-registrar")
        if action == "s3:PutObject"
    ]
    assert {key.split("/")[2] for key in store.written} == {"routes.json", "log", "publications"}
    for key in store.written:
        assert any(fnmatchcase(key, pattern) for pattern in allowed), key


def test_a_model_function_may_write_its_log_and_nothing_else(default: Synthesis) -> None:
    for number in (1, 2):
        assert rights(default.version(number), f"modelport-prod-magika-v{number}") == OWN_LOGS


def test_a_model_function_has_nothing_that_leads_to_the_registry(default: Synthesis) -> None:
    function = default.version(1).one("AWS::Lambda::Function")
    assert "BUCKET" not in str(function["Properties"]["Environment"]).upper()


def test_no_role_has_a_wildcard_action_or_every_resource(any_environment: Synthesis) -> None:
    for stack in any_environment.stacks.values():
        for role in stack.of("AWS::IAM::Role"):
            for policy in role["Properties"].get("Policies", []):
                for statement in policy["PolicyDocument"]["Statement"]:
                    assert not [a for a in as_list(statement["Action"]) if "*" in a]
                    assert "*" not in as_list(statement["Resource"])


def test_only_lambda_and_api_gateway_assume_roles(any_environment: Synthesis) -> None:
    for stack in any_environment.stacks.values():
        for role in stack.of("AWS::IAM::Role"):
            for statement in role["Properties"]["AssumeRolePolicyDocument"]["Statement"]:
                services = ("lambda.amazonaws.com", "apigateway.amazonaws.com")
                assert statement["Principal"]["Service"] in services


def test_only_this_api_may_call_the_router(any_environment: Synthesis) -> None:
    stack = any_environment.platform
    permissions = stack.of("AWS::Lambda::Permission")
    assert permissions
    for permission in permissions:
        properties = permission["Properties"]
        assert properties["Principal"] == "apigateway.amazonaws.com"
        assert "Api>" in stack.text(properties["SourceArn"])


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
        "/aws/vendedlogs/modelport-prod-*",
        "modelport-prod-*",
    }

"""Who may do what. Every right of every function stands here; a new one has to be written down."""

from __future__ import annotations

from typing import Any

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
            ("kms:GenerateDataKey", KEY),
        }
    )


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

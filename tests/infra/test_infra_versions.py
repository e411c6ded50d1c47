"""One stack per deployed version, which ends in its registration."""

from __future__ import annotations

from pathlib import Path

import pytest
from modelport.cli.desired import edited, entry_of
from modelport.errors import InvalidSettingError
from modelport.routes import Deployment
from modelport.settings import RuntimeSettings

from tests.support.synthesis import (
    DIGEST,
    ENDPOINTS,
    ENVIRONMENTS,
    IMAGE,
    VERSIONS,
    Synthesis,
    Synthesiser,
)

REGISTRATION = "Custom::ModelVersion"


def test_stacks_and_functions_are_named_after_model_and_version(default: Synthesis) -> None:
    assert set(default.stacks) == {
        "modelport-prod-platform",
        "modelport-prod-magika-v1",
        "modelport-prod-magika-v2",
        "modelport-prod-magika-v3",
        "modelport-prod-magika-v4",
    }
    for number in (1, 2):
        function = default.version(number).one("AWS::Lambda::Function")["Properties"]
        assert function["FunctionName"] == f"modelport-prod-magika-v{number}"


def test_a_version_runs_its_image_by_digest_with_its_own_size(default: Synthesis) -> None:
    function = default.version(2).one("AWS::Lambda::Function")["Properties"]
    assert function["PackageType"] == "Image"
    assert function["Code"] == {"ImageUri": IMAGE}
    assert function["Architectures"] == ["x86_64"]
    assert (function["MemorySize"], function["Timeout"]) == (3008, 60)
    assert function["ReservedConcurrentExecutions"] == 5


def test_the_runtime_is_told_which_version_it_is(synthesise: Synthesiser) -> None:
    function = synthesise("open").version(1).one("AWS::Lambda::Function")["Properties"]
    variables = function["Environment"]["Variables"]
    told = {**variables, "MODELPORT_PAYLOADS_URL": ""}
    assert RuntimeSettings.from_env(told) == RuntimeSettings("magika", 1, DIGEST)
    assert variables["PROXY"] == "http://proxy"


def payloads_url(found: Synthesis) -> str:
    stack = found.version(1)
    variables = stack.one("AWS::Lambda::Function")["Properties"]["Environment"]["Variables"]
    return str(stack.text(variables["MODELPORT_PAYLOADS_URL"]))


def test_the_runtime_is_told_where_payloads_lie_and_nothing_in_it_changes_by_that(
    default: Synthesis, synthesise: Synthesiser
) -> None:
    bucket = "modelport-prod-payloads-<AWS::AccountId>-<AWS::Region>"
    assert payloads_url(default) == f"https://{bucket}.s3.<AWS::Region>.<AWS::URLSuffix>/"
    again = synthesise.fresh(ENVIRONMENTS["default"] + VERSIONS, "again")
    assert set(again.version(1).resources) == set(default.version(1).resources)
    setting = 'payloads_url = "http://127.0.0.1:4566/payloads/"\n'
    elsewhere = synthesise.fresh(ENVIRONMENTS["default"] + setting + VERSIONS, "elsewhere")
    assert payloads_url(elsewhere) == "http://127.0.0.1:4566/payloads/"
    # Callers reach a published version: one with another address is another one.
    assert set(elsewhere.version(1).resources) != set(default.version(1).resources)


def test_an_endpoint_that_reaches_no_network_is_not_told_where_payloads_lie(
    default: Synthesis,
) -> None:
    for number in (3, 4):
        for model in default.version(number).of("AWS::SageMaker::Model"):
            assert model["Properties"]["EnableNetworkIsolation"] is True
            told = model["Properties"]["PrimaryContainer"]["Environment"]
            assert "MODELPORT_PAYLOADS_URL" not in told


def test_an_endpoint_for_large_bodies_reaches_the_network_and_is_told_where_they_lie(
    default: Synthesis, synthesise: Synthesiser
) -> None:
    entry = ENDPOINTS.split("[[deployment]]")[1]
    text = f"{ENVIRONMENTS['default']}[[deployment]]{entry}"
    setting = "[deployment.sagemaker]\nlarge_bodies = true\n"
    model = synthesise.fresh(text + setting, "large").version(3).one("AWS::SageMaker::Model")
    isolated = default.version(3).one("AWS::SageMaker::Model")["Properties"]
    properties = model["Properties"]
    assert properties["EnableNetworkIsolation"] is False
    assert "MODELPORT_PAYLOADS_URL" in properties["PrimaryContainer"]["Environment"]
    # A model cannot be changed, so another name is another model.
    assert properties["ModelName"] != isolated["ModelName"]


def test_no_log_of_an_earlier_deploy_stands_in_the_way_of_the_next(
    any_environment: Synthesis,
) -> None:
    group = any_environment.version(1).one("AWS::Logs::LogGroup")
    kept = group["DeletionPolicy"] != "Delete"
    assert kept is ("LogGroupName" not in group["Properties"])


def test_logs_of_versions_are_kept_unless_the_settings_say_otherwise(
    synthesise: Synthesiser,
) -> None:
    for environment, policy in (("default", "Retain"), ("open", "Delete")):
        group = synthesise(environment).version(1).one("AWS::Logs::LogGroup")
        assert group["DeletionPolicy"] == group["UpdateReplacePolicy"] == policy


def test_the_registration_is_created_last_and_deleted_first(default: Synthesis) -> None:
    stack = default.version(1)
    needed = set(stack.one(REGISTRATION)["DependsOn"])
    for logical_id, resource in stack.resources.items():
        if resource["Type"] in (
            "AWS::Lambda::Function",
            "AWS::Lambda::Version",
            "AWS::CloudWatch::Alarm",
        ):
            assert logical_id in needed


def test_the_registrar_is_told_what_runs_where(default: Synthesis) -> None:
    properties = default.version(2).one(REGISTRATION)["Properties"]
    told = {k: v for k, v in properties.items() if k[0].isupper()}
    told.pop("ServiceToken")
    told.pop("ServiceTimeout")
    assert told.pop("Configuration")
    resource = default.version(2).text(told.pop("Resource"))
    assert resource == "modelport-prod-magika-v2:<AWS::Lambda::Version.Version>"
    assert told == {
        "Model": "magika",
        "Version": 2,
        "Digest": DIGEST,
        "Target": "lambda",
        "MemoryMb": 3008,
        "TimeoutS": 60,
    }


def test_a_version_needs_its_platform_and_imports_only_what_it_exports(default: Synthesis) -> None:
    exported = {o["Export"]["Name"] for o in default.platform.template["Outputs"].values()}
    version = str(default.version(1).template)
    assert "modelport-prod-registrar-arn" in exported
    for name in ("modelport-prod-registrar-arn", "modelport-prod-key-arn"):
        assert f"{{'Fn::ImportValue': '{name}'}}" in version
        assert name in exported
    assert version.count("Fn::ImportValue") == 2


def test_cloudformation_waits_longer_than_the_registrar_can_run(default: Synthesis) -> None:
    registrar = default.platform.properties(
        "AWS::Lambda::Function", FunctionName="modelport-prod-registrar"
    )
    waits = default.version(1).one(REGISTRATION)["Properties"]["ServiceTimeout"]
    assert int(waits) > registrar["Timeout"]


@pytest.mark.parametrize(
    "change", [IMAGE.replace("bbbb", "cccc", 1), "PROXY = 'http://elsewhere'\n"]
)
def test_a_change_of_what_runs_is_verified_again(synthesise: Synthesiser, change: str) -> None:
    base = '[environment]\nname = "prod"\n[environment.function_environment]\n' + VERSIONS
    text = (
        base.replace(IMAGE, change)
        if change.startswith("1")
        else base.replace("function_environment]\n", f"function_environment]\n{change}")
    )
    before = synthesise.fresh(base, "before").version(1).one(REGISTRATION)["Properties"]
    after = synthesise.fresh(text, "after").version(1).one(REGISTRATION)["Properties"]
    assert before != after


def published(synthesise: Synthesiser, name: str, change: str = "") -> tuple[str, str]:
    """The logical ids of version 1's published version and of its function."""
    text = '[environment]\nname = "prod"\n' + VERSIONS.replace(
        "version = 1\n", f"version = 1\n{change}"
    )
    stack = synthesise.fresh(text, name).version(1)
    ids = {each["Type"]: id for id, each in stack.resources.items()}
    return ids["AWS::Lambda::Version"], ids["AWS::Lambda::Function"]


def test_whatever_is_published_with_a_function_makes_a_new_published_version(
    synthesise: Synthesiser,
) -> None:
    before, function = published(synthesise, "p0")
    for number, change in enumerate(("memory_mb = 512\n", "timeout_s = 9\n", "snapstart = true\n")):
        assert published(synthesise, f"p1{number}", change) != (before, function)
        assert published(synthesise, f"p2{number}", change)[1] == function


def test_a_published_version_writes_the_log_its_stack_has(synthesise: Synthesiser) -> None:
    """Kept logs have another name; a published version keeps the name it was published with."""
    ids = set()
    for name, said in (("kept", ""), ("gone", "retain = false\n")):
        text = f'[environment]\nname = "prod"\n{said}{VERSIONS}'
        resources = synthesise.fresh(text, f"log-{name}").version(1).resources
        ids |= {id for id, each in resources.items() if each["Type"] == "AWS::Lambda::Version"}
    assert len(ids) == 2


def test_an_environment_that_lambda_would_refuse_fails_the_synthesis(
    synthesise: Synthesiser,
) -> None:
    variables = "".join(f'V{number} = "{"x" * 1000}"\n' for number in range(4))
    long = f"[environment.function_environment]\n{variables}"
    with pytest.raises(InvalidSettingError, match="4,096 bytes of variables"):
        synthesise.fresh(f'[environment]\nname = "t"\n{long}{VERSIONS}', "many-variables")


def test_what_is_not_published_makes_none(synthesise: Synthesiser) -> None:
    """Lambda refuses to publish the same again."""
    assert published(synthesise, "p3") == published(synthesise, "p4", "reserved_concurrency = 2\n")


def test_published_versions_outlive_the_next_one_but_not_a_failed_deploy(
    default: Synthesis,
) -> None:
    version = default.version(1).one("AWS::Lambda::Version")
    assert version["DeletionPolicy"] == "RetainExceptOnCreate"


def test_a_function_starts_from_a_snapshot_only_if_its_entry_says_so(
    synthesise: Synthesiser,
) -> None:
    text = '[environment]\nname = "prod"\n' + VERSIONS.replace(
        "memory_mb", "snapstart = true\nmemory_mb"
    )
    done = synthesise.fresh(text, "snapstart")
    function = done.version(2).one("AWS::Lambda::Function")["Properties"]
    assert function["SnapStart"] == {"ApplyOn": "PublishedVersions"}
    assert "SnapStart" not in done.version(1).one("AWS::Lambda::Function")["Properties"]


def test_stacks_say_whose_they_are_in_their_tags(any_environment: Synthesis) -> None:
    for number, kind in ((1, "AWS::Lambda::Function"), (3, "AWS::SageMaker::Endpoint")):
        tags = any_environment.version(number).one(kind)["Properties"]["Tags"]
        named = {tag["Key"]: tag["Value"] for tag in tags}
        assert named["modelport:model"] == "magika"
        assert named["modelport:version"] == str(number)
        assert "modelport:environment" in named


def test_an_environments_image_stands_in_for_a_deployment_without_one(
    synthesise: Synthesiser,
) -> None:
    text = f'[environment]\nname = "t"\nimage = "{IMAGE}"\n' + VERSIONS.replace(
        f'image = "{IMAGE}"\n', ""
    )
    stack = synthesise.fresh(text, "placeholder").version(1)
    assert stack.one("AWS::Lambda::Function")["Properties"]["Code"] == {"ImageUri": IMAGE}


def test_a_deployment_without_an_image_says_what_to_do(synthesise: Synthesiser) -> None:
    text = VERSIONS.replace(f'image = "{IMAGE}"\n', "")
    with pytest.raises(InvalidSettingError, match=r"magika:1 image.*image = …@sha256:"):
        synthesise.fresh(text, "no-image")


def test_a_version_that_stands_in_no_file_has_a_stack_to_destroy(
    synthesise: Synthesiser, tmp_path: Path
) -> None:
    file = tmp_path / "deployments.toml"
    running = Deployment(7, "lambda", "modelport-dev-magika-v7", DIGEST)
    with edited(file, None, entry_of("magika", running)):
        text = file.read_text()
    assert "modelport-dev-magika-v7" in synthesise.fresh(text, "undeploy").stacks


def test_an_image_by_tag_is_refused(synthesise: Synthesiser) -> None:
    text = VERSIONS.replace(IMAGE, "registry.example/models:latest")
    with pytest.raises(InvalidSettingError, match="by digest"):
        synthesise.fresh(text, "by-tag")


def test_fifty_deployments_are_fifty_small_stacks(synthesise: Synthesiser) -> None:
    entries = "".join(
        f'[[deployment]]\nmodel = "m{i % 5}"\nversion = {i + 1}\n'
        f'digest = "{DIGEST}"\nimage = "{IMAGE}"\n'
        for i in range(50)
    )
    done = synthesise.fresh(entries, "fifty")
    assert len(done.stacks) == 51
    # CloudFormation takes 500 in a stack.
    assert max(len(stack.resources) for stack in done.stacks.values()) < 60


def test_the_platform_does_not_change_with_what_is_deployed(synthesise: Synthesiser) -> None:
    text = '[environment]\nname = "prod"\n'
    without = synthesise.fresh(text, "without").platform.template
    assert without == synthesise.fresh(text + VERSIONS, "with").platform.template

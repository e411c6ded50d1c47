"""Settings of an endpoint: what SageMaker would refuse is refused here, in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import botocore.session
import pytest
from modelport.deployments import (
    DeploymentEntry,
    Deployments,
    SageMaker,
    with_entry,
    without_entry,
)
from modelport.errors import InvalidSettingError
from modelport.sagemaker_settings import INSTANCE_TYPES, check_variables
from pydantic import ValidationError

ENTRY = """
[[deployment]]
model = "m"
version = 3
digest = "sha256:0"
target = "sagemaker"
[deployment.sagemaker]
instance_type = "ml.g5.2xlarge"
instances = 2
"""
OTHER = '[[deployment]]\nmodel = "m"\nversion = 2\ndigest = "sha256:0"\n'


def parsed(text: str) -> DeploymentEntry:
    entry = Deployments.parse(text, Path("deployments.toml")).entry("m", 3)
    assert entry is not None
    return entry


def test_every_instance_type_is_one_that_sagemaker_knows() -> None:
    api = botocore.session.get_session().get_service_model("sagemaker")
    known: Any = api.shape_for("ProductionVariantInstanceType")
    assert set(INSTANCE_TYPES) <= set(known.enum)


def test_gpus_start_with_the_driver_that_the_images_onnxruntime_needs() -> None:
    api = botocore.session.get_session().get_service_model("sagemaker")
    known: Any = api.shape_for("ProductionVariantInferenceAmiVersion")
    assert SageMaker(instance_type="ml.g5.xlarge").ami in known.enum
    assert SageMaker(instance_type="ml.m5.large").ami is None
    chosen = SageMaker(inference_ami="al2-ami-sagemaker-inference-gpu-3-1")
    assert chosen.ami == "al2-ami-sagemaker-inference-gpu-3-1"


@pytest.mark.parametrize(
    ("instance_type", "gpu", "local_storage"),
    [
        ("ml.g4dn.xlarge", True, True),
        ("ml.g5.xlarge", True, True),
        ("ml.g6e.48xlarge", True, True),
        ("ml.p5.48xlarge", True, True),
        ("ml.m5.large", False, False),
        ("ml.m5d.large", False, True),
        ("ml.c7i.48xlarge", False, False),
    ],
)
def test_families_say_what_their_instances_have(
    instance_type: str, gpu: bool, local_storage: bool
) -> None:
    settings = SageMaker(instance_type=instance_type)
    assert (settings.gpu, settings.local_storage) == (gpu, local_storage)


@pytest.mark.parametrize(
    ("wrong", "near"),
    [
        ("ml.g5.xlrage", "ml.g5.xlarge"),
        ("g5.xlarge", "ml.g5.xlarge"),
        ("ml.g5.3xlarge", "ml.g5."),
        ("ml.m6g.large", "ml.m6i.large"),
        ("nonsense", "near it: none"),
    ],
)
def test_an_unknown_instance_type_names_what_is_near_it(wrong: str, near: str) -> None:
    text = ENTRY.replace("ml.g5.2xlarge", wrong)
    with pytest.raises(InvalidSettingError) as caught:
        parsed(text)
    assert "sagemaker.instance_type" in caught.value.message
    assert near in caught.value.message
    assert "families with GPU: g4dn, g5" in caught.value.message


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"instance_type": "ml.p3.2xlarge"}, "not an instance type"),
        (
            {
                "instance_type": "ml.m5.large",
                "inference_ami": "al2-ami-sagemaker-inference-gpu-2",
            },
            "has no GPU",
        ),
        ({"inference_ami": "mine"}, "Input should be"),
        ({"instances": 0}, "greater than or equal to 1"),
        ({"startup_timeout_s": 59}, "greater than or equal to 60"),
        ({"download_timeout_s": 3601}, "less than or equal to 3600"),
        ({"volume_gb": 100}, "disks of its own"),
        ({"instance_type": "ml.m5.large", "volume_gb": 513}, "less than or equal to 512"),
        (
            {"instances": 4, "autoscaling": {"max_instances": 4, "invocations_per_instance": 9}},
            "more than instances",
        ),
        ({"data_capture": {"percent": 0}}, "greater than or equal to 1"),
        ({"data_capture": {"percent": 1, "what": []}}, "at least 1"),
        ({"shadow": {"version": 1, "percent": 101}}, "less than or equal to 100"),
        ({"vpc": {"subnets": [], "security_groups": ["sg-0123abcd"]}}, "at least 1"),
        ({"vpc": {"subnets": ["a"], "security_groups": ["sg-0123abcd"]}}, "match pattern"),
        ({"rollout": {"kind": "canary", "step_percent": 51}}, "less than or equal to 50"),
        ({"rollout": {"kind": "linear", "step_percent": 5}}, "10 to 50"),
        ({"rollout": {"wait_s": 300, "keep_old_s": 300, "limit_s": 600}}, "less than limit_s"),
        (
            {"rollout": {"kind": "linear", "step_percent": 30, "wait_s": 900}},
            r"wait_s \(4 times\) and keep_old_s",
        ),
        ({"rollout": {"limit_s": 599}}, "greater than or equal to 600"),
        ({"unknown": 1}, "not permitted"),
    ],
)
def test_what_sagemaker_would_refuse_is_refused_here(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        SageMaker(**settings)


def test_a_shadow_is_another_version_of_the_file() -> None:
    shadow = "[deployment.sagemaker.shadow]\nversion = {}\n"
    assert parsed(OTHER + ENTRY + shadow.format(2)).sagemaker.shadow is not None
    with pytest.raises(InvalidSettingError, match="m:2 has no entry in this file"):
        parsed(ENTRY + shadow.format(2))
    with pytest.raises(InvalidSettingError, match="name another version"):
        parsed(ENTRY + shadow.format(3))


def test_an_entry_that_a_shadow_names_cannot_leave_the_file(tmp_path: Path) -> None:
    path = tmp_path / "deployments.toml"
    path.write_text(OTHER + ENTRY + "[deployment.sagemaker.shadow]\nversion = 2\n")
    before = path.read_text()
    with pytest.raises(InvalidSettingError, match="m:2 has no entry"):
        without_entry(path, "m", 2)
    assert path.read_text() == before


def test_an_entry_is_written_with_what_it_says_and_read_back_equal(tmp_path: Path) -> None:
    path = tmp_path / "deployments.toml"
    settings = SageMaker.model_validate(
        {
            "instance_type": "ml.g6.xlarge",
            "autoscaling": {"max_instances": 4, "invocations_per_instance": 600},
            "data_capture": {"percent": 10, "what": ["input"]},
            "rollout": {"kind": "canary"},
            "vpc": {"subnets": ["subnet-0123abcd"], "security_groups": ["sg-0123abcd"]},
        }
    )
    entry = DeploymentEntry(
        model="m", version=3, digest="d", target="sagemaker", sagemaker=settings
    )
    with_entry(path, entry)
    with_entry(path, entry.model_copy(update={"version": 4}))
    assert Deployments.load(path).entry("m", 3) == entry
    text = path.read_text()
    assert "startup_timeout_s" not in text
    assert 'instance_type = "ml.g6.xlarge"' in text


def test_an_entry_for_lambda_says_nothing_of_sagemaker(tmp_path: Path) -> None:
    path = tmp_path / "deployments.toml"
    with_entry(path, DeploymentEntry(model="m", version=1, digest="d"))
    assert "sagemaker" not in path.read_text()


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({f"V{i}": "" for i in range(101)}, "takes 100 variables, these are 101"),
        ({"V": "é" * 513}, "1,024 bytes for a name or value, not 1,026"),
        ({"V" * 1025: ""}, "not 1,025"),
        (
            {f"V{i:02}": "x" * 1000 for i in range(33)},
            "32,768 bytes of variables, these are 33,099",
        ),
    ],
)
def test_an_environment_that_sagemaker_would_refuse_is_refused(
    variables: dict[str, str], says: str
) -> None:
    with pytest.raises(InvalidSettingError, match=says):
        check_variables(variables)


def test_an_environment_at_every_limit_passes() -> None:
    check_variables({f"V{i:02}": "" for i in range(100)})
    check_variables({"V": "x" * 1024})

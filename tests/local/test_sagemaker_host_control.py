"""SageMaker's control plane as boto3 sees it: what is kept, listed, refused, and in which words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.sagemaker_world import IMAGE, ROLE, SageMaker, container_tree, sagemaker, variant

EXPLAINER: dict[str, Any] = {"ClarifyExplainerConfig": {"ShapConfig": {"ShapBaselineConfig": {}}}}
ARN = "arn:aws:sagemaker:us-east-1:000000000000"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SageMaker]:
    folder = tmp_path_factory.mktemp("sagemaker")
    tree = container_tree(folder / "tree")
    with sagemaker(tree, folder / "home") as running:
        running.model("known")
        yield running


def message(world: SageMaker, operation: str, **parameters: Any) -> str:
    """The words of a ValidationException."""
    response = world.refused(getattr(world.client, operation), **parameters)
    assert response["Error"]["Code"] == "ValidationException", response
    assert response["ResponseMetadata"]["RequestId"]
    return str(response["Error"]["Message"])


def test_a_model_is_described_as_it_was_created(world: SageMaker) -> None:
    container = {"Image": IMAGE, "Environment": {"COLOUR": "blue"}}
    made = world.client.create_model(
        ModelName="described", ExecutionRoleArn=ROLE, PrimaryContainer=container
    )
    assert made["ModelArn"] == f"{ARN}:model/described"
    found = world.client.describe_model(ModelName="described")
    assert found["PrimaryContainer"] == container
    assert found["ExecutionRoleArn"] == ROLE
    assert found["CreationTime"].year >= 2024
    world.client.delete_model(ModelName="described")
    assert message(world, "describe_model", ModelName="described") == (
        f'Could not find model "{ARN}:model/described".'
    )


def test_names_are_taken_once(world: SageMaker) -> None:
    world.config("twice", {"model": "known"})
    said = message(
        world, "create_endpoint_config", EndpointConfigName="twice", ProductionVariants=[]
    )
    assert "productionVariants" in said
    said = message(
        world,
        "create_endpoint_config",
        EndpointConfigName="twice",
        ProductionVariants=[variant("known")],
    )
    assert said == (
        f'Cannot create already existing endpoint configuration "{ARN}:endpoint-config/twice".'
    )


@pytest.mark.parametrize("name", ["under_score", "dot.ted", "-begins", "ends-", "x" * 64])
def test_a_name_that_the_service_has_not_is_refused_with_the_rule(
    world: SageMaker, name: str
) -> None:
    said = message(world, "create_endpoint", EndpointName=name, EndpointConfigName="none")
    assert "detected: " in said
    assert f"Value '{name}' at 'endpointName' failed to satisfy constraint: Member must" in said


def test_every_broken_rule_is_named(world: SageMaker) -> None:
    wrong = variant("known", "a_b", InstanceType="ml.huge", VolumeSizeInGB=513)
    said = message(
        world, "create_endpoint_config", EndpointConfigName="wrong", ProductionVariants=[wrong]
    )
    assert said.startswith("3 validation errors detected: ")
    assert "productionVariants.1.member.instanceType" in said
    assert "enum value set: [ml." in said
    assert "less than or equal to 512" in said


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"PrimaryContainer": {}}, "image must be specified"),
        ({"PrimaryContainer": {"Image": IMAGE, "ModelDataUrl": "s3://b/m.tar.gz"}}, "ModelDataUrl"),
        ({"PrimaryContainer": {"Image": IMAGE, "Mode": "MultiModel"}}, "SingleModel"),
        ({"Containers": [{"Image": IMAGE}], "PrimaryContainer": {"Image": IMAGE}}, "together"),
        ({"Containers": [{"Image": IMAGE}] * 2}, "one container, not of 2"),
        ({}, "Either PrimaryContainer or Containers"),
        (
            {"PrimaryContainer": {"Image": IMAGE, "Environment": {"A": "x" * 1025}}},
            "less than or equal to 1024",
        ),
        (
            {
                "PrimaryContainer": {
                    "Image": IMAGE,
                    "Environment": {f"A{at}": "x" * 1000 for at in range(33)},
                }
            },
            "32768 are allowed",
        ),
    ],
)
def test_a_model_this_host_cannot_run_is_refused(
    world: SageMaker, change: dict[str, Any], words: str
) -> None:
    said = message(world, "create_model", ModelName="no", ExecutionRoleArn=ROLE, **change)
    assert words in said


@pytest.mark.parametrize(
    ("variants", "more", "words"),
    [
        ([{"model": "missing"}], {}, 'Could not find model "'),
        ([{"model": "known"}, {"model": "known"}], {}, "unique: known"),
        ([{"model": "known", "InitialInstanceCount": None}], {}, "needs InstanceType"),
        (
            [{"model": "known"}, {"model": "known", "name": "b"}],
            {"ShadowProductionVariants": [variant("known", "shadow")]},
            "exactly one production variant",
        ),
        (
            [{"model": "known", "ServerlessConfig": {"MemorySizeInMB": 1500, "MaxConcurrency": 1}}],
            {},
            "1024, 2048",
        ),
        (
            [{"model": "known", "ServerlessConfig": {"MemorySizeInMB": 512, "MaxConcurrency": 1}}],
            {},
            "greater than or equal to 1024",
        ),
        ([{"model": "known"}], {"ExplainerConfig": EXPLAINER}, "ExplainerConfig"),
    ],
)
def test_a_configuration_nothing_can_be_made_of_is_refused(
    world: SageMaker, variants: list[dict[str, Any]], more: dict[str, Any], words: str
) -> None:
    asked = [{k: v for k, v in variant(**each).items() if v is not None} for each in variants]
    said = message(
        world, "create_endpoint_config", EndpointConfigName="no", ProductionVariants=asked, **more
    )
    assert words in said


def test_an_endpoint_of_a_missing_configuration_is_refused(world: SageMaker) -> None:
    said = message(world, "create_endpoint", EndpointName="lost", EndpointConfigName="lost")
    assert said == f'Could not find endpoint configuration "{ARN}:endpoint-config/lost".'
    for operation in ("describe_endpoint", "delete_endpoint"):
        said = message(world, operation, EndpointName="lost")
        assert said == f'Could not find endpoint "{ARN}:endpoint/lost".'


def test_lists_are_filtered_sorted_and_paged(world: SageMaker) -> None:
    for at in range(12):
        world.model(f"paged-{at:02}")
    pages = world.client.get_paginator("list_models").paginate(
        NameContains="PAGED", SortBy="Name", SortOrder="Ascending"
    )
    listed = [[each["ModelName"] for each in page["Models"]] for page in pages]
    assert [len(page) for page in listed] == [10, 2]
    assert [*listed[0], *listed[1]] == [f"paged-{at:02}" for at in range(12)]
    newest = world.client.list_models(MaxResults=1)["Models"][0]
    assert newest["ModelName"] == "paged-11"
    assert world.client.list_endpoints(StatusEquals="Failed")["Endpoints"] == []


def test_tags_go_with_their_resource(world: SageMaker) -> None:
    container = {"Image": IMAGE}
    tag = {"Key": "team", "Value": "vision"}
    made = world.client.create_model(
        ModelName="tagged", ExecutionRoleArn=ROLE, PrimaryContainer=container, Tags=[tag]
    )
    arn = made["ModelArn"]
    world.client.add_tags(ResourceArn=arn, Tags=[{"Key": "stage", "Value": "test"}])
    assert len(world.client.list_tags(ResourceArn=arn)["Tags"]) == 2
    world.client.delete_tags(ResourceArn=arn, TagKeys=["stage"])
    assert world.client.list_tags(ResourceArn=arn)["Tags"] == [tag]
    world.client.delete_model(ModelName="tagged")
    assert "No resource found" in message(world, "list_tags", ResourceArn=arn)


def test_an_operation_it_has_not_is_refused_by_name(world: SageMaker) -> None:
    response = world.refused(world.client.list_training_jobs)
    assert response["Error"]["Code"] == "UnknownOperationException"
    assert "ListTrainingJobs is not supported" in response["Error"]["Message"]

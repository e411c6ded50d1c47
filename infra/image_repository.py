"""Where an environment's images are: one ECR repository, unless the settings name a place.

Nothing in it ever expires by itself: versions run by digest, tagged or not, and Lambda fetches an
image again long after its first start. A tag never moves to another image.
"""

from __future__ import annotations

from aws_cdk import Stack
from aws_cdk import aws_ecr as ecr
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from modelport.deployments import Environment

from infra import naming, permissions
from infra.function_logs import removal


def image_repository(stack: Stack, environment: Environment, key: kms.Key) -> ecr.Repository | None:
    """The repository; None for a cloud that has its own or uses no images at all."""
    if environment.image_repository is not None or environment.image is not None:
        return None
    repository = ecr.Repository(
        stack,
        "Images",
        repository_name=naming.image_repository(environment.name),
        image_tag_mutability=ecr.TagMutability.IMMUTABLE,
        image_scan_on_push=True,
        encryption=ecr.RepositoryEncryption.KMS,
        encryption_key=key,
        removal_policy=removal(environment),
        empty_on_delete=not environment.retain,
    )
    repository.add_to_resource_policy(
        iam.PolicyStatement(
            sid="LambdaPulls",
            principals=[iam.ServicePrincipal("lambda.amazonaws.com")],
            actions=["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"],
            conditions={
                "ArnLike": {"aws:SourceArn": permissions.functions_arn(stack, environment.name)}
            },
        )
    )
    return repository

"""What an endpoint's own role may do besides writing its log: each only if its settings ask for it.

Continues `permissions`, with the same rules: the narrowest resource, no managed policy.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from aws_cdk import ArnFormat, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from modelport.sagemaker_settings import Vpc

from infra.alarms import INSTANCE_METRICS

_ECR = re.compile(
    r"(?P<account>[0-9]{12})\.dkr\.ecr(?:-fips)?\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(?:\.cn)?"
    r"/(?P<name>[^@:]+)"
)


def pull_images(stack: Stack, images: Iterable[str]) -> list[iam.PolicyStatement]:
    """Pull from the repositories of these images; one outside ECR needs no right of AWS."""
    repositories = sorted(
        {
            stack.format_arn(
                service="ecr",
                resource="repository",
                account=found["account"],
                region=found["region"],
                resource_name=found["name"],
            )
            for found in map(_ECR.match, images)
            if found
        }
    )
    if not repositories:
        return []
    return [
        iam.PolicyStatement(
            sid="PullImage",
            actions=[
                "ecr:BatchCheckLayerAvailability",
                "ecr:BatchGetImage",
                "ecr:GetDownloadUrlForLayer",
            ],
            resources=repositories,
        ),
        iam.PolicyStatement(
            sid="LogInToRegistry", actions=["ecr:GetAuthorizationToken"], resources=["*"]
        ),
    ]


def measure_instances() -> iam.PolicyStatement:
    """Have the use of the instances' disks, memory and GPUs measured, which alarms watch."""
    return iam.PolicyStatement(
        sid="MeasureInstances",
        actions=["cloudwatch:PutMetricData"],
        resources=["*"],
        conditions={"StringEquals": {"cloudwatch:namespace": INSTANCE_METRICS}},
    )


def encrypt_volume(key: kms.IKey) -> list[iam.PolicyStatement]:
    """Have the instances' disks encrypted with the environment's key."""
    return [
        iam.PolicyStatement(sid="ReadVolume", actions=["kms:Decrypt"], resources=[key.key_arn]),
        iam.PolicyStatement(
            sid="AttachVolume",
            actions=["kms:CreateGrant"],
            resources=[key.key_arn],
            conditions={"Bool": {"kms:GrantIsForAWSResource": "true"}},
        ),
    ]


def write_captures(
    stack: Stack, bucket: str, where: str, key: kms.IKey
) -> list[iam.PolicyStatement]:
    """Write captured requests and answers below one prefix of the bucket."""
    return [
        iam.PolicyStatement(
            sid="WriteCaptures",
            actions=["s3:PutObject"],
            resources=[
                stack.format_arn(
                    service="s3",
                    region="",
                    account="",
                    resource=f"{bucket}/{where}/*",
                    arn_format=ArnFormat.NO_RESOURCE_NAME,
                )
            ],
        ),
        iam.PolicyStatement(
            sid="EncryptCaptures", actions=["kms:GenerateDataKey"], resources=[key.key_arn]
        ),
    ]


def join_network(stack: Stack, vpc: Vpc) -> list[iam.PolicyStatement]:
    """Have network interfaces in the subnets of the settings, and no others."""

    def arn(kind: str, name: str) -> str:
        return stack.format_arn(service="ec2", resource=kind, resource_name=name)

    return [
        iam.PolicyStatement(
            sid="MakeInterfaces",
            actions=["ec2:CreateNetworkInterface"],
            resources=[
                *(arn("subnet", name) for name in vpc.subnets),
                *(arn("security-group", name) for name in vpc.security_groups),
                arn("network-interface", "*"),
            ],
        ),
        iam.PolicyStatement(
            sid="KeepInterfaces",
            actions=[
                "ec2:CreateNetworkInterfacePermission",
                "ec2:DeleteNetworkInterface",
                "ec2:DeleteNetworkInterfacePermission",
            ],
            resources=[arn("network-interface", "*")],
        ),
        iam.PolicyStatement(
            sid="SeeNetwork",
            actions=[
                "ec2:DescribeDhcpOptions",
                "ec2:DescribeNetworkInterfaces",
                "ec2:DescribeSecurityGroups",
                "ec2:DescribeSubnets",
                "ec2:DescribeVpcs",
            ],
            resources=["*"],
        ),
    ]

"""Who may do what with work that does not end with its request: payloads, queues, metrics.

Continues `permissions`, with the same rules: the narrowest resource, no managed policy.
"""

from __future__ import annotations

from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from modelport.registry import keys

from infra.queues import Queues


def hand_work_on(queues: Queues, payloads: s3.Bucket, key: kms.Key) -> list[iam.PolicyStatement]:
    """Take uploads and jobs, and queue work; what a signed URL allows is what its signer may do."""
    return [
        iam.PolicyStatement(
            sid="HandWorkOn",
            actions=["sqs:SendMessage"],
            resources=[queues.jobs.queue_arn, queues.shadows.queue_arn],
        ),
        *_keep("KeepPayloads", ("uploads/*", "calls/*", "jobs/*", "keys/*"), payloads, key),
    ]


def run_jobs(queues: Queues, payloads: s3.Bucket, key: kms.Key) -> list[iam.PolicyStatement]:
    """Take queued work, and finish jobs."""
    return [
        iam.PolicyStatement(
            sid="TakeWork",
            actions=[
                "sqs:ChangeMessageVisibility",
                "sqs:DeleteMessage",
                "sqs:GetQueueAttributes",
                "sqs:ReceiveMessage",
            ],
            resources=[queues.jobs.queue_arn, queues.shadows.queue_arn],
        ),
        *_keep("RunJobs", ("jobs/*",), payloads, key),
    ]


def read_metrics() -> iam.PolicyStatement:
    """See what was counted of versions, and of all else in the account: it cannot be narrower."""
    return iam.PolicyStatement(
        sid="ReadMetrics",
        actions=["cloudwatch:GetMetricData", "cloudwatch:ListMetrics"],
        resources=["*"],
    )


def find_rollouts(bucket: s3.Bucket) -> iam.PolicyStatement:
    """Read and write the one list of models that may have a rollout under way."""
    return iam.PolicyStatement(
        sid="FindRollouts",
        actions=["s3:GetObject", "s3:PutObject"],
        resources=[bucket.arn_for_objects(keys.ACTIVE_ROLLOUTS)],
    )


def _keep(
    sid: str, where: tuple[str, ...], payloads: s3.Bucket, key: kms.Key
) -> list[iam.PolicyStatement]:
    """Read and write objects below these places; without listing, S3 answers 403 for none."""
    return [
        iam.PolicyStatement(
            sid=sid,
            actions=["s3:GetObject", "s3:PutObject"],
            resources=[payloads.arn_for_objects(each) for each in where],
        ),
        iam.PolicyStatement(
            sid="KnowWhichPayloadsAreMissing",
            actions=["s3:ListBucket"],
            resources=[payloads.bucket_arn],
        ),
        # Reading what is encrypted with the key is `permissions.read_registry`'s.
        iam.PolicyStatement(
            sid="EncryptPayloads", actions=["kms:GenerateDataKey"], resources=[key.key_arn]
        ),
    ]

"""Who may do what with work that does not end with its request: payloads, queues, metrics.

Continues `permissions`, with the same rules: the narrowest resource, no managed policy.
"""

from __future__ import annotations

from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from modelport.jobs import keys
from modelport.registry import keys as registry_keys

from infra.queues import Queues


def hand_work_on(queues: Queues, payloads: s3.Bucket, key: kms.Key) -> list[iam.PolicyStatement]:
    """Take uploads and jobs, and queue work; what a signed URL allows is what its signer may do."""
    places = (keys.UPLOADS, keys.CALLS, keys.JOBS, keys.IDEMPOTENCY)
    return [
        iam.PolicyStatement(
            sid="HandWorkOn",
            actions=["sqs:SendMessage"],
            resources=[queues.jobs.queue_arn, queues.shadows.queue_arn],
        ),
        _objects("KeepPayloads", ("s3:GetObject", "s3:PutObject"), places, payloads),
        *_whole(payloads, key),
    ]


def do_work(queues: Queues, payloads: s3.Bucket, key: kms.Key) -> list[iam.PolicyStatement]:
    """Take queued work, read what was uploaded for it, and finish jobs."""
    return [
        iam.PolicyStatement(
            sid="TakeWork",
            actions=[
                "sqs:ChangeMessageVisibility",
                "sqs:DeleteMessage",
                "sqs:GetQueueAttributes",
                "sqs:ReceiveMessage",
            ],
            resources=[each.queue_arn for each in (queues.jobs, queues.dead, queues.shadows)],
        ),
        _objects("ReadUploads", ("s3:GetObject",), (keys.UPLOADS,), payloads),
        _objects("FinishJobs", ("s3:GetObject", "s3:PutObject"), (keys.JOBS,), payloads),
        *_whole(payloads, key),
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
        resources=[bucket.arn_for_objects(registry_keys.ACTIVE_ROLLOUTS)],
    )


def _objects(
    sid: str, actions: tuple[str, ...], places: tuple[str, ...], payloads: s3.Bucket
) -> iam.PolicyStatement:
    below = [payloads.arn_for_objects(f"{place}*") for place in places]
    return iam.PolicyStatement(sid=sid, actions=list(actions), resources=below)


def _whole(payloads: s3.Bucket, key: kms.Key) -> list[iam.PolicyStatement]:
    """What goes with it: without listing, S3 answers 403 for what is not there.

    To decrypt with the key is among `permissions.read_registry`'s.
    """
    return [
        iam.PolicyStatement(
            sid="KnowWhichPayloadsAreMissing",
            actions=["s3:ListBucket"],
            resources=[payloads.bucket_arn],
        ),
        iam.PolicyStatement(
            sid="EncryptPayloads", actions=["kms:GenerateDataKey"], resources=[key.key_arn]
        ),
    ]

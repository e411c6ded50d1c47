"""The payloads bucket: bodies and answers too large for an event, and the records of jobs.

Everything in it is on its way and goes by itself. Callers and model versions reach single objects
by URLs that the router signs for minutes; they need no right and no header of AWS: the bucket
itself encrypts what arrives, with the rights of whoever signed.
"""

from __future__ import annotations

from aws_cdk import Duration, Stack
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from modelport.deployments import Environment

from infra import naming, review
from infra.function_logs import removal

#: Longer than any job may wait and run, and than its answer is promised for.
KEPT = Duration.days(2)


def payloads_bucket(stack: Stack, environment: Environment, key: kms.Key) -> s3.Bucket:
    """Make it."""
    bucket = s3.Bucket(
        stack,
        "Payloads",
        bucket_name=naming.payloads(environment.name, stack.account, stack.region),
        encryption=s3.BucketEncryption.KMS,
        encryption_key=key,
        bucket_key_enabled=True,
        block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
        object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
        enforce_ssl=True,
        minimum_tls_version=1.2,
        removal_policy=removal(environment),
        lifecycle_rules=[
            s3.LifecycleRule(
                expiration=KEPT, abort_incomplete_multipart_upload_after=Duration.days(1)
            )
        ],
    )
    review.accept_payloads_without_access_log(bucket)
    return bucket


def payloads_url(stack: Stack, environment: Environment) -> str:
    """What every signed URL of the bucket begins with, for those who take no other."""
    if environment.payloads_url is not None:
        return environment.payloads_url
    name = naming.payloads(environment.name, stack.account, stack.region)
    return f"https://{name}.s3.{stack.region}.{stack.url_suffix}/"

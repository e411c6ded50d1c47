"""What the command line asks of AWS besides the registry: who I am, what a stack says, credentials.

One class over boto3, made once by the composition root; botocore's errors become ours here. boto3
is loaded with the first question, so ``--help`` does not wait for it.
"""

from __future__ import annotations

import base64
import getpass
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelport.cli.failures import AwsUnavailableError
from modelport.images.reference import Reference
from modelport.registry import Registry

if TYPE_CHECKING:
    from boto3 import Session
    from botocore.credentials import Credentials

    from modelport.jobs.office import Office
    from modelport.rollouts.observations import Observations

DEFAULT_REGION = "us-east-1"
IDENTITY_TIMEOUT_S = 3
MAX_CONNECTIONS = 16


class Aws:
    """AWS as the standard variables and files configure it."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    @cached_property
    def _session(self) -> Session:
        import boto3

        with _answering("the AWS configuration"):
            return boto3.Session()

    @property
    def region(self) -> str:
        """The region in use. AWS_REGION is what other tools read; boto3 itself does not."""
        named = self._environ.get("AWS_REGION")
        return named or self._session.region_name or DEFAULT_REGION

    def registry(self, bucket: str) -> Registry:
        """The registry in a bucket."""
        from modelport.registry.s3 import S3Registry

        return S3Registry(self._client("s3", _bucket_config()), bucket)

    def elsewhere(self, bucket: str, prefix: str, profile: str | None) -> Registry:
        """The registry in another bucket, as a profile sees it; without one, as these variables."""
        from modelport.registry.s3 import S3Registry

        with _answering(f"profile {profile}"):
            if profile is None:
                client = self._client("s3", _bucket_config())
            else:
                import boto3

                session = boto3.Session(profile_name=profile)
                region = session.region_name or self.region
                client = session.client("s3", region_name=region, config=_bucket_config())
        return S3Registry(client, bucket, prefix=prefix)

    def identity(self) -> str:
        """Who changes are logged as: the AWS caller, or, when AWS does not say, the local user."""
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError

        config = Config(
            connect_timeout=IDENTITY_TIMEOUT_S,
            read_timeout=IDENTITY_TIMEOUT_S,
            retries={"total_max_attempts": 1},
        )
        try:
            return str(self._client("sts", config).get_caller_identity()["Arn"])
        except (BotoCoreError, ClientError, AwsUnavailableError):
            return local_user()

    def outputs(self, stack: str) -> Mapping[str, str] | None:
        """The outputs of a CloudFormation stack; None when it is not there."""
        from botocore.exceptions import ClientError

        with _answering("CloudFormation"):
            try:
                found = self._client("cloudformation").describe_stacks(StackName=stack)["Stacks"]
            except ClientError as error:
                if "does not exist" in str(error):
                    return None
                raise
        if not found or found[0]["StackStatus"] in ("DELETE_COMPLETE", "REVIEW_IN_PROGRESS"):
            return None
        return {o["OutputKey"]: o["OutputValue"] for o in found[0].get("Outputs", [])}

    def download(self, bucket: str, key: str, to: Path) -> None:
        """Write an object of S3 to a file."""
        with _answering(f"s3://{bucket}/{key}"):
            self._client("s3").download_file(bucket, key, str(to))

    def jobs(self, bucket: str, queue_url: str) -> Office:
        """The jobs in a bucket, and the queue of those that wait."""
        from modelport.jobs.board import Board
        from modelport.jobs.office import Office
        from modelport.jobs.queue import SqsQueue
        from modelport.jobs.s3 import S3Payloads, signing_config
        from modelport.registry.s3 import S3Store

        named = self._environ.get("AWS_ENDPOINT_URL_S3") or self._environ.get("AWS_ENDPOINT_URL")
        client = self._client("s3", signing_config(named, max_pool_connections=MAX_CONNECTIONS))
        queue = SqsQueue(self._client("sqs"), queue_url)
        return Office(Board(S3Store(client, bucket)), S3Payloads(client, bucket), queue)

    def credentials(self) -> Credentials | None:
        """The credentials requests are signed with, if there are any."""
        with _answering("the credential provider"):
            return self._session.get_credentials()

    def observations(self, environment: str) -> Observations:
        """The metrics of an environment's versions."""
        from botocore.config import Config

        from modelport.rollouts.cloudwatch import CloudWatchObservations

        config = Config(connect_timeout=5, read_timeout=30, retries={"total_max_attempts": 3})
        return CloudWatchObservations(self._client("cloudwatch", config), environment)

    def container_login(self, registry: str) -> tuple[str, str] | None:
        """User and password of a private registry in ECR, for twelve hours; None for any other."""
        if (region := Reference(registry, "any").ecr_region) is None:
            return None
        with _answering("ecr"):
            client = self._session.client("ecr", region_name=region)
            told = client.get_authorization_token()["authorizationData"][0]["authorizationToken"]
        user, _, password = base64.b64decode(told).decode().partition(":")
        return user, password

    def _client(self, service: str, config: Any = None) -> Any:
        with _answering(service):
            return self._session.client(service, region_name=self.region, config=config)  # type: ignore[call-overload]


def _bucket_config() -> Any:
    from botocore.config import Config

    return Config(
        connect_timeout=5,
        read_timeout=60,
        retries={"mode": "standard", "total_max_attempts": 4},
        max_pool_connections=MAX_CONNECTIONS,
    )


def local_user() -> str:
    """The user of this machine."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"


@contextmanager
def _answering(service: str) -> Iterator[None]:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (BotoCoreError, ClientError) as error:
        raise AwsUnavailableError(service, str(error)) from error

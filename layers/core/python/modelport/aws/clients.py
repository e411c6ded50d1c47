"""Clients for an environment: our own where they can do what boto3's do, boto3's where not.

Made without I/O. The environment is the composition root's; only boto3 and botocore, where they are
needed, read the process's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from modelport.aws.caller import Caller
from modelport.aws.credentials import Source, source_of
from modelport.aws.documents import Documents, S3Documents
from modelport.aws.endpoints import Endpoint, bucket_endpoint, endpoint_of, proxied
from modelport.aws.pool import Timeouts
from modelport.aws.services import Endpoints, Functions, LambdaFunctions, SageMakerEndpoints

if TYPE_CHECKING:
    from modelport.aws.through_boto3 import ThroughBoto3


class Clients:
    """The services of one environment, with the same credentials.

    >>> clients = Clients({"AWS_REGION": "eu-central-1", "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE"})
    >>> functions = clients.lambda_(Timeouts(connect_s=1, answer_s=28))
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def lambda_(self, timeouts: Timeouts) -> Functions:
        """Lambda's Invoke, never tried again."""
        endpoint = endpoint_of("LAMBDA", self._environ)
        if endpoint is None or proxied(endpoint, self._environ):
            return self._boto3.functions(timeouts)
        return LambdaFunctions(self._caller("lambda", endpoint, timeouts))

    def sagemaker(self, timeouts: Timeouts) -> Endpoints:
        """SageMaker's InvokeEndpoint, never tried again."""
        endpoint = endpoint_of("SAGEMAKER_RUNTIME", self._environ)
        if endpoint is None or proxied(endpoint, self._environ):
            return self._boto3.endpoints(timeouts)
        return SageMakerEndpoints(self._caller("sagemaker", endpoint, timeouts))

    def s3_reader(self, bucket: str, timeouts: Timeouts, *, attempts: int = 2) -> Documents:
        """S3's GetObject and ListObjectsV2, each request tried ``attempts`` times."""
        endpoint = bucket_endpoint(bucket, self._environ)
        if endpoint is None or proxied(endpoint, self._environ):
            return self._boto3.documents(bucket, timeouts, attempts)
        return S3Documents(self._caller("s3", endpoint, timeouts), attempts=attempts)

    def _caller(self, service: str, endpoint: Endpoint, timeouts: Timeouts) -> Caller:
        return Caller(service, endpoint, timeouts, self._credentials, self._environ)

    @cached_property
    def _credentials(self) -> Source:
        return source_of(self._environ)

    @cached_property
    def _boto3(self) -> ThroughBoto3:
        from modelport.aws.through_boto3 import ThroughBoto3

        return ThroughBoto3()

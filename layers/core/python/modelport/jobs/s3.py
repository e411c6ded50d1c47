"""Bodies in an S3 bucket, and presigned URLs of them. The only module of jobs that speaks S3.

URLs are signed with version 4, without which a bucket that encrypts with KMS refuses them, and name
the bucket's own region, so nobody is redirected. Nothing about encryption is asked of whoever
uploads: the bucket's default does it.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Any

from botocore.config import Config
from botocore.exceptions import ClientError

from modelport.jobs.payloads import TOLD, check_size
from modelport.registry.s3_errors import is_missing, translated

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


_NAMES = {"content-type": "ContentType", "content-encoding": "ContentEncoding"}


def signing_config(endpoint: str | None, **limits: Any) -> Config:
    """How the client of `S3Payloads` is made; ``endpoint`` is the one in use if not AWS's own.

    An endpoint of one's own has no host per bucket.
    """
    style = "path" if endpoint else "virtual"
    s3: Any = {"addressing_style": style, "us_east_1_regional_endpoint": "regional"}
    return Config(signature_version="s3v4", s3=s3, **limits)


def base_url(bucket: str, region: str, endpoint: str | None = None) -> str:
    """What every URL of the bucket's bodies begins with, for those who are to trust no other.

    >>> base_url("b", "eu-central-1"), base_url("b", "us-east-1", "http://127.0.0.1:4566")
    ('https://b.s3.eu-central-1.amazonaws.com/', 'http://127.0.0.1:4566/b/')
    """
    if endpoint:
        return f"{endpoint.rstrip('/')}/{bucket}/"
    suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    return f"https://{bucket}.s3.{region}.{suffix}/"


class S3Payloads:
    """Bodies in a bucket; the client comes from `signing_config`."""

    def __init__(self, client: S3Client, bucket: str) -> None:
        self._client, self._bucket = client, bucket

    def put(self, key: str, body: bytes, headers: Mapping[str, str]) -> None:
        """Write a body; whoever fetches it is told its type and coding, as ``headers`` say."""
        told: Any = {_NAMES[name]: headers[name] for name in TOLD if headers.get(name)}
        with translated(f"writing {self._url(key)}"):
            self._client.put_object(Bucket=self._bucket, Key=key, Body=body, **told)

    def get(self, key: str, most: int | None = None) -> bytes | None:
        """Read a body of at most ``most`` bytes; None if there is none."""
        with translated(f"reading {self._url(key)}"):
            try:
                answer = self._client.get_object(Bucket=self._bucket, Key=key)
                with closing(answer["Body"]) as body:
                    check_size(answer["ContentLength"], most)
                    return body.read()
            except ClientError as error:
                if is_missing(error):
                    return None
                raise

    def size(self, key: str) -> int | None:
        """How many bytes a body has; None if there is none."""
        with translated(f"looking for {self._url(key)}"):
            try:
                return self._client.head_object(Bucket=self._bucket, Key=key)["ContentLength"]
            except ClientError as error:
                if is_missing(error):
                    return None
                raise

    def put_url(self, key: str, seconds: int, length: int | None = None) -> str:
        """A URL that takes one PUT, of exactly ``length`` bytes where that is given."""
        exact = {} if length is None else {"ContentLength": length}
        return self._signed("put_object", {"Key": key, **exact}, seconds)

    def get_url(self, key: str, seconds: int) -> str:
        """A URL that answers GET with the body."""
        return self._signed("get_object", {"Key": key}, seconds)

    def _signed(self, operation: str, parameters: dict[str, Any], seconds: int) -> str:
        with translated("signing a URL"):
            return self._client.generate_presigned_url(
                operation, Params={"Bucket": self._bucket, **parameters}, ExpiresIn=seconds
            )

    def _url(self, key: str) -> str:
        return f"s3://{self._bucket}/{key}"

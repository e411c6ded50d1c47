"""Botocore's errors become ours here, at the boundary; nothing above speaks botocore."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import BotoCoreError, ClientError

from modelport.errors import IntegrityError, ModelportError, RegistryUnavailableError

_DENIED = {"AccessDenied", "AllAccessDisabled", "403", "Forbidden"}
_CREDENTIALS = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"}
_CORRUPTED = {"BadDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch"}


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Raise ours for whatever botocore raises while doing ``what``."""
    try:
        yield
    except ClientError as error:
        raise _answered(what, error) from error
    except BotoCoreError as error:
        # No answer at all: no route, a timeout, a broken connection, no credentials.
        raise RegistryUnavailableError(f"{what}: {error}") from error


def status(error: ClientError) -> int:
    """The HTTP status S3 answered with."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def code(error: ClientError) -> str:
    """The error code S3 answered with; for a HEAD it is only the status."""
    return str(error.response.get("Error", {}).get("Code", ""))


def is_missing(error: ClientError) -> bool:
    """Whether the answer means: no such object (and not: no such bucket)."""
    return status(error) == 404 and code(error) != "NoSuchBucket"


def _answered(what: str, error: ClientError) -> ModelportError:
    name = code(error)
    message = error.response.get("Error", {}).get("Message") or "no reason given"
    if name in _CORRUPTED:
        return IntegrityError(what, "the bytes that were announced", "others")
    ours = RegistryUnavailableError(f"{what}: {name}: {message}")
    if name in _DENIED:
        ours.hint = (
            "the caller needs s3:GetObject and s3:ListBucket on the registry's bucket, "
            "s3:PutObject to change it, s3:ListBucketVersions to check it, s3:DeleteObjectVersion "
            "to clean it, and the use of its KMS key if it has one"
        )
    elif name in _CREDENTIALS:
        ours.hint = "check the AWS credentials and region in use"
    elif name == "NoSuchBucket":
        ours.hint = "check the bucket's name and region, or deploy the platform stack first"
    return ours

"""What S3 refuses, in our errors: by its code and words alone, whoever asked and however."""

from __future__ import annotations

from modelport.errors import IntegrityError, ModelportError, RegistryUnavailableError

_DENIED = {"AccessDenied", "AllAccessDisabled", "403", "Forbidden"}
_CREDENTIALS = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"}
_CORRUPTED = {"BadDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch"}


def refusal(what: str, code: str, message: str) -> ModelportError:
    """The error for a refusal while doing ``what``; ``message`` is S3's, perhaps empty."""
    if code in _CORRUPTED:
        return IntegrityError(what, "the bytes that were announced", "others")
    ours = RegistryUnavailableError(f"{what}: {code}: {message or 'no reason given'}")
    if code in _DENIED:
        ours.hint = (
            "the caller needs s3:GetObject and s3:ListBucket on the registry's bucket, "
            "s3:PutObject to change it, s3:ListBucketVersions to check it, s3:DeleteObjectVersion "
            "to clean it, and the use of its KMS key if it has one"
        )
    elif code in _CREDENTIALS:
        ours.hint = "check the AWS credentials and region in use"
    elif code == "NoSuchBucket":
        ours.hint = "check the bucket's name and region, or deploy the platform stack first"
    return ours


def means_missing(status: int, code: str) -> bool:
    """Whether an answer means: no such object (and not: no such bucket)."""
    return status == 404 and code != "NoSuchBucket"

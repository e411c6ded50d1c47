"""States of objects in a bucket: looked at, listed, copied inside S3, and removed one by one.

Ages are by S3's own clock: what an answer says of an object against when the answer was given. A
state can only be removed exactly in a versioned bucket, so in any other nothing is removed. Raises
botocore's errors; `modelport.registry.s3` translates them.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from modelport.errors import IntegrityError
from modelport.manifest import File
from modelport.registry.errors import NotErasableError
from modelport.registry.s3_errors import code, is_missing
from modelport.registry.store import Stored

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

#: The most that S3 copies in one request.
COPY_LIMIT = 5 << 30
_UNVERSIONED = "null"
#: Answers to a copy from where these credentials do not reach.
_OUT_OF_REACH = {"AccessDenied", "NoSuchBucket", "NoSuchKey", "InvalidRequest", "404", "403"}


class States:
    """The states of one bucket's objects."""

    def __init__(self, client: S3Client, bucket: str, encryption: dict[str, Any]) -> None:
        self._client = client
        self._bucket = bucket
        self._encryption = encryption

    def stat(self, key: str) -> Stored | None:
        """The current state of an object."""
        try:
            answer = self._client.head_object(Bucket=self._bucket, Key=key)
        except ClientError as error:
            if is_missing(error):
                return None
            raise
        generation = answer.get("VersionId", _UNVERSIONED)
        return Stored(key, answer["ContentLength"], _age_s(answer, answer), generation)

    def all(self, prefix: str) -> Iterator[Stored]:
        """Every state below ``prefix``."""
        pages = self._client.get_paginator("list_object_versions").paginate(
            Bucket=self._bucket, Prefix=prefix
        )
        listed = ((page, entry) for page in pages for entry in page.get("Versions", ()))
        found = (
            Stored(
                entry["Key"],
                entry["Size"],
                _age_s(page, entry),
                entry.get("VersionId", _UNVERSIONED),
                entry.get("IsLatest", True),
            )
            for page, entry in listed
        )
        for _, states in groupby(found, key=lambda stored: stored.key):
            yield from sorted(states, key=lambda stored: not stored.current)

    def check_erasable(self) -> None:
        """Raise `NotErasableError` unless the bucket is versioned."""
        if not self._versioned:
            raise NotErasableError(self._bucket)

    def delete(self, key: str, generation: str) -> None:
        """Remove one state.

        One from before its bucket was versioned is called "null", and no later one can be.
        """
        self.check_erasable()
        self._client.delete_object(Bucket=self._bucket, Key=key, VersionId=generation)

    def renew(self, key: str, file: File) -> bool:
        """Make a new state of an object out of its current one; False if that cannot be."""
        return self._copied(key, self._bucket, key, file) is not None

    def take(self, key: str, bucket: str, source: str, file: File) -> bool:
        """Copy an object from elsewhere; False if that cannot be.

        Raises `IntegrityError`, and leaves nothing, when other bytes than ``file`` came over.
        """
        answer = self._copied(key, bucket, source, file)
        if answer is None:
            return False
        # Some emulators compute no checksums.
        checksum = answer["CopyObjectResult"].get("ChecksumSHA256") or self._checksum(key)
        if checksum != in_base64(file.digest):
            made = {"VersionId": answer["VersionId"]} if "VersionId" in answer else {}
            self._client.delete_object(Bucket=self._bucket, Key=key, **made)
            raise IntegrityError(f"blob of {file.path}", in_base64(file.digest), checksum)
        return True

    def _checksum(self, key: str) -> str:
        digest = hashlib.sha256()
        for chunk in self._client.get_object(Bucket=self._bucket, Key=key)["Body"].iter_chunks():
            digest.update(chunk)
        return base64.b64encode(digest.digest()).decode()

    def _copied(self, key: str, bucket: str, source: str, file: File) -> Any:
        if file.size > COPY_LIMIT:
            return None
        try:
            return self._client.copy_object(
                Bucket=self._bucket,
                Key=key,
                CopySource={"Bucket": bucket, "Key": source},
                # Without it S3 refuses to copy an object onto itself.
                MetadataDirective="REPLACE",
                ChecksumAlgorithm="SHA256",
                **self._encryption,
            )
        except ClientError as error:
            if code(error) in _OUT_OF_REACH:
                return None
            raise

    @cached_property
    def _versioned(self) -> bool:
        answer = self._client.get_bucket_versioning(Bucket=self._bucket)
        return answer.get("Status") == "Enabled"


def in_base64(digest: str) -> str:
    """A digest of ours as S3 writes it."""
    return base64.b64encode(bytes.fromhex(digest.removeprefix("sha256:"))).decode()


def _age_s(answer: Any, entry: Any) -> float:
    told = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
    now = parsedate_to_datetime(told) if told else datetime.now(UTC)
    written = entry.get("LastModified", now)
    return max(0.0, float((now - written).total_seconds()))

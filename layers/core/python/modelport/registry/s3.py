"""A registry in an S3 bucket: the only module with S3's requests for documents and downloads.

The client is passed in; its endpoint, credentials, timeouts and retries are its owner's business.
Uploads are in `modelport.registry.s3_upload`, looking after it in `modelport.registry.s3_states`.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from modelport.errors import RegistryUnavailableError
from modelport.manifest import File
from modelport.registry.bucket import BucketRegistry
from modelport.registry.checksums import PART_SIZE
from modelport.registry.s3_errors import is_missing, status, translated
from modelport.registry.store import Advance, Document, Source, Store, Stored

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from modelport.registry.s3_states import States
    from modelport.registry.s3_upload import Uploads

#: Files up to this size are one PUT, larger ones go in parts.
SINGLE_PUT_LIMIT = 64 << 20
_CHUNK = 1 << 20
#: Tries of a create that S3 could not decide because another write was under way.
_ATTEMPTS = 10


class S3Store:
    """Objects in a bucket, under a prefix."""

    def __init__(
        self,
        client: S3Client,
        bucket: str,
        *,
        prefix: str = "",
        kms_key_id: str | None = None,
        part_size: int = PART_SIZE,
        single_put_limit: int = SINGLE_PUT_LIMIT,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client = client
        self._bucket = bucket
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._sleep = sleep
        self._encryption: dict[str, Any] = {}
        if kms_key_id:
            self._encryption = {
                "ServerSideEncryption": "aws:kms",
                "SSEKMSKeyId": kms_key_id,
                "BucketKeyEnabled": True,
            }
        self._part_size, self._single_put_limit = part_size, single_put_limit

    def get(self, key: str, *, known: str | None = None) -> Document | None:
        """Read a document."""
        condition: Any = {"IfNoneMatch": known} if known else {}
        with translated(f"reading {self._url(key)}"):
            try:
                answer = self._client.get_object(**self._at(key), **condition)
                return Document(answer["Body"].read(), answer["ETag"])
            except ClientError as error:
                if known and status(error) == 304:
                    return Document(b"", known)
                if is_missing(error):
                    return None
                raise

    def create(self, key: str, body: bytes) -> bool:
        """Write a document that does not exist yet."""
        for attempt in range(_ATTEMPTS):
            refused = self._put(key, body, IfNoneMatch="*")
            if refused is None:
                return True
            if refused == 412:
                return False
            # 409: S3 saw another write under way and does not say who won. Ask again.
            self._sleep(random.uniform(0, 0.01 * 2**attempt))
        raise RegistryUnavailableError(f"creating {self._url(key)}: other writes never ended")

    def replace(self, key: str, body: bytes, etag: str) -> bool:
        """Write a document that still has ``etag``."""
        return self._put(key, body, IfMatch=etag) is None

    def children(self, folder: str, *, after: str = "") -> Iterator[str]:
        """Names directly in ``folder``, one page of a thousand at a time."""
        prefix = self._prefix + folder
        start: Any = {"StartAfter": prefix + after} if after else {}
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=prefix, Delimiter="/", **start
        )
        with translated(f"listing {self._url(folder)}"):
            for page in pages:
                found = [entry["Key"] for entry in page.get("Contents", ())]
                found += [entry["Prefix"] for entry in page.get("CommonPrefixes", ())]
                yield from sorted(name.removeprefix(prefix) for name in found)

    def upload(
        self,
        key: str,
        source: Source,
        file: File,
        advance: Advance,
        *,
        renew_after_s: float | None = None,
    ) -> None:
        """Send the file unless it is there."""
        with translated(f"uploading {file.path} to {self._url(key)}"):
            self._uploads.send(self._prefix + key, source, file, advance, renew_after_s)

    def read(self, key: str, offset: int = 0, length: int | None = None) -> Iterator[bytes] | None:
        """Stream an object."""
        last = "" if length is None else offset + length - 1
        part: Any = {"Range": f"bytes={offset}-{last}"} if offset or last else {}
        with translated(f"reading {self._url(key)}"):
            try:
                body = self._client.get_object(**self._at(key), **part)["Body"]
            except ClientError as error:
                if is_missing(error):
                    return None
                if status(error) == 416:
                    return iter(())
                raise
        return self._chunks(key, body)

    def stat(self, key: str) -> Stored | None:
        """The current state of an object."""
        with translated(f"looking at {self._url(key)}"):
            found = self._states.stat(self._prefix + key)
        return replace(found, key=key) if found else None

    def objects(self, prefix: str) -> Iterator[Stored]:
        """Every state of everything below ``prefix``, a page of a thousand at a time."""
        with translated(f"listing {self._url(prefix)}"):
            for found in self._states.all(self._prefix + prefix):
                yield replace(found, key=found.key.removeprefix(self._prefix))

    def check_erasable(self) -> None:
        """Only in a versioned bucket can one state be removed, and no other."""
        with translated(f"asking whether s3://{self._bucket} is versioned"):
            self._states.check_erasable()

    def delete(self, key: str, generation: str) -> None:
        """Remove exactly one state of an object."""
        with translated(f"removing {self._url(key)}"):
            self._states.delete(self._prefix + key, generation)

    def adopt(self, key: str, other: Store, file: File) -> bool:
        """Have S3 copy from a bucket that these credentials can read, too."""
        if not isinstance(other, S3Store) or other._endpoint != self._endpoint:
            return False
        with translated(f"copying {other._url(key)} to {self._url(key)}"):
            return self._states.take(self._prefix + key, other._bucket, other._prefix + key, file)

    @cached_property
    def _states(self) -> States:
        from modelport.registry.s3_states import States  # no function looks after a registry

        return States(self._client, self._bucket, self._encryption)

    @cached_property
    def _uploads(self) -> Uploads:
        from modelport.registry.s3_upload import Uploads

        sizes = self._part_size, self._single_put_limit
        return Uploads(self._client, self._bucket, self._states, self._encryption, *sizes)

    @property
    def _endpoint(self) -> str:
        return str(self._client.meta.endpoint_url)

    def _chunks(self, key: str, body: Any) -> Iterator[bytes]:
        with translated(f"reading {self._url(key)}"), body:
            yield from body.iter_chunks(_CHUNK)

    def _put(self, key: str, body: bytes, **condition: Any) -> int | None:
        """Write a document; the status if its condition was refused."""
        with translated(f"writing {self._url(key)}"):
            try:
                self._client.put_object(
                    **self._at(key),
                    Body=body,
                    ContentType="application/json",
                    **self._encryption,
                    **condition,
                )
            except ClientError as error:
                gone = "IfMatch" in condition and is_missing(error)
                if gone or status(error) in (409, 412):
                    return status(error)
                raise
        return None

    def _at(self, key: str) -> Any:
        return {"Bucket": self._bucket, "Key": self._prefix + key}

    def _url(self, key: str) -> str:
        return f"s3://{self._bucket}/{self._prefix}{key}"


class S3Registry(BucketRegistry):
    """The whole registry over an `S3Store`."""

    def __init__(
        self,
        client: S3Client,
        bucket: str,
        *,
        prefix: str = "",
        kms_key_id: str | None = None,
        part_size: int = PART_SIZE,
        single_put_limit: int = SINGLE_PUT_LIMIT,
    ) -> None:
        super().__init__(
            S3Store(
                client,
                bucket,
                prefix=prefix,
                kms_key_id=kms_key_id,
                part_size=part_size,
                single_put_limit=single_put_limit,
            )
        )

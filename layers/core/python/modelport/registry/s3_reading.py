"""A registry in an S3 bucket as the router reads it: documents without an SDK, the rest with one.

Reading documents and their names is what requests wait for. Everything else a store can do is
`S3Store`'s, which is made when it is first needed, because boto3 takes longer to load than a
router to start.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from modelport.aws import CallError, Documents, RefusedError
from modelport.errors import RegistryUnavailableError
from modelport.manifest import File
from modelport.registry.bucket import BucketRegistry
from modelport.registry.s3_refusals import means_missing, refusal
from modelport.registry.store import Advance, Document, Source, Store, Stored


class S3ReadingStore:
    """A `Store` over ``documents`` of ``bucket``, and over what ``rest`` makes for all else."""

    def __init__(self, documents: Documents, bucket: str, rest: Callable[[], Store]) -> None:
        self._documents, self._bucket = documents, bucket
        self._new_rest = rest
        self._made: Store | None = None
        self._lock = threading.Lock()

    def get(self, key: str, *, known: str | None = None) -> Document | None:
        """Read a document."""
        with self._translated("reading", key):
            try:
                found = self._documents.get(key, known)
            except RefusedError as error:
                if means_missing(error.status, error.code):
                    return None
                raise
        return Document(found.body or b"", found.etag)

    def children(self, folder: str, *, after: str = "") -> Iterator[str]:
        """Names directly in ``folder``, one page of a thousand at a time."""
        with self._translated("listing", folder):
            for page in self._documents.pages(folder, f"{folder}{after}" if after else ""):
                yield from sorted(name.removeprefix(folder) for name in page)

    @contextmanager
    def _translated(self, doing: str, key: str) -> Iterator[None]:
        what = f"{doing} s3://{self._bucket}/{key}"
        try:
            yield
        except RefusedError as error:
            raise refusal(what, error.code, error.message) from error
        except CallError as error:
            raise RegistryUnavailableError(f"{what}: {error}") from error

    @property
    def _rest(self) -> Store:
        with self._lock:
            if self._made is None:
                self._made = self._new_rest()
            return self._made

    def create(self, key: str, body: bytes) -> bool:
        """Write a document that does not exist yet."""
        return self._rest.create(key, body)

    def replace(self, key: str, body: bytes, etag: str) -> bool:
        """Write a document that still has ``etag``."""
        return self._rest.replace(key, body, etag)

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
        self._rest.upload(key, source, file, advance, renew_after_s=renew_after_s)

    def read(self, key: str, offset: int = 0, length: int | None = None) -> Iterator[bytes] | None:
        """Stream an object."""
        return self._rest.read(key, offset, length)

    def stat(self, key: str) -> Stored | None:
        """The current state of an object."""
        return self._rest.stat(key)

    def objects(self, prefix: str) -> Iterator[Stored]:
        """Every state of everything below ``prefix``."""
        return self._rest.objects(prefix)

    def check_erasable(self) -> None:
        """Raise `NotErasableError` where `delete` would."""
        self._rest.check_erasable()

    def delete(self, key: str, generation: str) -> None:
        """Remove exactly one state of an object."""
        self._rest.delete(key, generation)

    def adopt(self, key: str, other: Store, file: File) -> bool:
        """Take a file over from another store."""
        return self._rest.adopt(key, other, file)


class S3ReadingRegistry(BucketRegistry):
    """The whole registry over an `S3ReadingStore`."""

    def __init__(self, documents: Documents, bucket: str, rest: Callable[[], Store]) -> None:
        super().__init__(S3ReadingStore(documents, bucket, rest))

"""Small objects of an S3 bucket, and their names, without an SDK.

Reads are tried again as botocore's standard mode does; nothing is ever written.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import quote, unquote_plus

from modelport.aws.answers import Answer
from modelport.aws.caller import Caller
from modelport.aws.errors import (
    CallError,
    CredentialsError,
    HungUpError,
    RefusedError,
    UnreadableError,
)

_UNRESERVED = "-._~"
#: What botocore's standard mode takes for passing trouble.
_PASSING_STATUS = frozenset({500, 502, 503, 504})
_PASSING_CODES = frozenset(
    (
        "BandwidthLimitExceeded",
        "EC2ThrottledException",
        "LimitExceededException",
        "PriorRequestNotComplete",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "RequestTimeout",
        "RequestTimeoutException",
        "SlowDown",
        "Throttling",
        "ThrottledException",
        "ThrottlingException",
        "TooManyRequestsException",
        "TransactionInProgressException",
    )
)


@dataclass(frozen=True, slots=True)
class Found:
    """A small object, whole; ``body`` is None where it still is what was known."""

    body: bytes | None = field(repr=False)
    etag: str


class Documents(Protocol):
    """Small objects of one bucket."""

    def get(self, key: str, known: str | None = None) -> Found:
        """Read one, unless its ETag still is ``known``; raises `CallError`.

        No object is a `RefusedError` of status 404, as no bucket is.
        """
        ...

    def pages(self, prefix: str, after: str = "") -> Iterator[list[str]]:
        """What stands below ``prefix`` and above ``after`` up to the next slash, page by page."""
        ...


class S3Documents:
    """`Documents` over HTTP; ``attempts`` of one read, with a pause of up to a second between."""

    def __init__(
        self,
        caller: Caller,
        *,
        attempts: int = 1,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._caller, self._attempts, self._sleep = caller, attempts, sleep

    def get(self, key: str, known: str | None = None) -> Found:
        """``GET /{key}``, with ``If-None-Match`` where something is known."""
        path = f"/{quote(key, safe=_UNRESERVED + '/')}"
        headers = {"x-amz-checksum-mode": "ENABLED"}
        if known:
            headers["if-none-match"] = known
        answer = self._asked(path, headers)
        if answer.status == 304 and known:
            return Found(None, known)
        return Found(answer.body, answer.headers.get("etag", ""))

    def pages(self, prefix: str, after: str = "") -> Iterator[list[str]]:
        """``GET /?list-type=2``, a thousand names at a time."""
        asked = {"delimiter": "/", "encoding-type": "url", "list-type": "2", "prefix": prefix}
        if after:
            asked["start-after"] = after
        while True:
            pairs = [f"{name}={quote(value, safe=_UNRESERVED)}" for name, value in asked.items()]
            names, more = _page(self._asked("", {}, "&".join(sorted(pairs))))
            yield names
            if not more:
                return
            asked["continuation-token"] = more

    def _asked(self, path: str, headers: dict[str, str], query: str = "") -> Answer:
        for attempt in range(1, self._attempts):
            try:
                return self._once(path, headers, query)
            except CallError as error:
                if not _passes(error):
                    raise
                if isinstance(error, HungUpError) and error.kept:
                    continue  # died unused, as in an environment that slept: nobody is overloaded
            self._sleep(random.uniform(0, 2 ** (attempt - 1)))
        return self._once(path, headers, query)

    def _once(self, path: str, headers: dict[str, str], query: str) -> Answer:
        answer = self._caller.ask("GET", path, headers, query=query)
        if answer.status >= 300 and not (answer.status == 304 and "if-none-match" in headers):
            raise _refused(answer)
        if answer.status == 200:  # what has not changed comes without its bytes
            _check(answer, path)
        return answer


def _passes(error: CallError) -> bool:
    if isinstance(error, RefusedError):
        return error.status in _PASSING_STATUS or error.code in _PASSING_CODES
    return not isinstance(error, CredentialsError)


def _check(answer: Answer, path: str) -> None:
    """Compare with the checksum that S3 keeps beside what was uploaded with one."""
    told = answer.headers.get("x-amz-checksum-crc32")
    if told is None or "-" in told:  # of an upload in parts, it is one of the parts' checksums
        return
    from base64 import b64encode
    from zlib import crc32

    if b64encode(crc32(answer.body).to_bytes(4, "big")).decode() != told:
        raise UnreadableError(path, "its bytes are not those of its checksum")


def _page(answer: Answer) -> tuple[list[str], str]:
    """Names of a listing, and what continues it; nothing where it is complete."""
    from xml.etree import ElementTree  # listings are rare

    try:
        root = ElementTree.fromstring(answer.body)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise UnreadableError("a listing", "it is no XML") from error
    names: list[str] = []
    told = dict.fromkeys(("IsTruncated", "NextContinuationToken", "EncodingType"), "")
    for element in root:
        kind = element.tag.rpartition("}")[2]
        if kind in told:
            told[kind] = element.text or ""
        elif kind in ("Contents", "CommonPrefixes"):
            wanted = "Key" if kind == "Contents" else "Prefix"
            names += [each.text or "" for each in element if each.tag.rpartition("}")[2] == wanted]
    if told["EncodingType"] == "url":
        names = [unquote_plus(name) for name in names]
    more = told["NextContinuationToken"] if told["IsTruncated"] == "true" else ""
    return names, more


def _refused(answer: Answer) -> RefusedError:
    from xml.etree import ElementTree  # errors are rare

    code, message = str(answer.status), ""
    try:
        root = ElementTree.fromstring(answer.body)
        code = root.findtext("Code") or code
        message = root.findtext("Message") or ""
    except (ElementTree.ParseError, ValueError, LookupError):
        pass  # no body, or a proxy's page: the status says what there is to say
    if answer.status in (301, 307):
        region = answer.headers.get("x-amz-bucket-region", "another region")
        message = f"the bucket is in {region}"
    return RefusedError(answer.status, code, message, answer.headers)

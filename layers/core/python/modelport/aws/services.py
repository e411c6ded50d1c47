"""The three calls that every request to a router may make, without an SDK.

What they ask and what an error is called is as in the services' API references; nothing is tried
again but reads of documents, as botocore's standard mode tries them.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import quote

from modelport.aws.answers import Answer
from modelport.aws.caller import Caller
from modelport.aws.errors import CallError, CredentialsError, RefusedError, UnreadableError

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
class Invocation:
    """What a function answered, or, when it ``failed``, Lambda's report of how."""

    payload: bytes = field(repr=False)
    failed: bool = False


class Functions(Protocol):
    """Lambda, as far as it is called."""

    def invoke(self, function: str, payload: bytes) -> Invocation:
        """Have a function answer; raises `CallError`, of a refusal `RefusedError`."""
        ...


@dataclass(frozen=True, slots=True)
class Inference:
    """What a container answered: its body, and the headers that SageMaker carries."""

    headers: dict[str, str] = field(repr=False)
    body: bytes = field(repr=False)


class Endpoints(Protocol):
    """SageMaker's endpoints, as far as they are called."""

    def invoke(self, endpoint: str, body: bytes, headers: Mapping[str, str]) -> Inference:
        """Have an endpoint answer; raises `CallError`, of a refusal `RefusedError`.

        Of ``headers``, lower case, SageMaker takes content-type, accept and its own.
        """
        ...


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


class LambdaFunctions:
    """`Functions` over HTTP."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def invoke(self, function: str, payload: bytes) -> Invocation:
        """``POST /2015-03-31/functions/{name}/invocations``."""
        path = f"/2015-03-31/functions/{quote(function, safe=_UNRESERVED)}/invocations"
        headers = {
            "content-type": "application/json",
            "x-amz-invocation-type": "RequestResponse",
        }
        answer = self._caller.ask("POST", path, headers, payload)
        if answer.status >= 300:
            raise _refused(answer)
        return Invocation(answer.body, bool(answer.headers.get("x-amz-function-error")))


class SageMakerEndpoints:
    """`Endpoints` over HTTP."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def invoke(self, endpoint: str, body: bytes, headers: Mapping[str, str]) -> Inference:
        """``POST /endpoints/{name}/invocations``."""
        path = f"/endpoints/{quote(endpoint, safe=_UNRESERVED)}/invocations"
        answer = self._caller.ask("POST", path, headers, body)
        if answer.status >= 300:
            raise _refused(answer)
        return Inference(answer.headers, answer.body)


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
        for attempt in range(1, self._attempts):
            try:
                return self._once(path, headers, known)
            except CallError as error:
                if not _passes(error):
                    raise
            self._sleep(random.uniform(0, 2 ** (attempt - 1)))
        return self._once(path, headers, known)

    def _once(self, path: str, headers: dict[str, str], known: str | None) -> Found:
        answer = self._caller.ask("GET", path, headers)
        if answer.status == 304 and known:
            return Found(None, known)
        if answer.status >= 300:
            raise _refused_by_s3(answer)
        _check(answer, path)
        return Found(answer.body, answer.headers.get("etag", ""))


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


def _refused(answer: Answer) -> RefusedError:
    """The error in an answer of a service that speaks JSON, found where botocore looks for it."""
    try:
        said: Any = json.loads(answer.body)
    except ValueError:
        said = None
    if not isinstance(said, dict):
        said = {}
    code = answer.headers.get("x-amzn-errortype") or said.get("__type")
    code = str(code or said.get("code") or said.get("Code") or answer.status)
    message = said.get("message", said.get("Message", ""))
    original = said.get("OriginalStatusCode")
    return RefusedError(
        answer.status,
        code.partition(":")[0].rpartition("#")[2],
        str(message),
        answer.headers,
        original if isinstance(original, int) else None,
    )


def _refused_by_s3(answer: Answer) -> RefusedError:
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

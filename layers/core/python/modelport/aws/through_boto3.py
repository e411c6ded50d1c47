"""The same calls through boto3: for proxies, FIPS, profiles and whatever else only it knows.

Botocore's errors become `modelport.aws.errors` here. Loaded only where it is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionClosedError,
    ReadTimeoutError,
)
from urllib3.exceptions import HTTPError
from urllib3.exceptions import ReadTimeoutError as HttpReadTimeoutError

from modelport.aws.documents import Found
from modelport.aws.errors import (
    CallError,
    HungUpError,
    RefusedError,
    SilentError,
    UnreadableError,
)
from modelport.aws.pool import Timeouts
from modelport.aws.services import Inference, Invocation

#: Header → parameter of InvokeEndpoint.
PARAMETERS = {
    "content-type": "ContentType",
    "accept": "Accept",
    "x-amzn-sagemaker-custom-attributes": "CustomAttributes",
    "x-amzn-sagemaker-inference-id": "InferenceId",
    "x-amzn-sagemaker-target-variant": "TargetVariant",
}


def config(timeouts: Timeouts, attempts: int = 1) -> Config:
    """What makes boto3's clients wait and retry as ours do."""
    return Config(
        connect_timeout=timeouts.connect_s,
        read_timeout=timeouts.answer_s,
        retries={"mode": "standard", "total_max_attempts": attempts},
        tcp_keepalive=True,
    )


def refused(error: ClientError) -> RefusedError:
    """Botocore's error for a refusal as ours."""
    said = error.response.get("Error", {})
    about = error.response.get("ResponseMetadata", {})
    original: Any = error.response.get("OriginalStatusCode")
    return RefusedError(
        int(about.get("HTTPStatusCode", 0)),
        str(said.get("Code", "")),
        str(said.get("Message", "")),
        about.get("HTTPHeaders", {}),
        original if isinstance(original, int) else None,
    )


@contextmanager
def translated(what: str, limit_s: float) -> Iterator[None]:
    """Raise `CallError` for whatever botocore raises while asking ``what``."""
    try:
        yield
    except (ReadTimeoutError, HttpReadTimeoutError) as error:
        raise SilentError(what, limit_s) from error
    except ConnectionClosedError as error:
        raise HungUpError(what) from error
    except ClientError as error:
        raise refused(error) from error
    except BotoCoreError as error:
        raise CallError(str(error)) from error
    except (HTTPError, OSError) as error:
        raise UnreadableError(what, type(error).__name__) from error


class ThroughBoto3:
    """Makes the clients, all of one session."""

    def __init__(self) -> None:
        self._session = boto3.session.Session()

    def functions(self, timeouts: Timeouts) -> BotoFunctions:
        """Lambda."""
        client = self._session.client("lambda", config=config(timeouts))
        return BotoFunctions(client, timeouts.answer_s)

    def endpoints(self, timeouts: Timeouts) -> BotoEndpoints:
        """SageMaker's endpoints."""
        client: Any = self._session.client("sagemaker-runtime", config=config(timeouts))
        return BotoEndpoints(client, timeouts.answer_s)

    def documents(self, bucket: str, timeouts: Timeouts, attempts: int) -> BotoDocuments:
        """A bucket."""
        client = self._session.client("s3", config=config(timeouts, attempts))
        return BotoDocuments(client, bucket, timeouts.answer_s)


class BotoFunctions:
    """`modelport.aws.services.Functions` through boto3's client."""

    def __init__(self, client: Any, limit_s: float) -> None:
        self._client, self._translated = client, partial(translated, "Lambda", limit_s)

    def invoke(self, function: str, payload: bytes) -> Invocation:
        """Invoke."""
        with self._translated():
            answer = self._client.invoke(
                FunctionName=function, InvocationType="RequestResponse", Payload=payload
            )
            return Invocation(answer["Payload"].read(), bool(answer.get("FunctionError")))


class BotoEndpoints:
    """`modelport.aws.services.Endpoints` through boto3's client."""

    def __init__(self, client: Any, limit_s: float) -> None:
        self._client, self._translated = client, partial(translated, "SageMaker", limit_s)

    def invoke(self, endpoint: str, body: bytes, headers: Mapping[str, str]) -> Inference:
        """InvokeEndpoint."""
        parameters = {PARAMETERS[name]: value for name, value in headers.items()}
        with self._translated():
            answer = self._client.invoke_endpoint(EndpointName=endpoint, Body=body, **parameters)
            return Inference(carried(answer), answer["Body"].read())


def carried(answer: Mapping[str, Any]) -> dict[str, str]:
    """The headers of an endpoint's answer, from boto3's parameters."""
    return {name: answer[key] for name, key in PARAMETERS.items() if answer.get(key)}


class BotoDocuments:
    """`modelport.aws.services.Documents` through boto3's client."""

    def __init__(self, client: Any, bucket: str, limit_s: float) -> None:
        self._client, self._bucket = client, bucket
        self._translated: Callable[[], Any] = partial(translated, f"s3://{bucket}", limit_s)

    def get(self, key: str, known: str | None = None) -> Found:
        """GetObject."""
        condition = {"IfNoneMatch": known} if known else {}
        try:
            with self._translated():
                answer = self._client.get_object(Bucket=self._bucket, Key=key, **condition)
                return Found(answer["Body"].read(), answer["ETag"])
        except RefusedError as error:
            if known and error.status == 304:
                return Found(None, known)
            raise

    def pages(self, prefix: str, after: str = "") -> Iterator[list[str]]:
        """ListObjectsV2."""
        start = {"StartAfter": after} if after else {}
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=prefix, Delimiter="/", **start
        )
        with self._translated():
            for page in pages:
                names = [entry["Key"] for entry in page.get("Contents", ())]
                yield names + [entry["Prefix"] for entry in page.get("CommonPrefixes", ())]

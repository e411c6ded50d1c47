"""Botocore's errors become ours here, at the boundary; nothing above speaks botocore."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import BotoCoreError, ClientError

from modelport.errors import RegistryUnavailableError
from modelport.registry.s3_refusals import means_missing, refusal


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Raise ours for whatever botocore raises while doing ``what``."""
    try:
        yield
    except ClientError as error:
        message = error.response.get("Error", {}).get("Message", "")
        raise refusal(what, code(error), message) from error
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
    return means_missing(status(error), code(error))

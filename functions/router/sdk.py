"""What the router asks through boto3: uploads, jobs and queues, which few requests need.

Imported by what is asked for first, because boto3 takes longer to load than all the rest of the
router. It reads no environment: `functions.router.handler` passes in what it needs of it.
"""

from __future__ import annotations

from typing import Any

import boto3
from modelport.aws.through_boto3 import config
from modelport.jobs.board import Board
from modelport.jobs.queue import SqsQueue
from modelport.jobs.s3 import S3Payloads, signing_config
from modelport.registry.s3 import S3Store
from modelport.settings import RouterSettings

from functions.router.clients import REGISTRY_ATTEMPTS, REGISTRY_PATIENCE
from functions.router.jobs import Jobs, Terms

REGISTRY_CONFIG = config(REGISTRY_PATIENCE, REGISTRY_ATTEMPTS)


def registry_store(bucket: str) -> S3Store:
    """The registry's bucket, whole."""
    return S3Store(_client("s3"), bucket)


def queue_client() -> Any:
    """A client of a session of its own: those of one may not be made by two threads at a time."""
    return _client("sqs")


def jobs_of(settings: RouterSettings, bucket: str, queue: str, s3_endpoint: str | None) -> Jobs:
    """The jobs that lie in ``bucket`` and are told to ``queue``, a URL."""
    store = _client("s3", signing_config(s3_endpoint).merge(REGISTRY_CONFIG))
    return Jobs(
        Board(S3Store(store, bucket)),
        S3Payloads(store, bucket),
        SqsQueue(_client("sqs"), queue),
        Terms(settings.max_upload_bytes, settings.webhook_hosts),
    )


def _client(service: Any, settings: Any = REGISTRY_CONFIG) -> Any:
    return boto3.session.Session().client(service, config=settings)

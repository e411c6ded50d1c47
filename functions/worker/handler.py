"""The worker's Lambda entry point: reads the environment, wires, has messages done.

The composition root: the only module of the worker that reads the environment and creates clients.
It decides nothing about messages.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping
from typing import Any, Protocol

import boto3
from botocore.config import Config
from modelport.aws import Clients, Timeouts
from modelport.backends import Backend, LambdaBackend, SageMakerBackend
from modelport.jobs.board import Board
from modelport.jobs.queue import SqsQueue
from modelport.jobs.s3 import S3Payloads, signing_config
from modelport.registry.s3 import S3Registry, S3Store
from modelport.settings import WorkerSettings

from functions.worker.jobs import JobRunner, Work
from functions.worker.messages import Runner, consume
from functions.worker.shadows import LIMIT_S as SHADOW_LIMIT_S
from functions.worker.shadows import ShadowRunner
from functions.worker.webhooks import post

#: A model is waited for so long: what is left of the longest that a function runs keeps the answer.
MODELS_LIMIT_S = 870.0
_CONNECT_S = 5.0
_STORES: Any = {
    "connect_timeout": _CONNECT_S,
    "read_timeout": 60,
    "retries": {"mode": "standard", "total_max_attempts": 4},
}


class Context(Protocol):
    """What is used of the Lambda context."""

    def get_remaining_time_in_millis(self) -> int: ...


class Worker:
    """Everything that one environment keeps between messages."""

    def __init__(self, runners: Mapping[str, Runner], dead_arn: str | None) -> None:
        self._runners, self._dead_arn = runners, dead_arn

    def __call__(self, event: Mapping[str, Any], context: Context) -> dict[str, Any]:
        """Answer one event of SQS."""
        until = time.time() + context.get_remaining_time_in_millis() / 1000
        return consume(event, self._runners, until, log, self._dead_arn)


def build(environ: Mapping[str, str]) -> Worker:
    """The worker for an environment; raises `InvalidSettingError` naming what is wrong."""
    settings = WorkerSettings.from_env(environ)
    session = boto3.session.Session()
    registry = S3Registry(session.client("s3", config=Config(**_STORES)), settings.bucket)
    clients = Clients(environ)
    backends = _backends(clients, MODELS_LIMIT_S)
    # Shadow versions are asked with a patience of their own: nobody waits for them.
    asked = ShadowRunner(registry, _backends(clients, SHADOW_LIMIT_S), settings.environment, log)
    runners: dict[str, Runner] = {"shadow": asked}
    if settings.payloads_bucket and settings.jobs_queue_url:
        endpoint = environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL")
        payloads = session.client("s3", config=signing_config(endpoint, **_STORES))
        work = Work(
            registry,
            backends,
            Board(S3Store(payloads, settings.payloads_bucket)),
            S3Payloads(payloads, settings.payloads_bucket),
            SqsQueue(session.client("sqs", config=Config(**_STORES)), settings.jobs_queue_url),
            post,
            log,
            settings.environment,
        )
        runners["job"] = JobRunner(work)
    return Worker(runners, settings.jobs_dead_arn)


def _backends(clients: Clients, limit_s: float) -> dict[str, Backend]:
    """Where models are asked, each for ``limit_s`` at most."""
    patience = Timeouts(_CONNECT_S, limit_s)
    return {
        "lambda": LambdaBackend(clients.lambda_(patience), timeout_s=limit_s),
        "sagemaker": SageMakerBackend(lambda: clients.sagemaker(patience), timeout_s=limit_s),
    }


def log(record: Mapping[str, Any]) -> None:
    """One record, one line of JSON on standard output, where Lambda collects it."""
    sys.stdout.write(json.dumps(record, separators=(",", ":"), default=str) + "\n")
    sys.stdout.flush()


_worker: Worker | None = None


def handler(event: dict[str, Any], context: Context) -> dict[str, Any]:
    """What Lambda calls."""
    global _worker
    if _worker is None:
        _worker = build(os.environ)
    return _worker(event, context)


if "AWS_LAMBDA_FUNCTION_NAME" in os.environ:
    # Built while the environment starts; a wrong setting fails the start and is named in its log.
    _worker = build(os.environ)

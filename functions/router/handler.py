"""The router on Lambda: environment → settings, clients, app; API Gateway event → answer.

The composition root: beside `functions.router.streamer` the only module of the router that reads
the environment and creates clients. It decides nothing about requests.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

import boto3
from fastapi import FastAPI
from mangum import Mangum
from modelport.backends import Backend, LambdaBackend, SageMakerBackend
from modelport.errors import ROUTER_LIMIT_S
from modelport.registry.s3 import S3Registry
from modelport.settings import RouterSettings

from functions.router.app import create_app
from functions.router.clients import REGISTRY_CONFIG, log_line, models_config
from functions.router.gateway import Event, plain, unreadable
from functions.router.shadowing import shadows_of

if TYPE_CHECKING:
    from functions.router.jobs import Jobs

#: Together with the time to connect just under the 29 s that gateways and the router's own function
#: allow, so that the caller gets our answer (504, and which model it was) and not theirs.
MODELS_CONFIG = models_config(ROUTER_LIMIT_S)

Handler = Callable[[Event, Any], dict[str, Any]]


def lambda_handler(app: FastAPI) -> Handler:
    """The Lambda handler of an app: any stage or base path, HTTP and REST API events.

    Bodies are bytes on both sides of the app; the adapter writes base64 for everything that is not
    text or JSON. An event that cannot be read is answered too.
    """
    adapter = Mangum(app, lifespan="off")

    def handle(event: Event, context: Any) -> dict[str, Any]:
        try:
            return adapter(plain(event), context)
        except Exception:  # the app answers whatever it is given: the event is what cannot be read
            return adapter(unreadable(), context)

    return handle


def build(environ: Mapping[str, str]) -> Handler:
    """The handler for an environment; raises `InvalidSettingError` naming what is wrong."""
    settings = RouterSettings.from_env(environ)
    session = boto3.session.Session()
    registry = S3Registry(session.client("s3", config=REGISTRY_CONFIG), settings.bucket)
    functions = session.client("lambda", config=MODELS_CONFIG)
    backends: dict[str, Backend] = {
        "lambda": LambdaBackend(functions, timeout_s=ROUTER_LIMIT_S),
        "sagemaker": SageMakerBackend(
            lambda: session.client("sagemaker-runtime", config=MODELS_CONFIG),
            timeout_s=ROUTER_LIMIT_S,
        ),
    }
    app = create_app(
        registry,
        backends,
        settings=settings,
        log=log_line,
        threads=False,
        jobs=jobs(environ, settings, session),
        shadows=shadows_of(settings, _queue_client, log_line),
    )
    return lambda_handler(app)


def _queue_client() -> Any:
    # A session of its own: clients of one may not be made by two threads at a time.
    return boto3.session.Session().client("sqs", config=REGISTRY_CONFIG)


def jobs(
    environ: Mapping[str, str], settings: RouterSettings, session: boto3.session.Session
) -> Callable[[], Jobs] | None:
    """What makes the jobs of an environment that has a place for them and a queue."""
    bucket, queue = settings.payloads_bucket, settings.jobs_queue_url
    if not bucket or not queue:
        return None

    @cache
    def make() -> Jobs:
        from modelport.jobs.board import Board
        from modelport.jobs.queue import SqsQueue
        from modelport.jobs.s3 import S3Payloads, signing_config
        from modelport.registry.s3 import S3Store

        from functions.router.jobs import Jobs, Terms

        endpoint = environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL")
        signing = signing_config(endpoint).merge(REGISTRY_CONFIG)
        store = session.client("s3", config=signing)
        return Jobs(
            Board(S3Store(store, bucket)),
            S3Payloads(store, bucket),
            SqsQueue(session.client("sqs", config=REGISTRY_CONFIG), queue),
            Terms(settings.max_upload_bytes, settings.webhook_hosts),
        )

    return make


_handler: Handler | None = None


def handler(event: Event, context: Any) -> dict[str, Any]:
    """What Lambda calls."""
    global _handler
    if _handler is None:
        _handler = build(os.environ)
    return _handler(event, context)


if "AWS_LAMBDA_FUNCTION_NAME" in os.environ:
    # Built while the environment starts, so that it is part of the init phase and of a SnapStart
    # snapshot; a wrong setting fails the start and is named in its log.
    _handler = build(os.environ)

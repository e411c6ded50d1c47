"""The router on Lambda: environment → settings, clients, router; API Gateway event → answer.

The composition root: beside `functions.router.streamer` the only module of the router that reads
the environment and creates clients (with `functions.router.sdk`, once boto3 is needed). It decides
nothing about requests.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from modelport.aws import Clients, Timeouts
from modelport.backends import Backend, LambdaBackend, SageMakerBackend
from modelport.errors import ROUTER_LIMIT_S
from modelport.registry.s3_reading import S3ReadingRegistry
from modelport.settings import RouterSettings

from functions.router.clients import REGISTRY_ATTEMPTS, REGISTRY_PATIENCE, log_line
from functions.router.gateway import Event, plain, unreadable
from functions.router.router import Router, router_over
from functions.router.shadowing import shadows_of
from functions.router.straight import straight

if TYPE_CHECKING:
    from fastapi import FastAPI
    from modelport.registry.store import Store

    from functions.router.jobs import Jobs

#: Together with the time to connect just under the 29 s that gateways and the router's own function
#: allow, so that the caller gets our answer (504, and which model it was) and not theirs.
PATIENCE = Timeouts(connect_s=1, answer_s=ROUTER_LIMIT_S)

#: Where no caller waits for the start: then nothing is left for the first call that needs it.
_INIT_IS_FREE = frozenset({"snap-start", "provisioned-concurrency"})

Handler = Callable[[Event, Any], dict[str, Any]]


def lambda_handler(router: Router, *, at_once: bool = False) -> Handler:
    """The Lambda handler of a router: any stage or base path, HTTP and REST API events.

    What does not go `straight` goes through the app, which is made for the first such event, or
    ``at_once``.
    """

    @cache
    def adapted() -> Handler:
        from functions.router.app import create_app  # FastAPI is half of a cold start

        return through_app(create_app(router, threads=False))

    if at_once:
        adapted()
        _import_the_rest()

    def handle(event: Event, context: Any) -> dict[str, Any]:
        answer = straight(router, event)
        return adapted()(event, context) if answer is None else answer

    return handle


def through_app(app: FastAPI) -> Handler:
    """The Lambda handler of an app.

    Bodies are bytes on both sides of the app; the adapter writes base64 for everything that is not
    text or JSON. An event that cannot be read is answered too.
    """
    from mangum import Mangum

    adapter = Mangum(app, lifespan="off")

    def handle(event: Event, context: Any) -> dict[str, Any]:
        try:
            return adapter(plain(event), context)
        except Exception:  # the app answers whatever it is given: the event is what cannot be read
            return adapter(unreadable(), context)

    return handle


def _import_the_rest() -> None:
    import functions.router.docs
    import functions.router.repository
    import functions.router.sdk
    import functions.router.shadow_queue  # noqa: F401


def build(environ: Mapping[str, str]) -> Handler:
    """The handler for an environment; raises `InvalidSettingError` naming what is wrong."""
    settings = RouterSettings.from_env(environ)
    clients = Clients(environ)
    documents = clients.s3_reader(settings.bucket, REGISTRY_PATIENCE, attempts=REGISTRY_ATTEMPTS)
    registry = S3ReadingRegistry(documents, settings.bucket, lambda: _store(settings.bucket))
    backends: dict[str, Backend] = {
        "lambda": LambdaBackend(clients.lambda_(PATIENCE), timeout_s=ROUTER_LIMIT_S),
        "sagemaker": SageMakerBackend(
            lambda: clients.sagemaker(PATIENCE), timeout_s=ROUTER_LIMIT_S
        ),
    }
    router = router_over(
        registry,
        backends,
        settings=settings,
        log=log_line,
        jobs=jobs(environ, settings),
        shadows=shadows_of(settings, _queue_client, log_line),
    )
    at_once = environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") in _INIT_IS_FREE
    return lambda_handler(router, at_once=at_once)


def _store(bucket: str) -> Store:
    from functions.router.sdk import registry_store

    return registry_store(bucket)


def _queue_client() -> Any:
    from functions.router.sdk import queue_client

    return queue_client()


def jobs(environ: Mapping[str, str], settings: RouterSettings) -> Callable[[], Jobs] | None:
    """What makes the jobs of an environment that has a place for them and a queue."""
    bucket, queue = settings.payloads_bucket, settings.jobs_queue_url
    if not bucket or not queue:
        return None

    @cache
    def make() -> Jobs:
        from functions.router.sdk import jobs_of

        endpoint = environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL")
        return jobs_of(settings, bucket, queue, endpoint)

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

"""The router's second door on a REST API: what it answers in pieces leaves in pieces.

A program, not a handler: Lambda's own loop for Python does not stream, so ``stream`` beside this
file starts this in its place, with the loop that model functions have. The second composition root
of this folder, with the same routes, refusals and log lines as the first.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Generator, Mapping, MutableMapping
from dataclasses import replace
from typing import NoReturn

import boto3
from modelport.aws import Timeouts
from modelport.aws.through_boto3 import config
from modelport.backends import Backend
from modelport.backends.lambda_stream_backend import StreamingLambdaBackend
from modelport.backends.sagemaker_stream_backend import StreamingSageMakerBackend
from modelport.envelope import Request, Response, Stream
from modelport.errors import ModelportError
from modelport.lambda_runtime.loop import run
from modelport.registry.s3 import S3Registry
from modelport.settings import RouterSettings

from functions.router.caller import request_id
from functions.router.clients import log_line
from functions.router.dispatch import Dispatcher
from functions.router.exchange import Exchange
from functions.router.gateway import PROBLEM, Event, plain, query_of
from functions.router.sdk import REGISTRY_CONFIG

#: As long as a model function can run at most.
LIMIT_S = 900.0
#: No retries: repeating a call that timed out would run the model twice and answer no one.
MODELS_CONFIG = config(Timeouts(connect_s=1, answer_s=LIMIT_S))


def answering(exchange: Exchange) -> Callable[[Event, object], Response]:
    """What answers a REST API's events through ``exchange``."""

    def answer(event: Event, context: object) -> Response:
        read = plain(event)
        response = exchange.answer(_request(read), event, read.get(PROBLEM))
        if not isinstance(response, Stream):
            return response
        headers = {**response.headers, "cache-control": "no-cache"}
        return replace(response, headers=headers, pieces=_told(response.pieces))

    return answer


def build(environ: Mapping[str, str]) -> Exchange:
    """The exchange for an environment; raises `InvalidSettingError` naming what is wrong."""
    settings = RouterSettings.from_env(environ)
    session = boto3.session.Session()
    registry = S3Registry(session.client("s3", config=REGISTRY_CONFIG), settings.bucket)
    functions = session.client("lambda", config=MODELS_CONFIG)
    backends: dict[str, Backend] = {
        "lambda": StreamingLambdaBackend(functions, timeout_s=LIMIT_S),
        "sagemaker": StreamingSageMakerBackend(
            lambda: session.client("sagemaker-runtime", config=MODELS_CONFIG), timeout_s=LIMIT_S
        ),
    }
    dispatcher = Dispatcher(
        registry,
        backends,
        routes_ttl_s=settings.routes_ttl_s,
        clock=time.monotonic,
        log=log_line,
        auth=settings.auth,
    )
    return Exchange(dispatcher, time.monotonic, log_line, settings.environment)


def main(environ: MutableMapping[str, str]) -> NoReturn:
    """Answer events until Lambda ends the process."""
    run(lambda: answering(build(environ)), environ)


def _request(event: Event) -> Request:
    query = query_of(event)
    path = f"{event['path']}?{query}" if query else event["path"]
    return Request(event["httpMethod"], path, event["headers"], event["body"], request_id(event))


def _told(pieces: Generator[bytes]) -> Generator[bytes]:
    """The pieces; a failure behind them is an event, because the status has been sent."""
    try:
        yield from pieces
    except ModelportError as error:
        yield b"data: " + json.dumps({"error": error.message}).encode() + b"\n\n"
    finally:
        pieces.close()


if __name__ == "__main__":
    main(os.environ)

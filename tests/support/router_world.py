"""A small world around the router: a registry that can fail, a clock that is wound by hand, models.

`SwitchableRegistry` answers like the real ones (ETags, the same errors) and counts what it is
asked, so that tests can say "the registry was asked once".
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from modelport.backends import Backend, CallableBackend
from modelport.envelope import Handler, Request, Response
from modelport.errors import ModelNotFoundError, RegistryUnavailableError, VersionNotFoundError
from modelport.manifest import Content, Manifest
from modelport.registry import Snapshot
from modelport.routes import Deployment, Policy, Routes, parse_weights
from modelport.settings import RouterSettings
from modelport.signature import Signature, TensorSpec

from functions.router.app import create_app
from functions.router.handler import lambda_handler
from functions.router.router import Router, router_over
from tests.support.api_events import Event, answer_body, http_v2

MODEL = "magika"
SIGNATURE = Signature(
    (TensorSpec("bytes", "INT32", (-1, 2048)),), (TensorSpec("scores", "FP32", (-1, 214)),)
)


class HandClock:
    """Time that passes only when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += seconds


class SwitchableRegistry:
    """Routes and manifests in memory; ``failure`` makes every read fail with it."""

    def __init__(self, *documents: Routes) -> None:
        self.documents = {routes.model: routes for routes in documents}
        self.failure: Exception | None = None
        self.before_read: Callable[[], None] = lambda: None
        self.reads: list[tuple[str, str | None]] = []
        self.listings = 0
        #: What the next document is called, where its revision is not its name.
        self.etag: str | None = None
        self._lock = threading.Lock()

    def put(self, routes: Routes) -> None:
        """Write a document as its next revision."""
        before = self.documents[routes.model]
        self.documents[routes.model] = before.changed(
            routes, action="test", detail={}, who="tests", at="2026-01-01T00:00:00Z"
        )

    def routes(self, model: str, *, etag: str | None = None) -> Snapshot | None:
        with self._lock:
            self.reads.append((model, etag))
        self.before_read()
        if self.failure is not None:
            raise self.failure
        if model not in self.documents:
            raise ModelNotFoundError(model)
        routes = self.documents[model]
        current = self.etag or f'"{routes.revision}"'
        return None if etag == current else Snapshot(routes, current)

    def manifest(self, model: str, version: int) -> Manifest:
        if self.failure is not None:
            raise self.failure
        if version not in self.documents[model].deployments:
            raise VersionNotFoundError(model, version)
        return Manifest(model, version, Content((), SIGNATURE), "2026-01-01T00:00:00Z")

    def models(self) -> Iterator[str]:
        self.listings += 1
        if self.failure is not None:
            raise self.failure
        return iter(sorted(self.documents))


def outage() -> RegistryUnavailableError:
    """What a registry raises when its bucket cannot be reached."""
    return RegistryUnavailableError("connect timeout")


def deployed(*versions: int, model: str = MODEL, target: str = "lambda", **aliases: str) -> Routes:
    """Routes with these versions deployed and aliases written as on the command line."""
    routes = Routes(model)
    for version in versions:
        digest = f"sha256:{version:064x}"
        routes = routes.with_published(version).with_deployment(
            Deployment(version, target, f"modelport-test-{model}-v{version}", digest)
        )
    for alias, weights in aliases.items():
        routes = routes.with_alias(alias, parse_weights(weights))
    return Routes(model).changed(
        routes, action="test", detail={}, who="tests", at="2026-01-01T00:00:00Z"
    )


def ruled(routes: Routes, **policy: Any) -> Routes:
    """The same routes under a policy with these fields, at their first revision."""
    return Routes(MODEL).changed(
        routes.with_policy(Policy(**policy)), action="test", detail={}, who="tests", at=""
    )


def echo(request: Request) -> Response:
    """A model that answers with what it was sent, header for header."""
    headers = {"content-type": request.headers.get("content-type", "application/json")}
    headers |= {"x-modelport-seen-path": request.path, "set-cookie": "no=1", "server": "model"}
    return Response(200, headers, request.body)


class Recorder:
    """A model that remembers the requests it saw."""

    def __init__(self, response: Response | None = None) -> None:
        self.requests: list[Request] = []
        self._response = response or Response(
            200, {"content-type": "application/json"}, b'{"predictions":[1]}'
        )

    def __call__(self, request: Request) -> Response:
        self.requests.append(request)
        return self._response


@dataclass(frozen=True)
class Answer:
    """What a caller of the gateway gets."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """The message of an error answer: one key, and MLflow's two where it shares the path."""
        document = self.json()
        if "message" in document:
            assert list(document) == ["error", "error_code", "message"], document
            assert document["message"] == document["error"]
        else:
            assert list(document) == ["error"], document
        assert self.headers["content-type"] == "application/json"
        message: str = document["error"]
        return message


class World:
    """A registry, a clock, models by version, a log, and the router over all of them."""

    def __init__(
        self,
        *documents: Routes,
        models: Mapping[int | str, Handler] | None = None,
        backends: Mapping[str, Backend] | None = None,
        max_body_bytes: int = 6_000_000,
        threads: bool = False,
        registry: SwitchableRegistry | None = None,
        jobs: Callable[[], Any] | None = None,
        shadows: Any = None,
    ) -> None:
        self.registry = registry or SwitchableRegistry(*documents)
        self.clock = HandClock()
        self.records: list[dict[str, Any]] = []
        self.settings = RouterSettings("bucket", "test", 5.0, max_body_bytes)
        handlers: Mapping[int | str, Handler] = (
            {1: echo, 2: echo, 3: echo, 4: echo} if models is None else models
        )
        self.router: Router = router_over(
            self.registry,
            backends if backends is not None else {"lambda": CallableBackend(handlers)},
            settings=self.settings,
            clock=self.clock,
            log=lambda record: self.records.append(dict(record)),
            jobs=jobs,
            shadows=shadows,
        )
        self._threads = threads

    @property
    def app(self) -> FastAPI:
        """The router as an app that a server can serve."""
        return create_app(self.router, threads=self._threads)

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The request lines of the log."""
        return [record for record in self.records if "event" not in record]

    def send(self, event: Event) -> Answer:
        """Have the Lambda handler answer one event, and read it as the gateway would."""
        answer = self.raw(event)
        return Answer(answer["statusCode"], answer.get("headers") or {}, answer_body(answer))

    def raw(self, event: Event) -> dict[str, Any]:
        """What the Lambda handler returns for one event, in a loop of its own."""
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        try:
            return lambda_handler(self.router)(event, None)
        finally:
            asyncio.set_event_loop(None)
            loop.close()

    def get(self, path: str, **headers: str) -> Answer:
        """GET through an HTTP API; header names are written with underscores."""
        return self.send(http_v2("GET", path, headers=_dashed(headers)))

    def post(self, path: str, body: bytes = b'{"instances":[1]}', **headers: str) -> Answer:
        """POST JSON (unless told otherwise) through an HTTP API."""
        sent = {"content-type": "application/json"} | _dashed(headers)
        return self.send(http_v2("POST", path, body, sent))


def _dashed(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}

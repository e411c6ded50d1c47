"""What a request means: path → call → deployment → answer, without HTTP framework or AWS.

Inference goes to a backend with its body untouched; status, metadata and readiness are answered
here from routes and manifest, so they never wake a model. What went wrong is raised as
`modelport.errors`; how that looks on the wire is `functions.router.failures`' business.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any, Protocol

from modelport import grammar, metadata
from modelport.envelope import Request, Response
from modelport.errors import (
    BackendGoneError,
    MalformedRequestError,
    NotDeployedError,
    RouteNotFoundError,
    VersionNotFoundError,
)
from modelport.grammar import Call
from modelport.manifest import Manifest
from modelport.refs import check_alias, check_version
from modelport.routes import Deployment, Routes
from modelport.signature import Signature

from functions.router.backends import Backend
from functions.router.routes_cache import Clock, Log, RoutesCache, RoutesSource

SIGNATURES_KEPT = 1024
VARIANT_HEADER = "x-amzn-sagemaker-target-variant"
MODEL_VERBS = frozenset(
    {"predict", "classify", "regress", "infer", "invocations", "generate", "stats"}
)

_FORWARDED = frozenset(
    {
        "accept",
        "accept-encoding",
        "content-encoding",
        "content-type",
        "inference-header-content-length",
    }
)
_RETURNED = frozenset(
    {"allow", "content-encoding", "content-type", "inference-header-content-length", "retry-after"}
)
_OUR_PREFIXES = ("x-amzn-sagemaker-", "x-modelport-")
_CONSUMED = frozenset({VARIANT_HEADER, "x-modelport-key"})


class Source(RoutesSource, Protocol):
    """The part of a registry the router reads; it never writes."""

    def manifest(self, model: str, version: int) -> Manifest: ...
    def models(self) -> Iterator[str]: ...


@dataclass(slots=True)
class Trace:
    """What is known of a request so far; the log line and the identity headers come from it."""

    call: Call | None = None
    routes: Routes | None = None
    deployment: Deployment | None = None
    backend_s: float | None = None

    def headers(self) -> dict[str, str]:
        """Which model, version, content and routes this answer is about, as far as known."""
        if self.call is None or self.call.model is None:
            return {}
        headers = {"x-modelport-model": self.call.model}
        if self.routes is not None:
            asked = self.call.alias or self.call.version or "default"
            headers["x-modelport-route"] = f"{asked};rev={self.routes.revision}"
        if self.deployment is not None:
            headers["x-modelport-version"] = str(self.deployment.version)
            headers["x-modelport-digest"] = self.deployment.digest
        return headers


class Dispatcher:
    """Answers requests; safe to call from many threads."""

    def __init__(
        self,
        registry: Source,
        backends: Mapping[str, Backend],
        *,
        routes_ttl_s: float,
        clock: Clock,
        log: Log,
    ) -> None:
        self._backends, self._clock = backends, clock
        self._routes = RoutesCache(registry, ttl_s=routes_ttl_s, clock=clock, log=log)
        self._names = _Names(registry.models, routes_ttl_s, clock)
        self._one_name = _Names(lambda: islice(registry.models(), 1), routes_ttl_s, clock)

        # Manifests are immutable, so one read lasts; only the signature is kept of them, because
        # goldens may be large. Failures are not remembered.
        @lru_cache(maxsize=SIGNATURES_KEPT)
        def signature(model: str, version: int) -> Signature:
            return registry.manifest(model, version).content.signature

        self._signature = signature

    def answer(self, request: Request, key: str, trace: Trace) -> Response:
        """Answer ``request``, leaving what was decided on the way in ``trace``."""
        named = grammar.parse(request.method, request.path)
        call = trace.call = _selected(named, request.headers)
        if call.model is None:
            return self._about_server(call, request)
        routes = trace.routes = self._routes.get(call.model)
        deployment = trace.deployment = _resolve(routes, call, key)
        if call.verb in MODEL_VERBS:
            variant = _for_endpoint(named, deployment, request.headers)
            return self._ask(call, routes.model, deployment, request, variant, trace)
        return _json(self._about_model(call, routes, deployment))

    def _ask(
        self,
        call: Call,
        model: str,
        deployment: Deployment,
        request: Request,
        variant: dict[str, str],
        trace: Trace,
    ) -> Response:
        backend = self._backends.get(deployment.target)
        if backend is None:
            raise BackendGoneError(model, deployment.version, deployment.target)
        forwarded = Request(
            request.method,
            grammar.canonical_path(call),
            {
                **_only(request.headers, _FORWARDED, without=_CONSUMED),
                **variant,
                **trace.headers(),
                "x-modelport-request-id": request.request_id,
            },
            request.body,
            request.request_id,
        )
        started = self._clock()
        try:
            response = backend.invoke(deployment, model, forwarded)
        finally:
            trace.backend_s = self._clock() - started
        return Response(response.status, _only(response.headers, _RETURNED), response.body)

    def _about_model(self, call: Call, routes: Routes, deployment: Deployment) -> dict[str, Any]:
        model, version = routes.model, deployment.version
        if call.verb == "status":
            selected = call.version is not None or call.alias is not None
            return metadata.v1_status(model, [version] if selected else routes.deployments)
        if call.verb == "ready":
            return metadata.v2_model_ready(model)
        signature = self._signature(model, version)
        if call.protocol == "v1":
            return metadata.v1_metadata(model, version, signature)
        return metadata.v2_metadata(model, routes.deployments, signature)

    def _about_server(self, call: Call, request: Request) -> Response:
        match call.verb:
            case "alive":
                return _json(metadata.alive())
            case "list":
                return _json(metadata.v1_list(self._names.get()))
            case "server-metadata":
                return _json(metadata.v2_server_metadata())
            case "server-live":
                return _json(metadata.v2_live())
            case "server-ready":
                self._one_name.get()  # ready means: the registry answers, or answered before
                return _json(metadata.v2_server_ready())
            case "ping":
                return Response(200)
        raise RouteNotFoundError(request.method, request.path)


class _Names:
    """The models there are, as of at most one TTL ago, or longer while the registry fails."""

    def __init__(self, read: Callable[[], Iterable[str]], ttl_s: float, clock: Clock) -> None:
        self._read, self._ttl_s, self._clock = read, ttl_s, clock
        self._known: tuple[tuple[str, ...], float] | None = None

    def get(self) -> tuple[str, ...]:
        known, now = self._known, self._clock()
        if known is not None and now - known[1] <= self._ttl_s:
            return known[0]
        try:
            names = tuple(self._read())
        except Exception:
            if known is None:
                raise
            names = known[0]
        self._known = names, now
        return names


def _selected(call: Call, headers: Mapping[str, str]) -> Call:
    """The call with SageMaker's variant header read: it selects as a version or alias would.

    Where the path selects already, the header is the endpoint's: `_for_endpoint`.
    """
    variant = headers.get(VARIANT_HEADER)
    if variant is None or call.protocol != "sagemaker" or call.model is None or _selects(call):
        return call
    if variant.isascii() and variant.isdigit():
        return Call(call.protocol, call.verb, call.model, version=check_version(variant))
    return Call(call.protocol, call.verb, call.model, alias=check_alias(variant))


def _for_endpoint(
    named: Call, deployment: Deployment, headers: Mapping[str, str]
) -> dict[str, str]:
    """The variant header for an endpoint, when the path has selected the version."""
    variant = headers.get(VARIANT_HEADER)
    if variant is None or named.protocol != "sagemaker" or not _selects(named):
        return {}
    if deployment.target != "sagemaker":
        raise MalformedRequestError(
            f"the path and the header {VARIANT_HEADER} both select a version; send one of them"
        )
    return _only({VARIANT_HEADER: variant}, frozenset())


def _selects(call: Call) -> bool:
    return call.version is not None or call.alias is not None


def _resolve(routes: Routes, call: Call, key: str) -> Deployment:
    try:
        return routes.resolve(call.version, call.alias, key)
    except NotDeployedError:
        # To an operator this is a conflict with the present state; a caller asks for a version
        # that is not there.
        raise VersionNotFoundError(routes.model, call.version or 0) from None


def _only(
    headers: Mapping[str, str], names: frozenset[str], *, without: frozenset[str] = frozenset()
) -> dict[str, str]:
    """The headers that may cross: the named ones and our own families, if they are plain ASCII.

    An allow-list, so that credentials, cookies and connection headers cannot slip through; gateways
    refuse a whole answer for one header that is not ASCII.
    """
    return {
        name: value
        for name, value in ((name.lower(), value) for name, value in headers.items())
        if (name in names or name.startswith(_OUR_PREFIXES))
        and name not in without
        and value.isascii()
        and value.isprintable()
    }


def _json(value: dict[str, Any]) -> Response:
    body = json.dumps(value, separators=(",", ":")).encode()
    return Response(200, {"content-type": "application/json"}, body)

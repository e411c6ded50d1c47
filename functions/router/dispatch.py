"""What a request means: path → call → deployment → answer, without HTTP framework or AWS.

Inference goes to a backend with its body untouched; status, metadata and readiness are answered
here from routes and manifest, so they never wake a model. What went wrong is raised as
`modelport.errors`; how that looks on the wire is `modelport.refusals`' business.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property, lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

from modelport import __version__, grammar, metadata
from modelport.backends import Backend
from modelport.envelope import Request, Response
from modelport.errors import RouteNotFoundError
from modelport.grammar import PREDICTIONS, Call
from modelport.manifest import Manifest
from modelport.refusals import no_explainer, no_jobs, not_at_runtime
from modelport.routes import Deployment, Routes
from modelport.signature import Signature

from functions.router.choice import by_header, by_variant, chosen, for_endpoint
from functions.router.routes_cache import Clock, Log, RoutesCache, RoutesSource
from functions.router.statistics import Statistics
from functions.router.trace import Trace
from functions.router.versions import Versions

if TYPE_CHECKING:
    from functions.router.docs import Docs
    from functions.router.jobs import Jobs
    from functions.router.shadowing import Shadows

SIGNATURES_KEPT = 1024
_JSON = {"content-type": "application/json"}
#: What only a version can answer: predictions, and its own statistics.
MODEL_VERBS = PREDICTIONS | {"stats"}


class Source(RoutesSource, Protocol):
    """The part of a registry the router reads; it never writes."""

    def manifest(self, model: str, version: int) -> Manifest: ...
    def models(self) -> Iterator[str]: ...


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
        auth: str = "none",
        shadows: Shadows | None = None,
        jobs: Callable[[], Jobs] | None = None,
    ) -> None:
        """``auth`` is what the door asks of callers, for their documentation.

        Without ``shadows`` no answers are copied, without ``jobs``, which
        makes them when they are first needed, no calls are answered later.
        """
        self._clock, self._jobs = clock, jobs
        self._manifest, self._auth = registry.manifest, auth
        self._routes = RoutesCache(registry, ttl_s=routes_ttl_s, clock=clock, log=log)
        self._statistics = Statistics()
        self._versions = Versions(
            backends, self._statistics, clock=clock, log=log, shadows=shadows, jobs=jobs
        )
        self._names = _Names(registry.models, routes_ttl_s, clock)
        self._one_name = _Names(lambda: islice(registry.models(), 1), routes_ttl_s, clock)

        # Manifests are immutable, so one read lasts; only the signature is kept of them, because
        # goldens may be large. Failures are not remembered.
        @lru_cache(maxsize=SIGNATURES_KEPT)
        def signature(model: str, version: int) -> Signature:
            return registry.manifest(model, version).content.signature

        self._signature = signature

    def answer(self, request: Request, event: Mapping[str, Any] | None, trace: Trace) -> Response:
        """Answer ``request``, leaving what was decided on the way in ``trace``.

        ``event`` is the gateway's: who calls is told by it where no header does.
        """
        headers = request.headers
        named = grammar.parse(request.method, request.path)
        call = trace.call = by_variant(named, headers)
        if call.model is None:
            return self._about_server(call, request, event)
        if call.verb in ("repository-load", "repository-unload"):
            raise not_at_runtime(call.verb, call.model)
        routes = trace.routes = self._routes.get(call.model)
        call = trace.call = by_header(call, headers, routes)
        deployment, fallback = chosen(routes, call, headers, event)
        trace.deployment = deployment
        if call.verb in MODEL_VERBS:
            variant = for_endpoint(named, deployment, headers)
            return self._versions.answer(routes, call, request, variant, fallback, trace, event)
        if call.protocol == "docs":
            return self._docs.of_model(call, routes.model, deployment.version)
        return _json(self._about_model(call, routes, deployment, request))

    @cached_property
    def _docs(self) -> Docs:
        from functions.router.docs import Docs  # few ask, and every cold start would pay

        return Docs(self._manifest, self._auth)

    def _about_model(
        self, call: Call, routes: Routes, deployment: Deployment, request: Request
    ) -> dict[str, Any]:
        model, version = routes.model, deployment.version
        match call.protocol, call.verb:
            case "v1", "status":
                selected = call.version is not None or call.alias is not None
                return metadata.v1_status(model, [version] if selected else routes.deployments)
            case "v1", "metadata":
                return metadata.v1_metadata(model, version, self._signature(model, version))
            case "v1", "explain":
                raise no_explainer()
            case "v2", "ready":
                return metadata.v2_model_ready(model)
            case "v2", "metadata":
                signature = self._signature(model, version)
                return metadata.v2_metadata(model, routes.deployments, signature)
        raise RouteNotFoundError(request.method, request.path)

    def _about_server(
        self, call: Call, request: Request, event: Mapping[str, Any] | None
    ) -> Response:
        if call.protocol == "docs":
            return self._docs.of_server(call, self._names.get)
        if call.protocol == "jobs":
            if self._jobs is None:
                raise no_jobs()
            return self._jobs().answer(call, request, event)
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
            case "server-stats":
                return _json(self._statistics.document())
            case "repository-index":
                return self._index(call, request)
            case "ping":
                return Response(200, dict(_JSON), b"\n")  # as MLflow; SageMaker takes anything
            case "version":
                return Response(
                    200, dict(_JSON), __version__.encode()
                )  # the same media type as MLflow's
        raise RouteNotFoundError(request.method, request.path)

    def _index(self, call: Call, request: Request) -> Response:
        from functions.router.repository import NEXT_HEADER, index  # few ever ask

        entries, more = index(call, request.body, self._names.get(), self._routes.get)
        response = _json(entries)
        if more is not None:
            response.headers[NEXT_HEADER] = more
        return response


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


def _json(value: Any) -> Response:
    body = json.dumps(value, separators=(",", ":")).encode()
    return Response(200, dict(_JSON), body)

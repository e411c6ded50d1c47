"""What the router adds to a request, in microseconds: `python -m tests.bench.bench_router`.

Measures the Lambda handler on gateway events: metadata from memory, inference with the model as a
function of this process, by a rule, by the fallback of a version that is full, and inference
over HTTP to a loopback Lambda API. Prints JSON.
"""

from __future__ import annotations

import asyncio
import json
import logging
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

from modelport.aws import Clients
from modelport.backends import Backend, CallableBackend, LambdaBackend
from modelport.embedded_metrics import text
from modelport.envelope import Request, Response
from modelport.errors import ThrottledError
from modelport.routes import Rule
from modelport.settings import RouterSettings

from functions.router.app import create_app
from functions.router.handler import PATIENCE, lambda_handler
from tests.support.api_events import Event, http_v2
from tests.support.aws_world import environment
from tests.support.lambda_api import lambda_api, model
from tests.support.router_world import MODEL, SwitchableRegistry, deployed, ruled

ROUNDS = 2000
ANSWER = Response(200, {"content-type": "application/json"}, b'{"predictions":[1]}')


def full(request: Request) -> Response:
    """A version that has no capacity left."""
    raise ThrottledError("version 2")


def discard(record: Mapping[str, Any]) -> None:
    """Write the line a request would log, to nowhere."""
    text(record)


def handler(backend: Backend) -> Callable[[Event, Any], dict[str, Any]]:
    """The Lambda handler over warm routes and ``backend``, logging to nowhere."""
    routes = deployed(1, 2, stable="1:90,2:10", full="2")
    rules = (Rule("x-tenant", "acme", "stable"), Rule("x-full", "1", "full"))
    registry = SwitchableRegistry(ruled(routes, rules=rules, fallbacks={"full": 1}))
    settings = RouterSettings("bucket", "bench", routes_ttl_s=3600)
    backends = {"lambda": backend}
    app = create_app(registry, backends, settings=settings, log=discard, threads=False)
    return lambda_handler(app)


def measure(handle: Callable[[Event, Any], dict[str, Any]], event: Event) -> dict[str, float]:
    """Median and 99th percentile of ``handle(event)`` in µs."""
    assert handle(event, None)["statusCode"] == 200
    times = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        handle(event, None)
        times.append((time.perf_counter() - started) * 1e6)
    return {"p50_us": statistics.median(times), "p99_us": statistics.quantiles(times, n=100)[98]}


def main() -> None:
    """Run every measurement and print them."""
    logging.disable()
    asyncio.set_event_loop(asyncio.new_event_loop())
    body = json.dumps({"instances": [list(range(150))]}).encode()
    infer = http_v2(
        "POST", f"/v1/models/{MODEL}:predict", body, {"content-type": "application/json"}
    )
    json_type = {"content-type": "application/json"}
    by_rule = http_v2("POST", f"/v1/models/{MODEL}:predict", body, json_type | {"x-tenant": "acme"})
    by_spare = http_v2("POST", f"/v1/models/{MODEL}:predict", body, json_type | {"x-full": "1"})
    large = http_v2("POST", f"/v2/models/{MODEL}/infer", bytes(range(256)) * 4096)
    local = handler(CallableBackend({1: lambda _: ANSWER, 2: lambda _: ANSWER}))
    throttled = handler(CallableBackend({1: lambda _: ANSWER, 2: full}))
    results = {
        "metadata": measure(local, http_v2("GET", f"/v2/models/{MODEL}")),
        "infer, in process": measure(local, infer),
        "infer by rule, in process": measure(local, by_rule),
        "infer by fallback, in process": measure(throttled, by_spare),
        "infer 1 MiB binary, in process": measure(local, large),
    }
    with lambda_api() as api:
        for version in (1, 2):
            api.functions[f"modelport-test-{MODEL}-v{version}"] = model(lambda _: ANSWER)
        functions = Clients(environment("LAMBDA", api.endpoint)).lambda_(PATIENCE)
        results["infer, over loopback"] = measure(handler(LambdaBackend(functions)), infer)
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()

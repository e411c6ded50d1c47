"""What routes cost the router, and how soon a change counts: `python -m tests.bench.bench_routes`.

Decision: path, header, rules and split to a deployment, with routes in memory, by how many versions
are deployed; dispatch is the same with everything around it and a model that answers at once.
Change: with a real clock and a busy router, from the write to the first answer by the new version.
Split: how far 100,000 callers are from the weights. Prints JSON.
"""

from __future__ import annotations

import json
import random
import statistics
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from modelport import grammar
from modelport.backends import CallableBackend
from modelport.envelope import Request, Response
from modelport.routes import Deployment, Policy, Routes, Rule, parse_weights
from modelport.routes.weights import Alias, Weighted, pick

from functions.router.choice import by_header, by_variant, chosen
from functions.router.dispatch import Dispatcher
from functions.router.trace import Trace
from tests.support.api_events import Event, http_v2
from tests.support.router_world import MODEL, SwitchableRegistry, deployed

DEPLOYMENTS = (1, 1_000, 10_000)
CALLS, BATCHES = 500, 25
TTL_S = 1.0
CHANGES = 8
CALLERS = 100_000
PREDICT, INFER = f"/v1/models/{MODEL}:predict", f"/v2/models/{MODEL}/infer"
#: What calls say: path and headers.
KINDS: dict[str, tuple[str, dict[str, str]]] = {
    "split, by caller": (PREDICT, {}),
    "split, by header": (INFER, {"x-user": "ada"}),
    "rule": (INFER, {"x-tenant": "tenant-4"}),
    "version header": (INFER, {"x-modelport-version": "1"}),
    "version in path": (f"/v2/models/{MODEL}/versions/1/infer", {}),
}
SPLITS = {
    "90:10": parse_weights("1:90,2:10"),
    "50:30:15:5": parse_weights("1:50,2:30,3:15,4:5"),
    "99:1": parse_weights("1:99,2:1"),
    "50 versions": tuple(Weighted(number, 1 + number % 5) for number in range(1, 51)),
}


def routes_of(deployments: int) -> Routes:
    """Routes with so many versions deployed, three aliases, rules and a fallback."""
    running = {n: Deployment(n, "lambda", f"f-{n}", "sha256:0") for n in range(1, deployments + 1)}
    routes = replace(Routes(MODEL, latest=deployments), deployments=running)
    split = (Weighted(1, 90), Weighted(deployments, 10)) if deployments > 1 else (Weighted(1),)
    routes = routes.with_alias("stable", split).with_alias("previous", (Weighted(1),))
    routes = routes.with_alias("canary", (Weighted(deployments),))
    return routes.with_policy(
        Policy(
            sticky=("header:x-user", "cookie:session", "caller"),
            rules=tuple(Rule("x-tenant", f"tenant-{n}", "canary") for n in range(5)),
            fallbacks={"stable": 1},
        )
    )


def answered(request: Request) -> Response:
    """A model that answers at once."""
    return Response(200, {"content-type": "application/json"}, b'{"predictions":[1]}')


def median_us(act: Callable[[], object]) -> float:
    """The median over batches of a call's mean time on the processor: nothing here waits."""
    batches = []
    for _ in range(BATCHES):
        started = time.process_time()
        for _ in range(CALLS):
            act()
        batches.append((time.process_time() - started) / CALLS * 1e6)
    return round(statistics.median(batches), 2)


def decision_us(routes: Routes, kind: str, event: Event) -> float:
    """One decision about a call of a kind."""
    path, headers = KINDS[kind]

    def decide() -> None:
        call = by_variant(grammar.parse("POST", path), headers)
        chosen(routes, by_header(call, headers, routes), headers, event)

    return median_us(decide)


def dispatcher_of(registry: SwitchableRegistry, ttl_s: float, *versions: int) -> Dispatcher:
    """A dispatcher over models that answer at once, with a real clock."""
    return Dispatcher(
        registry,
        {"lambda": CallableBackend(dict.fromkeys(versions, answered))},
        routes_ttl_s=ttl_s,
        clock=time.monotonic,
        log=lambda record: None,
    )


def dispatch_us(routes: Routes, event: Event) -> float:
    """A whole dispatch of a prediction, routes from the cache."""
    dispatcher = dispatcher_of(SwitchableRegistry(routes), 3600, *routes.deployments)
    request = Request("POST", PREDICT, {}, b'{"instances":[1]}', "id")
    return median_us(lambda: dispatcher.answer(request, event, Trace()))


def change_s(event: Event) -> list[float]:
    """Seconds from writing routes to the first answer they decide, moments chosen by chance."""
    registry = SwitchableRegistry(deployed(1, 2, stable="1"))
    dispatcher = dispatcher_of(registry, TTL_S, 1, 2)
    seconds, chance, version = [], random.Random(1), 1
    for _ in range(CHANGES):
        quiet_until = time.monotonic() + chance.uniform(0, 2 * TTL_S)
        wrote_at, wanted = None, 3 - version
        while True:
            if wrote_at is None and time.monotonic() >= quiet_until:
                moved = registry.documents[MODEL].with_alias("stable", (Weighted(wanted),))
                registry.put(moved)
                wrote_at = time.monotonic()
            trace = Trace()
            dispatcher.answer(Request("POST", PREDICT, {}, b"{}", "id"), event, trace)
            if trace.deployment is not None and trace.deployment.version == wanted:
                break
            time.sleep(0.005)
        if wrote_at is not None:
            seconds.append(time.monotonic() - wrote_at)
        version = wanted
    return seconds


def split_error(alias: Alias) -> float:
    """The largest distance, in percentage points, of a version's share from its weight."""
    counts = Counter(pick(MODEL, alias, f"caller-{number}") for number in range(CALLERS))
    whole = sum(part.weight for part in alias)
    return max(abs(100 * counts[p.version] / CALLERS - 100 * p.weight / whole) for p in alias)


def main() -> None:
    """Run every measurement and print them."""
    event = http_v2("POST", PREDICT, b"{}")
    worlds = {deployments: routes_of(deployments) for deployments in DEPLOYMENTS}
    changes = change_s(event)
    results = {
        "decision_us": {
            kind: {str(count): decision_us(routes, kind, event) for count, routes in worlds.items()}
            for kind in KINDS
        },
        "dispatch_us": {str(count): dispatch_us(routes, event) for count, routes in worlds.items()},
        "change_seen": {
            "ttl_s": TTL_S,
            "longest_s": round(max(changes), 3),
            "median_s": round(statistics.median(changes), 3),
        },
        "split_error_percent": {name: round(split_error(a), 3) for name, a in SPLITS.items()},
    }
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()

"""Request lines and headers through the router's exchange, over models that echo."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelport.backends import CallableBackend
from modelport.envelope import Request, Response
from modelport.routes import Rule

from functions.router.dispatch import Dispatcher
from functions.router.exchange import Exchange
from tests.fuzz.dice import Dice, FindingError, chosen, told
from tests.support.router_world import MODEL, HandClock, SwitchableRegistry, deployed, ruled

METHODS = ("POST", "GET", "HEAD", "PUT", "OPTIONS")
NAMES = (
    "content-type", "x-modelport-key", "x-amzn-sagemaker-target-variant", "accept", "traceparent",
    "content-encoding", "x-amzn-sagemaker-custom-attributes", "authorization", "x-any",
    "x-modelport-version", "cookie", "prefer", "x-modelport-fallback",
)  # fmt: skip


def _echo(request: Request) -> Response:
    return Response(200, {"content-type": "application/json", "x-any": request.path}, request.body)


class _Log:
    """The last failure."""

    def __init__(self) -> None:
        self.failure = ""

    def __call__(self, record: Mapping[str, Any]) -> None:
        if "traceback" in record:
            self.failure = str(record["traceback"])


_CLOCK, _LOG = HandClock(), _Log()
EXCHANGE = Exchange(
    Dispatcher(
        SwitchableRegistry(
            ruled(
                deployed(1, 2, prod="1:90,2:10"),
                sticky=("cookie:session", "header:x-any"),
                rules=(Rule("x-any", "a", "prod"),),
                fallbacks={"prod": 1},
            )
        ),
        {"lambda": CallableBackend(dict.fromkeys((1, 2), _echo))},
        routes_ttl_s=5,
        clock=_CLOCK,
        log=_LOG,
    ),
    _CLOCK,
    _LOG,
)


def one(data: bytes) -> None:
    """One request; raises what is a finding."""
    dice = Dice(data)
    method, path = dice.one_of(METHODS), dice.text()
    headers = {dice.one_of(NAMES): dice.text() for _ in range(dice.number() % 4)}
    request = Request(method, path, headers, dice.rest(), "fuzz")
    response = EXCHANGE.answer(request, None)
    if response.status >= 500 and response.status != 501:
        raise FindingError(f"{response.status} for {request!r}\n{_LOG.failure}")
    for name, text in response.headers.items():
        if name != "x-any" and not f"{name}{text}".isprintable():
            raise FindingError(f"header {name!r}: {text!r} for {request!r}")


def _seed(method: int, path: str, *headers: tuple[int, str], body: bytes = b"") -> bytes:
    said = b"".join(bytes([name]) + told(text) for name, text in headers)
    return chosen(method) + told(path) + bytes([len(headers)]) + said + body


_V1, _V2 = f"/v1/models/{MODEL}", f"/v2/models/{MODEL}"
SEEDS = (
    _seed(0, f"{_V1}:predict", (0, "application/json"), (1, "ann"), body=b"{}"),
    _seed(0, f"{_V2}/infer", (9, "2"), (10, "session=a; b")),
    _seed(0, f"{_V2}/infer", (9, "prod"), (8, "a"), (11, "respond-async, wait=1")),
    _seed(0, f"{_V1}/versions/1:predict?dialect=kserve"),
    _seed(0, f"{_V1}/labels/prod:classify"),
    _seed(0, f"{_V2}/versions/prod/infer"),
    _seed(0, f"/endpoints/{MODEL}/invocations", (2, "prod")),
    _seed(0, f"/endpoints/{MODEL}/versions/2/invocations", (2, "1")),
    _seed(0, "/v2/repository/index?limit=1&after=a", body=b'{"ready":true}'),
    _seed(0, f"/v2/repository/models/{MODEL}/load"),
    _seed(1, f"{_V2}/docs"),
    _seed(1, "/openapi.json"),
    _seed(1, f"{_V1}/metadata"),
    _seed(1, f"{_V1}%2Fversions%2f1%3Apredict"),
    *(_seed(1, path) for path in ("/", "/v2", "/v1/models", "/ping", "/health", "/version")),
)

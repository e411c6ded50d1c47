"""The router served over a real socket by uvicorn: raw paths, concurrency, streams, hang-ups."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import pytest
import uvicorn
from modelport.envelope import Request, Response

from tests.support.router_world import MODEL, Recorder, World, deployed


@contextmanager
def served(world: World) -> Iterator[httpx.Client]:
    """A client of the world's app, running in uvicorn on a free port."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(world.app, log_config=None, lifespan="off", ws="auto")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        base = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with httpx.Client(base_url=base, timeout=30) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


@pytest.fixture
def world() -> World:
    return World(deployed(1, 2, stable="1:50,2:50"), threads=True)


@pytest.mark.parametrize("colon", [":", "%3A"])
def test_a_prediction_over_a_socket(world: World, colon: str) -> None:
    with served(world) as client:
        answer = client.post(f"/v1/models/{MODEL}/versions/2{colon}predict", content=b'{"x": 1}')
    assert (answer.status_code, answer.content) == (200, b'{"x": 1}')
    assert answer.headers["x-modelport-version"] == "2"
    assert answer.headers["x-modelport-seen-path"] == f"/v1/models/{MODEL}:predict"
    assert len(answer.headers["x-modelport-request-id"]) == 32


def test_queries_are_ignored_and_head_and_405_work(world: World) -> None:
    with served(world) as client:
        assert client.get(f"/v2/models/{MODEL}?verbose=1").json()["name"] == MODEL
        head = client.head(f"/v2/models/{MODEL}")
        assert (head.status_code, head.content) == (200, b"")
        wrong = client.get(f"/v2/models/{MODEL}/infer")
        assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")


def test_a_streamed_body_over_the_limit_is_cut_off() -> None:
    world = World(deployed(1), max_body_bytes=100_000, threads=True)
    with served(world) as client:
        answer = client.post(f"/v2/models/{MODEL}/infer", content=(b"x" * 50_000 for _ in range(3)))
    assert answer.status_code == 413
    assert "100,000 bytes" in answer.json()["error"]


def test_slow_models_do_not_hold_up_the_others() -> None:
    together = threading.Barrier(8)

    def meet(request: Request) -> Response:
        together.wait(20)  # passes only if eight requests are inside at once
        return Response(200)

    world = World(deployed(1), models={1: meet}, threads=True)
    with served(world) as client, ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(client.post, f"/v2/models/{MODEL}/infer") for _ in range(8)]
        assert {call.result(timeout=30).status_code for call in calls} == {200}


def test_many_callers_at_once_each_get_their_own_answer(world: World) -> None:
    def call(number: int) -> tuple[str, bytes, str]:
        body = f"body-{number}".encode()
        answer = client.post(
            f"/v2/models/{MODEL}/infer",
            content=body,
            headers={"x-modelport-key": f"caller-{number % 10}"},
        )
        assert answer.content == body
        return f"caller-{number % 10}", answer.content, answer.headers["x-modelport-version"]

    with served(world) as client, ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(call, range(400)))
    sides = {(caller, version) for caller, _, version in answers}
    assert len(sides) == 10, "a caller changed sides"
    assert len(world.registry.reads) == 1
    assert len({line["request_id"] for line in world.lines}) == 400


def test_a_caller_that_hangs_up_half_way_wakes_no_model() -> None:
    model = Recorder()
    world = World(deployed(1), models={1: model}, threads=True)
    with served(world) as client:
        port = client.base_url.port
        assert port is not None
        with socket.create_connection(("127.0.0.1", port)) as connection:
            head = f"POST /v2/models/{MODEL}/infer HTTP/1.1\r\nhost: x\r\ncontent-length: 50"
            connection.sendall(f"{head}\r\n\r\nhalf".encode())
        assert client.get("/v2/health/live").status_code == 200
    assert model.requests == []


def test_a_websocket_is_turned_away_and_the_router_goes_on(world: World) -> None:
    upgrade = {
        "connection": "upgrade",
        "upgrade": "websocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    with served(world) as client:
        assert client.get(f"/v2/models/{MODEL}", headers=upgrade).status_code == 403
        # The server ends a connection it turned away, at once or a moment later: take another.
        with httpx.Client(base_url=client.base_url, timeout=30) as another:
            assert another.get(f"/v2/models/{MODEL}").status_code == 200

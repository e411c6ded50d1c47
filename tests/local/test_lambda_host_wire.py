"""What stands around the environments: framing, fetched bundles, ports, names of processes."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import pytest
from lambda_host.bundles import Bundles, PullError
from lambda_host.processes import memory_in_use, started
from lambda_host.wire import Answer, Request, serving
from modelport.errors import ModelNotFoundError
from modelport.registry import Registry
from modelport.registry.memory import MemoryRegistry
from ports import holder, taken

from tests.local.conftest import free_port


async def echo(request: Request) -> Answer:
    if request.path == "/fail":
        raise ValueError("on purpose")
    return Answer(200, request.body, {"X-Path": request.path})


def exchange(*raw: bytes) -> list[bytes]:
    """Send bytes over one connection and return what came back for each."""

    async def talk() -> list[bytes]:
        answers = []
        async with serving(echo) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                for each in raw:
                    writer.write(each)
                    head = await reader.readuntil(b"\r\n\r\n")
                    length = int(head.split(b"Content-Length: ")[1].split(b"\r\n")[0])
                    answers.append(head + await reader.readexactly(length))
            finally:
                writer.close()
                await writer.wait_closed()
        return answers

    return asyncio.run(talk())


def test_a_connection_carries_many_requests() -> None:
    one = b"POST /a HTTP/1.1\r\nContent-Length: 3\r\n\r\none"
    two = b"POST /b HTTP/1.1\r\ncontent-length: 3\r\n\r\ntwo"
    first, second = exchange(one, two)
    assert first.startswith(b"HTTP/1.1 200 OK")
    assert b"X-Path: /a" in first
    assert second.endswith(b"\r\n\r\ntwo")


def test_a_chunked_body_is_put_together() -> None:
    head = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    (answer,) = exchange(head + b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n")
    assert answer.endswith(b"\r\n\r\nabcde")


@pytest.mark.parametrize(
    "raw",
    [
        b"nonsense\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: many\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_what_is_no_request_is_a_400(raw: bytes) -> None:
    assert exchange(raw)[0].startswith(b"HTTP/1.1 400 ")


def test_a_failing_handler_costs_one_request() -> None:
    failing = b"GET /fail HTTP/1.1\r\n\r\n"
    failed, after = exchange(failing, b"GET /next HTTP/1.1\r\n\r\n")
    assert failed.startswith(b"HTTP/1.1 500 ")
    assert b"on purpose" not in failed
    assert after.startswith(b"HTTP/1.1 200 ")


def test_a_function_without_a_digest_has_no_bundle(tmp_path: Path) -> None:
    bundles = Bundles(tmp_path, lambda bucket: MemoryRegistry())
    assert asyncio.run(bundles.pull({"COLOUR": "blue"})) is None


def test_a_bundle_that_cannot_be_fetched_leaves_nothing(tmp_path: Path) -> None:
    variables = {
        "MODELPORT_BUCKET": "b",
        "MODELPORT_MODEL": "m",
        "MODELPORT_VERSION": "1",
        "MODELPORT_DIGEST": "sha256:00",
    }

    def open_registry(bucket: str) -> Registry:
        assert bucket == "b"
        return MemoryRegistry()

    with pytest.raises(PullError) as caught:
        asyncio.run(Bundles(tmp_path, open_registry).pull(variables))
    assert isinstance(caught.value.__cause__, ModelNotFoundError)
    assert list(tmp_path.iterdir()) == []


def test_a_taken_port_is_seen_with_its_holder() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        assert taken(port)
        assert holder(port).startswith(f"pid {os.getpid()}: ")
    free = free_port()
    assert not taken(free)
    assert holder(free) == ""


def test_a_process_is_known_by_its_start_too() -> None:
    assert started(os.getpid()) == started(os.getpid())
    assert started(os.getpid()) is not None
    assert started(2**22 + 1) is None
    assert memory_in_use(os.getpid()) > 1024 * 1024

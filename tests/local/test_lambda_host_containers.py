"""The Lambda host keeps Lambda's promises about containers as it does about processes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from containers import Containers, clear
from lambda_host.container_executor import ImageContainers
from lambda_host.directory import Directory
from lambda_host.invocations import Host
from lambda_host.pool import Limits
from lambda_host.wire import Answer, Request

from tests.conftest import ROOT
from tests.local.conftest import eventually, processes_with
from tests.local.test_containers import gone
from tests.support.container_base import base_layout, extended, push
from tests.support.container_tools import names, registry, skip_without_tools

RUNTIME = """
import http.client, json, os, sys, time
API = os.environ["AWS_LAMBDA_RUNTIME_API"]
def call(method, path, body=None, headers={}):
    connection = http.client.HTTPConnection(API)
    connection.request(method, "/2018-06-01/runtime/" + path, body, headers)
    answer = connection.getresponse()
    return answer.headers, answer.read()
def handle(event):
    if "exit" in event:
        os._exit(event["exit"])
    if "sleep" in event:
        time.sleep(event["sleep"])
    if "megabytes" in event:
        event["kept"] = len(os.urandom(event.pop("megabytes") << 20))
    return {"word": "WORD", "argv": sys.argv[1:], "uid": os.getuid(), "calls": calls,
            "environment": dict(os.environ), "event": event}
print("loading", flush=True)
if os.environ.get("FAIL") == "init":
    problem = json.dumps({"errorType": "ValueError", "errorMessage": "no model here"})
    call("POST", "init/error", problem, {"Lambda-Runtime-Function-Error-Type": "ValueError"})
    sys.exit(1)
if os.environ.get("FAIL") == "never":
    time.sleep(600)
calls = 0
while True:
    head, body = call("GET", "invocation/next")
    calls += 1
    answer = json.dumps(handle(json.loads(body)))
    call("POST", f"invocation/{head['Lambda-Runtime-Aws-Request-Id']}/response", answer)
"""
START = ["/usr/bin/python3", "-u", "/var/task/runtime.py"]
ARN = "arn:aws:lambda:us-east-1:000000000000:function:tiny"


class LambdaApi:
    """Stands for the emulator's Lambda API: it knows one image function, which can be changed."""

    class exceptions:
        class ResourceNotFoundException(Exception):
            """There is no such function."""

    def __init__(self, image: str, **configuration: Any) -> None:
        self.image = image
        self.configuration = {
            "FunctionName": "tiny",
            "FunctionArn": ARN,
            "PackageType": "Image",
            "MemorySize": 128,
            "Timeout": 20,
            **configuration,
        }

    def get_function(self, *, FunctionName: str, Qualifier: str) -> Mapping[str, Any]:
        code = {"ImageUri": self.image, "ResolvedImageUri": self.image}
        return {"Configuration": dict(self.configuration), "Code": code}


class World:
    """One host whose image functions are containers."""

    def __init__(self, containers: Containers, api: LambdaApi, limits: Limits, home: Path) -> None:
        self.api = api
        self.containers = containers
        self.home = home
        images = ImageContainers(
            containers, f"{containers.prefix}lambda-", {"AWS_ENDPOINT_URL": "http://here"}
        )
        self.host = Host(
            Directory(api, fresh_s=0), {"Image": images}, logs=home / "logs", limits=limits
        )

    async def invoke(self, **event: Any) -> Answer:
        headers = {"x-amzn-lambda-function-name": "tiny", "x-amzn-lambda-request-id": "request-1"}
        body = json.dumps(event).encode()
        return await self.host.handle(Request("POST", "/invoke", headers, body))

    async def call(self, **event: Any) -> Any:
        """Invoke and return the function's own answer."""
        answer = await self.invoke(**event)
        assert answer.status == 200, answer
        return json.loads(answer.body)

    async def fail(self, **event: Any) -> Any:
        """Invoke and return the fault."""
        answer = await self.invoke(**event)
        assert answer.status == 502, answer
        return json.loads(answer.body)

    def log(self) -> str:
        return (self.home / "logs/tiny.log").read_text()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    skip_without_tools()
    folder = tmp_path_factory.mktemp("cloud")
    yield folder
    clear(folder)


@pytest.fixture(scope="module")
def images(home: Path) -> Iterator[Mapping[str, str]]:
    """Two images of a function, which answer with different words."""
    with registry(home) as address:
        pushed = {}
        for word in ("blue", "red"):
            program = RUNTIME.replace("WORD", word)
            layout = extended(
                base_layout(),
                home / word,
                {"/var/task/runtime.py": program},
                User="1234:5678",
                Entrypoint=START,
                Cmd=["own"],
            )
            pushed[word] = push(layout, f"{address}/functions", word)
        yield pushed


Scenario = Callable[[World], Awaitable[None]]


@pytest.fixture
def run(home: Path, images: Mapping[str, str], tmp_path: Path) -> Callable[..., None]:
    """Run a scenario against a host, which is closed whatever happens."""
    containers = Containers.require(home)

    def run_scenario(scenario: Scenario, limits: Limits | None = None, **config: Any) -> None:
        async def whole() -> None:
            api = LambdaApi(config.pop("image", images["blue"]), **config)
            world = World(containers, api, limits or Limits(), tmp_path)
            try:
                await scenario(world)
            finally:
                await world.host.close()
                assert names(containers) == []

        asyncio.run(whole())

    return run_scenario


def test_the_image_runs_as_lambda_would_run_it(run: Callable[..., None]) -> None:
    async def scenario(world: World) -> None:
        first, second = await world.call(), await world.call(a="b")
        assert (first["calls"], second["calls"]) == (1, 2)
        assert second["event"] == {"a": "b"}
        assert first["uid"] == 1234
        assert first["argv"] == ["own"]
        environment = first["environment"]
        assert environment["AWS_LAMBDA_FUNCTION_NAME"] == "tiny"
        assert environment["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"] == "128"
        assert environment["LAMBDA_TASK_ROOT"] == "/var/task"
        assert environment["AWS_ENDPOINT_URL"] == "http://here"
        assert environment["COLOUR"] == "light blue"
        (name,) = names(world.containers)
        assert name.startswith(f"{world.containers.prefix}lambda-tiny-")

    run(scenario, Environment={"Variables": {"COLOUR": "light blue"}})


def test_a_configured_command_replaces_the_images_own(run: Callable[..., None]) -> None:
    async def scenario(world: World) -> None:
        assert (await world.call())["argv"] == ["given", "words"]

    run(scenario, ImageConfigResponse={"ImageConfig": {"Command": ["given", "words"]}})


def test_another_image_takes_effect(run: Callable[..., None], images: Mapping[str, str]) -> None:
    async def scenario(world: World) -> None:
        assert (await world.call())["word"] == "blue"
        world.api.image = images["red"]
        assert (await world.call())["word"] == "red"

    run(scenario)


def test_a_timeout_ends_the_container_and_says_so(run: Callable[..., None]) -> None:
    async def scenario(world: World) -> None:
        await world.call()
        (before,) = names(world.containers)
        assert await world.fail(sleep=600) == {
            "errorType": "Sandbox.Timedout",
            "errorMessage": "Task timed out after 3.00 seconds",
        }
        assert names(world.containers) == []
        assert (await world.call())["calls"] == 1
        assert names(world.containers) != [before]

    run(scenario, Timeout=3)


def test_memory_beyond_the_limit_ends_the_container(run: Callable[..., None]) -> None:
    async def scenario(world: World) -> None:
        assert (await world.call(megabytes=20))["event"]["kept"] == 20 << 20
        fault = await world.fail(megabytes=400)
        assert fault["errorType"] == "Runtime.OutOfMemory"
        assert "signal: killed" in fault["errorMessage"]
        assert (await world.call())["calls"] == 1
        assert "Error Type: Runtime.OutOfMemory" in world.log()

    run(scenario)


def test_what_was_used_is_reported(run: Callable[..., None]) -> None:
    async def scenario(world: World) -> None:
        await world.call(sleep=0.3)
        (report,) = [line for line in world.log().splitlines() if line.startswith("REPORT")]
        used = report.partition("Max Memory Used: ")[2].partition(" MB")[0]
        assert 1 <= int(used) < 128
        assert "Init Duration: " in report
        assert "loading" in world.log().splitlines()

    run(scenario)


def test_an_exit_is_a_fault_and_the_next_event_gets_a_new_container(
    run: Callable[..., None],
) -> None:
    async def scenario(world: World) -> None:
        fault = await world.fail(exit=7)
        assert fault["errorType"] == "Runtime.ExitError"
        assert fault["errorMessage"].endswith("Runtime exited with error: exit status 7")
        assert (await world.call())["calls"] == 1

    run(scenario)


def test_a_container_that_died_while_idle_is_replaced_unseen(run: Callable[..., None]) -> None:
    async def scenario(world: World) -> None:
        await world.call()
        (name,) = names(world.containers)
        pid = world.containers.pid(name)
        os.kill(pid, signal.SIGKILL)
        assert eventually(lambda: gone(pid))
        assert (await world.call())["calls"] == 1
        assert name not in names(world.containers)

    run(scenario)


def test_an_init_error_is_the_answer(run: Callable[..., None]) -> None:
    async def scenario(world: World) -> None:
        fault = await world.fail()
        assert (fault["errorType"], fault["errorMessage"]) == ("ValueError", "no model here")
        assert "INIT_REPORT Phase: init Status: error Error Type: ValueError" in world.log()
        assert names(world.containers) == []

    run(scenario, Environment={"Variables": {"FAIL": "init"}})


def test_an_init_that_never_ends_is_a_timeout(run: Callable[..., None]) -> None:
    async def scenario(world: World) -> None:
        assert (await world.fail())["errorType"] == "Sandbox.Timedout"
        assert "INIT_REPORT Phase: init Status: timeout (0.5 s)" in world.log()
        assert names(world.containers) == []

    run(scenario, Limits(init_s=0.5), Timeout=1, Environment={"Variables": {"FAIL": "never"}})


def test_events_at_once_get_a_container_each(run: Callable[..., None]) -> None:
    async def scenario(world: World) -> None:
        answers = await asyncio.gather(*(world.call(sleep=1) for _ in range(3)))
        assert [each["calls"] for each in answers] == [1, 1, 1]
        assert len(names(world.containers)) == 3

    run(scenario)


def test_idle_containers_end(run: Callable[..., None]) -> None:
    async def scenario(world: World) -> None:
        await world.call()
        expiring = asyncio.create_task(world.host.expire())
        while names(world.containers):
            await asyncio.sleep(0.05)
        expiring.cancel()

    run(scenario, Limits(idle_s=0))


def test_an_image_that_cannot_be_pulled_is_a_fault(
    run: Callable[..., None], images: Mapping[str, str]
) -> None:
    missing = images["blue"].partition("@")[0] + f"@sha256:{'0' * 64}"

    async def scenario(world: World) -> None:
        fault = await world.fail()
        assert fault["errorType"] == "Runtime.ImagePullError"
        assert missing in fault["errorMessage"]
        world.api.image = ""
        assert "names no image" in (await world.fail())["errorMessage"]

    run(scenario, image=missing)


class Emulator:
    """A Lambda API on a loopback socket, for a host that is a process of its own."""

    def __init__(self, image: str) -> None:
        document = json.dumps(LambdaApi(image).get_function(FunctionName="tiny", Qualifier=""))

        class Service(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Length", str(len(document)))
                self.end_headers()
                self.wfile.write(document.encode())

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> str:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self.url

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.mark.parametrize("way", [signal.SIGKILL, signal.SIGTERM])
def test_a_host_that_ends_leaves_no_container(
    home: Path, images: Mapping[str, str], way: signal.Signals
) -> None:
    containers = Containers.require(home)
    options = ("--root", str(ROOT), "--home", str(home), "--executor", "container")
    with Emulator(images["blue"]) as endpoint, (home / "host.log").open("ab") as log:
        host = subprocess.Popen(
            [sys.executable, "-m", "lambda_host.host", *options],
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": f"{ROOT / 'localstack'}:{ROOT / 'layers/core/python'}",
                "AWS_ENDPOINT_URL": endpoint,
                "AWS_ACCESS_KEY_ID": "test",
                "AWS_SECRET_ACCESS_KEY": "test",
                "AWS_DEFAULT_REGION": "us-east-1",
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
        )
        assert host.stdout is not None
        port = host.stdout.readline().strip()
        answer = httpx.post(
            f"http://127.0.0.1:{port}/invoke",
            json={},
            headers={"x-amzn-lambda-function-name": "tiny"},
            timeout=60,
        )
        assert answer.json()["word"] == "blue"
        (name,) = names(containers)
        pid = containers.pid(name)
        os.killpg(host.pid, way)
        host.communicate()
    assert eventually(lambda: gone(pid))
    assert eventually(lambda: not processes_with(f"{containers.prefix}lambda-"))
    assert names(containers) == []

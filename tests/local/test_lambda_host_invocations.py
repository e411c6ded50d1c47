"""The Lambda host runs real awslambdaric processes, and keeps Lambda's promises about them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import urllib.request
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from lambda_host.bundles import Bundles
from lambda_host.directory import Directory
from lambda_host.faults import PAYLOAD_LIMIT
from lambda_host.function import Function
from lambda_host.invocations import Executor, Host
from lambda_host.journal import Journal
from lambda_host.pool import Limits, Pool
from lambda_host.process_executors import ImageProcesses
from lambda_host.processes import started
from lambda_host.running import Program
from lambda_host.wire import Answer, Request, serving
from modelport.registry import Registry

HANDLER = """
import os, sys, time
print("loading", flush=True)
CALLS = 0
KEPT = []
def handler(event, context):
    global CALLS
    CALLS += 1
    print("working on", context.aws_request_id)
    if "raise" in event:
        raise ValueError(event["raise"])
    if "exit" in event:
        os._exit(event["exit"])
    if "wait_for" in event:
        open(event["started"], "w").close()
        while not os.path.exists(event["wait_for"]):
            time.sleep(0.01)
    if "megabytes" in event:
        for _ in range(event["megabytes"]):
            KEPT.append(os.urandom(1024 * 1024))
            time.sleep(0.001)
    if "answer_bytes" in event:
        return "x" * (event["answer_bytes"] - 2)
    return {
        "calls": CALLS,
        "pid": os.getpid(),
        "arn": context.invoked_function_arn,
        "request_id": context.aws_request_id,
        "left_ms": context.get_remaining_time_in_millis(),
        "environment": dict(os.environ),
    }
"""
ARN = "arn:aws:lambda:us-east-1:000000000000:function:tiny"


class LambdaApi:
    """Stands for the emulator's Lambda API: it knows one function, which can be changed."""

    class exceptions:
        class ResourceNotFoundException(Exception):
            """There is no such function."""

    def __init__(self, **configuration: Any) -> None:
        self.configuration = {
            "FunctionName": "tiny",
            "FunctionArn": ARN,
            "PackageType": "Image",
            "MemorySize": 256,
            "Timeout": 20,
            "ImageConfigResponse": {"ImageConfig": {"Command": ["tiny.handler"]}},
            **configuration,
        }

    def get_function(self, *, FunctionName: str, Qualifier: str) -> Mapping[str, Any]:
        if FunctionName != "tiny":
            raise self.exceptions.ResourceNotFoundException(FunctionName)
        return {"Configuration": dict(self.configuration), "Code": {}}


def no_registry(bucket: str) -> Registry:
    raise AssertionError(f"nothing was to be fetched from {bucket}")


class World:
    """One host over a tree and a fake Lambda API."""

    def __init__(self, tree: Path, api: LambdaApi, limits: Limits, home: Path) -> None:
        self.tree = tree
        self.home = home
        self.api = api
        directory = Directory(api, fresh_s=0)
        bundles = Bundles(home / "bundles", no_registry)
        images = ImageProcesses(bundles, tree, {"AWS_ENDPOINT_URL": "http://here"})
        self.host = Host(directory, {"Image": images}, logs=home / "logs", limits=limits)

    async def post(self, body: bytes, name: str = "tiny") -> Answer:
        headers = {"x-amzn-lambda-function-name": name, "x-amzn-lambda-request-id": "request-1"}
        return await self.host.handle(Request("POST", "/invoke", headers, body))

    async def call(self, **event: Any) -> Any:
        """Invoke and return the function's own answer."""
        answer = await self.post(json.dumps(event).encode())
        assert answer.status == 200, answer
        return json.loads(answer.body)

    async def fail(self, **event: Any) -> Any:
        """Invoke and return the fault."""
        answer = await self.post(json.dumps(event).encode())
        assert answer.status == 502, answer
        assert answer.headers["X-Amz-Function-Error"] == "Unhandled"
        return json.loads(answer.body)

    def log(self) -> str:
        return (self.home / "logs/tiny.log").read_text()


def pids(world: World) -> list[int]:
    """Every process of the host."""
    return [pid for running in world.host.status().values() for pid in running]  # type: ignore[attr-defined]


Scenario = Callable[[World], Awaitable[None]]


@pytest.fixture
def run(tree: Path, tmp_path: Path) -> Callable[..., None]:
    """Run a scenario against a host, which is closed whatever happens."""

    def run_scenario(
        scenario: Scenario, limits: Limits | None = None, source: str = HANDLER, **config: Any
    ) -> None:
        (tree / "tiny.py").write_text(source)

        async def whole() -> None:
            world = World(tree, LambdaApi(**config), limits or Limits(), tmp_path / "home")
            try:
                await scenario(world)
            finally:
                running = pids(world)
                await world.host.close()
                for pid in running:
                    assert not Path(f"/proc/{pid}").exists()

        asyncio.run(whole())

    return run_scenario


def test_a_warm_environment_is_used_again(run: Callable[..., None]) -> None:
    async def scenario(world: World) -> None:
        first, second = await world.call(), await world.call()
        assert (first["calls"], second["calls"]) == (1, 2)
        assert first["pid"] == second["pid"]

    run(scenario)


def test_the_function_sees_what_lambda_shows_it(run: Callable[..., None]) -> None:
    async def scenario(world: World) -> None:
        seen = await world.call()
        assert seen["arn"] == ARN
        assert seen["request_id"] == "request-1"
        assert 0 < seen["left_ms"] <= 20_000
        environment = seen["environment"]
        assert environment["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"] == "256"
        assert environment["AWS_LAMBDA_FUNCTION_NAME"] == "tiny"
        assert environment["COLOUR"] == "blue"
        assert environment["AWS_ENDPOINT_URL"] == "http://here"
        assert "HOME" not in environment

    run(scenario, Environment={"Variables": {"COLOUR": "blue"}})


def test_one_event_at_a_time_and_a_new_environment_for_each_at_once(
    run: Callable[..., None], tmp_path: Path
) -> None:
    async def scenario(world: World) -> None:
        def waiting(name: str) -> asyncio.Task[Any]:
            started, end = str(tmp_path / name), str(tmp_path / "end")
            return asyncio.create_task(world.call(started=started, wait_for=end))

        tasks = [waiting("first"), waiting("second")]
        while not ((tmp_path / "first").exists() and (tmp_path / "second").exists()):
            await asyncio.sleep(0.01)
        (tmp_path / "end").touch()
        answers = await asyncio.gather(*tasks)
        assert answers[0]["pid"] != answers[1]["pid"]
        assert [each["calls"] for each in answers] == [1, 1]

    run(scenario)


def test_no_more_environments_than_the_bound(run: Callable[..., None]) -> None:
    async def scenario(world: World) -> None:
        answers = await asyncio.gather(*(world.call() for _ in range(12)))
        assert len({each["pid"] for each in answers}) <= 2
        assert sum(each["calls"] for each in answers) > 12

    run(scenario, Limits(bound=2))


def test_a_timeout_ends_the_environment_and_says_so(
    run: Callable[..., None], tmp_path: Path
) -> None:
    async def scenario(world: World) -> None:
        pid = (await world.call())["pid"]
        event = {"started": str(tmp_path / "started"), "wait_for": str(tmp_path / "never")}
        fault = await world.fail(**event)
        assert fault == {
            "errorType": "Sandbox.Timedout",
            "errorMessage": "Task timed out after 1.00 seconds",
        }
        assert not Path(f"/proc/{pid}").exists()
        assert (await world.call())["pid"] != pid
        assert "Status: timeout" in world.log()

    run(scenario, Timeout=1)


def test_an_exception_keeps_the_environment(run: Callable[..., None]) -> None:
    async def scenario(world: World) -> None:
        pid = (await world.call())["pid"]
        fault = await world.fail(**{"raise": "on purpose"})
        assert (fault["errorType"], fault["errorMessage"]) == ("ValueError", "on purpose")
        assert (await world.call())["pid"] == pid

    run(scenario)


def test_a_crash_is_reported_and_the_next_event_gets_a_new_environment(
    run: Callable[..., None],
) -> None:
    async def scenario(world: World) -> None:
        fault = await world.fail(exit=3)
        assert fault["errorType"] == "Runtime.ExitError"
        assert fault["errorMessage"].endswith("Runtime exited with error: exit status 3")
        assert (await world.call())["calls"] == 1

    run(scenario)


def test_an_idle_environment_that_died_is_replaced_unseen(run: Callable[..., None]) -> None:
    async def scenario(world: World) -> None:
        pid = (await world.call())["pid"]
        os.kill(pid, signal.SIGKILL)
        while started(pid):
            await asyncio.sleep(0.001)
        answer = await world.call()
        assert (answer["calls"], answer["pid"] != pid) == (1, True)

    run(scenario)


def test_an_init_error_is_the_answer(run: Callable[..., None]) -> None:
    async def scenario(world: World) -> None:
        fault = await world.fail()
        assert fault["errorType"] == "RuntimeError"
        assert fault["errorMessage"] == "no model here"
        assert "INIT_REPORT Phase: init Status: error" in world.log()

    run(scenario, source="raise RuntimeError('no model here')")


def test_a_process_that_ends_in_its_init_is_an_exit_error(run: Callable[..., None]) -> None:
    async def scenario(world: World) -> None:
        fault = await world.fail()
        assert fault["errorType"] == "Runtime.ExitError"

    run(scenario, source="import os; os._exit(7)")


def test_a_slow_init_is_tried_again_inside_the_invoke(
    run: Callable[..., None], tmp_path: Path
) -> None:
    source = f"""
import os, time
if not os.path.exists({str(tmp_path / "second")!r}):
    open({str(tmp_path / "second")!r}, "w").close()
    time.sleep(60)
def handler(event, context):
    return "ready"
"""

    async def scenario(world: World) -> None:
        assert await world.call() == "ready"
        assert "INIT_REPORT Phase: init Status: timeout (1 s)" in world.log()

    run(scenario, Limits(init_s=1), source)


def test_an_init_that_never_ends_is_a_timeout(run: Callable[..., None]) -> None:
    async def scenario(world: World) -> None:
        assert (await world.fail())["errorType"] == "Sandbox.Timedout"

    run(scenario, Limits(init_s=0.5), "import time; time.sleep(60)", Timeout=1)


def test_memory_beyond_the_limit_ends_the_environment(run: Callable[..., None]) -> None:
    async def scenario(world: World) -> None:
        assert (await world.call(megabytes=10))["calls"] == 1
        fault = await world.fail(megabytes=400)
        assert fault["errorType"] == "Runtime.OutOfMemory"
        assert "signal: killed" in fault["errorMessage"]
        assert (await world.call())["calls"] == 1

    run(scenario, MemorySize=128)


def test_an_event_over_the_limit_never_reaches_the_function(run: Callable[..., None]) -> None:
    async def scenario(world: World) -> None:
        largest = json.dumps({"pad": ""}).encode().replace(b'""', b'"%s"')
        fits = largest % (b"x" * (PAYLOAD_LIMIT - len(largest) + 2))
        assert len(fits) == PAYLOAD_LIMIT
        assert (await world.post(fits)).status == 200
        refused = await world.post(fits + b" ")
        assert refused.status == 413
        assert refused.headers["x-amzn-ErrorType"] == "RequestTooLargeException"
        message = json.loads(refused.body)["message"]
        assert str(PAYLOAD_LIMIT + 1) in message
        assert str(PAYLOAD_LIMIT) in message
        assert world.log().count("START") == 1

    run(scenario)


def test_an_answer_over_the_limit_is_a_fault(run: Callable[..., None]) -> None:
    async def scenario(world: World) -> None:
        assert len(await world.call(answer_bytes=PAYLOAD_LIMIT)) == PAYLOAD_LIMIT - 2
        fault = await world.fail(answer_bytes=PAYLOAD_LIMIT + 1)
        assert fault["errorType"] == "Function.ResponseSizeTooLarge"
        assert str(PAYLOAD_LIMIT) in fault["errorMessage"]
        assert (await world.call())["pid"] > 0

    run(scenario)


def test_idle_environments_end(run: Callable[..., None]) -> None:
    async def scenario(world: World) -> None:
        pid = (await world.call())["pid"]
        expiring = asyncio.create_task(world.host.expire())
        while Path(f"/proc/{pid}").exists():
            await asyncio.sleep(0.01)
        expiring.cancel()
        assert world.host.status() == {"tiny:$LATEST": []}

    run(scenario, Limits(idle_s=0))


def test_a_changed_configuration_takes_effect(run: Callable[..., None]) -> None:
    async def scenario(world: World) -> None:
        pid = (await world.call())["pid"]
        world.api.configuration["Environment"] = {"Variables": {"COLOUR": "red"}}
        after = await world.call()
        assert after["environment"]["COLOUR"] == "red"
        assert after["pid"] != pid
        while Path(f"/proc/{pid}").exists():
            await asyncio.sleep(0.01)

    run(scenario)


def test_a_busy_environment_of_an_old_configuration_ends_with_the_host(
    run: Callable[..., None], tmp_path: Path
) -> None:
    async def scenario(world: World) -> None:
        event = {"started": str(tmp_path / "started"), "wait_for": str(tmp_path / "never")}
        busy = asyncio.create_task(world.fail(**event))
        while not (tmp_path / "started").exists():
            await asyncio.sleep(0.01)
        (old,) = pids(world)
        for colour in ("red", "blue"):
            world.api.configuration["Environment"] = {"Variables": {"COLOUR": colour}}
            assert (await world.call())["environment"]["COLOUR"] == colour
        assert old in pids(world)
        await world.host.close()
        assert not Path(f"/proc/{old}").exists()
        assert (await busy)["errorType"] == "Runtime.ExitError"

    run(scenario)


def test_an_old_configuration_is_forgotten_once_its_last_event_has_ended(
    run: Callable[..., None], tmp_path: Path
) -> None:
    async def scenario(world: World) -> None:
        event = {"started": str(tmp_path / "started"), "wait_for": str(tmp_path / "end")}
        busy = asyncio.create_task(world.call(**event))
        while not (tmp_path / "started").exists():
            await asyncio.sleep(0.01)
        world.api.configuration["Environment"] = {"Variables": {"COLOUR": "red"}}
        await world.call()
        expiring = asyncio.create_task(world.host.expire())
        await asyncio.sleep(0)
        assert len(world.host._retiring) == 1
        (tmp_path / "end").touch()
        assert (await busy)["calls"] == 1
        while world.host._retiring:
            await asyncio.sleep(0.01)
        expiring.cancel()
        assert len(pids(world)) == 1

    run(scenario)


def test_a_pool_that_cannot_expire_does_not_keep_the_others_alive(
    run: Callable[..., None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Stuck(Pool):
        async def expire(self) -> None:
            raise OSError("cannot be ended")

    async def scenario(world: World) -> None:
        pid = (await world.call())["pid"]
        (pool,) = world.host._pools.values()
        journal = Journal(tmp_path / "stuck.log")
        stuck = Stuck(replace(pool.function, name="stuck"), pool._spawn, journal, Limits())
        world.host._pools = {("stuck", "$LATEST"): stuck, **world.host._pools}
        expiring = asyncio.create_task(world.host.expire())
        while caplog.text.count("OSError: cannot be ended") < 2:
            assert not expiring.done()
            await asyncio.sleep(0.01)
        assert not Path(f"/proc/{pid}").exists()
        expiring.cancel()

    run(scenario, Limits(idle_s=0))


def test_each_invocation_is_in_the_functions_log(run: Callable[..., None]) -> None:
    async def scenario(world: World) -> None:
        await world.call()
        await world.call()
        lines = world.log().splitlines()
        starts = [line for line in lines if line.startswith("START RequestId: request-1 Version")]
        reports = [line for line in lines if line.startswith("REPORT RequestId: request-1")]
        assert (len(starts), len(reports)) == (2, 2)
        assert lines.count("END RequestId: request-1") == 2
        assert lines.count("working on request-1") == 2
        assert "loading" in lines
        assert "Init Duration: " in reports[0]
        assert "Init Duration: " not in reports[1]
        for field in ("Duration: ", "Billed Duration: ", "Memory Size: 256 MB", "Max Memory Used"):
            assert field in reports[1]

    run(scenario)


def test_fetching_what_a_function_needs_is_not_its_time(run: Callable[..., None]) -> None:
    class Slow:
        """Takes longer to fetch a function than the function may take."""

        def __init__(self, executor: Executor) -> None:
            self._executor = executor
            self._fetched = False

        async def program(self, function: Function) -> Program:
            if not self._fetched:
                await asyncio.sleep(1.5)
            self._fetched = True
            return await self._executor.program(function)

    def post(port: int) -> Any:
        """Call as the emulator does: its timer is the function's timeout."""
        named = {"X-Amzn-Lambda-Function-Name": "tiny"}
        request = urllib.request.Request(f"http://127.0.0.1:{port}/invoke", b"{}", named)
        with urllib.request.urlopen(request, timeout=1) as answer:
            return json.load(answer)

    async def scenario(world: World) -> None:
        world.host._executors = {"Image": Slow(world.host._executors["Image"])}
        async with serving(world.host.handle) as port:
            assert (await asyncio.to_thread(post, port))["calls"] == 1

    run(scenario, Timeout=1)


def test_what_is_no_invocation_is_refused(run: Callable[..., None]) -> None:
    async def scenario(world: World) -> None:
        assert (await world.post(b"{}", name="other")).status == 404
        assert (await world.host.handle(Request("POST", "/", {}, b"{}"))).status == 400
        assert json.loads((await world.host.handle(Request("GET", "/", {}, b""))).body) == {}

    run(scenario)


def test_a_version_that_cannot_be_fetched_is_a_fault(run: Callable[..., None]) -> None:
    async def scenario(world: World) -> None:
        fault = await world.fail()
        assert fault["errorType"] == "Runtime.ImagePullError"
        assert "MODELPORT_BUCKET" in fault["errorMessage"]

    run(scenario, Environment={"Variables": {"MODELPORT_DIGEST": "sha256:00"}})

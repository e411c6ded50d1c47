"""MiniStack, really started: numbers in its functions' logs are what rollouts read of versions."""

from __future__ import annotations

import io
import json
import sys
import time
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from engine import Hosts, load
from modelport.embedded_metrics import members
from modelport.rollouts.cloudwatch import CloudWatchObservations
from modelport.rollouts.observations import Window

from tests.conftest import ROOT
from tests.local.conftest import answers, eventually, free_port, process, told_of_changes, variables

HANDLER = """
def handler(event, context):
    for line in event["lines"]:
        print(line)
"""
NOWHERE = "http://127.0.0.1:9"
NAMES = ("requests", "errors", "backend_ms")


class Emulator:
    """MiniStack, and what is read from its CloudWatch."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self.seen = CloudWatchObservations(self.client("cloudwatch"), "dev")

    def client(self, service: Any) -> Any:
        make: Any = boto3.client  # the stubs want a literal name
        return make(
            service,
            endpoint_url=self._endpoint,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )

    def windows(self, version: int, since: datetime) -> tuple[Window, ...]:
        until = since + timedelta(seconds=20)
        return self.seen.windows("magika", version, NAMES, since, until, 1)


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    home, port = tmp_path_factory.mktemp("home"), free_port()
    engine, endpoint = load("ministack"), f"http://127.0.0.1:{port}"
    options = ("--root", str(ROOT), "--home", str(home), *told_of_changes(engine, home))
    host_argv = (sys.executable, "-m", "lambda_host.host", *options)
    with process(host_argv, variables(endpoint), home / "log", piped=True) as host:
        assert host.stdout is not None
        hosts = Hosts(f"http://127.0.0.1:{int(host.stdout.readline())}", NOWHERE)
        launch = engine.launch(port, home, hosts)
        with process(launch.argv, {**launch.env, "TMPDIR": str(home)}, home / "log") as running:
            health = engine.health_url(endpoint)
            assert eventually(lambda: answers(health) or running.poll() is not None, 90)
            assert running.poll() is None, (home / "log").read_text()[-3000:]
            yield Emulator(endpoint)


@pytest.fixture(scope="module")
def function(emulator: Emulator) -> str:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("counting.py", HANDLER)
    client = emulator.client("lambda")
    client.create_function(
        FunctionName="counting",
        Runtime="python3.11",
        Role="arn:aws:iam::000000000000:role/counting",
        Handler="counting.handler",
        Code={"ZipFile": archive.getvalue()},
        Timeout=20,
    )
    client.get_waiter("function_active_v2").wait(FunctionName="counting")
    return "counting"


def a_while_ago() -> datetime:
    return datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=2)


def line(version: int, at: datetime, **counted: float) -> str:
    return json.dumps(members("dev", "magika", version, counted, round(at.timestamp() * 1000)))


def test_what_a_function_logs_is_counted_by_version_and_second(
    emulator: Emulator, function: str
) -> None:
    at = a_while_ago()
    lines = [line(3, at, requests=1, backend_ms=float(ms)) for ms in range(1, 101)]
    lines += [line(3, at + timedelta(seconds=2), requests=1, errors=1), line(4, at, requests=1)]
    lines += ["no metrics here", '{"_aws": "nor here"}']
    payload = json.dumps({"lines": lines}).encode()
    answer = emulator.client("lambda").invoke(FunctionName=function, Payload=payload)
    assert "FunctionError" not in answer
    assert eventually(lambda: len(emulator.windows(3, at)) == 2)
    first, second = emulator.windows(3, at)
    assert (first.start, first.count("requests"), first.count("errors")) == (at, 100, 0)
    assert (second.count("requests"), second.count("errors")) == (1, 1)
    assert [window.count("requests") for window in emulator.windows(4, at)] == [1]
    until = at + timedelta(seconds=30)
    found = emulator.seen.percentiles("magika", 3, "backend_ms", (50, 99), at, until)
    assert found == {50: pytest.approx(50.5), 99: pytest.approx(99.01)}


def test_what_anybody_else_puts_into_a_log_is_counted_too(emulator: Emulator) -> None:
    at, client = a_while_ago(), emulator.client("logs")
    client.create_log_group(logGroupName="elsewhere")
    client.create_log_stream(logGroupName="elsewhere", logStreamName="one")
    event = {"timestamp": round(time.time() * 1000), "message": line(7, at, predicted_cat=2)}
    client.put_log_events(logGroupName="elsewhere", logStreamName="one", logEvents=[event])
    assert emulator.seen.names("magika", 7, "predicted_") == ("predicted_cat",)
    assert emulator.seen.names("magika", 8, "") == ()


def test_the_line_itself_stays_in_the_log(emulator: Emulator, function: str) -> None:
    emulator.client("lambda").invoke(FunctionName=function, Payload=b'{"lines": ["a plain line"]}')

    def logged() -> bool:
        found = emulator.client("logs").filter_log_events(logGroupName=f"/aws/lambda/{function}")
        return any(event["message"] == "a plain line" for event in found["events"])

    assert eventually(logged)

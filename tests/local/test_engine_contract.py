"""Every engine, really started: functions reach the Lambda host, and nothing else listens."""

from __future__ import annotations

import io
import json
import os
import re
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from engine import ENGINES, Engine, EngineError, Hosts, load

from tests.conftest import ROOT
from tests.local.conftest import (
    answers,
    eventually,
    free_port,
    process,
    processes_with,
    told_of_changes,
    variables,
)
from tests.support.turns import turn

HANDLER = """
import os
def handler(event, context):
    if event.get("raise"):
        raise ValueError("on purpose")
    return {"body": event, "pid": os.getpid(), "colour": os.environ["COLOUR"]}
"""
HTTP_HANDLER = """
import json
def handler(event, context):
    path = event.get("rawPath") or event["path"]
    return {"statusCode": 200, "body": json.dumps({"path": path})}
"""
NAME = "on-the-engine"
"""No other test's function: what is left of it is looked for on the whole machine."""
IMAGE = "000000000000.dkr.ecr.us-east-1.amazonaws.com/tiny:1"


@dataclass
class Running:
    """An engine with a Lambda host beside it."""

    engine: Engine
    port: int
    endpoint: str
    hosts: Hosts
    host_pid: int
    home: Path

    def client(self, service: Any) -> Any:
        make: Any = boto3.client  # the stubs want a literal name
        return make(service, endpoint_url=self.endpoint, region_name="us-east-1")

    def on_the_host(self, service: Any) -> Any:
        """The client that a function on the Lambda host has."""
        make: Any = boto3.client
        return make(
            service,
            endpoint_url=self.hosts.functions,
            region_name="us-east-1",
            config=Config(retries={"total_max_attempts": 1}),
        )

    def role(self) -> str:
        policy = {"Version": "2012-10-17", "Statement": []}
        made = self.client("iam").create_role(
            RoleName=f"role-{os.urandom(4).hex()}", AssumeRolePolicyDocument=json.dumps(policy)
        )
        return str(made["Role"]["Arn"])

    def variables(self) -> dict[str, str]:
        return {"COLOUR": "blue", **self.engine.function_environment(self.hosts)}


@pytest.fixture(scope="module", params=ENGINES)
def running(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    engine = load(request.param)
    home = tmp_path_factory.mktemp("home")
    tree = tmp_path_factory.mktemp("tree")
    (tree / "tiny.py").write_text(HANDLER)
    try:
        with turn("up"):
            engine.prepare(lambda text: None)
    except EngineError as missing:
        pytest.skip(str(missing))
    port = free_port()
    endpoint = f"http://127.0.0.1:{port}"
    options = ("--root", str(tree), "--home", str(home), *told_of_changes(engine, home))
    host_argv = (sys.executable, "-m", "lambda_host.host", *options)
    log = home / "test.log"
    with process(host_argv, variables(endpoint), log, piped=True) as host:
        assert host.stdout is not None
        nowhere = "http://127.0.0.1:9"
        hosts = Hosts(f"http://127.0.0.1:{int(host.stdout.readline())}", nowhere)
        launch = engine.launch(port, home, hosts)
        env = {**launch.env, "TMPDIR": str(home)}
        with process(launch.argv, env, log) as emulator:
            health = engine.health_url(endpoint)
            assert eventually(lambda: answers(health) or emulator.poll() is not None, 90)
            assert emulator.poll() is None, log.read_text()[-3000:]
            yield Running(engine, port, endpoint, hosts, host.pid, home)


@pytest.fixture(scope="module")
def image_function(running: Running) -> str:
    return made(running, NAME)


def made(running: Running, name: str) -> str:
    """An image function that is there."""
    running.client("lambda").create_function(
        FunctionName=name,
        PackageType="Image",
        Role=running.role(),
        Code={"ImageUri": IMAGE},
        ImageConfig={"Command": ["tiny.handler"]},
        Timeout=20,
        Environment={"Variables": running.variables()},
    )
    running.client("lambda").get_waiter("function_active_v2").wait(FunctionName=name)
    return name


def test_an_image_function_runs_on_the_lambda_host(running: Running, image_function: str) -> None:
    client = running.client("lambda")
    payload = json.dumps({"text": "grüße", "null": None}).encode()
    answer = client.invoke(FunctionName=image_function, Payload=payload)
    seen = json.loads(answer["Payload"].read())
    assert "FunctionError" not in answer
    assert seen["body"] == {"text": "grüße", "null": None}
    assert seen["colour"] == "blue"
    again = json.loads(client.invoke(FunctionName=image_function, Payload=b"{}")["Payload"].read())
    assert again["pid"] == seen["pid"]
    log = (running.home / f"logs/functions/{NAME}.log").read_text()
    assert log.count("REPORT RequestId") >= 2


def test_a_function_error_is_one_to_the_caller(running: Running, image_function: str) -> None:
    answer = running.client("lambda").invoke(
        FunctionName=image_function, Payload=json.dumps({"raise": True}).encode()
    )
    assert answer["FunctionError"] == "Unhandled"
    assert "on purpose" in answer["Payload"].read().decode()


def test_an_updated_configuration_reaches_the_function(
    running: Running, image_function: str
) -> None:
    client = running.client("lambda")
    variables = {**running.variables(), "COLOUR": "red"}
    client.update_function_configuration(
        FunctionName=image_function, Environment={"Variables": variables}
    )
    client.get_waiter("function_updated_v2").wait(FunctionName=image_function)

    def colour() -> str:
        answer = client.invoke(FunctionName=image_function, Payload=b"{}")
        return str(json.loads(answer["Payload"].read())["colour"])

    assert eventually(lambda: colour() == "red", 5)


def test_what_a_function_asks_of_lambda_is_answered_as_by_the_emulator(
    running: Running, image_function: str
) -> None:
    if not running.engine.changes:
        pytest.skip("functions ask this emulator itself")
    emulator, host = running.client("lambda"), running.on_the_host("lambda")
    # What a function may do at once, a name for what runs, and a changed variable: known at once.
    for colour in ("green", "blue", "violet"):
        variables = {**running.variables(), "COLOUR": colour}
        emulator.update_function_configuration(
            FunctionName=image_function, Environment={"Variables": variables}
        )
        emulator.get_waiter("function_updated_v2").wait(FunctionName=image_function)
        answer = host.invoke(FunctionName=image_function, Payload=b"{}")
        assert json.loads(answer["Payload"].read())["colour"] == colour
        assert answer["ExecutedVersion"] == "$LATEST"
    version = emulator.publish_version(FunctionName=image_function)["Version"]
    emulator.create_alias(FunctionName=image_function, Name="live", FunctionVersion=version)
    for qualifier in ("live", version):
        answer = host.invoke(FunctionName=image_function, Qualifier=qualifier, Payload=b"{}")
        assert (answer["StatusCode"], answer["ExecutedVersion"]) == (200, version)
        named = f"{image_function}:{qualifier}"
        assert host.invoke(FunctionName=named, Payload=b"{}")["ExecutedVersion"] == version
    emulator.put_function_concurrency(FunctionName=image_function, ReservedConcurrentExecutions=0)
    with pytest.raises(host.exceptions.TooManyRequestsException, match="Rate Exceeded"):
        host.invoke(FunctionName=named, Payload=b"{}")
    emulator.delete_function_concurrency(FunctionName=image_function)
    failed = host.invoke(FunctionName=named, Payload=b'{"raise": true}')
    assert failed["FunctionError"] == "Unhandled"
    assert "on purpose" in failed["Payload"].read().decode()
    # And what is not for the host.
    assert host.get_function(FunctionName=named)["Configuration"]["Version"] == version
    with pytest.raises(host.exceptions.ResourceNotFoundException, match="nobody"):
        host.invoke(FunctionName="nobody", Payload=b"{}")
    assert host.invoke(FunctionName=named, InvocationType="DryRun")["StatusCode"] == 204
    assert host.invoke(FunctionName=named, InvocationType="Event")["StatusCode"] == 202
    streamed = host.invoke_with_response_stream(FunctionName=named, Payload=b"{}")
    chunks = [
        event["PayloadChunk"]["Payload"]
        for event in streamed["EventStream"]
        if "PayloadChunk" in event
    ]
    assert json.loads(b"".join(chunks))["body"] == {}


def test_what_functions_ask_of_each_other_is_in_metrics_and_logs(running: Running) -> None:
    if not running.engine.changes:
        pytest.skip("functions ask this emulator itself")
    function = made(running, f"{NAME}-told")
    metrics, logs = running.client("cloudwatch"), running.client("logs")

    def counted(name: str) -> float:
        now = datetime.now(UTC)
        found = metrics.get_metric_statistics(
            Namespace="AWS/Lambda",
            MetricName=name,
            Dimensions=[{"Name": "FunctionName", "Value": function}],
            StartTime=now - timedelta(hours=1),
            EndTime=now + timedelta(minutes=5),
            Period=60,
            Statistics=["Sum"],
        )
        return float(sum(point["Sum"] for point in found["Datapoints"]))

    host = running.on_the_host("lambda")
    for payload in (b"{}", b"{}", b'{"raise": true}'):
        host.invoke(FunctionName=function, Payload=payload)
    assert eventually(lambda: counted("Invocations") == 3)
    assert counted("Errors") == 1
    assert counted("Duration") > 0
    mine = (running.home / f"logs/functions/{function}.log").read_text().splitlines()[-1]
    group = f"/aws/lambda/{function}"

    def messages() -> list[str]:
        events = logs.filter_log_events(logGroupName=group)["events"]
        return [event["message"] for event in events]

    assert eventually(lambda: mine in messages())


def test_a_zip_function_answers_through_the_engines_api_gateway(running: Running) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("web.py", HTTP_HANDLER)
    made = running.client("lambda").create_function(
        FunctionName="web",
        Runtime=f"python3.{sys.version_info.minor}",
        Handler="web.handler",
        Role=running.role(),
        Code={"ZipFile": archive.getvalue()},
        Timeout=20,
    )
    running.client("lambda").get_waiter("function_active_v2").wait(FunctionName="web")
    api_id, stage = _api(running, str(made["FunctionArn"]))
    url = running.engine.api_url(running.endpoint, api_id, stage)
    assert not url.endswith("/")
    assert eventually(lambda: answers(f"{url}/v1/models/m:predict"), 20)


def _api(running: Running, function: str) -> tuple[str, str]:
    uri = f"arn:aws:apigateway:us-east-1:lambda:path/2015-03-31/functions/{function}/invocations"
    if running.engine.api == "http":
        client = running.client("apigatewayv2")
        api_id = client.create_api(Name="web", ProtocolType="HTTP")["ApiId"]
        integration = client.create_integration(
            ApiId=api_id,
            IntegrationType="AWS_PROXY",
            IntegrationUri=function,
            PayloadFormatVersion="2.0",
        )["IntegrationId"]
        target = f"integrations/{integration}"
        client.create_route(ApiId=api_id, RouteKey="ANY /{proxy+}", Target=target)
        client.create_stage(ApiId=api_id, StageName="$default", AutoDeploy=True)
        return str(api_id), ""
    client = running.client("apigateway")
    api = client.create_rest_api(name="web")
    child = client.create_resource(
        restApiId=api["id"], parentId=api["rootResourceId"], pathPart="{proxy+}"
    )
    where = {"restApiId": api["id"], "resourceId": child["id"], "httpMethod": "ANY"}
    client.put_method(**where, authorizationType="NONE")
    client.put_integration(**where, type="AWS_PROXY", integrationHttpMethod="POST", uri=uri)
    client.create_deployment(restApiId=api["id"], stageName="live")
    return str(api["id"]), "live"


def test_it_listens_on_loopback_only(running: Running) -> None:
    tables = Path("/proc/net/tcp"), Path("/proc/net/tcp6")
    lines = [line.split() for table in tables for line in table.read_text().splitlines()[1:]]
    ours = [
        each[1] for each in lines if each[3] == "0A" and each[1].endswith(f":{running.port:04X}")
    ]
    assert ours == [f"0100007F:{running.port:04X}"]


def test_a_killed_host_leaves_no_function_behind(running: Running, image_function: str) -> None:
    running.client("lambda").invoke(FunctionName=image_function, Payload=b"{}")
    assert processes_with(f"AWS_LAMBDA_FUNCTION_NAME={NAME}")
    os.kill(running.host_pid, 9)
    assert eventually(lambda: not processes_with(f"AWS_LAMBDA_FUNCTION_NAME={NAME}"))


def test_no_emulator_is_named_outside_the_engines() -> None:
    names = re.compile("|".join(ENGINES), re.IGNORECASE)
    folders = ("localstack", "infra", "functions", "layers/core")
    for folder in folders:
        for path in (ROOT / folder).rglob("*"):
            text = path.suffix in {".py", ".toml", ".json", ".sh"}
            if not text or {"engines", "node_modules", "cdk.out"} & set(path.parts):
                continue
            # The folder of that name is not the emulator.
            said = path.read_text().replace('"localstack"', "").replace("localstack/", "")
            assert not names.search(said), path


def test_an_unknown_engine_is_an_error_that_names_the_known() -> None:
    with pytest.raises(EngineError, match=", ".join(ENGINES)):
        load("other")

"""The registrar over real sockets: its answer to CloudFormation, and its calls of Lambda."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import boto3
import pytest
from modelport.envelope import Request, Response

from functions.registrar.cloudformation import put
from functions.registrar.handler import handler
from functions.registrar.lambda_functions import LambdaFunctions
from functions.registrar.place import Failure, State


class Script(BaseHTTPRequestHandler):
    """Answers with the statuses and bodies it was given, keeps what it was asked."""

    def _answer(self) -> None:
        server: Any = self.server
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        server.asked.append((self.command, self.path, dict(self.headers), body))
        status, headers, answer = server.script.pop(0) if server.script else (200, {}, b"")
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(answer))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_PUT = do_POST = _answer

    def log_message(self, format: str, *args: object) -> None:
        """The test's output stays the test's."""


@pytest.fixture
def server() -> Iterator[Any]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Script) as served:
        served.daemon_threads = True
        scripted: Any = served
        scripted.script, scripted.asked = [], []
        scripted.url = f"http://127.0.0.1:{served.server_port}"
        thread = Thread(target=served.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield scripted
        served.shutdown()
        thread.join()


def lambda_at(url: str) -> LambdaFunctions:
    return LambdaFunctions(boto3.client("lambda", endpoint_url=url, region_name="us-east-1"))


def test_the_answer_is_put_with_the_content_type_its_url_is_signed_for(server: Any) -> None:
    put(f"{server.url}/answer?Signature=secret", b'{"Status": "SUCCESS"}')
    ((method, path, headers, body),) = server.asked
    assert (method, path) == ("PUT", "/answer?Signature=secret")
    assert headers["Content-Type"] == ""
    assert body == b'{"Status": "SUCCESS"}'


def test_the_answer_is_put_again_when_the_url_fails_now_and_then(server: Any) -> None:
    server.script = [(503, {}, b"slow down"), (500, {}, b"")]
    put(f"{server.url}/answer", b"{}")
    assert len(server.asked) == 3


def test_an_answer_nobody_takes_is_an_error_that_keeps_the_url_secret(
    server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    server.script = [(403, {}, b"")] * 10
    with (
        caplog.at_level(logging.DEBUG),
        pytest.raises(ConnectionError, match="HTTP 403") as caught,
    ):
        put(f"{server.url}/answer?Signature=secret", b"{}")
    assert len(server.asked) == 5
    assert "secret" not in caplog.text
    assert "secret" not in str(caught.value)


class Context:
    """What Lambda hands a handler, as far as ours looks."""

    def get_remaining_time_in_millis(self) -> int:
        return 60_000


def event(kind: str, url: str, **properties: str) -> dict[str, Any]:
    return {
        "RequestType": kind,
        "ResponseURL": f"{url}/answer",
        "StackId": "arn:aws:cloudformation:r:1:stack/s/u",
        "RequestId": "r",
        "LogicalResourceId": "Registration",
        "PhysicalResourceId": "m:1",
        "ResourceProperties": properties,
    }


def test_the_handler_answers_even_when_its_environment_is_empty(server: Any) -> None:
    handler(event("Create", server.url), Context())
    answer = json.loads(server.asked[0][3])
    assert answer["Status"] == "FAILED"
    assert "MODELPORT_BUCKET" in answer["Reason"]


def test_the_handler_lets_a_stack_go_whose_model_is_unknown(
    server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELPORT_BUCKET", "registry")
    monkeypatch.setenv("MODELPORT_ENVIRONMENT", "t")
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    missing = b"<Error><Code>NoSuchKey</Code><Message>none</Message></Error>"
    server.script = [(404, {"Content-Type": "application/xml"}, missing)]
    properties = {"Model": "m", "Version": "1", "Digest": "sha256:0", "Target": "lambda"}
    properties |= {"Resource": "f", "MemoryMb": "128", "TimeoutS": "3"}
    handler(event("Delete", server.url, **properties), Context())
    read, answered = server.asked
    assert read[:2] == ("GET", "/registry/models/m/routes.json")
    assert json.loads(answered[3])["Status"] == "SUCCESS"


@pytest.mark.parametrize(
    ("configuration", "state"),
    [
        ({"State": "Active", "LastUpdateStatus": "Successful"}, State("ready")),
        ({}, State("ready")),
        ({"State": "Pending"}, State("pending", "State Pending")),
        ({"State": "Inactive", "LastUpdateStatus": "Successful"}, State("ready")),
        (
            {"State": "Active", "LastUpdateStatus": "InProgress"},
            State("pending", "LastUpdateStatus InProgress"),
        ),
        (
            {"State": "Failed", "StateReason": "no such image"},
            State("failed", "no such image"),
        ),
    ],
)
def test_the_state_of_a_function(server: Any, configuration: dict[str, str], state: State) -> None:
    server.script = [(200, {}, json.dumps({"FunctionName": "f", **configuration}).encode())]
    assert lambda_at(server.url).state("f") == state


def test_a_function_that_does_not_exist_has_no_state(server: Any) -> None:
    missing = {"x-amzn-ErrorType": "ResourceNotFoundException"}
    server.script = [(404, missing, b'{"Message": "Function not found"}')]
    assert lambda_at(server.url).state("f") is None


ASKED = Request("POST", "/v1/models/m/versions/1:predict", {"accept": "*/*"}, b"{}", "r-1")


def test_a_question_tells_an_answer_from_a_crash(server: Any) -> None:
    crash = {"X-Amz-Function-Error": "Unhandled"}
    answer = Response(200, {"x-modelport-digest": "d"}, b"[1]")
    server.script = [
        (200, {}, json.dumps(answer.to_event()).encode()),
        (200, crash, b'{"errorMessage": "boom"}'),
        (200, crash, b'{"errorMessage": "2026 Task timed out after 3.00 seconds"}'),
        (200, {}, b'"hello"'),
    ]
    functions = lambda_at(server.url)
    assert functions.ask("f", ASKED) == answer
    assert Request.from_event(json.loads(server.asked[0][3])) == ASKED
    crashed, late, odd = (functions.ask("f", ASKED) for _ in range(3))
    assert crashed == Failure('{"errorMessage": "boom"}')
    assert isinstance(late, Failure)
    assert late.timed_out
    assert odd == Failure("not a modelport envelope of version 1")


def test_only_the_error_of_loading_the_handler_is_told_in_its_words(server: Any) -> None:
    crash = {"X-Amz-Function-Error": "Unhandled"}
    said = {"errorType": "InvalidBundleError", "errorMessage": "inference.py: no x\nline 2"}
    said_at = [{**said, "requestId": each, "stackTrace": ["secret"]} for each in ("", "r-1")]
    server.script = [(200, crash, json.dumps(each).encode()) for each in (*said_at, said)]
    server.script += [(200, crash, b"[1]")]
    found = [lambda_at(server.url).ask("f", ASKED) for _ in range(4)]
    told = [(each.kind, each.startup) for each in found if isinstance(each, Failure)]
    at_load = "InvalidBundleError: inference.py: no x"
    later = ("InvalidBundleError", "")
    assert told == [("InvalidBundleError", at_load), later, later, ("", "")]


@pytest.mark.parametrize(
    ("status", "configuration", "group"),
    [
        (200, {"LoggingConfig": {"LogGroup": "stack-Logs-1"}}, "stack-Logs-1"),
        (200, {}, "/aws/lambda/f"),
        (404, {}, "/aws/lambda/f"),
    ],
)
def test_the_log_group_of_a_function(
    server: Any, status: int, configuration: dict[str, Any], group: str
) -> None:
    server.script = [(status, {}, json.dumps(configuration).encode())]
    assert lambda_at(server.url).log_group("f:3") == group


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (429, "TooManyRequestsException"),
        (409, "ResourceConflictException"),
        (502, "ResourceNotReadyException"),
    ],
)
def test_a_function_without_capacity_is_not_a_failure(server: Any, status: int, error: str) -> None:
    server.script = [(status, {"x-amzn-ErrorType": error}, b"{}")] * 10
    assert lambda_at(server.url).ask("f", ASKED) is None


KEPT = {"LogGroup": "/aws/sagemaker/Endpoints/m", "RetentionDays": "30", "KeyArn": "arn:key"}


@pytest.mark.parametrize("there_already", [False, True])
def test_an_endpoints_log_is_made_or_taken_as_it_is_and_given_key_and_retention(
    server: Any, monkeypatch: pytest.MonkeyPatch, there_already: bool
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    if there_already:
        server.script = [(400, {}, b'{"__type": "ResourceAlreadyExistsException"}')]
    asked = event("Create", server.url, **KEPT) | {"ResourceType": "Custom::EndpointLogs"}
    handler(asked, Context())
    *calls, (_, _, _, answered) = server.asked
    operations = [headers["X-Amz-Target"].rpartition(".")[2] for _, _, headers, _ in calls]
    key = ["AssociateKmsKey"] if there_already else []
    assert operations == ["CreateLogGroup", *key, "PutRetentionPolicy"]
    bodies = [json.loads(body) for *_, body in calls]
    group = {"logGroupName": KEPT["LogGroup"]}
    for body in bodies[:-1]:
        assert body == group | {"kmsKeyId": "arn:key"}
    assert bodies[-1] == group | {"retentionInDays": 30}
    answer = json.loads(answered)
    assert (answer["Status"], answer["PhysicalResourceId"]) == ("SUCCESS", KEPT["LogGroup"])


def test_an_endpoints_log_stays_when_its_stack_goes(
    server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    asked = event("Delete", server.url, **KEPT) | {"ResourceType": "Custom::EndpointLogs"}
    handler(asked, Context())
    ((_, path, _, answered),) = server.asked
    assert path == "/answer"
    assert json.loads(answered)["Status"] == "SUCCESS"


def test_an_endpoints_log_that_cannot_be_made_fails_the_deploy_in_words(
    server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    denied = b'{"__type": "AccessDeniedException", "message": "not authorized"}'
    server.script = [(400, {}, denied)]
    asked = event("Create", server.url, **KEPT) | {"ResourceType": "Custom::EndpointLogs"}
    handler(asked, Context())
    answer = json.loads(server.asked[-1][3])
    assert answer["Status"] == "FAILED"
    assert "not authorized" in answer["Reason"]

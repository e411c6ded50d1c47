"""Calling a model from the command line, over a real socket: paths, bodies, signatures, answers."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.support.cli_world import Terminal

KEYS = Credentials("AKIDEXAMPLE", "secret", "session-token")
SERVED = {
    "content-type": "application/json",
    "x-modelport-model": "magika",
    "x-modelport-version": "2",
    "x-modelport-digest": "sha256:ab",
    "x-modelport-route": "stable;rev=7",
}


@dataclass
class Api:
    """A server that answers every POST the same way and notes what it was asked."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=lambda: dict(SERVED))
    body: bytes = b'{"label": "pdf"}'
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/_aws/execute-api/abc/$default"

    @contextmanager
    def serving(self) -> Iterator[Api]:
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                api.requests.append((self.path, headers, body))
                self.send_response(api.status)
                for name, value in api.headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(api.body)))
                self.end_headers()
                self.wfile.write(api.body)

            def log_message(self, *_: object) -> None:
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            self.port = server.server_port
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            yield self
            server.shutdown()
            thread.join()


@pytest.fixture
def api() -> Iterator[Api]:
    with Api().serving() as api:
        yield api


@pytest.fixture
def terminal(tmp_path: Path, api: Api) -> Terminal:
    (tmp_path / "deployments.toml").write_text('[environment]\nname = "dev"\nauth = "none"\n')
    terminal = Terminal(tmp_path)
    terminal.environ["MODELPORT_ENDPOINT"] = api.url
    return terminal


def signed(terminal: Terminal) -> None:
    (terminal.folder / "deployments.toml").write_text('[environment]\nname = "dev"\n')


V1 = '{"instances": [[1, 2]]}'
V1_COLUMNS = '{"inputs": {"x": [[1, 2]]}}'
V2 = '{"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [1]}]}'


@pytest.mark.parametrize(
    ("arguments", "path"),
    [
        (("magika", "-d", V1), "/v1/models/magika:predict"),
        (("magika:3", "-d", V1), "/v1/models/magika/versions/3:predict"),
        (("magika@canary", "-d", V1_COLUMNS), "/v1/models/magika/labels/canary:predict"),
        (("magika", "-d", V2), "/v2/models/magika/infer"),
        (("magika:3", "-d", V2), "/v2/models/magika/versions/3/infer"),
        (("magika@canary", "-d", V2), "/v2/models/magika/versions/canary/infer"),
        (("magika", "-d", '{"other": 1}'), "/endpoints/magika/invocations"),
        (("magika:3", "-d", "[1, 2]"), "/endpoints/magika/versions/3/invocations"),
        (("magika", "-d", V1, "--protocol", "raw"), "/endpoints/magika/invocations"),
        (("magika", "-d", V2, "--protocol", "v1"), "/v1/models/magika:predict"),
        (("magika", "-d", V1, "--content-type", "text/plain"), "/endpoints/magika/invocations"),
    ],
)
def test_the_body_chooses_the_path(
    terminal: Terminal, api: Api, arguments: tuple[str, ...], path: str
) -> None:
    terminal.ok("invoke", *arguments)
    assert api.requests[0][0] == "/_aws/execute-api/abc/$default" + path


def test_a_file_goes_as_it_is(terminal: Terminal, api: Api) -> None:
    (terminal.folder / "scan.pdf").write_bytes(b"%PDF\x00\xff")
    terminal.ok("invoke", "magika", "--data", "scan.pdf", "--accept", "text/csv", "--key", "me")
    ((path, headers, body),) = api.requests
    assert path.endswith("/endpoints/magika/invocations")
    assert body == b"%PDF\x00\xff"
    assert headers["content-type"] == "application/pdf"
    assert headers["accept"] == "text/csv"
    assert headers["x-modelport-key"] == "me"
    assert "authorization" not in headers


@pytest.mark.parametrize(
    ("body", "kind"),
    [(V1.encode(), "application/json"), (b"\xff\xfe", "application/octet-stream")],
)
def test_standard_input_is_a_body(terminal: Terminal, api: Api, body: bytes, kind: str) -> None:
    terminal.stdin = body
    terminal.ok("invoke", "magika", "--data", "-")
    assert api.requests[0][2] == body
    assert api.requests[0][1]["content-type"] == kind


def test_the_answer_says_who_gave_it(terminal: Terminal) -> None:
    told = terminal.ok("invoke", "magika", "-d", V1, "--json").json
    assert (told["status"], told["body"]) == (200, {"label": "pdf"})
    assert (told["model"], told["version"], told["route"]) == ("magika", "2", "stable;rev=7")
    result = terminal.ok("invoke", "magika", "-d", V1)
    assert json.loads(result.out) == {"label": "pdf"}
    assert "magika:2 · stable;rev=7 · 200" in result.err


def test_a_binary_answer_comes_out_unchanged(terminal: Terminal, api: Api) -> None:
    api.body, api.headers["content-type"] = bytes(range(256)), "application/octet-stream"
    assert terminal.ok("invoke", "magika", "-d", V1).raw == bytes(range(256))
    told = terminal.ok("invoke", "magika", "-d", V1, "--json").json
    assert told["base64"].startswith("AAECAw")


def test_a_text_answer_comes_out_as_text(terminal: Terminal, api: Api) -> None:
    api.body, api.headers["content-type"] = b"1,2\n[bold]3", "text/csv"
    assert terminal.ok("invoke", "magika", "-d", V1).out == "1,2\n[bold]3\n"
    assert terminal.ok("invoke", "magika", "-d", V1, "--json").json["body"] == "1,2\n[bold]3"


def expected_signature(path: str, headers: dict[str, str], body: bytes, region: str) -> str:
    """The signature that a server with the same secret computes for what came over the wire."""
    names = re.findall(r"SignedHeaders=([^,]+)", headers["authorization"])[0].split(";")
    url = f"http://{headers['host']}{path}"
    request = AWSRequest("POST", url, {name: headers[name] for name in names}, body)
    request.context["timestamp"] = headers["x-amz-date"]
    auth = SigV4Auth(KEYS, "execute-api", region)
    text = auth.string_to_sign(request, auth.canonical_request(request))
    return str(auth.signature(text, request))


@pytest.mark.parametrize("data", [V1, V2, "[1]"])
def test_requests_are_signed_for_an_iam_api(terminal: Terminal, api: Api, data: str) -> None:
    signed(terminal)
    terminal.credentials = KEYS
    terminal.ok("invoke", "magika:3", "--data", data, "--key", "me")
    ((path, headers, body),) = api.requests
    authorization = headers["authorization"]
    assert "Credential=AKIDEXAMPLE/" in authorization
    assert "/eu-central-1/execute-api/aws4_request" in authorization
    assert headers["x-amz-security-token"] == "session-token"
    assert {"content-type", "host", "x-modelport-key"} <= set(
        re.findall(r"SignedHeaders=([^,]+)", authorization)[0].split(";")
    )
    assert authorization.endswith(expected_signature(path, headers, body, "eu-central-1"))


def test_without_credentials_an_iam_api_is_not_called(terminal: Terminal, api: Api) -> None:
    signed(terminal)
    result = terminal("invoke", "magika", "-d", V1, "--json")
    assert (result.code, result.json["error"]["code"]) == (5, "aws-unavailable")
    assert api.requests == []


@pytest.mark.parametrize(
    ("status", "code", "body", "said"),
    [
        (400, 2, b'{"error": "input \'x\': expected FP32"}', "input 'x': expected FP32"),
        (404, 3, b'{"error": "Could not find version 9"}', "Could not find version 9"),
        (409, 4, b'{"error": {"message": "not deployed"}}', "not deployed"),
        (403, 1, b'{"message": "Forbidden"}', "Forbidden"),
        (429, 5, b'{"message": "Too Many Requests"}', "Too Many Requests"),
        (503, 5, b"<html>down</html>", "<html>down</html>"),
        (500, 5, b"", "no message"),
    ],
)
def test_an_error_answer_is_an_error(
    terminal: Terminal, api: Api, status: int, code: int, body: bytes, said: str
) -> None:
    api.status, api.body = status, body
    api.headers |= {"x-modelport-error": "some-code", "x-modelport-request-id": "r-1"}
    result = terminal("invoke", "magika", "-d", V1, "--json")
    assert result.code == code
    error = result.json["error"]
    assert error["code"] == "some-code"
    assert error["message"] == f"the API answered {status}: {said} (request r-1)"
    assert terminal("invoke", "magika", "-d", V1).out == ""


def test_an_api_that_is_not_there_is_unavailable(terminal: Terminal) -> None:
    result = terminal("invoke", "magika", "-d", V1, "--endpoint", "http://127.0.0.1:9", "--json")
    assert (result.code, result.json["error"]["code"]) == (5, "endpoint-unavailable")


@pytest.mark.parametrize("endpoint", ["ftp://x", "not a url", "http://[::1"])
def test_an_endpoint_that_is_no_url_is_refused(terminal: Terminal, endpoint: str) -> None:
    result = terminal("invoke", "magika", "-d", V1, "--endpoint", endpoint, "--json")
    assert result.code in (2, 5)
    assert endpoint in result.json["error"]["message"]


def test_data_that_is_neither_json_nor_a_file_is_refused(terminal: Terminal, api: Api) -> None:
    result = terminal("invoke", "magika", "--data", "{broken", "--json")
    assert (result.code, result.json["error"]["code"]) == (2, "usage")
    assert api.requests == []


def test_the_platform_knows_the_endpoint(terminal: Terminal, api: Api) -> None:
    del terminal.environ["MODELPORT_ENDPOINT"]
    result = terminal("invoke", "magika", "-d", V1, "--json")
    assert (result.code, result.json["error"]["code"]) == (2, "invalid-setting")
    terminal.stacks["modelport-dev-platform"] = {"ApiEndpoint": api.url}
    terminal.ok("invoke", "magika", "-d", V1)
    assert len(api.requests) == 1

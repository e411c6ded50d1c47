"""How an image starts in each of its homes, and what a request through SageMaker becomes."""

from __future__ import annotations

import ast
import asyncio
import json
import os
import subprocess
import sys
from typing import Any

import pytest
from modelport.envelope import Request, Response
from modelport.errors import InvalidSettingError
from modelport.sagemaker_envelope import HEADER, MARK, attributes_of, body_of, unwrapped

from functions.runtime.__main__ import main
from functions.runtime.application import Application, Deadline
from functions.runtime.metrics import Metrics, shared_memory
from functions.runtime.server import ServerSettings, runtime_settings
from tests.conftest import ROOT
from tests.support.runtime_connections import exchanged

VERSION = {"MODELPORT_MODEL": "m", "MODELPORT_VERSION": "1", "MODELPORT_DIGEST": "sha256:0"}

# Stops each home at the last step before it would talk to anybody.
LOOK = """
import os, runpy, sys

class Stop:
    def find_spec(self, name, path=None, target=None):
        if name == {stop!r}:
            ours = [n for n in sys.modules if n.partition(".")[0] not in sys.stdlib_module_names]
            print(sorted(ours) + [n for n in sys.modules if n in ("asyncio", "http.client")])
            sys.stdout.flush()
            os._exit(0)

sys.meta_path.insert(0, Stop())
sys.argv = ["functions.runtime", *{arguments!r}]
runpy.run_module("functions.runtime", run_name="__main__", alter_sys=True)
"""


def imported(stop: str, arguments: list[str], environ: dict[str, str]) -> set[str]:
    """The modules that are there when a home first asks for ``stop``."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "layers" / "core" / "python")])
    clean = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    done = subprocess.run(
        [sys.executable, "-c", LOOK.format(stop=stop, arguments=arguments)],
        env={**clean, "PYTHONPATH": path, **environ},
        check=True,
        capture_output=True,
        text=True,
    )
    return set(ast.literal_eval(done.stdout.splitlines()[-1]))


HANDLER = "functions.runtime.handler.handler"


@pytest.mark.parametrize("arguments", [[], [HANDLER]])
def test_on_lambda_the_handler_is_polled_for_and_nothing_of_the_server_is_there(
    arguments: list[str],
) -> None:
    api = {"AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9"}
    modules = imported("functions.runtime.handler", arguments, api)
    assert not any(name.startswith(("awslambdaric", "uvicorn", "numpy")) for name in modules)
    assert not {"asyncio", "http.client"} & modules
    ours = {name for name in modules if name.startswith("functions")}
    assert ours == {"functions", "functions.runtime", "functions.runtime.lambda_loop"}


def test_several_requests_at_once_are_awslambdarics_own_business() -> None:
    api = {"AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9", "AWS_LAMBDA_MAX_CONCURRENCY": "2"}
    modules = imported("awslambdaric", [], api)
    assert not any(name.startswith(("uvicorn", "modelport", "numpy")) for name in modules)


@pytest.mark.parametrize(
    ("arguments", "environ"),
    [(["serve"], {}), (["serve"], {"AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9"}), ([HANDLER], {})],
)
def test_anywhere_else_it_is_the_http_server_with_a_light_parent(
    arguments: list[str], environ: dict[str, str]
) -> None:
    port = {"MODELPORT_HOST": "127.0.0.1", "SAGEMAKER_BIND_TO_PORT": "0"}
    stop = "functions.runtime.doorman"  # the parent's last import, once a worker is on its way
    modules = imported(stop, arguments, {**VERSION, **port, **environ})
    assert "functions.runtime.server" in modules
    assert not any(name.startswith(("awslambdaric", "uvicorn", "numpy")) for name in modules)


@pytest.mark.parametrize("words", [["train"], ["serve", "now"], ["a.b", "c"]])
def test_any_other_command_is_refused_with_those_there_are(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words, {}) == 2
    assert capsys.readouterr().err.startswith("usage: python -m functions.runtime [serve | ")


def test_settings_are_the_platforms_own_words() -> None:
    environ = {
        "SAGEMAKER_MODEL_SERVER_WORKERS": "3",
        "SAGEMAKER_MODEL_SERVER_TIMEOUT": "50",
        "SAGEMAKER_STARTUP_TIMEOUT": "600",
    }
    settings = ServerSettings.from_env(environ)
    assert (settings.workers, settings.timeout_s, settings.startup_s) == (3, 50, 600)
    seconds = ServerSettings.from_env({**environ, "SAGEMAKER_MODEL_SERVER_TIMEOUT_SECONDS": "7"})
    assert seconds.timeout_s == 7
    assert ServerSettings.from_env({}).timeout_s is None
    for name in [*environ, "SAGEMAKER_MODEL_SERVER_TIMEOUT_SECONDS"]:
        for value in ("0", "-1", "many", "99999999"):
            with pytest.raises(InvalidSettingError, match=f"{name} = .*whole number from 1 to"):
                ServerSettings.from_env({name: value})


@pytest.mark.parametrize(
    ("environ", "level"),
    [
        ({}, "INFO"),
        ({"SAGEMAKER_CONTAINER_LOG_LEVEL": "10"}, "DEBUG"),
        ({"SAGEMAKER_CONTAINER_LOG_LEVEL": "warning"}, "warning"),
        ({"SAGEMAKER_CONTAINER_LOG_LEVEL": "10", "MODELPORT_LOG_LEVEL": "ERROR"}, "ERROR"),
    ],
)
def test_sagemakers_log_level_counts_where_ours_is_not_set(
    environ: dict[str, str], level: str
) -> None:
    assert runtime_settings({**VERSION, **environ}).log_level == level


@pytest.mark.parametrize(
    ("name", "value"),
    [("THREADS", "0"), ("MAX_BATCH_ROWS", "0"), ("MAX_BATCH_DELAY_MS", "-1"), ("THREADS", "two")],
)
def test_runtime_settings_out_of_range_are_named(name: str, value: str) -> None:
    with pytest.raises(InvalidSettingError, match=f"MODELPORT_{name}"):
        runtime_settings({**VERSION, f"MODELPORT_{name}": value})


# --- through SageMaker ----------------------------------------------------------------------------


def post(application: Application, request: Request) -> Response:
    """Send ``request`` over a connection to the application."""
    head = f"{request.method} {request.path} HTTP/1.1\r\ncontent-length: {len(request.body)}\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    (answer,) = exchanged(application, head.encode() + b"\r\n" + request.body)
    return answer


def through_sagemaker(request: Request) -> Request:
    """What a container gets of a request that the router sent with InvokeEndpoint."""
    headers = {HEADER: attributes_of(request)}
    headers |= {n: request.headers[n] for n in ("content-type", "accept") if n in request.headers}
    return Request("POST", "/invocations", headers, body_of(request))


@pytest.fixture
def application() -> Any:
    made = Application({"x-modelport-model": "demo"}, max_body=1000)
    yield made
    made.close()


INNER = Request(
    "POST", "/v2/models/demo/infer", {"content-type": "application/json"}, b"{}", "id-7"
)


def test_the_request_inside_the_envelope_is_answered_in_one(application: Application) -> None:
    seen = []

    def handle(request: Request) -> Response:
        seen.append(request)
        return Response(404, {"content-type": "text/plain", "x-modelport-error": "gone"}, b"no")

    application.ready(handle)
    carried = post(application, through_sagemaker(INNER))
    assert carried.status == 200
    assert seen == [INNER]
    answer = unwrapped(carried)
    assert answer is not None
    assert (answer.status, answer.body) == (404, b"no")
    assert answer.headers["x-modelport-error"] == "gone"


def test_a_question_inside_the_envelope_keeps_its_method(application: Application) -> None:
    application.ready(lambda request: Response(200, {}, request.method.encode()))
    answer = unwrapped(post(application, through_sagemaker(Request("GET", "/v2", {}, b"", "id"))))
    assert answer is not None
    assert answer.body == b"GET"


def test_a_callers_own_attributes_are_left_alone(application: Application) -> None:
    application.ready(lambda request: Response(200, {}, request.headers[HEADER].encode()))
    request = Request("POST", "/invocations", {HEADER: "trace=1"}, b"{}")
    assert post(application, request).body == b"trace=1"
    elsewhere = Request("POST", "/v2", {HEADER: attributes_of(INNER)}, b"{}")
    assert post(application, elsewhere).body.decode() == attributes_of(INNER)


def test_refusals_travel_in_the_envelope_too(application: Application) -> None:
    loading = unwrapped(post(application, through_sagemaker(INNER)))
    assert loading is not None
    assert (loading.status, loading.headers["retry-after"]) == (503, "1")
    assert loading.headers["x-modelport-model"] == "demo"
    application.ready(lambda request: Response(200))
    large = through_sagemaker(Request("POST", INNER.path, INNER.headers, b"x" * 1001, "id"))
    carried = post(application, large)
    assert (carried.status, carried.headers["connection"]) == (200, "close")
    answer = unwrapped(carried)
    assert answer is not None
    assert answer.status == 413


def test_an_envelope_that_cannot_be_read_is_400(application: Application) -> None:
    application.ready(lambda request: Response(200))
    response = post(application, Request("POST", "/invocations", {HEADER: MARK + "{"}, b""))
    assert response.status == 400
    assert "error" in json.loads(response.body)


def test_an_id_in_the_envelope_that_could_forge_a_header_is_replaced(
    application: Application,
) -> None:
    application.ready(lambda request: Response(200, {"id": request.request_id}))
    forged = MARK + json.dumps(
        {"m": "GET", "p": "/v2", "i": "a\r\nset-cookie: b", "x": "", "h": {}}
    )
    carried = post(application, Request("POST", "/invocations", {HEADER: forged}, b"x"))
    answer = unwrapped(carried) or carried
    assert "set-cookie" not in json.dumps(answer.headers)


def test_a_model_over_its_time_is_504_and_its_worker_is_told(tmp_path: Any) -> None:
    missed: list[bool] = []
    memory = shared_memory(1)
    metrics = Metrics(memory, 0, {})
    deadline = Deadline(0.01, "demo", 3, lambda: missed.append(True))
    made = Application({}, 1000, metrics=metrics, deadline=deadline)

    async def never(request: Request) -> Response:
        await asyncio.sleep(30)
        raise AssertionError("nobody waits for this")

    made.ready(lambda request: Response(200), never)
    response = post(made, Request("POST", "/invocations", {}, b"{}"))
    made.close()
    assert response.status == 504
    assert b"did not answer within 0.01 s" in response.body
    assert missed == [True]
    assert b'status="504"} 1' in metrics.render()
    os.close(memory)


def test_metrics_are_served_beside_the_protocols_and_need_no_model() -> None:
    memory = shared_memory(1)
    made = Application({}, 1000, metrics=Metrics(memory, 0, {"model": "demo"}))
    response = post(made, Request("GET", "/metrics"))
    made.close()
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert b'modelport_model_loaded{model="demo"} 0\n' in response.body
    os.close(memory)

"""A live function and a shadow on a SageMaker endpoint: every protocol, from a caller to a metric.

Both versions are the real data plane over onnxruntime, so what is compared is what codecs write.
The queue is SQS as moto has it, the worker is wired as on Lambda, and boto3's own clients stand in
between; the endpoint is a loopback service with SageMaker's limits.
"""

from __future__ import annotations

import gzip
import json
import threading
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from modelport.backends import CallableBackend
from modelport.envelope import Handler, Request, Response
from modelport.goldens.form import Asked
from modelport.goldens.golden import Golden, Tensor
from modelport.goldens.v2 import build_binary
from modelport.registry.s3 import S3Registry
from modelport.routes import Deployment, Policy, Routes, Shadow, Weighted
from modelport.settings import WorkerSettings
from modelport.shadows.message import ShadowCall
from modelport.signature import Signature, TensorSpec
from moto.server import ThreadedMotoServer

from functions.router.shadow_queue import ShadowQueue, SqsSender
from functions.runtime.loading import load
from functions.worker.handler import Worker, build
from tests.support import runtime_bundles as bundles
from tests.support.embedded_metrics import metrics_of
from tests.support.registry_world import ADA, make_draft
from tests.support.router_world import SwitchableRegistry, World
from tests.support.runtime_planes import v2_tensor
from tests.support.sagemaker_api import SageMakerApi, refusing, sagemaker_api, version

MODEL, LIVE, SHADOW = "demo", 2, 3
BUCKET, ENDPOINT = "registry", "modelport-test-demo-v3"
PATIENCE_S = 20.0
SIGNATURE = Signature((TensorSpec("x", "FP32", (-1, 2)),), (TensorSpec("y", "FP32", (-1, 2)),))
X = Tensor("x", "FP32", (2, 2), (1.0, 2.0, 4.0, 3.0))
ROWS = [[1, 2], [4, 3]]


@pytest.fixture(scope="module")
def aws() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="module")
def sagemaker() -> Iterator[SageMakerApi]:
    with sagemaker_api() as running:
        yield running


@pytest.fixture(scope="module")
def planes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Handler]:
    """The live version, and two that could be its shadow."""
    folder = tmp_path_factory.mktemp("planes")
    found: dict[str, Handler] = {}
    for name, body, number in (
        ("live", bundles.DOUBLE, LIVE),
        ("same", bundles.DOUBLE, SHADOW),
        ("other", bundles.NEGATE, SHADOW),
    ):
        found[name] = load(bundles.write_bundle(folder / name, body, version=number)).handle
    return found


ASKED = Request("POST", f"/v1/models/{MODEL}:predict", {}, b"{}", "id")


class Context:
    """What is left of a function's time."""

    def get_remaining_time_in_millis(self) -> int:
        return 900_000


class Cloud:
    """A router whose copies go to a queue, and the worker that takes them from there."""

    def __init__(self, aws: str, live: Handler, worker: Worker, routes: Routes) -> None:
        self.sqs = boto3.client("sqs", endpoint_url=aws)
        self.queue: str = self.sqs.create_queue(QueueName=f"q-{uuid.uuid4().hex}")["QueueUrl"]
        self._worker, self._sent = worker, threading.Event()
        sender = SqsSender(lambda: self.sqs, self.queue)

        def send(text: str) -> None:
            sender(text)
            self._sent.set()

        shadows = ShadowQueue(send, environment="test", log=lambda record: None)
        backends = {"lambda": CallableBackend({LIVE: live})}
        registry = SwitchableRegistry(routes)
        self.world = World(registry=registry, backends=backends, shadows=shadows)

    def worked(self) -> None:
        """Wait for the copy of a call, and have the worker take it."""
        assert self._sent.wait(PATIENCE_S)
        (message,) = self.sqs.receive_message(
            QueueUrl=self.queue, AttributeNames=["ApproximateReceiveCount"]
        )["Messages"]
        record = {
            "messageId": message["MessageId"],
            "receiptHandle": message["ReceiptHandle"],
            "body": message["Body"],
            "attributes": message["Attributes"],
        }
        assert self._worker({"Records": [record]}, Context()) == {"batchItemFailures": []}


Start = Callable[[], Cloud]


@pytest.fixture(scope="module")
def routes(aws: str, tmp_path_factory: pytest.TempPathFactory) -> Routes:
    """What the registry, and so the worker, knows of the model."""
    s3 = boto3.client("s3", endpoint_url=aws)
    s3.create_bucket(Bucket=BUCKET)
    registry = S3Registry(s3, BUCKET)
    for number in range(1, SHADOW + 1):
        draft = make_draft(tmp_path_factory.mktemp("draft"), model=bytes([number]))
        registry.publish(MODEL, draft, who=ADA)
    written = registry.change(MODEL, _deployed, action="test", detail={}, who=ADA)
    s3.close()
    return written


@pytest.fixture(scope="module")
def worker(aws: str, routes: Routes, sagemaker: SageMakerApi) -> Worker:
    """The worker as Lambda has it, in an environment whose AWS is on this machine."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ENDPOINT_URL", aws)
        environment.setenv("AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME", sagemaker.url)
        worker = build(WorkerSettings(BUCKET, "test").to_env())
        now = datetime.now(UTC).isoformat()  # the worker asks nobody about a call that is too old
        first = ShadowCall.of(MODEL, LIVE, SHADOW, ASKED, Response(200), now).to_text()
        event = {"Records": [{"messageId": "1", "receiptHandle": "1", "body": first}]}
        worker(event, Context())  # the endpoint's client is made for the first who asks it
    return worker


@pytest.fixture
def start(aws: str, routes: Routes, worker: Worker, planes: dict[str, Handler]) -> Start:
    return lambda: Cloud(aws, planes["live"], worker, routes)


def _deployed(routes: Routes) -> Routes:
    for each in (
        Deployment(LIVE, "lambda", "modelport-test-demo-v2", f"sha256:{LIVE:064x}"),
        Deployment(SHADOW, "sagemaker", ENDPOINT, f"sha256:{SHADOW:064x}"),
    ):
        routes = routes.with_deployment(each)
    routes = routes.with_alias("stable", (Weighted(LIVE),))
    return routes.with_policy(Policy(shadows=(Shadow(SHADOW),)))


def line(captured: str) -> dict[str, Any]:
    """The one line about a shadow that the worker wrote."""
    lines = [json.loads(text) for text in captured.splitlines() if text.startswith("{")]
    (found,) = [each for each in lines if each.get("event") == "shadow"]
    return dict(found)


def binary() -> tuple[bytes, dict[str, str]]:
    headers, body = build_binary(Golden("g", inputs=(X,)), Asked(SIGNATURE))
    return body, headers


def as_json(document: Any, **headers: str) -> tuple[bytes, dict[str, str]]:
    return json.dumps(document).encode(), {"content-type": "application/json"} | headers


V1, V2 = f"/v1/models/{MODEL}:predict", f"/v2/models/{MODEL}/infer"
INVOCATIONS = f"/endpoints/{MODEL}/invocations"
V2_JSON = {"id": "abc", "inputs": [v2_tensor("x", [1, 2, 4, 3], [2, 2])]}
FRAME = {"dataframe_split": {"columns": ["a", "b"], "data": ROWS}}
PACKED = gzip.compress(json.dumps({"instances": ROWS}).encode())
CASES: dict[str, tuple[str, tuple[bytes, dict[str, str]]]] = {
    "v1 rows": (V1, as_json({"instances": ROWS})),
    "v1 columns": (V1, as_json({"inputs": ROWS})),
    "v1 packed": (
        V1,
        (PACKED, {"content-type": "application/octet-stream", "content-encoding": "gzip"}),
    ),
    "v1 answer packed": (V1, as_json({"instances": ROWS * 500}, **{"accept-encoding": "gzip"})),
    "v2 json": (V2, as_json(V2_JSON)),
    "v2 binary": (V2, binary()),
    "v2 on sagemaker": (INVOCATIONS, as_json(V2_JSON)),
    "mlflow": (INVOCATIONS, as_json(FRAME)),
    "sagemaker rows": (INVOCATIONS, as_json({"instances": ROWS})),
    "csv": (INVOCATIONS, (b"1,2\n4,3\n", {"content-type": "text/csv", "accept": "text/csv"})),
    "lines": (
        INVOCATIONS,
        as_json({"instances": ROWS}, accept="application/jsonlines"),
    ),
    "npy": (INVOCATIONS, as_json({"instances": ROWS}, accept="application/x-npy")),
    "triton": (
        INVOCATIONS,
        as_json(
            {"instances": ROWS},
            accept="application/vnd.sagemaker-triton.binary+json;json-header-size=0",
        ),
    ),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("shadow", "disagreed"), [("same", 0), ("other", 1)])
def test_every_protocol_is_compared_across_targets(
    start: Start,
    sagemaker: SageMakerApi,
    planes: dict[str, Handler],
    capsys: pytest.CaptureFixture[str],
    case: str,
    shadow: str,
    disagreed: int,
) -> None:
    cloud = start()
    sagemaker.endpoints[ENDPOINT] = version(planes[shadow])
    path, (body, headers) = CASES[case]
    named = {name.replace("-", "_"): value for name, value in headers.items()}
    answer = cloud.world.post(path, body, **named)
    assert answer.status == 200, answer.body
    assert answer.headers["x-modelport-version"] == str(LIVE)
    assert ("content-encoding" in answer.headers) == (case == "v1 answer packed")
    cloud.worked()
    told = line(capsys.readouterr().out)
    assert told["target"] == "sagemaker"
    counts = metrics_of(told)
    assert counts.pop("shadow_ms") > 0
    assert counts.keys() >= {"predicted_0", "predicted_1", "predictions"}
    assert (counts["shadow_requests"], counts["compared"]) == (1, 1), told
    assert counts["disagreed"] == disagreed, told
    assert told["version"] == str(SHADOW)


def test_what_has_no_form_to_compare_is_said_so(
    start: Start,
    sagemaker: SageMakerApi,
    planes: dict[str, Handler],
    capsys: pytest.CaptureFixture[str],
) -> None:
    cloud = start()
    sagemaker.endpoints[ENDPOINT] = version(planes["other"])
    answer = cloud.world.post(
        INVOCATIONS, json.dumps({"instances": ROWS}).encode(), accept="application/octet-stream"
    )
    assert answer.status == 200
    cloud.worked()
    counts = metrics_of(line(capsys.readouterr().out))
    assert (counts["incomparable"], "compared" in counts) == (1, False)


@pytest.mark.parametrize(
    "endpoint",
    [
        None,
        refusing(500, "InternalFailure"),
        version(lambda request: Response(500, {"content-type": "application/json"}, b"{}")),
    ],
)
def test_an_endpoint_that_is_down_costs_the_caller_nothing(
    start: Start,
    sagemaker: SageMakerApi,
    planes: dict[str, Handler],
    capsys: pytest.CaptureFixture[str],
    endpoint: Callable[[Request], Any] | None,
) -> None:
    cloud = start()
    sagemaker.endpoints.pop(ENDPOINT, None)
    if endpoint is not None:
        sagemaker.endpoints[ENDPOINT] = endpoint
    answer = cloud.world.post(V1, json.dumps({"instances": ROWS}).encode())
    assert answer.status == 200
    cloud.worked()
    told = line(capsys.readouterr().out)
    counts = metrics_of(told)
    assert (counts["shadow_requests"], counts["shadow_errors"]) == (1, 1)
    assert "secret" not in json.dumps(told)
    assert not counts.keys() & {"compared", "requests", "errors"}

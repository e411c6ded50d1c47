"""Uploads, large answers and jobs from the Python client to a real data plane and back.

S3 and SQS are a moto server on a loopback socket, so URLs are presigned, PUT and fetched as they
are; the router answers over HTTP, the version behind Lambda's and SageMaker's own transports.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import boto3
import httpx
import modelport.client as mp
import numpy as np
import pytest
from modelport.envelope import Request
from modelport.errors import PayloadTooLargeError, RegistryUnavailableError
from modelport.grammar import Call
from modelport.jobs.board import Board
from modelport.jobs.errors import QueueUnavailableError
from modelport.jobs.queue import SqsQueue, job_message
from modelport.jobs.s3 import S3Payloads, base_url, signing_config
from modelport.refusals import refused
from modelport.registry.s3 import S3Store
from modelport.settings import RouterSettings, WorkerSettings
from moto.server import ThreadedMotoServer

from functions.router.handler import jobs
from functions.router.jobs import Jobs, Terms
from functions.runtime.lambda_transport import check_answer_size
from functions.runtime.loading import load
from functions.worker.jobs import JobRunner, Work
from functions.worker.messages import consume
from tests.contract.test_router_over_http import served
from tests.support import runtime_bundles as bundles
from tests.support.router_world import World, deployed
from tests.support.version_behind import behind

BUCKET = "modelport-test-payloads"
#: 5.6 MB each way: over what an API carries, under what a test can wait for.
LARGE = np.arange(1_400_000, dtype=np.float32).reshape(-1, 2)
SMALL = np.array([[1, 2]], np.float32)
ONCE: Any = {"connect_timeout": 1, "retries": {"total_max_attempts": 1}}


@pytest.fixture(scope="module")
def aws() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@dataclass
class Cloud:
    """One environment: its stores, its router over HTTP, its worker by hand."""

    url: str
    queue_url: str
    sqs: Any
    runner: JobRunner
    world: World
    board: Board
    records: list[Any]

    def work(self, *, at_most: int = 20) -> int:
        """Have the worker do what is in the queue; how many messages it took."""
        taken = 0
        for _ in range(at_most):
            found = self.sqs.receive_message(
                QueueUrl=self.queue_url,
                MaxNumberOfMessages=1,
                AttributeNames=["ApproximateReceiveCount"],
            ).get("Messages", [])
            if not found:
                break
            (message,) = found
            taken += 1
            record = {
                "messageId": message["MessageId"],
                "receiptHandle": message["ReceiptHandle"],
                "body": message["Body"],
                "attributes": message["Attributes"],
                "eventSourceARN": "arn:jobs",
            }
            until = self.board.clock() + 900
            answer = consume(
                {"Records": [record]}, {"job": self.runner}, until, self.records.append
            )
            if not answer["batchItemFailures"]:
                handle = message["ReceiptHandle"]
                self.sqs.delete_message(QueueUrl=self.queue_url, ReceiptHandle=handle)
        return taken


@pytest.fixture(scope="module", params=["lambda", "sagemaker"])
def cloud(
    request: pytest.FixtureRequest, aws: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cloud]:
    target: str = request.param
    s3 = boto3.client("s3", endpoint_url=aws, config=signing_config(aws))
    sqs = boto3.client("sqs", endpoint_url=aws)
    s3.create_bucket(Bucket=BUCKET)
    queue_url = sqs.create_queue(QueueName=f"jobs-{uuid.uuid4().hex}")["QueueUrl"]
    settings = bundles.write_bundle(tmp_path_factory.mktemp("bundle"), bundles.DOUBLE)
    allowed = base_url(BUCKET, "us-east-1", aws)
    check = check_answer_size if target == "lambda" else None
    plane = load(replace(settings, payloads_url=allowed), check)
    backends = behind(target, plane.handle)
    board, payloads = Board(S3Store(s3, BUCKET)), S3Payloads(s3, BUCKET)
    queue = SqsQueue(sqs, queue_url)

    @cache
    def made() -> Jobs:
        return Jobs(board, payloads, queue, Terms(20_000_000))

    world = World(
        deployed(3, model="demo", target=target), backends=backends, threads=True, jobs=made
    )
    records: list[Any] = []
    runner = JobRunner(
        Work(world.registry, backends, board, payloads, queue, lambda *_: None, records.append)
    )
    with served(world) as http:
        yield Cloud(str(http.base_url), queue_url, sqs, runner, world, board, records)


def test_bodies_and_answers_of_any_size_go_through_the_client_unseen(cloud: Cloud) -> None:
    with mp.Client(cloud.url) as client:
        outputs = client.model("demo").predict({"x": LARGE})
    np.testing.assert_array_equal(outputs["y"], LARGE * 2)
    assert outputs.answered_by.version == "3"
    paths = [(line["protocol"], line["verb"], line["status"]) for line in cloud.world.lines[-2:]]
    assert paths == [("jobs", "upload", 200), ("v2", "infer", 303)]

    async def ask() -> mp.Outputs:
        async with mp.AsyncClient(cloud.url, compression="gzip") as client:
            noise = np.random.default_rng(1).random((700_000, 2), np.float32)
            found = await client.model("demo").predict({"x": noise})
            np.testing.assert_array_equal(found["y"], noise * 2)
            return found

    assert asyncio.run(ask()).answered_by.version == "3"


def test_an_answer_that_turns_out_too_large_is_fetched_from_where_it_lies(cloud: Cloud) -> None:
    # 3.9 MB of short numbers there, 6.5 MB of longer ones back.
    body = json.dumps({"instances": [[1, 2]] * 650_000}, separators=(",", ":")).encode()
    headers = {"content-type": "application/json"}
    with mp.Client(cloud.url) as client:
        reply = client.post("/v1/models/demo:predict", body, headers)
    assert reply.content_type == "application/json"
    assert reply.body.count(b"[2.0,4.0]") == 650_000
    # Lambda's runtime says that it is too large; what SageMaker carries, the router's own event.
    assert cloud.world.lines[-1]["status"] == 303


def test_plain_http_uploads_and_follows(cloud: Cloud) -> None:
    with httpx.Client(base_url=cloud.url) as http:
        body = json.dumps({"instances": [[1, 2]] * 450_000}, separators=(",", ":")).encode()
        place = http.post("/uploads", json={"content_length": len(body)}).json()
        assert httpx.put(place["url"], content=body, headers=place["headers"]).status_code == 200
        headers = {"x-modelport-body": place["upload"], "content-type": "application/json"}
        followed = http.post("/v1/models/demo:predict", headers=headers, follow_redirects=True)
    assert [step.status_code for step in followed.history] == [303]
    assert followed.headers["content-type"] == "application/json"
    assert followed.content.count(b"[2.0,4.0]") == 450_000


def test_what_is_larger_than_allowed_is_refused_with_the_number(cloud: Cloud) -> None:
    with (
        mp.Client(cloud.url) as client,
        pytest.raises(mp.CallRefusedError, match=r"limit is 20,000,000 bytes"),
    ):
        client.post("/v1/models/demo:predict", b"x" * 20_000_001, {})


@pytest.mark.parametrize("inputs", [SMALL, LARGE], ids=["small", "large"])
def test_a_job_from_first_to_last(cloud: Cloud, inputs: Any) -> None:
    with mp.Client(cloud.url) as client:
        job = client.model("demo").predict_later({"x": inputs})
        assert job.status().state == "queued"
        with pytest.raises(mp.JobPendingError, match=job.id) as caught:
            job.result(timeout=0.01)
        assert caught.value.job == job.id
        assert cloud.work() == 1
        assert job.status().over
        np.testing.assert_array_equal(job.result()["y"], inputs * 2)
        again = client.job(job.id).result()
        np.testing.assert_array_equal(again["y"], inputs * 2)
        assert again.answered_by.version == "3"
        with pytest.raises(mp.StateForbidsError, match="succeeded"):
            job.cancel()


def test_a_job_in_asyncio_is_waited_for_and_canceled(cloud: Cloud) -> None:
    async def run() -> None:
        async with mp.AsyncClient(cloud.url) as client:
            model = client.model("demo")
            job = await model.predict_later({"x": SMALL})
            worker = threading.Thread(target=cloud.work)
            worker.start()
            found = await job.result(timeout=30)
            worker.join()
            np.testing.assert_array_equal(found["y"], SMALL * 2)
            other = await model.predict_later({"x": SMALL})
            assert (await other.cancel()).state == "canceled"
            with pytest.raises(mp.StateForbidsError, match="canceled"):
                await other.result()

    asyncio.run(run())
    assert cloud.work() == 1  # the message of what was canceled says nothing to do
    assert cloud.records[-1]["state"] == "canceled"


def test_a_refusal_of_the_model_is_the_jobs_answer(cloud: Cloud) -> None:
    with mp.Client(cloud.url) as client:
        job = client.model("demo").predict_later({"x": np.ones((1, 2), np.int64)})
        cloud.work()
        status = job.status()
        assert (status.state, status.error) == ("failed", "")
        with pytest.raises(mp.CallRefusedError) as caught:
            job.result()
    assert caught.value.remote_code == "invalid-tensor"


def test_a_message_without_its_job_is_done_for(cloud: Cloud) -> None:
    SqsQueue(cloud.sqs, cloud.queue_url).send(job_message("0" * 32))
    assert cloud.work() == 1
    assert cloud.work() == 0


def test_nobody_may_be_told_that_is_not_allowed(cloud: Cloud) -> None:
    with mp.Client(cloud.url) as client, pytest.raises(mp.CallRefusedError, match="https"):
        client.model("demo").predict_later({"x": SMALL}, webhook="http://127.0.0.1/")


def test_presigned_urls_name_the_bucket_that_the_version_trusts(aws: str) -> None:
    for region in ("us-east-1", "eu-central-1"):
        client = boto3.client("s3", region_name=region, config=signing_config(None))
        url = S3Payloads(client, BUCKET).get_url("a/b", 60)
        assert url.startswith(base_url(BUCKET, region))
        assert "X-Amz-Algorithm=AWS4-HMAC-SHA256" in url
        local = boto3.client("s3", region_name=region, endpoint_url=aws, config=signing_config(aws))
        put = S3Payloads(local, BUCKET).put_url("a/b", 60, 5)
        assert put.startswith(base_url(BUCKET, region, aws))
        assert "content-length" in put
        assert "x-amz-server-side-encryption" not in put.lower()


def test_what_aws_refuses_is_said_as_ours(aws: str) -> None:
    sqs = boto3.client("sqs", endpoint_url=aws)
    queue = SqsQueue(sqs, f"{aws}/123456789012/no-such-queue")
    with pytest.raises(QueueUnavailableError) as caught:
        queue.send({})
    assert refused(caught.value, Request("POST", "/")).status == 503
    with pytest.raises(QueueUnavailableError):
        queue.later("receipt", 1)
    nowhere = S3Payloads(boto3.client("s3", endpoint_url=aws, config=signing_config(aws)), "none")
    with pytest.raises(RegistryUnavailableError):
        nowhere.get("a")
    with pytest.raises(RegistryUnavailableError):
        nowhere.put("a", b"", {})
    gone = boto3.client("s3", endpoint_url="http://127.0.0.1:1", config=signing_config("x", **ONCE))
    with pytest.raises(RegistryUnavailableError):
        S3Payloads(gone, BUCKET).size("a")


def test_bodies_lie_with_their_type_and_coding(aws: str) -> None:
    s3 = boto3.client("s3", endpoint_url=aws, config=signing_config(aws))
    s3.create_bucket(Bucket=BUCKET)
    payloads = S3Payloads(s3, BUCKET)
    packed = gzip.compress(b"text")
    payloads.put("a", packed, {"content-type": "text/plain", "content-encoding": "gzip"})
    fetched = httpx.get(payloads.get_url("a", 60))
    assert (fetched.text, fetched.headers["content-type"]) == ("text", "text/plain")
    assert (payloads.get("a"), payloads.size("a")) == (packed, len(packed))
    assert (payloads.get("b"), payloads.size("b")) == (None, None)
    assert payloads.get("a", len(packed)) == packed
    with pytest.raises(PayloadTooLargeError):
        payloads.get("a", len(packed) - 1)


def test_the_router_is_built_from_its_settings(aws: str) -> None:
    settings = RouterSettings("r", "test", payloads_bucket=BUCKET, jobs_queue_url=f"{aws}/1/jobs")
    make = jobs({"AWS_ENDPOINT_URL": aws}, settings)
    assert make is not None
    assert make() is make()
    asked = Request("POST", "/uploads", body=b'{"content_length": 5}')
    answer = make().answer(Call("jobs", "upload"), asked, None)
    assert json.loads(answer.body)["limit"] == settings.max_upload_bytes
    # Where either is missing there are no jobs, and nothing is made.
    for lacking in (
        replace(settings, payloads_bucket=None),
        replace(settings, jobs_queue_url=None),
    ):
        assert jobs({}, lacking) is None


def test_the_worker_is_built_from_its_settings(aws: str) -> None:
    from functions.worker.handler import build

    class Context:
        def get_remaining_time_in_millis(self) -> int:
            return 1000

    settings = WorkerSettings("registry", "test", BUCKET, f"{aws}/1/jobs", "arn:dead")
    worker = build({**settings.to_env(), "AWS_ENDPOINT_URL": aws})
    record = {"messageId": "1", "receiptHandle": "1", "body": '{"kind":"x"}'}
    assert worker({"Records": [record]}, Context()) == {
        "batchItemFailures": [{"itemIdentifier": "1"}]
    }
    assert worker({"Records": [{**record, "eventSourceARN": "arn:dead"}]}, Context()) == {
        "batchItemFailures": []
    }

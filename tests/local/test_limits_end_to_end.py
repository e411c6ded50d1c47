"""Calls that no event carries or no gateway waits for: uploads, large answers, jobs, end to end.

One version whose script does what its input says. Its process has no rights: what it fetches and
puts away it reaches by signed URLs. The worker gets its jobs from the queue.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import boto3
import httpx
import pytest

from tests.local.conftest import eventually, processes_with
from tests.local.test_end_to_end import scaling
from tests.support.local_cloud import LocalCloud, local_cloud

MODEL = "limits"
CALL = f"/endpoints/{MODEL}/invocations"
WORKER = "modelport-local-worker"
MEGABYTE = 1_000_000
SCRIPT = '''\
"""Sleeps, answers much, fails, or counts its bytes, as its input says."""
import json
import time


def input_fn(data, content_type):
    return bytes(data)


def predict_fn(data, model):
    verb, _, amount = data[:32].partition(b" ")
    if verb == b"sleep":
        time.sleep(float(amount))
    if verb == b"raise":
        raise RuntimeError("a secret of the model")
    return {"bytes": len(data), "filling": "x" * int(amount) if verb == b"large" else ""}


def output_fn(prediction, accept):
    return json.dumps(prediction), "application/json"
'''


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    folder = tmp_path_factory.mktemp("limits")
    with local_cloud(folder / "home", "ministack") as running:
        bundle = scaling(folder / "v1", 2)
        (bundle / "inference.py").write_text(SCRIPT)
        running.deployed(bundle, model=MODEL)
        yield running


def uploaded(cloud: LocalCloud, body: bytes) -> str:
    """The id of an upload that holds ``body``, PUT by somebody who knows nothing of AWS."""
    place = cloud.post("/uploads", {"content_length": len(body)}).json()
    put = httpx.put(place["url"], content=body, timeout=60)
    assert put.status_code == 200, put.text
    return str(place["upload"])


def accepted(cloud: LocalCloud, body: bytes, **headers: str) -> str:
    """The path of the job that the call has become."""
    answer = cloud.post(CALL, body, **{"prefer": "respond-async", **headers})
    assert answer.status_code == 202, answer.text
    # Relative to the URL of the call, because a gateway may put its stage before the path.
    return str(answer.url.join(answer.headers["location"])).removeprefix(cloud.endpoint)


TOO_LARGE = {"message": "Request Entity Too Large"}


def finished(cloud: LocalCloud, job: str, limit_s: float = 40) -> dict[str, Any]:
    over = ("succeeded", "failed", "canceled")
    assert eventually(lambda: cloud.get(job).json()["status"] in over, limit_s), cloud.get(job).text
    return dict(cloud.get(job).json())


def test_a_body_of_nine_megabytes_goes_by_upload(cloud: LocalCloud) -> None:
    body = bytes(9 * MEGABYTE)
    # Of such a size Lambda takes no event, so the gateway says so and the router never sees it.
    too_large = cloud.post(CALL, body)
    assert (too_large.status_code, too_large.json()) == (413, TOO_LARGE)
    # Text that just fits into an event the router refuses, and says what to do.
    refused = cloud.post(CALL, b"x" * 6_100_000, content_type="application/json")
    assert refused.status_code == 413
    assert "uploads" in refused.text
    answer = cloud.post(CALL, b"", x_modelport_body=uploaded(cloud, body))
    assert (answer.status_code, answer.json()["bytes"]) == (200, len(body))
    assert answer.headers["x-modelport-version"] == "1"


def test_an_answer_of_eight_megabytes_comes_by_a_url_that_works_without_rights(
    cloud: LocalCloud,
) -> None:
    answer = cloud.post(CALL, b"large 8000000")
    assert answer.status_code == 303, answer.text
    fetched = httpx.get(answer.headers["location"], timeout=60)
    assert len(fetched.json()["filling"]) == 8 * MEGABYTE
    assert fetched.headers["content-type"] == "application/json"
    path = httpx.URL(answer.headers["location"]).copy_with(query=None)
    assert httpx.get(path.copy_with(path=path.path + "x")).status_code in (403, 404)


def test_a_call_may_become_a_job_and_its_answer_waits(cloud: LocalCloud) -> None:
    job = accepted(cloud, b"four")
    done = finished(cloud, job)
    assert (done["status"], done["attempts"], done["model"]) == ("succeeded", 1, MODEL)
    answer = cloud.get(f"{job}/answer")
    assert (answer.status_code, answer.json()["bytes"]) == (200, 4)
    assert answer.headers["x-modelport-version"] == "1"
    listed = {each["id"]: each["status"] for each in cloud.modelport("jobs", "list")["jobs"]}
    assert listed[job.rpartition("/")[2]] == "succeeded"


def test_a_job_takes_an_upload_and_its_answer_may_be_large(cloud: LocalCloud) -> None:
    body = b"large 8000000".ljust(7 * MEGABYTE)
    job = accepted(cloud, b"", x_modelport_body=uploaded(cloud, body))
    assert finished(cloud, job)["status"] == "succeeded"
    answer = cloud.get(f"{job}/answer")
    assert answer.status_code == 303
    fetched = httpx.get(answer.headers["location"], timeout=60).json()
    assert (fetched["bytes"], len(fetched["filling"])) == (len(body), 8 * MEGABYTE)


def test_a_job_that_fails_says_so_and_nothing_of_the_models_inside(cloud: LocalCloud) -> None:
    job = accepted(cloud, b"raise")
    assert finished(cloud, job)["status"] == "failed"
    answer = cloud.get(f"{job}/answer")
    assert answer.status_code == 500
    assert "secret" not in answer.text + cloud.get(job).text


def test_a_slow_call_answers_202_and_is_there_later(cloud: LocalCloud) -> None:
    quick = cloud.post(CALL, b"quick", prefer="respond-async, wait=15")
    assert (quick.status_code, quick.json()["bytes"]) == (200, 5)
    job = accepted(cloud, b"sleep 3", prefer="respond-async, wait=1")
    assert cloud.get(job).json()["status"] in ("queued", "running")
    assert cloud.get(f"{job}/answer").status_code == 409
    assert finished(cloud, job)["status"] == "succeeded"


def test_one_key_is_one_job_and_another_request_under_it_is_refused(cloud: LocalCloud) -> None:
    key = {"idempotency_key": "order-7"}
    first, again = (accepted(cloud, b"once", **key) for _ in range(2))
    assert first == again
    other = cloud.post(CALL, b"another", prefer="respond-async", **key)
    assert other.status_code in (409, 422), other.text


def test_a_job_can_be_canceled_and_stays_so(cloud: LocalCloud) -> None:
    job = accepted(cloud, b"sleep 2")
    canceled = cloud.post(f"{job}/cancel", b"")
    assert (canceled.status_code, canceled.json()["status"]) == (200, "canceled")
    time.sleep(3)  # as long as the model may still run
    assert cloud.get(job).json()["status"] == "canceled"
    assert cloud.get(f"{job}/answer").status_code == 409
    unknown = cloud.get("/jobs/" + "0" * 32)
    assert unknown.status_code == 404


@pytest.fixture
def impatient(cloud: LocalCloud) -> Iterator[None]:
    """Messages that come again in seconds, of workers that run for seconds: dying is cheap."""
    endpoint = cloud.environment["AWS_ENDPOINT_URL"]
    with (
        closing(boto3.client("sqs", endpoint_url=endpoint)) as queues,
        closing(boto3.client("lambda", endpoint_url=endpoint)) as functions,
    ):
        url = queues.get_queue_url(QueueName="modelport-local-jobs")["QueueUrl"]
        queues.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": "3"})
        functions.update_function_configuration(FunctionName=WORKER, Timeout=6)
        yield


@pytest.mark.usefixtures("impatient")
def test_a_job_outlives_the_worker_that_had_it(cloud: LocalCloud) -> None:
    job = accepted(cloud, b"sleep 2")
    assert eventually(lambda: cloud.get(job).json()["status"] == "running")
    mine = processes_with(cloud.environment["AWS_ENDPOINT_URL"])
    killed = [pid for pid in processes_with(f"AWS_LAMBDA_FUNCTION_NAME={WORKER}\0") if pid in mine]
    assert killed
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    done = finished(cloud, job, 60)
    assert (done["status"], done["attempts"]) == ("succeeded", 2), done
    assert cloud.get(f"{job}/answer").json()["bytes"] == len(b"sleep 2")

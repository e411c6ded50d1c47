"""A change of a served version meets no caller before it has answered its goldens."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest
import tomlkit
from modelport.registry.s3 import S3Registry

from tests.local.test_end_to_end import NEEDS_313, scaling
from tests.support.local_cloud import LocalCloud, local_cloud

SCRIPT = '''\
"""Answers with a word of its environment."""
import json
import os

WORD = os.environ.get("WORD", "right")


def input_fn(data, content_type):
    return bytes(data)


def predict_fn(data, model):
    return WORD


def output_fn(prediction, accept):
    return json.dumps({"word": prediction}), "application/json"
'''


@pytest.fixture(params=["ministack", pytest.param("localstack", marks=NEEDS_313)])
def cloud(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LocalCloud]:
    """A cloud with one version deployed, whose golden knows the word it answers with."""
    bundle = scaling(tmp_path / "bundle", 2)
    (bundle / "inference.py").write_text(SCRIPT)
    (bundle / "golden" / "any.bin").write_bytes(b"?")
    golden = {"content_type": "x/y", "body": "any.bin", "answer": {"word": "right"}}
    (bundle / "golden" / "word.json").write_text(json.dumps(golden))
    with local_cloud(tmp_path / "home", request.param) as running:
        running.modelport("publish", str(bundle), "--name", "said")
        running.modelport("deploy", "said:1")
        running.settled("said")
        yield running


@contextmanager
def callers(cloud: LocalCloud) -> Iterator[set[tuple[int, str]]]:
    """Somebody who calls all the time; what was answered."""
    heard: set[tuple[int, str]] = set()
    enough = threading.Event()

    def call() -> None:
        while not enough.is_set():
            answer = cloud.post("/endpoints/said/invocations", b"?", content_type="x/y")
            heard.add((answer.status_code, answer.text))

    thread = threading.Thread(target=call)
    thread.start()
    try:
        yield heard
    finally:
        enough.set()
        thread.join()


def set_word(cloud: LocalCloud, word: str | None) -> None:
    """Change what every function of the environment is told."""
    path = Path(cloud.environment["MODELPORT_DEPLOYMENTS"])
    document: Any = tomlkit.parse(path.read_text())
    variables = document["environment"]["function_environment"]
    if word is None:
        del variables["WORD"]
    else:
        variables["WORD"] = word
    path.write_text(tomlkit.dumps(document))


def resource(cloud: LocalCloud) -> str:
    """Where the routes send callers."""
    client = boto3.client("s3", endpoint_url=cloud.environment["AWS_ENDPOINT_URL"])
    snapshot = S3Registry(client, cloud.environment["MODELPORT_BUCKET"]).routes("said")
    assert snapshot is not None
    return snapshot.routes.deployments[1].resource


def test_no_caller_meets_a_change_before_its_goldens(cloud: LocalCloud) -> None:
    right = {(200, '{"word": "right"}')}
    first = resource(cloud)
    set_word(cloud, "wrong")
    with callers(cloud) as heard:
        _, error = cloud.refused("deploy", "said:1", "--memory", "2048")
    assert "golden-mismatch" in json.dumps(error)
    assert heard == right
    assert resource(cloud) == first

    set_word(cloud, None)
    with callers(cloud) as heard:
        cloud.modelport("deploy", "said:1", "--memory", "2048")
        cloud.settled("said")
    assert heard == right
    assert resource(cloud) != first

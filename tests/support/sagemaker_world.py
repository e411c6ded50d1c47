"""A SageMaker host as a real process, and real boto3 clients against it.

Its containers are a small program that does what its variables and the request say, so that
every promise of the platform can be provoked; tests of the real runtime give their own tree.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import botocore.config
from botocore.exceptions import ClientError

from tests.conftest import ROOT

ROLE = "arn:aws:iam::000000000000:role/endpoint"
IMAGE = f"000000000000.dkr.ecr.us-east-1.amazonaws.com/tiny@sha256:{'0' * 64}"
CONTAINER = '''
"""A container that does as it is told."""
import json, os, signal, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

assert sys.argv[1:] == ["serve"], sys.argv
MOOD = os.environ.get("MOOD", "")
print("container starts, mood", MOOD, flush=True)
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))  # the first process of a container must
if MOOD == "exits":
    sys.exit(3)
if MOOD == "exits-once" and not os.path.exists(os.environ["MARK"]):
    open(os.environ["MARK"], "w").close()
    sys.exit(3)


class Server(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        patient = MOOD == "waits" and not os.path.exists(os.environ["MARK"])
        fallen = MOOD == "falls-ill" and os.path.exists(os.environ["MARK"])
        self.answer(503 if MOOD == "ill" or patient or fallen else 200)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        asked = json.loads(body) if body[:1] == b"{" else {}
        if "SEEN" in os.environ:
            with open(os.environ["SEEN"], "a") as seen:
                seen.write(json.dumps({"who": os.environ.get("WHO"), "asked": asked}) + "\\n")
        if "die" in asked:
            os._exit(7)
        if "wait_for" in asked:
            open(asked["started"], "w").close()
            while not os.path.exists(asked["wait_for"]):
                time.sleep(0.01)
        if "status" in asked:
            return self.answer(asked["status"], asked["text"].encode(), Content_Type="text/plain")
        if "bytes" in asked:
            return self.answer(200, b"x" * asked["bytes"])
        told = {
            "who": os.environ.get("WHO"),
            "pid": os.getpid(),
            "path": self.path,
            "headers": {name.lower(): value for name, value in self.headers.items()},
            "environment": dict(os.environ),
            "received": len(body),
        }
        self.answer(
            200,
            json.dumps(told).encode(),
            Content_Type="application/json",
            X_Amzn_SageMaker_Custom_Attributes=asked.get("attributes", "from-the-model"),
            X_Own="stripped",
        )

    def log_message(self, format, *args):
        pass


port = int(os.environ["SAGEMAKER_BIND_TO_PORT"])
ThreadingHTTPServer((os.environ["MODELPORT_HOST"], port), Server).serve_forever()
'''


class SageMaker:
    """A running host and its clients."""

    def __init__(self, url: str, pid: int, home: Path) -> None:
        self.url = url
        self.pid = pid
        self.home = home
        self.image = IMAGE
        # The host's own checks are to be seen, not the client's.
        once = botocore.config.Config(
            retries={"max_attempts": 0}, read_timeout=60, parameter_validation=False
        )
        options: Any = {
            "endpoint_url": url,
            "region_name": "us-east-1",
            "config": once,
            "aws_access_key_id": "test",
            "aws_secret_access_key": "test",
        }
        self.client: Any = boto3.client("sagemaker", **options)
        self.runtime: Any = boto3.client("sagemaker-runtime", **options)

    def close(self) -> None:
        self.client.close()
        self.runtime.close()

    def model(self, name: str, **variables: str) -> None:
        """A model whose container has these variables."""
        self.client.create_model(
            ModelName=name,
            ExecutionRoleArn=ROLE,
            PrimaryContainer={"Image": self.image, "Environment": variables},
        )

    def config(self, name: str, *variants: Mapping[str, Any], **more: Any) -> None:
        """An endpoint configuration; a variant is named as its model unless it says."""
        self.client.create_endpoint_config(
            EndpointConfigName=name,
            ProductionVariants=[variant(**each) for each in variants],
            **more,
        )

    def endpoint(self, name: str, **variables: str) -> None:
        """Model, configuration and endpoint of one name, in service."""
        self.model(name, **variables)
        self.config(name, {"model": name})
        self.client.create_endpoint(EndpointName=name, EndpointConfigName=name)
        assert self.settled(name)["EndpointStatus"] == "InService", self.log(name)

    def settled(self, name: str) -> Any:
        """The endpoint once nothing is being done to it."""
        while True:
            found = self.client.describe_endpoint(EndpointName=name)
            if found["EndpointStatus"] not in ("Creating", "Updating", "RollingBack"):
                return found

    def call(self, name: str, body: bytes = b"{}", **parameters: Any) -> Any:
        """Invoke; the answer with its body read."""
        answer = self.runtime.invoke_endpoint(EndpointName=name, Body=body, **parameters)
        return {**answer, "Body": answer["Body"].read()}

    def told(self, name: str, asked: object = None, **parameters: Any) -> Any:
        """What the container tells about the request it got."""
        return json.loads(self.call(name, json.dumps(asked or {}).encode(), **parameters)["Body"])

    def refused(self, call: Any, *arguments: Any, **parameters: Any) -> Any:
        """The error response of a call that must fail."""
        try:
            call(*arguments, **parameters)
        except ClientError as error:
            return error.response
        raise AssertionError("nothing was refused")

    def status(self) -> Any:
        with urllib.request.urlopen(self.url) as answer:
            return json.loads(answer.read())

    def pids(self, name: str) -> list[int]:
        """The processes of an endpoint."""
        return [pid for each in self.status()[name]["processes"].values() for pid in each]

    def log(self, name: str) -> str:
        return (self.home / f"logs/endpoints/{name}.log").read_text()


def variant(model: str, name: str = "", **more: Any) -> dict[str, Any]:
    """A production variant on one instance."""
    usual = {"InstanceType": "ml.m5.large", "InitialInstanceCount": 1, "InitialVariantWeight": 1.0}
    if "ServerlessConfig" in more:
        usual = {}
    return {"VariantName": name or model, "ModelName": model, **usual, **more}


def container_tree(folder: Path, source: str = CONTAINER) -> Path:
    """A tree whose ``functions.runtime`` is the given program."""
    package = folder / "functions" / "runtime"
    package.mkdir(parents=True)
    for regular in (package.parent, package):
        (regular / "__init__.py").touch()
    (package / "__main__.py").write_text(source)
    return folder


@contextmanager
def sagemaker(
    root: Path, home: Path, *options: str, environment: Mapping[str, str] | None = None
) -> Iterator[SageMaker]:
    """Start a host, hand it out with its clients, and stop it whatever happened."""
    home.mkdir(exist_ok=True)
    folders = (ROOT / "localstack", ROOT / "layers/core/python", ROOT)
    argv = (sys.executable, "-m", "sagemaker_host.host", "--root", str(root), "--home", str(home))
    with (home / "host.log").open("ab") as log:
        child = subprocess.Popen(
            (*argv, *options),
            env={
                "PATH": os.environ["PATH"],
                "HOME": os.environ["HOME"],
                "PYTHONPATH": os.pathsep.join(map(str, folders)),
                "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
                "AWS_DEFAULT_REGION": "us-east-1",
                "AWS_ACCESS_KEY_ID": "test",
                "AWS_SECRET_ACCESS_KEY": "test",
                **(environment or {}),
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    try:
        assert child.stdout is not None
        port = child.stdout.readline().strip()
        assert port, (home / "host.log").read_text()
        running = SageMaker(f"http://127.0.0.1:{port}", child.pid, home)
        try:
            yield running
        finally:
            running.close()
    finally:
        child.communicate(timeout=30)  # the end of its stdin ends it

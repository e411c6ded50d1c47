"""The command as people start it: a real process, real arguments, real exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import boto3
import pytest
from modelport import __version__
from modelport.cli.verbs import VERBS
from moto.server import ThreadedMotoServer

from tests.support.cli_world import fake_cdk, repository
from tests.support.runtime_bundles import DOUBLE

NAMES = [name for name, *_ in VERBS]


def inherited(more: dict[str, str]) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "COLUMNS": "100", **more}


def start(folder: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "modelport.cli", *arguments],
        cwd=folder,
        env=inherited(environ),
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_help_of_the_whole_reads_like_a_page(tmp_path: Path) -> None:
    shown = start(tmp_path, "--help")
    assert shown.returncode == 0
    for part in (*NAMES, "Publish", "Move traffic", "MODELPORT_BUCKET", "Exit codes"):
        assert part in shown.stdout
    assert "\x1b" not in shown.stdout


@pytest.mark.parametrize("name", NAMES)
def test_help_of_a_command_shows_its_examples(tmp_path: Path, name: str) -> None:
    shown = start(tmp_path, name, "--help")
    assert shown.returncode == 0
    assert f"$ modelport {name}" in shown.stdout
    assert "--json" in shown.stdout
    assert "[/dim]" not in shown.stdout


def test_the_version_is_the_packages(tmp_path: Path) -> None:
    assert start(tmp_path, "--version").stdout.strip() == f"modelport {__version__}"


@pytest.mark.parametrize(
    "arguments", [("promote",), ("promote", "magika:1", "--nope"), ("promte", "magika:1"), ()]
)
def test_wrong_usage_exits_two(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    plain = start(tmp_path, *arguments)
    assert plain.returncode == 2
    assert "Traceback" not in plain.stderr
    if arguments:
        assert plain.stderr.startswith("error: ")
        told = start(tmp_path, *arguments, "--json")
        assert told.returncode == 2
        assert json.loads(told.stdout)["error"]["code"] == "usage"


def test_without_a_bucket_it_says_how_to_name_one(tmp_path: Path) -> None:
    plain = start(tmp_path, "list", AWS_ENDPOINT_URL="http://127.0.0.1:9", AWS_MAX_ATTEMPTS="1")
    assert plain.returncode == 2
    assert plain.stdout == ""
    assert [line.split(":")[0] for line in plain.stderr.splitlines()] == ["error", "hint"]


@pytest.mark.parametrize("debugging", [("--debug", {}), (None, {"MODELPORT_DEBUG": "1"})])
def test_a_traceback_is_for_debugging(
    tmp_path: Path, debugging: tuple[str | None, dict[str, str]]
) -> None:
    option, environ = debugging
    arguments = ("show", "Not-A-Name", *([option] if option else []))
    assert "Traceback" not in start(tmp_path, "show", "Not-A-Name").stderr
    assert "Traceback" in start(tmp_path, *arguments, **environ).stderr


def test_a_local_cloud_that_is_down_exits_five_and_says_how_to_start_it(tmp_path: Path) -> None:
    down = start(
        tmp_path, "show", "magika", "--json",
        MODELPORT_BUCKET="registry", AWS_ENDPOINT_URL="http://127.0.0.1:9",
    )  # fmt: skip
    assert down.returncode == 5
    error = json.loads(down.stdout)["error"]
    assert error["code"] == "local-cloud-down"
    assert "make up" in error["hint"]


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_deploy_that_is_stopped_puts_the_file_back(tmp_path: Path, stop: signal.Signals) -> None:
    folder = repository(tmp_path / "checkout")
    (folder / "model.onnx").write_bytes(DOUBLE)
    # A name of its own: the server's stacks outlive it within one test process.
    written = f'[environment]\nname = "dev{int(stop)}"\nimage = "placeholder"\n'
    (folder / "deployments.toml").write_text(written)
    began = folder / "began"
    cdk = fake_cdk(folder, f"Path({str(began)!r}).touch(); time.sleep(600)")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    boto3.client("s3", region_name="us-east-1", endpoint_url=url).create_bucket(Bucket="models")
    boto3.client("cloudformation", region_name="us-east-1", endpoint_url=url).create_stack(
        StackName=f"modelport-dev{int(stop)}-platform",
        TemplateBody='{"Resources": {"Topic": {"Type": "AWS::SNS::Topic"}}}',
    )
    region = {"AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-east-1"}
    environ = region | {
        "AWS_ENDPOINT_URL": url,
        "MODELPORT_BUCKET": "models",
        "MODELPORT_CDK": str(cdk),
    }
    assert start(folder, "publish", "model.onnx", "--name", "double", **environ).returncode == 0
    command = [sys.executable, "-m", "modelport.cli", "deploy", "double:1", "--json"]
    with subprocess.Popen(
        command, cwd=folder, env=inherited(environ), stdout=subprocess.PIPE, text=True
    ) as process:
        while process.poll() is None and not began.exists():
            time.sleep(0.02)
        assert "double" in (folder / "deployments.toml").read_text()
        process.send_signal(stop)
        told, _ = process.communicate(timeout=60)
    server.stop()
    assert process.returncode == 130
    assert json.loads(told)["error"]["code"] == "interrupted"
    assert (folder / "deployments.toml").read_text() == written

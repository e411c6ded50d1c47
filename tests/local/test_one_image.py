"""One image, three homes, from nothing: base, registry, build, push, deploy, call.

The same digest answers as a Lambda function through API Gateway, as a SageMaker endpoint, and as
a plain container. What it answers is judged by the goldens it was published with.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from containers import Containers
from modelport.bundle import load_bundle
from modelport.deployments import Deployments
from modelport.goldens.forms import asked_of, requests

from tests.conftest import ROOT
from tests.local.conftest import answers, eventually, free_port, processes_with
from tests.local.test_end_to_end import scaling
from tests.support.container_base import base_layout, push
from tests.support.container_tools import names, skip_without_tools
from tests.support.local_cloud import LocalCloud, local_cloud

USER = 65532
LAMBDA, ENDPOINT = "lambda-", "sagemaker-"


@dataclass
class World:
    """A cloud that runs images, and the versions that were deployed to it."""

    cloud: LocalCloud
    folder: Path
    containers: Containers
    images: dict[str, str] = field(default_factory=dict)
    """Each model's image, by digest, as its deploy said."""

    def running(self, home: str) -> list[dict[str, Any]]:
        """The containers of the functions or of the endpoints, as podman tells."""
        mine = [
            name
            for name in names(self.containers)
            if name.startswith(f"{self.containers.prefix}{home}")
        ]
        done = command(*self.containers.command, "inspect", *mine)
        found: list[dict[str, Any]] = json.loads(done)
        return found


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A real model with its own pre- and post-processing, and a plain ONNX file, as functions."""
    skip_without_tools()
    folder = tmp_path_factory.mktemp("one-image")
    home = folder / "home"
    with local_cloud(home, "ministack", "--executor", "container") as cloud:
        cloud.environment["MODELPORT_CACHE"] = str(folder / "cache")  # nothing was built before
        world = World(cloud, folder, Containers.require(home))
        base = push(base_layout(), f"{repository(cloud).partition('/')[0]}/base")
        cloud.modelport("image", "base", base)
        command(
            sys.executable, str(ROOT / "localstack/demo/magika_bundles.py"), str(folder / "made")
        )
        (folder / "made" / "v1").rename(folder / "magika")
        scaling(folder / "scale", 3)
        for model in ("magika", "scale"):
            cloud.modelport("publish", str(folder / model), "--name", model, "--no-tune")
        built = cloud.modelport("build", "scale:1")
        for model, given in (("magika", ()), ("scale", ("--image", built["image"]))):
            world.images[model] = cloud.modelport("deploy", f"{model}:1", *given)["image"]
        yield world
    assert not (home / "containers").exists()
    assert eventually(lambda: not processes_with(world.containers.prefix))


def repository(cloud: LocalCloud) -> str:
    environment = Deployments.load(Path(cloud.environment["MODELPORT_DEPLOYMENTS"])).environment
    assert environment.image is None
    assert environment.image_repository is not None
    return environment.image_repository


def command(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, f"{argv[0]}: {done.stderr[-2000:]}"
    return done.stdout


ROUTED = {
    "v1": "/v1/models/{}/versions/1:predict",
    "v2": "/v2/models/{}/versions/1/infer",
    "sagemaker": "/endpoints/{}/versions/1/invocations",
}
SERVED = {
    "v1": "/v1/models/{}:predict",
    "v2": "/v2/models/{}/infer",
    "sagemaker": "/invocations",
}
"""Where the router takes each protocol's requests, and where a server that is one version does."""


def check_goldens(
    world: World, model: str, client: httpx.Client, root: str, paths: dict[str, str]
) -> int:
    """Ask every golden in every form that carries it; how many requests agreed."""
    asked = 0
    content = load_bundle(world.folder / model).content
    for golden in content.goldens:
        for request in requests(golden, asked_of(content)):
            url = root + paths[request.protocol].format(model)
            answer = client.post(url, content=request.body, headers=request.headers)
            assert answer.status_code == 200, f"{golden.name}: {answer.text}"
            assert request.check(answer.headers, answer.content) is None, golden.name
            asked += 1
    return asked


@pytest.mark.parametrize(("model", "agreeing"), [("magika", 10), ("scale", 12)])
def test_its_goldens_are_answered_through_the_api(world: World, model: str, agreeing: int) -> None:
    cloud = world.cloud
    assert check_goldens(world, model, cloud.http, cloud.endpoint, ROUTED) == agreeing


def test_functions_are_containers_of_the_deployed_images(world: World) -> None:
    running = world.running(LAMBDA)
    assert {each["ImageName"] for each in running} == set(world.images.values())
    for each in running:
        assert each["HostConfig"]["ReadonlyRootfs"] is True
        assert each["HostConfig"]["Memory"] > 0
        assert user_of(each["State"]["Pid"]) == USER
    for image in world.images.values():
        assert image.startswith(f"{repository(world.cloud)}@sha256:")


def test_the_same_digest_answers_as_a_sagemaker_endpoint(world: World) -> None:
    cloud = world.cloud
    instance = ("--target", "sagemaker", "--instance-type", "ml.c6i.large")
    deployed = cloud.modelport("deploy", "magika:1", *instance)
    assert (deployed["target"], deployed["image"]) == ("sagemaker", world.images["magika"])
    (container,) = world.running(ENDPOINT)
    assert container["ImageName"] == world.images["magika"]
    assert container["Config"]["Cmd"] == ["serve"]
    assert user_of(container["State"]["Pid"]) == USER
    cloud.settled("magika")
    assert check_goldens(world, "magika", cloud.http, cloud.endpoint, ROUTED) == 10


@pytest.mark.parametrize(("model", "agreeing"), [("magika", 10), ("scale", 12)])
def test_the_same_digest_is_a_plain_container(world: World, model: str, agreeing: int) -> None:
    with plain(world, world.images[model]) as (root, process, pid):
        with httpx.Client(timeout=60) as client:
            assert check_goldens(world, model, client, root, SERVED) == agreeing
            metrics = client.get(f"{root}/metrics")
        assert metrics.status_code == 200
        assert "modelport" in metrics.text
        assert user_of(pid) == USER
        assert "ro" in mount_options(pid, "/")
        process.terminate()
        assert process.wait(60) == 0


@contextmanager
def plain(world: World, image: str) -> Iterator[tuple[str, subprocess.Popen[bytes], int]]:
    """`podman run IMAGE`: no command; where it listens, the process, and the container's own."""
    port = free_port()
    name = f"{world.containers.prefix}plain"
    env = {"SAGEMAKER_BIND_TO_PORT": str(port), "MODELPORT_HOST": "127.0.0.1"}
    argv = world.containers.argv(image, (), env, name=name, memory_mb=1024)
    with (world.folder / "plain.log").open("ab") as log:
        process = subprocess.Popen(argv, stdout=log, stderr=log)
    root = f"http://127.0.0.1:{port}"
    try:
        ready = eventually(lambda: answers(f"{root}/v2/health/ready"), 60)
        assert ready, (world.folder / "plain.log").read_text()
        yield root, process, world.containers.pid(name)
    finally:
        world.containers.remove(name)
        process.wait()


def user_of(pid: int) -> int:
    """Whose process it is, as the kernel says."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("Uid:")).split()[1])


def mount_options(pid: int, place: str) -> list[str]:
    rows = (line.split() for line in Path(f"/proc/{pid}/mounts").read_text().splitlines())
    return next(row[3] for row in rows if row[1] == place).split(",")


def test_other_tools_take_the_image(world: World, tmp_path: Path) -> None:
    image = world.images["magika"]
    told = json.loads(
        command("skopeo", "inspect", "--no-tags", "--tls-verify=false", f"docker://{image}")
    )
    assert told["Digest"] == image.partition("@")[2]
    layout = f"oci:{tmp_path}/layout:magika"
    command("skopeo", "copy", "--src-tls-verify=false", f"docker://{image}", layout)
    command("umoci", "unpack", "--image", f"{tmp_path}/layout:magika", f"{tmp_path}/bundle")
    tree = tmp_path / "bundle" / "rootfs"
    for path in ("opt/model/manifest.json", "opt/model/inference.py", "opt/python/modelport"):
        assert (tree / path).exists()
    config = json.loads((tmp_path / "bundle" / "config.json").read_bytes())
    assert config["process"]["user"]["uid"] == USER


def test_a_second_build_from_empty_caches_has_the_same_digest(world: World) -> None:
    world.cloud.environment["MODELPORT_CACHE"] = str(world.folder / "another cache")
    layout = world.folder / "second"
    world.cloud.modelport("build", "magika:1", "--layout", str(layout))
    (manifest,) = json.loads((layout / "index.json").read_text())["manifests"]
    assert manifest["digest"] == world.images["magika"].partition("@")[2]

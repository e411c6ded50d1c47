"""Endpoints as containers of their images: the same promises, and none left behind."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from containers import Containers, clear

from tests.local.conftest import eventually
from tests.support.container_base import base_layout, extended, push
from tests.support.container_tools import names, registry, skip_without_tools
from tests.support.sagemaker_world import CONTAINER, SageMaker, sagemaker


@dataclass
class World:
    """A host that runs images, and podman's own view."""

    sagemaker: SageMaker
    containers: Containers

    def names(self) -> list[str]:
        return names(self.containers)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    skip_without_tools()
    home = tmp_path / "cloud"
    with registry(home) as address:
        entry = ["/usr/bin/python3", "/opt/container.py"]
        layout = extended(
            base_layout(),
            tmp_path / "layout",
            {"/opt/container.py": CONTAINER},
            Entrypoint=entry,
            User="65532:65532",
        )
        image = push(layout, f"{address}/container")
        with sagemaker(tmp_path, home, "--executor", "container", "--memory", "128") as host:
            host.image = image
            containers = Containers.require(home)
            yield World(host, containers)
        assert eventually(lambda: not names(containers))
    clear(home)


def test_an_endpoint_is_a_container_that_moves_over_comes_back_and_goes(world: World) -> None:
    host = world.sagemaker
    host.endpoint("real", WHO="blue")
    (name,) = world.names()
    assert name.startswith(f"{world.containers.prefix}sagemaker-")
    told = host.told("real")
    assert told["who"] == "blue"
    assert told["environment"]["MODELPORT_HOST"] == "127.0.0.1"

    os.kill(world.containers.pid(name), signal.SIGKILL)
    assert eventually(lambda: "it is started again" in host.log("real"))
    assert eventually(lambda: healthy(host, "real"), 60)
    assert host.told("real")["who"] == "blue"
    assert len(world.names()) == 1

    host.model("green", WHO="green")
    host.config("real-2", {"model": "green"})
    host.client.update_endpoint(EndpointName="real", EndpointConfigName="real-2")
    assert host.settled("real")["EndpointConfigName"] == "real-2"
    assert host.told("real")["who"] == "green"
    assert world.names() != [name]
    assert len(world.names()) == 1

    host.client.delete_endpoint(EndpointName="real")
    assert eventually(lambda: not host.status())
    assert world.names() == []


def healthy(host: SageMaker, name: str) -> bool:
    (variant,) = host.settled(name)["ProductionVariants"]
    return bool(variant["CurrentInstanceCount"] == 1)


def test_an_image_that_is_not_there_fails_the_endpoint_and_says_so(world: World) -> None:
    host = world.sagemaker
    host.image = host.image[:-64] + "0" * 64
    host.model("absent")
    host.config("absent", {"model": "absent"})
    host.client.create_endpoint(EndpointName="absent", EndpointConfigName="absent")
    assert host.settled("absent")["EndpointStatus"] == "Failed"
    assert "cannot be pulled" in host.log("absent")


def test_a_killed_host_leaves_no_container(world: World) -> None:
    host = world.sagemaker
    host.endpoint("orphan", WHO="blue")
    assert world.names()
    os.kill(host.pid, signal.SIGKILL)
    assert eventually(lambda: not world.names())

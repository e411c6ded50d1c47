"""The local cloud's container registry keeps its images and its port; the cloud its bases."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from container_registry import holds
from engine import DEFAULT_ENGINE, Hosts, load
from modelport.deployments import Deployments, with_base_image
from modelport.images.auth import anonymous
from modelport.images.distribution import Repository
from modelport.images.push import push
from modelport.images.reference import Reference
from platform_stack import write_deployments
from state import Home

from tests.support.container_tools import registry
from tests.support.docker_registry import PROGRAM
from tests.support.small_images import small_image

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="docker-registry is not installed")
ELSEWHERE = f"registry.example/base@sha256:{'1' * 64}"


def begin(home: Home, images: str | None) -> Deployments:
    """What a cloud that comes up does with its deployments file."""
    home.clear()
    write_deployments(home, load(DEFAULT_ENGINE), Hosts("http://f", "http://e"), "http://a", images)
    return Deployments.load(home.deployments)


def pushed(address: str, folder: Path) -> str:
    with Repository(Reference(address, "modelport/base"), anonymous) as repository:
        return str(push(small_image(folder), repository, tag="1"))


def test_a_base_pushed_once_is_there_and_chosen_after_down_and_up(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.create()
    with registry(home.folder) as address:
        begin(home, f"{address}/modelport")
        base = pushed(address, tmp_path)
        with_base_image(home.deployments, base)
        with_base_image(home.deployments, ELSEWHERE, "cuda_base_image")
        assert holds(base)
        assert not holds(base[:-64] + "0" * 64)
    home.clear()
    with registry(home.folder) as again:
        assert again == address
        found = begin(home, f"{again}/modelport").environment
        assert (found.base_image, found.cuda_base_image) == (base, ELSEWHERE)


def test_a_base_that_the_registry_lost_is_not_chosen(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.create()
    with registry(home.folder) as address:
        begin(home, f"{address}/modelport")
        with_base_image(home.deployments, f"{address}/base@sha256:{'2' * 64}")
        assert begin(home, f"{address}/modelport").environment.base_image is None


def test_a_port_that_somebody_took_is_left_to_them(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        (tmp_path / "registry").mkdir()
        settings = tmp_path / "registry" / "config.yml"
        settings.write_text(json.dumps({"http": {"addr": taken}}))
        with registry(tmp_path) as address:
            assert address != taken

"""The local cloud is gone and its environment still in the shell: the error says just that."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from modelport.cli.local_cloud import LocalCloudDownError, explained
from modelport.client import EndpointUnavailableError
from modelport.errors import InvalidSettingError, ModelNotFoundError, RegistryUnavailableError

from tests.support.cli_world import Terminal


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@pytest.fixture
def gone(listening: socket.socket) -> str:
    """An endpoint at which nothing listens any more."""
    port = listening.getsockname()[1]
    listening.close()
    return f"http://127.0.0.1:{port}"


AWAY = RegistryUnavailableError("listing")
UNSET = InvalidSettingError("base_image", None, "deployments.toml does not say what to build on")


@pytest.mark.parametrize("error", [AWAY, EndpointUnavailableError("http://x", "refused")])
def test_what_cannot_be_reached_is_the_cloud_that_is_down(gone: str, error: Exception) -> None:
    found = explained(error, {"AWS_ENDPOINT_URL": gone})
    assert isinstance(found, LocalCloudDownError)
    assert gone in str(found)
    assert "make up" in found.hint


def test_a_cloud_that_answers_leaves_the_error_as_it_is(listening: socket.socket) -> None:
    endpoint = f"http://127.0.0.1:{listening.getsockname()[1]}"
    assert explained(AWAY, {"AWS_ENDPOINT_URL": endpoint}) is AWAY


@pytest.mark.parametrize(
    "endpoint", ["", "http://", "http://192.0.2.1:1", "https://s3.invalid", "http://127.0.0.1:x"]
)
def test_an_endpoint_elsewhere_is_not_looked_at(endpoint: str) -> None:
    assert explained(AWAY, {"AWS_ENDPOINT_URL": endpoint}) is AWAY


def test_a_setting_is_only_missing_with_the_file_that_held_it(gone: str, tmp_path: Path) -> None:
    file = tmp_path / "deployments.toml"
    environ = {"AWS_ENDPOINT_URL": gone, "MODELPORT_DEPLOYMENTS": str(file)}
    assert isinstance(explained(UNSET, environ), LocalCloudDownError)
    assert not isinstance(explained(ModelNotFoundError("m"), environ), LocalCloudDownError)
    file.touch()
    assert explained(UNSET, environ) is UNSET


def test_the_command_says_it(gone: str, tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    file = tmp_path / "gone.toml"
    terminal.environ |= {"AWS_ENDPOINT_URL": gone, "MODELPORT_DEPLOYMENTS": str(file)}
    terminal.environ.pop("MODELPORT_BUCKET")
    done = terminal("status")
    assert done.code == 5
    assert "the local cloud is down" in done.err
    assert "make up" in done.err

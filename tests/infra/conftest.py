"""One synthesis per kind of environment and session; see `tests.support.synthesis`."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.assets import Assets, stage
from tests.support.synthesis import ENVIRONMENTS, Synthesis, Synthesiser


@pytest.fixture(scope="session")
def assets(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Assets:
    """The real sources, and a dependency layer that needs no package index."""
    folder = tmp_path_factory.mktemp("assets")
    package = folder / "deps/python/package.py"
    package.parent.mkdir(parents=True)
    package.write_text("VALUE = 1\n")
    return stage(root, folder / "staged", deps_layer=folder / "deps", python="3.12")


@pytest.fixture(scope="session")
def synthesise(assets: Assets, tmp_path_factory: pytest.TempPathFactory) -> Synthesiser:
    return Synthesiser(assets, tmp_path_factory.mktemp("synthesis"))


@pytest.fixture(scope="session")
def default(synthesise: Synthesiser) -> Synthesis:
    return synthesise("default")


@pytest.fixture(scope="session", params=list(ENVIRONMENTS))
def any_environment(request: pytest.FixtureRequest, synthesise: Synthesiser) -> Synthesis:
    """Rules that hold whatever the settings are run against every kind of environment."""
    return synthesise(request.param)

"""What every tier shares: markers by folder, and nothing that reaches outside."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# Tests never use anybody's real account, whatever the shell that starts them knows.
for _name in [name for name in os.environ if name.startswith(("AWS_", "MODELPORT_"))]:
    del os.environ[_name]
os.environ.update(
    AWS_ACCESS_KEY_ID="test",
    AWS_SECRET_ACCESS_KEY="test",
    AWS_DEFAULT_REGION="us-east-1",
    AWS_EC2_METADATA_DISABLED="true",
    ORT_DISABLE_TELEMETRY="1",
)

# A shell that starts the suite in the background makes it ignore SIGINT, and so every process a
# test starts and interrupts: with a handler here, they start with the default again.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Everything in the local tier starts real processes; mark it so it can be left out.

    Workers take whole files, in this order: the local tier's wait a lot and take minutes, so they
    come first, and no worker begins one when the others have nothing left to do.
    """
    for item in items:
        if (ROOT / "tests" / "local") in item.path.parents:
            item.add_marker(pytest.mark.local)
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: "local" not in item.keywords)


def pytest_make_parametrize_id(val: object) -> str | None:
    """gzip holds the time it was made; workers that run tests beside each other name them alike."""
    if isinstance(val, bytes) and val.startswith(b"\x1f\x8b"):
        return f"gzip-{len(val)}-bytes"
    return None


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository's root folder."""
    return ROOT

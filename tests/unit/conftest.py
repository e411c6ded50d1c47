"""The unit tier: no network. A connection attempt fails the test that makes it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest

_guarded = False


def _refuse_connections(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.connect" and _guarded:
        raise RuntimeError(f"a unit test must not connect anywhere: {arguments[1]!r}")


sys.addaudithook(_refuse_connections)


@pytest.fixture(autouse=True)
def no_network() -> Iterator[None]:
    """Refuse every outgoing connection while a unit test runs."""
    global _guarded
    _guarded = True
    yield
    _guarded = False

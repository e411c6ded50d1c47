"""What both composition roots of the router share: how long AWS is waited for, and where lines go.

It makes no clients and reads no environment; `functions.router.handler` and
`functions.router.streamer` do.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from botocore.config import Config
from modelport.embedded_metrics import text

#: The registry answers in tens of milliseconds or counts as gone; known routes are then kept.
REGISTRY_CONFIG = Config(
    connect_timeout=1, read_timeout=2, retries={"mode": "standard", "total_max_attempts": 2}
)


def models_config(limit_s: float) -> Config:
    """How models are called that may take ``limit_s`` seconds.

    No retries: repeating a call that timed out would run the model twice and answer no one.
    """
    return Config(
        connect_timeout=1,
        read_timeout=limit_s,
        retries={"mode": "standard", "total_max_attempts": 1},
        tcp_keepalive=True,
    )


def log_line(record: Mapping[str, Any]) -> None:
    """One record, one line of JSON on standard output, where Lambda collects it."""
    sys.stdout.write(text(record) + "\n")
    sys.stdout.flush()

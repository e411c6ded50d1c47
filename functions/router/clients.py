"""What both composition roots of the router share: how long AWS is waited for, and where lines go.

It makes no clients and reads no environment; `functions.router.handler` and
`functions.router.streamer` do.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from modelport.aws import Timeouts
from modelport.embedded_metrics import text

#: The registry answers in tens of milliseconds or counts as gone; known routes are then kept.
REGISTRY_PATIENCE = Timeouts(connect_s=1, answer_s=2)
REGISTRY_ATTEMPTS = 2


def log_line(record: Mapping[str, Any]) -> None:
    """One record, one line of JSON on standard output, where Lambda collects it."""
    sys.stdout.write(text(record) + "\n")
    sys.stdout.flush()

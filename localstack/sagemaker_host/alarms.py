"""Whether an alarm of an update is raised, asked from the emulator's CloudWatch.

What is in a deployment's automatic rollback, and nothing else: it must not decide what follows.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from sagemaker_host.catalog import Document

log = logging.getLogger(__name__)
Raised = Callable[[Document | None], Awaitable[list[str]]]
"""The alarms of a deployment that are raised now."""


def raised_by(client: Any) -> Raised:
    """Ask this CloudWatch client; one that cannot be asked raises no alarm."""

    async def raised(deployment: Document | None) -> list[str]:
        names = _names(deployment)
        return await asyncio.to_thread(_ask, client, names) if names else []

    return raised


def _names(deployment: Document | None) -> list[str]:
    rollback: Document = (deployment or {}).get("AutoRollbackConfiguration") or {}
    return [each["AlarmName"] for each in rollback.get("Alarms") or ()]


def _ask(client: Any, names: list[str]) -> list[str]:
    try:
        found = client.describe_alarms(AlarmNames=names)
    except (BotoCoreError, ClientError) as problem:
        log.warning("alarms cannot be asked for: %s", problem)
        return []
    alarms = [*found.get("MetricAlarms", ()), *found.get("CompositeAlarms", ())]
    return [each["AlarmName"] for each in alarms if each["StateValue"] == "ALARM"]

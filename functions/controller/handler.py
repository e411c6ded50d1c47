"""The controller's Lambda entry point: once a minute it looks at every rollout under way.

The composition root: reads the environment, makes the clients, writes one line of the log per
decision. What is decided, and how, is `modelport.rollouts`' business.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

import boto3
from botocore.config import Config
from modelport.registry.s3 import S3Registry
from modelport.rollouts.cloudwatch import CloudWatchObservations
from modelport.rollouts.controller import Controller, Outcome
from modelport.rollouts.decision import HOLD
from modelport.settings import ControllerSettings

#: The next look is a minute away, so there is no point in waiting long for anything.
CONFIG = Config(
    connect_timeout=2, read_timeout=10, retries={"mode": "standard", "total_max_attempts": 3}
)

Handler = Callable[[Any, Any], dict[str, int]]


def build(environ: Mapping[str, str]) -> Handler:
    """The handler for an environment; raises `InvalidSettingError` naming what is wrong."""
    settings = ControllerSettings.from_env(environ)
    session = boto3.session.Session()
    registry = S3Registry(session.client("s3", config=CONFIG), settings.bucket)
    observations = CloudWatchObservations(
        session.client("cloudwatch", config=CONFIG), settings.environment
    )
    return scheduled(Controller(registry, observations), _log_line)


def scheduled(controller: Controller, log: Callable[[Mapping[str, Any]], None]) -> Handler:
    """What a schedule calls: one look, a record per rollout, and how many of each kind.

    Fails, so that the function's alarm sees it, only when there is no telling what is under way.
    """

    def handle(event: Any, context: Any) -> dict[str, int]:
        outcomes = controller.tick()
        for outcome in outcomes:
            log({"event": "rollout", **outcome.to_json()})
        return summary(outcomes)

    return handle


def summary(outcomes: tuple[Outcome, ...]) -> dict[str, int]:
    """How many rollouts were looked at, moved, held, and could not be looked at."""
    return {
        "rollouts": len(outcomes),
        "acted": sum(outcome.acted for outcome in outcomes),
        "held": sum(not o.error and o.decision.action == HOLD for o in outcomes),
        "failed": sum(bool(outcome.error) for outcome in outcomes),
    }


def _log_line(record: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(record, separators=(",", ":")) + "\n")
    sys.stdout.flush()


_handler: Handler | None = None


def handler(event: Any, context: Any) -> dict[str, int]:
    """What Lambda calls."""
    global _handler
    if _handler is None:
        _handler = build(os.environ)
    return _handler(event, context)


if "AWS_LAMBDA_FUNCTION_NAME" in os.environ:
    # Built while the environment starts; a wrong setting fails the start and is named in its log.
    _handler = build(os.environ)

"""The registrar's Lambda entry point: reads the environment, wires, answers CloudFormation.

Everything that could fail is imported and built inside the guarded work, so even a broken layer or
a missing variable becomes an answer instead of an hour of waiting.
"""

from __future__ import annotations

import logging
import os
from typing import Any

from functions.registrar.cloudformation import Event, Outcome, respond

logging.getLogger().setLevel(logging.INFO)


def handler(event: dict[str, Any], context: Any) -> None:
    """Handle one CloudFormation event."""
    respond(Event.parse(event), context.get_remaining_time_in_millis() / 1000, _work)


def _work(event: Event, budget_s: float) -> Outcome:
    import boto3
    from botocore.config import Config
    from modelport.registry.s3 import S3Registry
    from modelport.settings import RegistrarSettings

    from functions.registrar.prober import LambdaFunctions, Prober
    from functions.registrar.registrar import Registrar

    settings = RegistrarSettings.from_env(os.environ)
    # One attempt per call: a retried invocation would run a slow model again behind our back.
    patient = Config(read_timeout=budget_s, retries={"total_max_attempts": 1})
    functions = LambdaFunctions(boto3.client("lambda", config=patient))
    registry = S3Registry(boto3.client("s3"), settings.bucket)
    return Registrar(registry, lambda budget: Prober(functions, budget_s=budget))(event, budget_s)

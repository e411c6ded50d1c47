"""The registrar's Lambda entry point: reads the environment, wires, answers CloudFormation.

Everything that could fail is imported and built inside the guarded work, so even a broken layer or
a missing variable becomes an answer instead of an hour of waiting.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any

from functions.registrar.cloudformation import Event, Outcome, respond

if TYPE_CHECKING:
    from functions.registrar.place import Place

logging.getLogger().setLevel(logging.INFO)


def handler(event: dict[str, Any], context: Any) -> None:
    """Handle one CloudFormation event."""
    respond(Event.parse(event), context.get_remaining_time_in_millis() / 1000, _work)


def _work(event: Event, budget_s: float) -> Outcome:
    import boto3
    from modelport.registry.s3 import S3Registry
    from modelport.settings import RegistrarSettings

    from functions.registrar.endpoint_logs import RESOURCE_TYPE, EndpointLogs
    from functions.registrar.prober import Prober
    from functions.registrar.registrar import Registrar

    if event.resource_type == RESOURCE_TYPE:
        return EndpointLogs(boto3.client("logs"))(event, budget_s)
    settings = RegistrarSettings.from_env(os.environ)
    registry = S3Registry(boto3.client("s3"), settings.bucket)

    def verifier(target: str, seconds: float) -> Prober:
        return Prober(_place(target, seconds), budget_s=seconds)

    return Registrar(registry, verifier)(event, budget_s)


def _place(target: str, budget_s: float) -> Place:
    """The service that runs ``target``; clients are made for the one that is asked only."""
    import boto3
    from botocore.config import Config
    from modelport.sagemaker_envelope import TIME_LIMIT_S

    from functions.registrar.lambda_functions import LambdaFunctions
    from functions.registrar.sagemaker_endpoints import SageMakerEndpoints

    # One attempt per call: a retried invocation would run a slow model again behind our back.
    # SageMaker gives up after its own limit, and says so; that answer is worth waiting for.
    patience_s = budget_s if target == "lambda" else min(budget_s, TIME_LIMIT_S + 10)
    config = Config(read_timeout=patience_s, retries={"total_max_attempts": 1})
    if target == "lambda":
        return LambdaFunctions(boto3.client("lambda", config=config))
    runtime = boto3.client("sagemaker-runtime", config=config)
    return SageMakerEndpoints(boto3.client("sagemaker"), runtime)

"""The controller of rollouts: it looks once a minute whether one may go on or has to go back.

What it misses the next look does, so it is never retried; and two at once do no harm, because every
step is written on condition.
"""

from __future__ import annotations

from collections.abc import Sequence

from aws_cdk import Duration, Stack
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from modelport.deployments import Environment
from modelport.settings import ControllerSettings

from infra import alarms, naming
from infra.assets import Assets
from infra.zip_functions import ZipFunctions

_EVERY = Duration.minutes(1)
#: Done, or given up, before the next look.
_LIMIT, _SLOW = Duration.seconds(55), Duration.seconds(45)


def controller(
    stack: Stack,
    environment: Environment,
    functions: ZipFunctions,
    assets: Assets,
    settings: ControllerSettings,
    statements: Sequence[iam.PolicyStatement],
) -> lambda_.Function:
    """Make the controller and its schedule; ``statements`` are its rights.

    No concurrency is reserved for it: a new account has none to give away.
    """
    name = naming.controller(environment.name)
    function = functions.make(
        "Controller",
        name,
        "functions.controller.handler.handler",
        assets.controller,
        statements,
        settings=settings.to_env(),
        memory_mb=512,  # and speed with it: guards of many categories are work
        timeout=_LIMIT,
    )
    function.configure_async_invoke(retry_attempts=0, max_event_age=_EVERY)
    events.Rule(
        stack,
        "ControllerSchedule",
        rule_name=name,
        description="has rollouts looked at",
        schedule=events.Schedule.rate(_EVERY),
        targets=[targets.LambdaFunction(function, retry_attempts=0, max_event_age=_EVERY)],
    )
    alarms.FunctionAlarms(
        stack, "ControllerAlarms", function=name, slow=_SLOW, topic=environment.alarm_topic
    )
    return function

"""The worker behind the queues: it finishes jobs, gives up those that ended others, asks shadows.

It says of each message whether it is done; what it left undone comes again.
"""

from __future__ import annotations

from collections.abc import Sequence

from aws_cdk import Duration, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sqs as sqs
from modelport.deployments import Environment
from modelport.settings import WorkerSettings

from infra import alarms, naming
from infra.assets import Assets
from infra.queues import WORK_LIMIT, Queues
from infra.zip_functions import ZipFunctions

#: A job may take all there is; most should not take nearly all.
_SLOW = Duration.minutes(14)
#: Copies are small and many: one run takes what came within a second.
_COPIES_AT_ONCE, _COPIES_GATHER = 10, Duration.seconds(1)
#: SQS's fewest: nobody waits for dead letters and copies.
_FEW = 2


def worker(
    stack: Stack,
    environment: Environment,
    functions: ZipFunctions,
    assets: Assets,
    queued: Queues,
    settings: WorkerSettings,
    statements: Sequence[iam.PolicyStatement],
) -> lambda_.Function:
    """Make the worker; ``statements`` are its rights."""
    name = naming.worker(environment.name)
    function = functions.make(
        "Worker",
        name,
        "functions.worker.handler.handler",
        assets.worker,
        statements,
        settings=settings.to_env(),
        memory_mb=512,
        timeout=WORK_LIMIT,
    )
    _take(function, "Jobs", queued.jobs, environment.jobs_at_once)
    _take(function, "DeadJobs", queued.dead, _FEW)
    _take(
        function,
        "Shadows",
        queued.shadows,
        _FEW,
        batch_size=_COPIES_AT_ONCE,
        max_batching_window=_COPIES_GATHER,
    )
    alarms.FunctionAlarms(
        stack, "WorkerAlarms", function=name, slow=_SLOW, topic=environment.alarm_topic
    )
    return function


def _take(
    function: lambda_.Function,
    id: str,
    queue: sqs.Queue,
    at_once: int,
    *,
    batch_size: int = 1,
    max_batching_window: Duration | None = None,
) -> None:
    """Have the function called for a queue; unlike an event source, this adds no rights."""
    function.add_event_source_mapping(
        f"Take{id}",
        event_source_arn=queue.queue_arn,
        batch_size=batch_size,
        max_batching_window=max_batching_window,
        max_concurrency=at_once,
        report_batch_item_failures=True,
    )

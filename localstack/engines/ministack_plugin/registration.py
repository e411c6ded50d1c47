"""Puts our resource types into the tables from which MiniStack's CloudFormation works.

MiniStack has no plugin interface; these tables are where its own types stand. Beside them it gets
what AWS does and it does not: numbers in lines of a log become metrics. And it says when a function
was changed, for who runs functions without asking it. What is needed of it is named here and
checked at the start, so that a version without it is refused with words and does not fail in the
middle of a deploy.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ministack.services.cloudformation.provisioners as provisioners  # type: ignore[import-untyped]
import ministack.services.cloudformation.stacks as stacks  # type: ignore[import-untyped]
import ministack.services.cloudwatch as metrics  # type: ignore[import-untyped]
import ministack.services.cloudwatch_logs as logs  # type: ignore[import-untyped]
import ministack.services.lambda_svc as functions  # type: ignore[import-untyped]
from engines.ministack_plugin.hosted import LambdaHost
from engines.ministack_plugin.log_metrics import Recorder
from engines.resource_types import sagemaker_types, scaling_types

TYPES = {**sagemaker_types.TYPES, **scaling_types.TYPES}
TABLES = (
    "_RESOURCE_HANDLERS",
    "_REPLACING_PROPERTIES",
    "_CUSTOM_NAME_REPLACEMENT",
    "_STACK_TAG_PROPERTY",
)
BLOCKING = "_runs_on_worker_thread"
EXECUTORS = ("_execute_function_proxy", "_execute_function_warm")
#: Every line of a log comes through the first, whoever wrote it; the two give a metric's place.
LINES = "_append_log_events"
STORE = ("_metric_bucket", "_dims_key")
#: The variable that names the Lambda host.
HOST = "MODELPORT_LAMBDA_HOST"
#: The variable that names the file which grows with every change of a function.
CHANGES = "MODELPORT_FUNCTION_CHANGES"
#: What answers the Lambda API; how CloudFormation's functions, versions and aliases begin.
API, OF_LAMBDA = "handle_request", "AWS::Lambda::"


def register() -> None:
    """Add every type; ends the process when this MiniStack has not what is needed."""
    missing = [name for name in TABLES if not isinstance(getattr(provisioners, name, None), dict)]
    missing += [BLOCKING] * (not callable(getattr(stacks, BLOCKING, None)))
    missing += [name for name in EXECUTORS if not callable(getattr(functions, name, None))]
    missing += [API] * (not callable(getattr(functions, API, None)))
    missing += [LINES] * (not callable(getattr(logs, LINES, None)))
    missing += [name for name in STORE if not callable(getattr(metrics, name, None))]
    if missing:
        raise SystemExit(f"this MiniStack has no {', '.join(missing)}: install the locked version")
    for name, each in TYPES.items():
        provisioners._RESOURCE_HANDLERS[name] = each.operations
        provisioners._REPLACING_PROPERTIES[name] = each.replacing
        if each.name_property:
            provisioners._CUSTOM_NAME_REPLACEMENT[name] = {"name": each.name_property}
        if each.tagged:
            provisioners._STACK_TAG_PROPERTY[name] = ("Tags", "list")
    _let_block()
    _run_on_our_host()
    _tell_of_changes(Path(os.environ[CHANGES]))
    _take_metrics_out_of_logs()


def _let_block() -> None:
    """Let our types wait for an endpoint, which itself asks MiniStack for its files meanwhile.

    Which types run on a thread of their own is a function in MiniStack, not a table: this one
    asks it first and adds ours.
    """
    known = stacks._runs_on_worker_thread

    def runs_on_worker_thread(resource_type: str) -> bool:
        return resource_type in TYPES or bool(known(resource_type))

    stacks._runs_on_worker_thread = runs_on_worker_thread


def _run_on_our_host() -> None:
    """Have every function run by the Lambda host, which gives errors as AWS does."""
    host = LambdaHost()
    invoke = f"{os.environ[HOST]}/invoke"

    def execute(func: Any, event: Any, request_id: str) -> Any:
        return host.execute(func, event, invoke, request_id)

    functions._execute_function_proxy = host.execute
    functions._execute_function_warm = execute


def _tell_of_changes(file: Path) -> None:
    """Let the file grow with every change, before whoever asked for it hears that it is done."""
    file.parent.mkdir(parents=True, exist_ok=True)
    changes = file.open("ab", buffering=0)
    known = functions.handle_request

    async def handle_request(method: str, path: str, *request: Any) -> Any:
        try:
            return await known(method, path, *request)
        finally:
            if method != "GET" and not path.endswith("invocations"):
                changes.write(b".")

    def telling(operation: Callable[..., Any]) -> Callable[..., Any]:
        def told(*details: Any, **named: Any) -> Any:
            try:
                return operation(*details, **named)
            finally:
                changes.write(b".")

        return told

    functions.handle_request = handle_request
    for name, operations in provisioners._RESOURCE_HANDLERS.items():
        if name.startswith(OF_LAMBDA):
            changed = {each: telling(work) for each, work in operations.items() if callable(work)}
            provisioners._RESOURCE_HANDLERS[name] = {**operations, **changed}


def _take_metrics_out_of_logs() -> None:
    """Keep the numbers in the lines that functions log, as CloudWatch Logs does."""
    known = logs._append_log_events
    recorder = Recorder(metrics._metric_bucket, metrics._dims_key)

    def append(stream: Any, events: Any) -> None:
        known(stream, events)
        for event in events:
            recorder.record(event["message"])

    logs._append_log_events = append

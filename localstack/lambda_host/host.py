"""The Lambda host: runs functions for an emulator that hands them over by HTTP.

Composition root of the package, run as ``python -m lambda_host.host``. An invocation is a
POST with the event as body and the function named in `X-Amzn-Lambda-*` headers. The answer
is 200 with the function's own answer, or 502 with a fault and `X-Amz-Function-Error`. Who sends
`X-Amz-Log-Type: Tail` gets what is new in the function's log behind it, `X-Amz-Log-Length` bytes.
"""

import argparse
import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
import uuid
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol
from zipfile import BadZipFile

from containers import EXECUTORS, ContainerError, Containers
from lambda_host import faults
from lambda_host.archives import Archives
from lambda_host.bundles import Bundles, PullError
from lambda_host.container_executor import ImageContainers
from lambda_host.directory import Directory, UnknownFunctionError
from lambda_host.environment import Environment
from lambda_host.faults import PAYLOAD_LIMIT, Outcome
from lambda_host.function import Function
from lambda_host.journal import Journal
from lambda_host.pool import Limits, Pool
from lambda_host.process_executors import ImageProcesses, ZipProcesses
from lambda_host.running import Program
from lambda_host.wire import Answer, Request, serving
from modelport.registry import Registry

log = logging.getLogger("lambda_host")
HEADER = "x-amzn-lambda-"
INTERIM_S = 0.4
"""A function's timeout is at least a second; its caller must not give up while we prepare."""


class Executor(Protocol):
    """One way to run functions."""

    async def program(self, function: Function) -> Program:
        """What runs the function, with everything it needs here; raises `PullError`."""


class Host:
    """Invokes functions: finds the configuration, keeps one pool each, answers over HTTP."""

    def __init__(
        self,
        directory: Directory,
        executors: Mapping[str, Executor],
        *,
        logs: Path,
        limits: Limits,
    ) -> None:
        """`executors` by the kind of package a function has."""
        self._directory = directory
        self._executors = executors
        self._logs = logs
        self._limits = limits
        self._pools: dict[tuple[str, str], Pool] = {}
        self._retiring: dict[Pool, asyncio.Task[None]] = {}

    async def handle(self, request: Request) -> Answer:
        """Answer one HTTP request: an invocation, or a look at what runs."""
        if request.method == "GET":
            return Answer.of_json(200, self.status())
        name = request.headers.get(f"{HEADER}function-name")
        if request.method != "POST" or not name:
            problem = f"an invocation is a POST with {HEADER}function-name"
            return _refusal(400, "InvalidRequestContentException", problem)
        if len(request.body) > PAYLOAD_LIMIT:
            problem = faults.event_too_large(len(request.body))
            return _refusal(413, "RequestTooLargeException", problem)
        version = request.headers.get(f"{HEADER}function-version", "$LATEST")
        try:
            revision = request.headers.get(f"{HEADER}revision-id", "")
            function = await self._directory.find(name, version, revision)
        except UnknownFunctionError:
            return _refusal(404, "ResourceNotFoundException", f"Function not found: {name}")
        answer = _answer(await self._invoke(function, request))
        if request.headers.get("x-amz-log-type") == "Tail":
            return self._with_log(answer, function)
        return answer

    async def _invoke(self, function: Function, request: Request) -> Outcome:
        trace_id = request.headers.get("x-amzn-trace-id", "")
        request_id = request.headers.get(f"{HEADER}request-id") or str(uuid.uuid4())
        try:
            pool = self._pool(function)
            if not pool.environments:
                await self._fetch(function, request)
            return await pool.invoke(request.body, request_id, trace_id)
        except (PullError, OSError, BadZipFile) as problem:
            return faults.fault("Runtime.ImagePullError", f"{function.name}: {problem}")

    def _with_log(self, answer: Answer, function: Function) -> Answer:
        log = self._pool(function).news()
        headers = {**answer.headers, "X-Amz-Log-Length": str(len(log))}
        return Answer(answer.status, answer.body + log, headers)

    async def _fetch(self, function: Function, request: Request) -> None:
        """Have here what the function needs: Lambda has it long before, so no timer runs for it."""
        fetching = asyncio.ensure_future(self._executors[function.package].program(function))
        while not (await asyncio.wait([fetching], timeout=INTERIM_S))[0]:
            request.hold_on()
        request.hold_on()
        fetching.result()

    def _pool(self, function: Function) -> Pool:
        """The pool of exactly this configuration; an older one is left to run out."""
        key = (function.name, function.version)
        pool = self._pools.get(key)
        if pool is None or pool.function != function:
            if pool is not None:
                log.info("%s has a new configuration", function.name)
                self._retiring[pool] = asyncio.create_task(_all([pool.close()]))
            journal = Journal(self._logs / f"{function.name}.log")
            executor = self._executors[function.package]

            async def spawn() -> Environment:
                return Environment(function, await executor.program(function), journal)

            pool = self._pools[key] = Pool(function, spawn, journal, self._limits)
        return pool

    def status(self) -> dict[str, object]:
        """What runs now: process ids per function."""
        running: dict[str, list[int]] = {}
        for pool in (*self._pools.values(), *self._retiring):
            pids = running.setdefault(f"{pool.function.name}:{pool.function.version}", [])
            pids += [each.pid for each in pool.environments]
        return dict(running)

    async def expire(self) -> None:
        """Stop what has been idle too long, for as long as the host runs."""
        while True:
            await asyncio.sleep(1)
            await _all(pool.expire() for pool in self._pools.values())
            self._retiring = {
                pool: closing
                for pool, closing in self._retiring.items()
                if not (closing.done() and pool.drained)
            }

    async def close(self) -> None:
        """Stop every environment, those of configurations that were replaced too."""
        await _all(pool.close(now=True) for pool in (*self._pools.values(), *self._retiring))
        await _all(self._retiring.values())


async def _all(work: Iterable[Awaitable[None]]) -> None:
    """Do all of it; what fails is logged and holds up nothing else."""
    for result in await asyncio.gather(*work, return_exceptions=True):
        if isinstance(result, Exception):
            log.error("an environment could not be ended", exc_info=result)


def _answer(outcome: Outcome) -> Answer:
    if not outcome.failed:
        return Answer(200, outcome.payload)
    return Answer(502, outcome.payload, {"X-Amz-Function-Error": "Unhandled"})


def _refusal(status: int, kind: str, message: str) -> Answer:
    document = {"Type": "User", "message": message}
    return Answer(status, json.dumps(document).encode(), {"x-amzn-ErrorType": kind})


def build(options: argparse.Namespace, resources: contextlib.ExitStack) -> Host:
    """Make a host from the command line and the AWS variables; raises `ContainerError`."""
    import boto3

    directory = Directory(boto3.client("lambda"))
    endpoint = os.environ["AWS_ENDPOINT_URL"]
    archives = Archives(options.home / "code", directory.code_url, directory.layer_url, endpoint)
    # Every service's own address too: functions call endpoints that another host has.
    ambient = {name: at for name, at in os.environ.items() if name.startswith("AWS_ENDPOINT_URL")}
    images = _containers if options.executor == "container" else _processes
    return Host(
        directory,
        {"Image": images(options, ambient, resources), "Zip": ZipProcesses(archives, ambient)},
        logs=options.home / "logs" / "functions",
        limits=Limits(bound=options.bound, idle_s=options.idle),
    )


def _processes(
    options: argparse.Namespace, ambient: Mapping[str, str], resources: contextlib.ExitStack
) -> Executor:
    import boto3

    def open_registry(bucket: str) -> Registry:
        from modelport.registry.s3 import S3Registry

        return S3Registry(boto3.client("s3"), bucket)

    bundles = Bundles(options.home / "bundles", open_registry)
    return ImageProcesses(bundles, options.root, ambient)


def _containers(
    options: argparse.Namespace, ambient: Mapping[str, str], resources: contextlib.ExitStack
) -> Executor:
    containers = Containers.require(options.home)
    prefix = f"{containers.prefix}lambda-"
    resources.enter_context(containers.guard(prefix))
    return ImageContainers(containers, prefix, ambient)


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="lambda_host", description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--root", type=Path, required=True, help="the tree model images hold")
    parser.add_argument("--home", type=Path, required=True, help="where bundles and logs go")
    parser.add_argument("--executor", choices=EXECUTORS, default=EXECUTORS[0])
    parser.add_argument("--bound", type=int, default=max(4, 2 * (os.cpu_count() or 1)))
    parser.add_argument("--idle", type=float, default=300, help="seconds until an idle end")
    return parser.parse_args(argv)


async def run(options: argparse.Namespace) -> None:
    """Serve until told to stop, or until stdin, held open by whoever started us, ends."""
    with contextlib.ExitStack() as resources:
        await _serve(build(options, resources), options.port)


async def _serve(host: Host, port: int) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_reader(0, _stop_at_the_end_of_stdin, stop)
    async with serving(host.handle, port) as port:
        log.info("listening on 127.0.0.1:%s", port)
        print(port, flush=True)
        reaper = asyncio.create_task(host.expire())
        await stop.wait()
        reaper.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await reaper
        await host.close()


def _stop_at_the_end_of_stdin(stop: asyncio.Event) -> None:
    if not os.read(0, 1):
        stop.set()


def main() -> None:
    """Entry point."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    try:
        asyncio.run(run(arguments()))
    except ContainerError as error:
        sys.exit(f"{error}\n{error.hint}".strip())


if __name__ == "__main__":
    main()

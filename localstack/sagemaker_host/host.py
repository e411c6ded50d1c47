"""The SageMaker host: endpoints as real processes of the runtime, or as its real image.

Composition root of the package, run as ``python -m sagemaker_host.host``. One port serves the
control plane (AWS JSON 1.1, ``X-Amz-Target``) and the runtime (``POST /endpoints/…``).
"""

import argparse
import asyncio
import contextlib
import logging
import os
import random
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import boto3
from containers import EXECUTORS, ContainerError, Containers
from lambda_host.bundles import Bundles
from lambda_host.journal import Journal
from lambda_host.wire import Answer, Request, serving
from modelport.registry import Registry
from sagemaker_host import scaling
from sagemaker_host.alarms import Raised, raised_by
from sagemaker_host.catalog import Account
from sagemaker_host.container_http import ContainerHttp
from sagemaker_host.control_plane import TARGET, ControlPlane
from sagemaker_host.data_plane import DataPlane
from sagemaker_host.endpoint import Endpoint
from sagemaker_host.fleet import Plan, Variant, Workshop
from sagemaker_host.instance import Limits
from sagemaker_host.program import ImagePrograms, ProcessPrograms, Programs
from sagemaker_host.scaling import Scaling

log = logging.getLogger("sagemaker_host")
PROCESS = EXECUTORS[0]
CLOSING_GRACE_S = 2.0


class Host:
    """Both planes over one set of endpoints."""

    def __init__(
        self,
        workshop: Workshop,
        logs: Path,
        account: Account,
        raised: Raised,
        chance: random.Random,
    ) -> None:
        """`chance` decides between variants and instances."""
        self._workshop = workshop
        self._logs = logs
        self._raised = raised
        self.control = ControlPlane(account, self._endpoint, self._variant)
        self._scaling = Scaling(account, self.control.endpoints)
        self._data = DataPlane(account, self.control.endpoints, chance)

    async def handle(self, request: Request) -> Answer:
        """Answer one HTTP request."""
        target = request.headers.get("x-amz-target", "")
        if target.startswith(TARGET):
            return await self.control.handle(request)
        if target.startswith(scaling.TARGET):
            return await self._scaling.handle(request)
        if request.method == "GET":
            return Answer.of_json(200, self.status())
        return await self._data.handle(request)

    def status(self) -> dict[str, object]:
        """What runs now: state and process ids per endpoint."""
        return {each.name: _running(each) for each in self.control.endpoints.values()}

    async def close(self) -> None:
        """End every process of every endpoint."""
        endpoints = list(self.control.endpoints.values())
        await asyncio.gather(*(each.close(CLOSING_GRACE_S) for each in endpoints))

    def _endpoint(self, name: str, arn: str) -> Endpoint:
        return Endpoint(name, arn, Journal(self._logs / f"{name}.log"), self._raised)

    def _variant(self, plan: Plan, endpoint: Endpoint) -> Variant:
        return Variant(plan, self._workshop, endpoint.journal)


def _running(endpoint: Endpoint) -> dict[str, object]:
    pids: dict[str, list[int]] = {}
    for fleet in endpoint.running:
        for variant in fleet.all:
            pids.setdefault(variant.plan.name, []).extend(variant.pids)
    return {"status": endpoint.status, "processes": pids}


def programs(options: argparse.Namespace, resources: contextlib.ExitStack) -> Programs:
    """How containers are run here; raises `ContainerError`."""
    ambient = {
        name: value
        for name, value in os.environ.items()
        if name.startswith("AWS_ENDPOINT_URL") or name in ("AWS_REGION", "AWS_DEFAULT_REGION")
    }
    if options.executor == PROCESS:
        bundles = Bundles(options.home / "bundles", _open_registry)
        return ProcessPrograms(options.root, bundles, ambient)
    containers = Containers.require(options.home)
    prefix = f"{containers.prefix}sagemaker-"
    resources.enter_context(containers.guard(prefix))
    return ImagePrograms(containers, prefix, ambient, options.memory)


def _open_registry(bucket: str) -> Registry:
    from modelport.registry.s3 import S3Registry

    return S3Registry(boto3.client("s3"), bucket)


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    limits = Limits()
    parser = argparse.ArgumentParser(prog="sagemaker_host", description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--root", type=Path, required=True, help="the tree model images hold")
    parser.add_argument("--home", type=Path, required=True, help="where bundles and logs go")
    parser.add_argument("--executor", choices=EXECUTORS, default=PROCESS)
    parser.add_argument("--memory", type=int, default=4096, help="MB a container may use")
    parser.add_argument("--account", default=Account.id, help="whose endpoints these are")
    parser.add_argument("--region", default=Account.region)
    parser.add_argument("--instances", type=int, default=2, help="most processes per variant")
    parser.add_argument("--invoke-limit", type=float, default=limits.invoke_s, help="seconds")
    parser.add_argument("--health-interval", type=float, default=limits.health_s, help="seconds")
    parser.add_argument("--startup-limit", type=float, default=limits.startup_s, help="seconds")
    return parser.parse_args(argv)


async def run(options: argparse.Namespace) -> None:
    """Serve until told to stop, or until stdin, held open by whoever started us, ends."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_reader(0, _stop_at_the_end_of_stdin, stop)
    limits = Limits(options.invoke_limit, options.startup_limit, health_s=options.health_interval)
    async with contextlib.AsyncExitStack() as resources:
        held = resources.enter_context(contextlib.ExitStack())
        http = await resources.enter_async_context(ContainerHttp())
        workshop = Workshop(programs(options, held), http, limits, options.instances)
        logs = options.home / "logs" / "endpoints"
        account = Account(options.account, options.region)
        raised = raised_by(boto3.client("cloudwatch", region_name=options.region))
        host = Host(workshop, logs, account, raised, random.Random())
        resources.push_async_callback(host.close)
        port = await resources.enter_async_context(serving(host.handle, options.port))
        log.info("listening on 127.0.0.1:%s", port)
        print(port, flush=True)
        await stop.wait()


def _stop_at_the_end_of_stdin(stop: asyncio.Event) -> None:
    if not os.read(0, 1):
        stop.set()


def main() -> None:
    """Entry point."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    # httpx would write a line for every ping.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        asyncio.run(run(arguments()))
    except ContainerError as error:
        sys.exit(f"{error}\n{error.hint}".strip())


if __name__ == "__main__":
    main()

"""The Lambda host: runs functions for an emulator that hands them over by HTTP.

Composition root of the package, run as ``python -m lambda_host.host``. It serves `invocations`,
which the emulator asks for, and Lambda's own API to the functions that it runs (`lambda_api`).
"""

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import boto3
import uvloop
from containers import EXECUTORS, ContainerError, Containers
from lambda_host.archives import Archives
from lambda_host.bundles import Bundles
from lambda_host.container_executor import ImageContainers
from lambda_host.directory import Directory
from lambda_host.invocations import Executor, Host
from lambda_host.lambda_api import OF_LAMBDA, Emulator, LambdaApi
from lambda_host.pool import Limits
from lambda_host.process_executors import ImageProcesses, ZipProcesses
from lambda_host.reports import Reports
from lambda_host.wire import Answer, Request, serving
from modelport.registry import Registry

log = logging.getLogger("lambda_host")


class Servant:
    """Everything that is served on the host's port."""

    def __init__(self, host: Host, api: LambdaApi) -> None:
        self._host = host
        self._api = api

    async def handle(self, request: Request) -> Answer:
        """Answer one request: by its path, a call of Lambda's API or the emulator's."""
        side = self._api if OF_LAMBDA.match(request.path) else self._host
        return await side.handle(request)


def build(
    options: argparse.Namespace, address: str, resources: contextlib.ExitStack
) -> tuple[Host, Reports, Servant]:
    """Make a host from the command line and the AWS variables; raises `ContainerError`."""
    client = boto3.client("lambda")
    directory = Directory(client, changes=options.changes)
    endpoint = os.environ["AWS_ENDPOINT_URL"]
    archives = Archives(options.home / "code", directory.code_url, directory.layer_url, endpoint)
    # Every service's own address too: functions call endpoints that another host has.
    ambient = {name: at for name, at in os.environ.items() if name.startswith("AWS_ENDPOINT_URL")}
    if options.changes:  # else a function that was changed might be answered for by its old self
        ambient["AWS_ENDPOINT_URL_LAMBDA"] = address
    images = _containers if options.executor == "container" else _processes
    host = Host(
        directory,
        {"Image": images(options, ambient, resources), "Zip": ZipProcesses(archives, ambient)},
        logs=options.home / "logs" / "functions",
        limits=Limits(bound=options.bound, idle_s=options.idle),
    )
    reports = Reports(boto3.client("cloudwatch"), boto3.client("logs"), host.news)
    api = LambdaApi(directory, host, reports, Emulator(endpoint), client.meta.region_name)
    return host, reports, Servant(host, api)


def _processes(
    options: argparse.Namespace, ambient: Mapping[str, str], resources: contextlib.ExitStack
) -> Executor:
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
    changes = (
        "the file that grows with every change of a function; functions then call each other here"
    )
    parser.add_argument("--changes", type=Path, help=changes)
    parser.add_argument("--executor", choices=EXECUTORS, default=EXECUTORS[0])
    parser.add_argument("--bound", type=int, default=max(4, 2 * (os.cpu_count() or 1)))
    parser.add_argument("--idle", type=float, default=300, help="seconds until an idle end")
    return parser.parse_args(argv)


async def run(options: argparse.Namespace) -> None:
    """Serve until told to stop, or until stdin, held open by whoever started us, ends."""
    with contextlib.ExitStack() as resources:
        listener = resources.enter_context(socket.create_server(("127.0.0.1", options.port)))
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        await _serve(listener, *build(options, address, resources))


async def _serve(listener: socket.socket, host: Host, reports: Reports, servant: Servant) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_reader(0, _stop_at_the_end_of_stdin, stop)
    async with serving(servant.handle, listener) as port:
        log.info("listening on 127.0.0.1:%s", port)
        print(port, flush=True)
        always = [asyncio.create_task(work) for work in (host.expire(), reports.run())]
        await stop.wait()
        for task in always:
            task.cancel()
        await asyncio.gather(*always, return_exceptions=True)
        await host.close()


def _stop_at_the_end_of_stdin(stop: asyncio.Event) -> None:
    if not os.read(0, 1):
        stop.set()


def main() -> None:
    """Entry point."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    try:
        uvloop.run(run(arguments()))
    except ContainerError as error:
        sys.exit(f"{error}\n{error.hint}".strip())


if __name__ == "__main__":
    main()

"""Composition root of the HTTP transport: ``python -m functions.runtime.server [serve]``.

Listens at once, starts the workers that load the version, and stays as their parent, so that
SageMaker's ``/ping`` finds a server that says "not yet" rather than a closed port. A version that
cannot be loaded ends the process with 1. What this module imports must stay light: it loads no
model, numpy or web server.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Mapping, MutableMapping, Sequence
from typing import TYPE_CHECKING

from modelport.errors import InvalidSettingError, ModelportError
from modelport.manifest import Manifest
from modelport.records import record
from modelport.settings import RuntimeSettings

from functions.runtime.identity import identity_headers
from functions.runtime.logs import configure
from functions.runtime.machine import Machine, Share, share
from functions.runtime.metrics import Metrics, shared_memory

if TYPE_CHECKING:
    from functions.runtime.supervisor import Worker

logger = logging.getLogger("functions.runtime.server")

#: SageMaker and Kubernetes kill 30 s after SIGTERM; until then requests are finished.
DRAIN_S = 25
#: SageMaker batch transform sends up to this many MB and says so in its variable.
MAX_BODY_MB = 100
MOST_WORKERS = 1024
MOST_SECONDS = 24 * 3600
USAGE = "usage: python -m functions.runtime.server [serve]"
_LEVELS = {"10": "DEBUG", "20": "INFO", "30": "WARNING", "40": "ERROR", "50": "CRITICAL"}


@record(frozen=True)
class ServerSettings:
    """Where to listen, how large a body may be, how many workers, in the platforms' own variables.

    Of SageMaker's other variables SAGEMAKER_CONTAINER_LOG_LEVEL is read by `runtime_settings`.
    SAGEMAKER_SAFE_PORT_RANGE is not read, because no other port is opened, and none of those for
    several models or for a program of the user, because a bundle says that itself.
    """

    host: str = "0.0.0.0"
    port: int = 8080
    max_body: int = MAX_BODY_MB * 1024 * 1024
    workers: int | None = None
    #: Seconds a caller waits for an answer; a worker that gives none for so long is replaced.
    timeout_s: int | None = None
    #: Seconds a version may take to load.
    startup_s: int | None = None
    drain_s: int = DRAIN_S - 1

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> ServerSettings:
        """Ours is ``MODELPORT_HOST``, the rest are SageMaker's; raises `InvalidSettingError`."""
        seconds = "SAGEMAKER_MODEL_SERVER_TIMEOUT_SECONDS"
        if not environ.get(seconds):
            seconds = "SAGEMAKER_MODEL_SERVER_TIMEOUT"
        port = _whole(environ, "SAGEMAKER_BIND_TO_PORT", 0, 65_535)
        body = _whole(environ, "SAGEMAKER_MAX_PAYLOAD_IN_MB", 0, 2**20)
        return cls(
            environ.get("MODELPORT_HOST") or cls.host,
            cls.port if port is None else port,
            (body or MAX_BODY_MB) * 1024 * 1024,  # 0, batch transform's "no limit", leaves ours
            _whole(environ, "SAGEMAKER_MODEL_SERVER_WORKERS", 1, MOST_WORKERS),
            _whole(environ, seconds, 1, MOST_SECONDS),
            _whole(environ, "SAGEMAKER_STARTUP_TIMEOUT", 1, MOST_SECONDS),
        )


def _whole(environ: Mapping[str, str], name: str, least: int, most: int) -> int | None:
    text = environ.get(name)
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and least <= int(text) <= most):
        raise InvalidSettingError(name, text, f"it must be a whole number from {least} to {most}")
    return int(text)


def runtime_settings(environ: Mapping[str, str]) -> RuntimeSettings:
    """What is served; SageMaker's log level, a number or a name, counts where ours is not set."""
    level = environ.get("SAGEMAKER_CONTAINER_LOG_LEVEL")
    if level and not environ.get("MODELPORT_LOG_LEVEL"):
        environ = {**environ, "MODELPORT_LOG_LEVEL": _LEVELS.get(level, level)}
    return RuntimeSettings.from_env(environ)


def labels_of(runtime: RuntimeSettings) -> dict[str, str]:
    """What every metric says about the version."""
    return {"model": runtime.model, "version": str(runtime.version)}


@record(frozen=True)
class Spawner:
    """Starts worker processes that share the metrics' memory.

    The first is a copy of this process, which is all its own yet and has imported half of what a
    worker needs; later ones begin anew.
    """

    metrics: int
    environ: Mapping[str, str]

    def __call__(self, slot: int) -> Worker:
        """Start the worker of this slot; a fresh interpreter, so nothing half-done is copied."""
        from functions.runtime.supervisor import Worker

        ours, theirs = socket.socketpair()
        with theirs:
            theirs.set_inheritable(True)
            shared = (theirs.fileno(), self.metrics, slot)
            pid = os.posix_spawn(
                sys.executable,
                [sys.executable, "-m", "functions.runtime.worker", *map(str, shared)],
                self.environ,
                setsigmask=(),
                setsigdef=(signal.SIGTERM, signal.SIGINT),
            )
        return Worker(pid, slot, ours)

    def copy(self, slot: int, listener: socket.socket) -> Worker:
        """Start the worker of this slot before there is an event loop, a thread or a caller."""
        from functions.runtime.supervisor import Worker

        ours, theirs = socket.socketpair()
        sys.stdout.flush()
        pid = os.fork()
        if pid:
            theirs.close()
            return Worker(pid, slot, ours)
        status = 1
        try:
            ours.close()
            listener.close()
            from functions.runtime.worker import main as work

            shared = (theirs.detach(), self.metrics, slot)
            status = work([*map(str, shared)], self.environ)
        except Exception:
            logger.exception("worker %d failed", slot)
        finally:  # whatever happens, SystemExit too: nothing of the parent's is done twice
            sys.stdout.flush()
            os._exit(status)


def main(arguments: Sequence[str], environ: MutableMapping[str, str]) -> int:
    """Run the server with this command line and environment."""
    if list(arguments) not in ([], ["serve"]):
        print(USAGE, file=sys.stderr)
        return 2
    try:
        runtime, settings = runtime_settings(environ), ServerSettings.from_env(environ)
        configure(runtime.log_level, sys.stdout)
        listener = _listen(settings)
    except ModelportError as error:
        print(error.message, file=sys.stderr)
        return 1
    # onnxruntime's Linux wheels report usage by default; a model server never calls home.
    environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    logger.info("listening on %s:%d", *listener.getsockname()[:2])
    # Until the event loop takes over. As process 1 a signal without a handler would be lost.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    with listener:
        return _supervise(runtime, settings, listener, environ)


def _supervise(
    runtime: RuntimeSettings,
    settings: ServerSettings,
    listener: socket.socket,
    environ: MutableMapping[str, str],
) -> int:
    gc.disable()  # collecting while everything is being built finds nothing
    shares = _share(runtime, settings)
    shared = shared_memory(shares.workers)
    os.set_inheritable(shared, True)
    environ["MODELPORT_THREADS"] = str(runtime.threads or shares.threads)
    spawn = Spawner(shared, environ)
    logger.info("%d workers, %d threads each for the model", shares.workers, shares.threads)
    # Imported before the first worker, which needs them too and gets them with its copy.
    import asyncio

    from functions.runtime.doorman import Doorman
    from functions.runtime.supervisor import Patience, Supervisor

    gc.freeze()  # collections in the copy would copy what is only looked at
    first = spawn.copy(0, listener)
    gc.enable()
    labels = labels_of(runtime)
    headers = identity_headers(runtime.model, runtime.version, runtime.digest)
    doorman = Doorman(listener, headers, Metrics(shared, 0, labels))

    async def supervise() -> int:
        supervisor = Supervisor(
            spawn,
            shares.workers,
            doorman,
            Patience(DRAIN_S, settings.startup_s),
            ready=lambda: logger.info("ready: %s version %s", runtime.model, runtime.version),
            vacated=lambda slot: Metrics(shared, slot, labels).unready(),
        )
        return await supervisor.run(first)

    return asyncio.run(supervise())


def _share(runtime: RuntimeSettings, settings: ServerSettings) -> Share:
    """Workers and threads, as machine, version and operator have it."""
    try:
        with open(os.path.join(runtime.bundle_dir, "manifest.json"), "rb") as file:
            manifest = Manifest.from_bytes(file.read())
    except (OSError, ModelportError):
        return Share(1, 1)  # the worker that reads it again says what is wrong
    said = manifest.settings
    rows = runtime.max_batch_rows or (said.batching.max_rows if said.batching else 1)
    return share(
        Machine.here(), settings.workers, manifest.content.size, said.threads, batches=rows > 1
    )


def _listen(settings: ServerSettings) -> socket.socket:
    try:
        return socket.create_server((settings.host, settings.port), backlog=2048)
    except OSError as error:
        where = f"{settings.host}:{settings.port}"
        raise InvalidSettingError(
            "SAGEMAKER_BIND_TO_PORT", settings.port, f"cannot listen on {where}: {error.strerror}"
        ) from None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))

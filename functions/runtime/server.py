"""Composition root of the HTTP transport: ``python -m functions.runtime.server [serve]``.

Listens at once and loads the bundle beside it, so that SageMaker's ``/ping`` finds a server that
says "not yet" rather than a closed port. A version that cannot be loaded ends the process with 1.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from threading import Thread

import uvicorn
from modelport.errors import InvalidSettingError, ModelportError
from modelport.settings import RuntimeSettings

from functions.runtime.asgi import Application
from functions.runtime.data_plane import identity_headers
from functions.runtime.loading import load
from functions.runtime.logs import configure

logger = logging.getLogger("functions.runtime.server")

#: SageMaker kills 30 s after SIGTERM.
GRACE_S = 25
#: Longer than the idle time of load balancers, so that they close connections and not we.
KEEP_ALIVE_S = 75
#: SageMaker batch transform sends up to this many MB and says so in its variable.
MAX_BODY_MB = 100
USAGE = "usage: python -m functions.runtime.server [serve]"


@dataclass(frozen=True)
class ServerSettings:
    """Where to listen and how large a body may be, in the platforms' own variables."""

    host: str = "0.0.0.0"
    port: int = 8080
    max_body: int = MAX_BODY_MB * 1024 * 1024

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> ServerSettings:
        """Ours is ``MODELPORT_HOST``, the rest are SageMaker's; raises `InvalidSettingError`."""
        return cls(
            environ.get("MODELPORT_HOST") or cls.host,
            _whole(environ, "SAGEMAKER_BIND_TO_PORT", cls.port, 65535),
            _whole(environ, "SAGEMAKER_MAX_PAYLOAD_IN_MB", MAX_BODY_MB, 2**20) * 1024 * 1024,
        )


def _whole(environ: Mapping[str, str], name: str, default: int, most: int) -> int:
    text = environ.get(name) or str(default)
    if not (text.isascii() and text.isdigit() and int(text) <= most):
        raise InvalidSettingError(name, text, f"it must be a whole number up to {most}")
    return int(text)


class Service:
    """The listening server and the thread that loads the model behind it."""

    def __init__(self, runtime: RuntimeSettings, settings: ServerSettings) -> None:
        self._runtime = runtime
        headers = identity_headers(runtime.model, runtime.version, runtime.digest)
        self._application = Application(headers, settings.max_body)
        self._failed = False
        self._server = uvicorn.Server(
            uvicorn.Config(
                self._application,
                lifespan="off",
                ws="none",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=GRACE_S,
            )
        )

    def run(self, listener: socket.socket) -> int:
        """Serve until SIGTERM or SIGINT; the process's exit status."""
        Thread(target=self._load, name="load", daemon=True).start()
        self._server.run(sockets=[listener])
        self._application.close()
        return 1 if self._failed else 0

    def _load(self) -> None:
        try:
            plane = load(self._runtime)
        except ModelportError as error:
            self._fail(error.message)
        # Whatever it is, SystemExit included: it would end this thread alone, unseen.
        except BaseException as error:
            logger.exception("the version cannot be loaded")
            self._fail(f"{type(error).__name__}: {error}")
        else:
            self._application.ready(plane.handle)
            logger.info("ready: %s version %s", self._runtime.model, self._runtime.version)

    def _fail(self, problem: str) -> None:
        logger.error("the version cannot be loaded: %s", problem)
        self._failed = True
        self._server.should_exit = True


def main(arguments: Sequence[str], environ: MutableMapping[str, str]) -> int:
    """Run the server with this command line and environment."""
    if list(arguments) not in ([], ["serve"]):
        print(USAGE, file=sys.stderr)
        return 2
    try:
        runtime, settings = RuntimeSettings.from_env(environ), ServerSettings.from_env(environ)
        configure(runtime.log_level, sys.stdout)
        listener = _listen(settings)
    except ModelportError as error:
        print(error.message, file=sys.stderr)
        return 1
    # onnxruntime's Linux wheels report usage by default; a model server never calls home.
    environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    logger.info("listening on %s:%d", *listener.getsockname()[:2])
    # uvicorn raises the signal again once it has shut down; as PID 1 and elsewhere that ends in 0.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    return Service(runtime, settings).run(listener)


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

"""The runtime as it runs for real: its HTTP server and its Lambda handler, each in its own process.

Both are started as an image starts them. `HttpRuntime` talks HTTP over loopback. `LambdaRuntime`
is a tiny Lambda Runtime API that a real awslambdaric process polls. Both take an envelope's
`Request` and give its `Response`, so one suite runs through both.
"""

from __future__ import annotations

import http.client
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar, cast

from modelport.envelope import Request, Response
from modelport.settings import RuntimeSettings

from tests.conftest import ROOT

PATIENCE_S = 30.0


class RuntimeProcess:
    """A child process of the runtime, its log lines collected as they come."""

    def __init__(self, arguments: Sequence[str], environ: Mapping[str, str]) -> None:
        path = os.pathsep.join([str(ROOT), str(ROOT / "layers" / "core" / "python")])
        self._process = subprocess.Popen(
            [sys.executable, *arguments],
            env={**os.environ, "PYTHONPATH": path, **environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._collect, daemon=True)
        self._reader.start()

    def _collect(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as stream:
            for line in stream:
                self.lines.append(line.rstrip("\n"))

    @property
    def log(self) -> str:
        return "\n".join(self.lines)

    def request_lines(self) -> list[dict[str, Any]]:
        """The JSON log lines about requests, so far."""
        lines = [json.loads(line) for line in self.lines if line.startswith("{")]
        return [line for line in lines if "request_id" in line]

    def wait_for(self, text: str) -> str:
        """The first log line with ``text``; fails with the log when the process ends without."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            ended = self._process.poll() is not None
            for line in list(self.lines):
                if text in line:
                    return line
            if ended and not self._reader.is_alive():
                break
            time.sleep(0.01)
        raise AssertionError(f"no log line with {text!r}:\n{self.log}")

    @property
    def pid(self) -> int:
        return self._process.pid

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def exit_code(self) -> int:
        code = self._process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        return code

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self.exit_code()


class HttpRuntime(RuntimeProcess):
    """The HTTP server on a free port of the loopback interface."""

    def __init__(
        self,
        settings: RuntimeSettings,
        environ: Mapping[str, str] | None = None,
        *,
        program: Sequence[str] = ("-m", "functions.runtime", "serve"),
    ) -> None:
        own = {
            "MODELPORT_HOST": "127.0.0.1",
            "SAGEMAKER_BIND_TO_PORT": "0",
            "SAGEMAKER_MODEL_SERVER_WORKERS": "1",
        }
        super().__init__(
            program,
            {**settings.to_env(), **own, **(environ or {})},
        )

    @property
    def port(self) -> int:
        message = json.loads(self.wait_for("listening on"))["message"]
        return int(message.rpartition(":")[2])

    def ready(self) -> HttpRuntime:
        self.wait_for("ready:")
        return self

    def send(self, request: Request) -> Response:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        headers = {"x-modelport-request-id": request.request_id} | request.headers
        try:
            connection.request(request.method, request.path, request.body or None, headers)
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        return Response(answer.status, {k.lower(): v for k, v in answer.getheaders()}, body)

    def stop(self) -> int:
        self.signal(signal.SIGTERM)
        return self.exit_code()


class LambdaRuntime(RuntimeProcess):
    """awslambdaric with the real handler, polling a Runtime API of our own."""

    arguments: ClassVar = ("-m", "functions.runtime", "functions.runtime.handler.handler")

    def __init__(self, settings: RuntimeSettings, environ: Mapping[str, str] | None = None) -> None:
        self._api = _RuntimeApi()
        super().__init__(
            [*self.arguments],
            {
                **settings.to_env(),
                "AWS_LAMBDA_RUNTIME_API": self._api.address,
                "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1769",
                **(environ or {}),
            },
        )

    def ready(self) -> LambdaRuntime:
        return self

    def send(self, request: Request) -> Response:
        return Response.from_event(self.invoke(request.to_event()))

    def invoke(self, event: bytes) -> bytes:
        """What the function returned; raises what it reported as a function error."""
        return self._api.invoke(event)

    def init_error(self) -> dict[str, Any]:
        return self._api.init_error()

    def stop(self) -> int:
        self.signal(signal.SIGTERM)
        return self.exit_code()

    def close(self) -> None:
        super().close()
        self._api.close()


class FunctionError(AssertionError):
    """The function reported an error instead of an answer."""


class _Listener(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A function that is killed hangs up; nothing else goes wrong here unseen."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class _RuntimeApi:
    """Just enough of the Lambda Runtime API for one function environment."""

    def __init__(self) -> None:
        self.events: queue.Queue[tuple[str, bytes]] = queue.Queue()
        self.answers: queue.Queue[tuple[str, str, bytes]] = queue.Queue()
        self._count = 0
        self._server = _Listener(("127.0.0.1", 0), _RuntimeApiRequest)
        cast(Any, self._server).api = self
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._server.server_port}"

    def invoke(self, event: bytes) -> bytes:
        self._count += 1
        self.events.put((f"request-{self._count}", event))
        _, kind, body = self.answers.get(timeout=PATIENCE_S)
        if kind != "response":
            raise FunctionError(body.decode())
        return body

    def init_error(self) -> dict[str, Any]:
        _, kind, body = self.answers.get(timeout=PATIENCE_S)
        assert kind == "error", kind
        return cast(dict[str, Any], json.loads(body))

    def close(self) -> None:
        self.events.put(("", b""))
        self._server.shutdown()
        self._thread.join(PATIENCE_S)
        self._server.server_close()


class _RuntimeApiRequest(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    @property
    def api(self) -> _RuntimeApi:
        return cast(_RuntimeApi, cast(Any, self.server).api)

    def do_GET(self) -> None:
        """``/runtime/invocation/next``: wait for an event."""
        request_id, event = self.api.events.get()
        if not request_id:
            self.close_connection = True
            return
        self._reply(
            200,
            event,
            {
                "Lambda-Runtime-Aws-Request-Id": request_id,
                "Lambda-Runtime-Deadline-Ms": str(int((time.time() + 60) * 1000)),
                "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:us-east-1:0:function:f",
                "Content-Type": "application/json",
            },
        )

    def do_POST(self) -> None:
        """``/runtime/invocation/<id>/response|error`` or ``/runtime/init/error``."""
        body = self._body()
        *_, request_id, kind = Path(self.path).parts
        self.api.answers.put((request_id, kind, body))
        self._reply(202, b"{}", {})

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        chunks = []
        while size := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def _reply(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Stay quiet."""

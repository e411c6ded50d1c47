"""An AWS service on a loopback socket: the HTTP around answers that tests make themselves.

Knows no service: what one answers is `lambda_api`'s and `sagemaker_api`'s.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = tuple[int, Mapping[str, str], bytes]


class Exchange(BaseHTTPRequestHandler):
    """One request; a service says in ``do_POST`` what becomes of it."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def body(self) -> bytes:
        """The request's body."""
        return self.rfile.read(int(self.headers["Content-Length"]))

    def answer(self, answer: Answer | None) -> None:
        """Send this, or hang up without an answer."""
        if answer is None:
            self.close_connection = True
            return
        status, headers, body = answer
        self.send_response(status)
        for header, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(header, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def serving(service: type[Exchange]) -> Iterator[str]:
    """Serve on a free loopback port until the block ends; its URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), service)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

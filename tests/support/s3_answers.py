"""An S3 that answers what it is told to, over a real socket: for faults no emulator produces."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Answer:
    """One response; ``cut`` closes the connection after that many bytes of the body."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None


def refusal(status: int, code: str) -> Answer:
    """An error as S3 words it."""
    body = f"<Error><Code>{code}</Code><Message>because of {code}</Message></Error>"
    return Answer(status, body.encode(), {"Content-Type": "application/xml"})


@dataclass(frozen=True)
class Seen:
    """One request that came in."""

    method: str
    path: str
    headers: dict[str, str]


@dataclass
class S3Answers:
    """Gives its answers in turn, the last one for ever, and remembers what it was asked."""

    endpoint: str
    answers: list[Answer]
    seen: list[Seen] = field(default_factory=list)

    def next(self) -> Answer:
        """The answer to give now."""
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@contextmanager
def s3_answering(*answers: Answer) -> Iterator[S3Answers]:
    """A server on loopback that gives ``answers`` in turn."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            state.seen.append(Seen(self.command, self.path, headers))
            answer = state.next()
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.body[: answer.cut])
            self.close_connection = answer.cut is not None

        do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = handle_any

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing: the test knows what it asked."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state = S3Answers(f"http://127.0.0.1:{server.server_address[1]}", list(answers))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

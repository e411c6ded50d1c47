"""V2's generate: a prompt in, text out, whole or as server-sent events while it is made.

The text comes from the ``generate_fn`` of the bundle's script. What fails before the first piece is
an ordinary error; after it the status has been sent, so the error is an event. This module knows
no transport: it makes pieces when it is asked for them, and stops when it is closed.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, Protocol

import orjson
from modelport.envelope import Request, Response, Stream
from modelport.errors import MalformedRequestError, ModelportError, NotSupportedError

from functions.runtime.codecs.codec import JSON_HEADERS, Subject, read_json

if TYPE_CHECKING:
    from functions.runtime.inference_script import InferenceScript

EVENTS = "text/event-stream; charset=utf-8"
#: Says that an answer in events was made whole before it was sent.
BUFFERED = "x-modelport-buffered"


class Timer(Protocol):
    """Where the time is added up that the script takes."""

    model_ns: int


@dataclass(frozen=True, slots=True)
class Prompt:
    """What is to be continued, and how; ``id`` is echoed."""

    id: str | None
    text: str
    parameters: dict[str, Any]


class Generation:
    """One request for text."""

    def __init__(
        self,
        script: InferenceScript | None,
        request: Request,
        subject: Subject,
        timer: Timer,
        blamed: Callable[[], ModelportError],
    ) -> None:
        """``blamed`` logs what a script raised, and gives what the caller is told.

        Raises `NotSupportedError` without a script that generates.
        """
        if script is None or not script.generates:
            raise NotSupportedError(
                "generate",
                f"model {subject.model} version {subject.version}"
                " has no generate_fn in an inference.py",
            )
        self._prompt = read_prompt(request.body)
        self._subject = subject
        self._timer = timer
        self._blamed = blamed
        self._texts = script.generate(self._prompt.text, self._prompt.parameters, request, subject)

    def whole(self) -> Response:
        """All of the text in one JSON object."""
        try:
            text = "".join(iter(self._next, None))
            return Response(200, dict(JSON_HEADERS), self._document(text))
        except ModelportError:
            raise
        except (Exception, SystemExit) as error:
            raise self._blamed() from error

    def stream(self, ended: Callable[[int], None]) -> Stream:
        """The text in events; returns when the first is there, so that its errors are raised.

        ``ended`` is told how many bytes there were, once there are no more.
        """
        events = self._events(ended)
        try:
            next(events)
        except ModelportError:
            raise
        except (Exception, SystemExit) as error:
            raise self._blamed() from error
        headers = {"content-type": EVENTS, "cache-control": "no-cache"}
        return Stream(200, headers, pieces=events)

    def buffered(self) -> Response:
        """The events all at once, for callers who cannot get them as they come."""
        stream = self.stream(lambda size: None)
        return replace(stream.whole(), headers={**stream.headers, BUFFERED: "true"})

    def _events(self, ended: Callable[[int], None]) -> Generator[bytes]:
        """Nothing first, and then the events: what fails until the first is made is raised."""
        size = 0
        try:
            piece = self._event(self._next())
            yield b""
            try:
                while piece is not None:
                    size += len(piece)
                    yield piece
                    piece = self._event(self._next())
            except ModelportError as error:
                piece = _event(orjson.dumps({"error": error.message}))
            except (Exception, SystemExit):  # a script that exits must not end the server
                piece = _event(orjson.dumps({"error": self._blamed().message}))
            if piece is not None:
                size += len(piece)
                yield piece
            ended(size)
        except GeneratorExit:
            ended(size)
            raise
        finally:
            self._texts.close()

    def _next(self) -> str | None:
        started = perf_counter_ns()
        try:
            return next(self._texts, None)
        finally:
            self._timer.model_ns += perf_counter_ns() - started

    def _event(self, text: str | None) -> bytes | None:
        return None if text is None else _event(self._document(text))

    def _document(self, text: str) -> bytes:
        about = {} if self._prompt.id is None else {"id": self._prompt.id}
        subject = self._subject
        return orjson.dumps(
            {
                **about,
                "model_name": subject.model,
                "model_version": str(subject.version),
                "text_output": text,
            }
        )


def read_prompt(body: bytes) -> Prompt:
    """Read a generate request; keys beside the known ones are parameters, as on Triton.

    Raises `MalformedRequestError`.
    """
    document = read_json(body)
    id, text = document.pop("id", None), document.pop("text_input", None)
    parameters = document.pop("parameters", {})
    if not isinstance(text, str):
        raise MalformedRequestError("'text_input' must be a string")
    if id is not None and not isinstance(id, str):
        raise MalformedRequestError("'id' must be a string")
    if not isinstance(parameters, dict):
        raise MalformedRequestError("'parameters' must be an object")
    return Prompt(id, text, {**document, **parameters})


def _event(document: bytes) -> bytes:
    return b"data: " + document + b"\n\n"

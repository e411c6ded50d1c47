"""V2's generate in the data plane: text whole, in events, and what goes wrong before and after."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from modelport.envelope import Request, Response, Stream

from tests.support import runtime_bundles as bundles
from tests.support.runtime_planes import Plane, open_plane

GENERATE = "/v2/models/demo/versions/3/generate"
STREAM = "/v2/models/demo/generate_stream"
SCRIPT = """
from modelport.errors import MalformedRequestError

ended = []

def generate_fn(prompt, parameters, model):
    try:
        if prompt == "no":
            raise MalformedRequestError("this prompt is not allowed")
        for number in range(parameters.get("count", 3)):
            if number == parameters.get("fail_at"):
                raise RuntimeError("secret detail")
            if number == parameters.get("refuse_at"):
                raise MalformedRequestError("no more of this")
            if number == parameters.get("odd_at"):
                yield 7
            yield f"{prompt}{number} é"
    finally:
        ended.append(prompt)
"""


@pytest.fixture
def plane(tmp_path: Path) -> Plane:
    return open_plane(tmp_path, bundles.DOUBLE, script=SCRIPT)


def ask(text: str = "a", **parameters: Any) -> dict[str, Any]:
    return {"text_input": text, "parameters": parameters}


def events(body: bytes) -> list[Any]:
    """The documents of the events, whose framing is exact."""
    assert body.endswith(b"\n\n") or not body
    found = body.decode().split("\n\n")[:-1]
    assert all(each.startswith("data: ") and "\n" not in each for each in found)
    return [json.loads(each.removeprefix("data: ")) for each in found]


def stream(plane: Plane, document: Any) -> Response:
    body = json.dumps(document).encode()
    return plane.plane.stream(Request("POST", STREAM, {}, body, "id-1"))


def test_generate_joins_the_pieces_and_echoes_the_id(plane: Plane) -> None:
    answer = plane.answer(GENERATE, {"id": "7", **ask(count=2)})
    assert answer == {
        "id": "7",
        "model_name": "demo",
        "model_version": "3",
        "text_output": "a0 éa1 é",
    }
    assert "id" not in plane.answer(GENERATE, ask())


def test_keys_beside_the_known_ones_are_parameters(plane: Plane) -> None:
    beside = {"text_input": "a", "count": 1}
    assert plane.answer(GENERATE, beside)["text_output"] == "a0 é"
    both = {**beside, "parameters": {"count": 2}}
    assert plane.answer(GENERATE, both)["text_output"] == "a0 éa1 é"


def test_a_stream_makes_each_event_when_it_is_taken(plane: Plane) -> None:
    answer = stream(plane, ask(count=10**9))
    assert isinstance(answer, Stream)
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["x-modelport-version"] == "3"
    (first,) = events(next(answer.pieces))
    assert first == {"model_name": "demo", "model_version": "3", "text_output": "a0 é"}
    (second,) = events(next(answer.pieces))
    assert second["text_output"] == "a1 é"
    answer.pieces.close()
    assert plane.answer(GENERATE, ask("b", count=1))["text_output"] == "b0 é"


def test_a_stream_that_nobody_takes_is_closed_too(plane: Plane) -> None:
    answer = stream(plane, ask())
    assert isinstance(answer, Stream)
    answer.pieces.close()
    assert plane.answer(GENERATE, ask("b", count=1))["text_output"] == "b0 é"


def test_a_transport_without_streams_gets_all_events_at_once_and_says_so(plane: Plane) -> None:
    answer = plane.post(STREAM, ask())
    assert not isinstance(answer, Stream)
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["x-modelport-buffered"] == "true"
    assert [each["text_output"] for each in events(answer.body)] == ["a0 é", "a1 é", "a2 é"]


@pytest.mark.parametrize("path", [GENERATE, STREAM])
@pytest.mark.parametrize(
    ("document", "status", "said"),
    [
        (ask("no"), 400, "this prompt is not allowed"),
        (ask(fail_at=0), 500, "under request id id-1"),
        (ask(odd_at=0), 500, "under request id id-1"),
        ({"parameters": {}}, 400, "'text_input' must be a string"),
        ({"text_input": ["a"]}, 400, "'text_input' must be a string"),
        ({"text_input": "a", "id": 1}, 400, "'id' must be a string"),
        ({"text_input": "a", "parameters": []}, 400, "'parameters' must be an object"),
        (b"[]", 400, "not an object"),
        (b"{", 400, "JSON Parse error"),
    ],
)
def test_what_fails_before_the_first_piece_has_its_status(
    plane: Plane, path: str, document: Any, status: int, said: str
) -> None:
    message = plane.refusal(path, document, status=status)
    assert said in message
    assert "secret" not in message


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"fail_at": 1}, "failed on this request"),
        ({"odd_at": 1}, "failed on this request"),
        ({"refuse_at": 1}, "no more of this"),
    ],
)
def test_what_fails_after_it_is_an_event(plane: Plane, wrong: dict[str, Any], said: str) -> None:
    answer = stream(plane, ask(**wrong))
    assert isinstance(answer, Stream)
    body = answer.whole().body
    first, last = events(body)
    assert first["text_output"] == "a0 é"
    assert list(last) == ["error"]
    assert said in last["error"]
    assert b"secret" not in body
    assert plane.answer(GENERATE, ask("b", count=1))["text_output"] == "b0 é"


def test_no_text_at_all_is_an_answer(plane: Plane) -> None:
    assert plane.answer(GENERATE, ask(count=0))["text_output"] == ""
    assert plane.post(STREAM, ask(count=0)).body == b""


@pytest.mark.parametrize("script", [None, "def input_fn(data, content_type):\n    return data\n"])
@pytest.mark.parametrize("path", [GENERATE, STREAM])
def test_a_version_that_generates_nothing_says_so(
    tmp_path: Path, script: str | None, path: str
) -> None:
    plane = open_plane(tmp_path, bundles.DOUBLE, script=script)
    assert "has no generate_fn" in plane.refusal(path, ask(), status=501)


def test_a_script_may_return_text_and_take_a_model_and_a_context(tmp_path: Path) -> None:
    script = """
def model_fn(model_dir):
    return object()

def generate_fn(prompt, parameters, model, context):
    return f"{prompt} {type(model).__name__} {context.request_id}"
"""
    plane = open_plane(tmp_path, bundles.DOUBLE, script=script)
    assert plane.answer(GENERATE, ask())["text_output"] == "a object id-1"
    rows = {"instances": [[1, 2]]}
    assert "only a generate_fn" in plane.refusal("/invocations", rows, status=501)


def test_the_log_line_of_a_stream_says_what_was_sent(plane: Plane) -> None:
    lines: list[Any] = []
    plane.plane.ledger.observe(lines.extend)
    answer = stream(plane, ask())
    assert isinstance(answer, Stream)
    assert not lines
    size = len(answer.whole().body)
    (line,) = lines
    assert (line["verb"], line["status"], line["bytes_out"]) == ("generate-stream", 200, size)
    left = stream(plane, ask())
    assert isinstance(left, Stream)
    piece = next(left.pieces)
    left.pieces.close()
    assert lines[1]["bytes_out"] == len(piece)

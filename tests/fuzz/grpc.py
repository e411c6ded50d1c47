"""gRPC messages: decoded, turned into V2 requests, answered by a model, and turned back."""

from __future__ import annotations

from typing import Any

from modelport.envelope import Request

from functions.runtime.grpc import transcoding
from functions.runtime.grpc.messages import message
from tests.fuzz.dice import Dice, FindingError, chosen
from tests.fuzz.planes import check, open_planes

PLANES, WATCH = open_planes()
METHODS = tuple(transcoding.METHODS.values())


def one(data: bytes) -> None:
    """One call; raises what is a finding."""
    dice = Dice(data)
    plane, method = dice.one_of(PLANES).plane, dice.one_of(METHODS)
    try:
        request = transcoding.asked(method, dice.rest(), {}, "fuzz")
        response = plane.handle(request)
        check(request, response, WATCH)
        transcoding.answered(method, response)
    except transcoding.GrpcError as error:
        _check_blame(error, data)


def _check_blame(error: transcoding.GrpcError, data: bytes) -> None:
    if error.status == transcoding.INTERNAL:
        raise FindingError(f"{error.words} for {data!r}")


def _asked(**fields: Any) -> bytes:
    told: bytes = message("ModelInferRequest")(model_name="demo", **fields).SerializeToString()
    return told


def _x(**fields: Any) -> dict[str, Any]:
    return {"name": "x", "datatype": "FP32", "shape": [1, 2], **fields}


SEEDS = (
    chosen(1, 0, body=_asked(inputs=[_x()], raw_input_contents=[bytes(8)])),
    chosen(1, 0, body=_asked(id="1", inputs=[_x(contents={"fp32_contents": [1, 2]})])),
    chosen(
        1,
        0,
        body=_asked(
            inputs=[_x(parameters={"a": {"double_param": 1.5}})],
            outputs=[{"name": "x_out", "parameters": {"classification": {"int64_param": 1}}}],
            raw_input_contents=[bytes(8)],
        ),
    ),
    chosen(
        1,
        0,
        body=_asked(
            inputs=[_x()],
            outputs=[{"name": "x_out", "parameters": {"binary_data": {"bool_param": False}}}],
            raw_input_contents=[bytes(8)],
        ),
    ),
    *(chosen(1, at, body=b"\n\x04demo\x12\x013") for at in range(1, len(METHODS))),
)
assert isinstance(transcoding.asked(METHODS[0], SEEDS[0][2:], {}, ""), Request)

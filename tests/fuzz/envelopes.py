"""The envelopes between router and model: Lambda's events and SageMaker's custom attributes."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

from modelport import sagemaker_envelope
from modelport.envelope import Request, Response
from modelport.errors import ModelportError

from tests.fuzz.dice import Dice, chosen
from tests.fuzz.planes import check, open_planes

PLANES, WATCH = open_planes()


def one(data: bytes) -> None:
    """One envelope, opened as each thing it could be; raises what is a finding."""
    dice = Dice(data)
    kind, body = dice.number() % 3, dice.rest()
    if kind == 0:
        with suppress(ValueError, RecursionError):  # awslambdaric's own, which reads the JSON
            _event(json.loads(body.decode()))
    elif kind == 1:
        with suppress(ModelportError):
            Response.from_event(body)
    else:
        headers = {sagemaker_envelope.HEADER: body.decode("latin-1")}
        with suppress(ModelportError):
            _answered(sagemaker_envelope.unwrap(Request("POST", "/invocations", headers, b"{}")))
        with suppress(ModelportError):
            sagemaker_envelope.unwrapped(Response(200, headers, b"{}"))


def _event(event: Any) -> None:
    try:
        request = Request.from_event(event)
    except ModelportError:
        return
    _answered(request)


def _answered(request: Request | None) -> None:
    if request is not None:
        check(request, PLANES[1].plane.handle(request), WATCH)


_REQUEST = Request("POST", "/invocations", {"content-type": "text/csv"}, b"1,2\n", "id")
SEEDS = (
    chosen(0, body=_REQUEST.to_event()),
    chosen(1, body=json.dumps(Response(200, {"a": "b"}, b"\xff").to_event()).encode()),
    chosen(2, body=sagemaker_envelope.attributes_of(_REQUEST).encode()),
    chosen(
        2, body=sagemaker_envelope.wrap(Response(200)).headers[sagemaker_envelope.HEADER].encode()
    ),
)

"""What a hostile server may answer, as the Python client reads it."""

from __future__ import annotations

from modelport.client.conversation import Reply, error_of
from modelport.client.errors import UnreadableAnswerError
from modelport.client.messages import read_outputs, read_signature

from tests.fuzz.dice import Dice, chosen, told

_HEADERS = ("content-type", "inference-header-content-length", "retry-after", "x-modelport-version")


def one(data: bytes) -> None:
    """One answer, read as each thing it could be; raises what is a finding."""
    dice = Dice(data)
    headers = {name: dice.text() for name in _HEADERS if dice.number() % 2}
    reply = Reply(400 + dice.number(), headers, dice.rest())
    error_of(reply)
    for read in (read_outputs, read_signature):
        try:
            read(reply, "https://example.com")
        except UnreadableAnswerError:
            continue


_JSON = b'{"model_name":"m","outputs":[{"name":"y","datatype":"FP32","shape":[1,2],"data":[1,2]}]}'
_RAW = (
    b'{"outputs":[{"name":"y","datatype":"BYTES","shape":[1],"parameters":{"binary_data_size":5}}]}'
)
_ABOUT = (
    b'{"inputs":[{"name":"x","datatype":"FP32","shape":[-1]}],'
    b'"outputs":[{"name":"y","datatype":"FP32","shape":[1]}]}'
)
SEEDS = (
    chosen(0, 0, 0, 0, 0, body=_JSON),
    chosen(0, 0, 0, 0, 0, body=_ABOUT),
    chosen(0, 1) + told(str(len(_RAW))) + chosen(0, 0, 0, body=_RAW + b"\x01\0\0\0a"),
    chosen(1) + told("a;json-header-size=2") + chosen(0, 0, 0, 0, body=b"{}"),
    chosen(0, 0, 1) + told("Wed, 21 Oct 2026 07:28:00 GMT") + chosen(0, 29, body=b'{"error":"no"}'),
    *(
        chosen(0, 0, 0, 0, 0, body=_JSON.replace(b"FP32", kind).replace(b"[1,2]}", data + b"}"))
        for kind, data in ((b"BYTES", b'["a","b"]'), (b"BF16", b"[1,2]"), (b"BOOL", b"[true,true]"))
    ),
)

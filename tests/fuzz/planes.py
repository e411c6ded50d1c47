"""Loaded models for the fuzzer that answer whatever fits them, and what counts as a finding.

Their graphs only hand through what they get, so an answer of 500 is never the model's own doing.
"""

from __future__ import annotations

import atexit
import logging
import shutil
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path

from modelport.envelope import Request, Response
from onnx import TensorProto

from tests.fuzz.dice import FindingError
from tests.support import runtime_bundles as bundles
from tests.support.runtime_planes import Plane, open_plane

_SCRIPT = """
def generate_fn(prompt, parameters, model):
    for word in prompt.split()[:8]:
        yield word
"""
Given = tuple[str, int, Sequence[int | str]]


def _through(*given: Given) -> bytes:
    """A model whose output ``NAME_out`` is its input NAME."""
    nodes = [bundles.node("Identity", [name], [f"{name}_out"]) for name, _, _ in given]
    outputs = [(f"{name}_out", kind, shape) for name, kind, shape in given]
    return bundles.model(nodes, given, outputs)


_F32, _I64, _TEXT = TensorProto.FLOAT, TensorProto.INT64, TensorProto.STRING
#: The first has one input of most kinds; media types that carry one tensor need the others.
_MODELS = (
    _through(
        ("f", _F32, ["N", 2]),
        ("i", _I64, ["N"]),
        ("t", _TEXT, ["N"]),
        ("h", TensorProto.FLOAT16, ["M"]),
        ("s", _F32, []),
    ),
    _through(("x", _F32, ["N", 2])),
    _through(("i", _I64, ["N", "M"])),
    _through(("t", _TEXT, ["N", "M"])),
    _through(("b", TensorProto.BOOL, ["N"])),
    _through(("u", TensorProto.UINT8, ["N", "K", "M"])),
    _through(("d", TensorProto.DOUBLE, ["N", 2, 2])),
    _through(("h", TensorProto.FLOAT16, ["N"])),
    _through(("l", TensorProto.UINT64, ["N"])),
    _through(("a", _F32, ["N"]), ("c", _F32, ["N", 1])),
    _through(("k", TensorProto.BFLOAT16, ["N"])),
)


class Watch(logging.Handler):
    """Keeps the last traceback that was logged."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.last = ""

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info:
            self.last = "".join(traceback.format_exception(record.exc_info[1]))


def open_planes() -> tuple[list[Plane], Watch]:
    """Every model, loaded, and the watch on their log."""
    folder = Path(tempfile.mkdtemp(prefix="modelport-fuzz-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    planes = [open_plane(folder / str(at), body) for at, body in enumerate(_MODELS)]
    planes.append(open_plane(folder / "script", bundles.DOUBLE, script=_SCRIPT))
    watch = Watch()
    log = logging.getLogger("functions")
    log.handlers, log.propagate = [watch], False
    log.setLevel(logging.ERROR)
    return planes, watch


def check(request: Request, response: Response, watch: Watch) -> None:
    """Raise `FindingError` for an answer that blames the server."""
    if response.status >= 500 and response.status != 501:
        raise FindingError(f"{response.status} for {request!r}\n{watch.last}")


def check_headers(request: Request, response: Response) -> None:
    """Raise `FindingError` for a header that HTTP cannot carry."""
    for name, text in response.headers.items():
        if not f"{name}{text}".isprintable() or not f"{name}{text}".isascii():
            raise FindingError(f"header {name!r}: {text!r} for {request!r}")

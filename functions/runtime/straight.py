"""The short way of a plain prediction: from bytes to bytes in one function.

Nearly all that a small model is asked is one tensor of numbers, in V1's or V2's plainest JSON, and
nearly all it answers is another. What `DataPlane` does for every protocol and every kind of tensor,
step by step, costs several times such a model's own run. Whatever is odd in any way, an option, a
header that asks for something, a value that needs a second look, an error, is left to the data
plane, which alone says what that means; both ways give the same answer and the same log line. It
must not refuse anything.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter_ns
from typing import Any

import orjson
from modelport.envelope import Request, Response
from modelport.errors import ModelportError

from functions.runtime.codecs.codec import JSON
from functions.runtime.data_plane import DataPlane, milliseconds
from functions.runtime.model import OnnxModel
from functions.runtime.prediction_summary import HEADER as PREDICTED
from functions.runtime.statistics import Spent
from functions.runtime.tensors import Array, all_finite, from_json

#: Bytes of a body at most; above, parsing is the cost, and the data plane parses as well.
MOST_BYTES = 4096
#: Tensors that can neither overflow nor need other words on their way in or out.
_PLAIN = frozenset({"FP32", "FP64"})
#: Headers that ask for something that plain answers do not have.
_ODD = frozenset({"accept-encoding", "content-encoding", "inference-header-content-length"})
_V1, _V2 = frozenset({"instances"}), frozenset({"inputs"})
_TENSOR = frozenset({"name", "shape", "datatype", "data"})
#: A body's tensor, or None for what is not plain.
_Read = Callable[[Any], Array | None]


class StraightPlane:
    """A data plane with a short way; safe to call from several threads at once, as that is."""

    def __init__(self, plane: DataPlane) -> None:
        """Versions with other tensors than one in and one out have no short way."""
        self._plane = plane
        subject = plane.subject
        signature, model = subject.signature, plane.model
        self._ways: dict[str, tuple[str, str, _Read, bytes, bytes]] = {}
        tensors = (*signature.inputs, *signature.outputs)
        if not isinstance(model, OnnxModel) or len(signature.inputs) != 1 or len(tensors) != 2:
            return
        if not all(spec.datatype in _PLAIN for spec in tensors):
            return
        self._run = model.run_plain
        self._input, self._output = tensors
        name, version = subject.model, subject.version
        # V2 writes the output's shape between these two, which is not known before.
        head = {"model_name": name, "model_version": str(version), "outputs": []}
        begun = orjson.dumps(head)[:-2] + b'{"name":' + orjson.dumps(self._output.name)
        for path in (f"/v1/models/{name}", f"/v1/models/{name}/versions/{version}"):
            self._ways[f"{path}:predict"] = ("v1", "predict", self._rows, b'{"predictions":', b"}")
        for path in (f"/v2/models/{name}", f"/v2/models/{name}/versions/{version}"):
            self._ways[f"{path}/infer"] = ("v2", "infer", self._tensor, begun, b"}]}")

    def handle(self, request: Request) -> Response:
        """Answer one request, as `DataPlane.handle` does."""
        return self._plain(request) or self._plane.handle(request)

    def _plain(self, request: Request) -> Response | None:
        plane, body, headers = self._plane, request.body, request.headers
        way = self._ways.get(request.path)
        if way is None or len(body) > MOST_BYTES or plane.is_cold:
            return None
        kind = headers.get("content-type", JSON)
        if request.method != "POST" or kind != JSON or not _ODD.isdisjoint(headers):
            return None
        protocol, verb, read, begun, ended = way
        started = perf_counter_ns()
        try:
            array = read(orjson.loads(body))
            if array is None or not self._input.accepts(array.shape):
                return None
            before = perf_counter_ns()
            (given,) = self._run((self._output.name,), {self._input.name: array}, None)
            after = perf_counter_ns()
            answer = self._written(given, begun, ended, protocol == "v2")
        except (ModelportError, ValueError, TypeError, RuntimeError):
            return None  # whatever it is, the data plane says it, and logs it
        except Exception:  # onnxruntime's own kinds are no more than that
            return None
        if answer is None:
            return None
        said = {"content-type": JSON}
        if (predicted := plane.summary.of({self._output.name: given})) is not None:
            said[PREDICTED] = predicted
        said.update(plane.identity)
        took = after - before
        said["server-timing"] = f"model;dur={took / 1e6:.3f}"
        ends = perf_counter_ns()
        spent = Spent(before - started, 0, took, ends - after, plane.rows(array), 1)
        line = {
            "request_id": request.request_id,
            "model": plane.subject.model,
            "version": plane.subject.version,
            "protocol": protocol,
            "verb": verb,
            "status": 200,
            "duration_ms": milliseconds(ends - started),
            "model_ms": milliseconds(took),
            "cold_start": False,
            "bytes_in": len(body),
            "bytes_out": len(answer),
        }
        plane.ledger.note(line, spent, ends - started)
        return Response(200, said, answer)

    def _rows(self, document: Any) -> Array | None:
        """The tensor of ``{"instances": […]}``."""
        if type(document) is not dict or document.keys() != _V1:
            return None
        rows = document["instances"]
        return from_json(self._input, rows) if type(rows) is list and rows else None

    def _tensor(self, document: Any) -> Array | None:
        """The tensor of ``{"inputs": [{"name": …, "shape": …, "datatype": …, "data": …}]}``."""
        if type(document) is not dict or document.keys() != _V2:
            return None
        inputs = document["inputs"]
        if type(inputs) is not list or len(inputs) != 1:
            return None
        (entry,) = inputs
        if type(entry) is not dict or entry.keys() != _TENSOR:
            return None
        spec, shape = self._input, entry["shape"]
        if entry["name"] != spec.name or entry["datatype"] != spec.datatype:
            return None
        if type(shape) is not list or not {*map(type, shape)} <= {int}:
            return None
        array = from_json(spec, entry["data"])
        if array.ndim == 1 and array.size and len(shape) != 1 and min(shape, default=0) > 0:
            return array.reshape(shape)  # raises for other sizes
        return array if [*array.shape] == shape else None

    def _written(self, array: Any, begun: bytes, ended: bytes, typed: bool) -> bytes | None:
        """The answer's body; None where a value has no plain form."""
        if not array.ndim or not array.flags.c_contiguous or not all_finite(array):
            return None
        if not typed:
            data = orjson.dumps(array, option=orjson.OPT_SERIALIZE_NUMPY)
            return b"".join((begun, data, ended))
        shape = ",".join(map(str, array.shape))
        about = f',"shape":[{shape}],"datatype":"{self._output.datatype}","data":'.encode()
        data = orjson.dumps(array.reshape(-1), option=orjson.OPT_SERIALIZE_NUMPY)
        return b"".join((begun, about, data, ended))

"""The short way of a plain prediction: from bytes to bytes in one function.

Nearly all that models are asked is one tensor of numbers, spelled as plainly as can be, and nearly
all they answer is another. What `DataPlane` does for every protocol and every kind of tensor, step
by step, costs several times a small model's own run. Whatever is odd in any way, an option, a
header that asks for something, a value that needs a second look, an error, is left to the data
plane, which alone says what that means; both ways give the same answer and the same log line. It
must not refuse anything.
"""

from __future__ import annotations

from time import perf_counter_ns

from modelport.envelope import Request, Response

from functions.runtime.codecs.codec import JSON
from functions.runtime.codecs.plain import (
    OCTETS,
    PLAIN,
    PlainCodec,
    PlainV1,
    PlainV2,
    PlainV2Binary,
)
from functions.runtime.data_plane import DataPlane, milliseconds
from functions.runtime.model import OnnxModel
from functions.runtime.prediction_summary import HEADER as PREDICTED
from functions.runtime.statistics import Spent

#: Headers that ask for something that plain answers do not have.
_ODD = frozenset({"accept-encoding", "content-encoding"})


class StraightPlane:
    """A data plane with a short way; safe to call from several threads at once, as that is."""

    def __init__(self, plane: DataPlane) -> None:
        """Versions with other tensors than one in and one out have no short way."""
        self._plane = plane
        subject = plane.subject
        signature, model = subject.signature, plane.model
        #: By path and content type.
        self._codecs: dict[tuple[str, str], PlainCodec] = {}
        tensors = (*signature.inputs, *signature.outputs)
        if not isinstance(model, OnnxModel) or len(signature.inputs) != 1 or len(tensors) != 2:
            return
        if not all(spec.datatype in PLAIN for spec in tensors):
            return
        taken, given = tensors
        self._run, self._input, self._output = model.run_plain, taken.name, given.name
        v1, v2 = PlainV1(taken), PlainV2(taken, given, subject)
        binary = PlainV2Binary(taken, given, subject)
        for end in ("", f"/versions/{subject.version}"):
            self._codecs[f"/v1/models/{subject.model}{end}:predict", JSON] = v1
            self._codecs[f"/v2/models/{subject.model}{end}/infer", JSON] = v2
            self._codecs[f"/v2/models/{subject.model}{end}/infer", OCTETS] = binary

    def handle(self, request: Request) -> Response:
        """Answer one request, as `DataPlane.handle` does."""
        return self._plain(request) or self._plane.handle(request)

    def _plain(self, request: Request) -> Response | None:
        plane, body, headers = self._plane, request.body, request.headers
        codec = self._codecs.get((request.path, headers.get("content-type", JSON)))
        if codec is None or len(body) > codec.most or plane.is_cold:
            return None
        if request.method != "POST" or not _ODD.isdisjoint(headers):
            return None
        started = perf_counter_ns()
        try:
            array = codec.read(body, headers)
            if array is None:
                return None
            before = perf_counter_ns()
            (given,) = self._run((self._output,), {self._input: array}, None)
            after = perf_counter_ns()
            written = codec.write(given)
        except Exception:  # whatever it is, the data plane says it, and logs it
            return None
        if written is None:
            return None
        said, answer = written
        if (predicted := plane.summary.of({self._output: given})) is not None:
            said[PREDICTED] = predicted
        said.update(plane.identity)
        took = after - before
        said["server-timing"] = f"model;dur={took / 1e6:.3f}"
        ends = perf_counter_ns()
        spent = Spent(before - started, 0, took, ends - after, plane.rows(array), 1)
        subject = plane.subject
        line = {
            "request_id": request.request_id,
            "model": subject.model,
            "version": subject.version,
            "protocol": codec.protocol,
            "verb": codec.verb,
            "status": 200,
            "duration_ms": milliseconds(ends - started),
            "model_ms": milliseconds(took),
            "cold_start": False,
            "bytes_in": len(body),
            "bytes_out": len(answer),
        }
        plane.ledger.note(line, spent, ends - started)
        return Response(200, said, answer)

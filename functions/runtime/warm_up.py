"""One request nobody sent, before the first that somebody does.

A first run allocates, pages weights in and touches code that the second finds ready. Lambda does
not bill (much) for its init phase and SageMaker sends nothing before ``/ping`` says ready, so it is
done there: a golden through the whole data plane, else zeros of the declared shapes. Little of it
travels as JSON, as most callers send it; more, and what JSON has no form for, in V2's binary form.

A rehearsal that goes wrong is a warning and no more, and its answer is not compared: whether a
version answers rightly was judged by its goldens when it was deployed, and a function that refuses
to start over one would turn a script's neighbour that is away for a second into no answers at all.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Sequence

import orjson
from modelport.envelope import Request
from modelport.goldens import Golden
from modelport.manifest import Manifest
from modelport.signature import DATATYPES, TensorSpec

from functions.runtime.data_plane import DataPlane

logger = logging.getLogger(__name__)

#: Lambda's init phase ends after 10 s; a model whose first run takes this long is not run there.
LONGEST_MS = 3000.0
#: Up to this many elements travel as JSON, so that parsing and writing it are rehearsed too.
SMALL = 256
#: Bytes of zeros that are worth making up; shapes can say more than a machine has.
LARGEST = 256 << 20
_ZEROS = {"BYTES": "", "BOOL": False}


def warm_up(plane: DataPlane, manifest: Manifest) -> None:
    """Rehearse one prediction; never raises."""
    if _first_run_ms(manifest) > LONGEST_MS:
        logger.info("no warm-up: the first run of this model takes seconds")
        return
    try:
        request = _request(manifest)
        if request is not None:
            plane.rehearse(request)
    except (Exception, SystemExit) as error:
        logger.warning("the warm-up failed: %s", getattr(error, "message", None) or repr(error))


def _first_run_ms(manifest: Manifest) -> float:
    ways = manifest.tuning.figures.get("ways", ()) if manifest.tuning else ()
    return max((float(way["first_ms"]) for way in ways if way["chosen"]), default=0.0)


def _request(manifest: Manifest) -> Request | None:
    """The first golden, else zeros; None where a script would get made-up input or no type fits."""
    for golden in manifest.content.goldens:
        if golden.kind == "raw":
            headers = {"content-type": golden.content_type}
            return Request("POST", "/invocations", headers, golden.body, "warm-up")
        return _infer(manifest, *_of_golden(golden, manifest))
    inputs, outputs = manifest.content.signature.inputs, manifest.content.signature.outputs
    if manifest.content.settings.script or not inputs:
        return None
    count = sum(math.prod(_shape(spec.shape)) for spec in inputs)
    if count <= SMALL and not _binary(spec.datatype for spec in (*inputs, *outputs)):
        return _infer(manifest, *_small_zeros(inputs))
    size = sum(math.prod(_shape(spec.shape)) * (DATATYPES[spec.datatype] or 4) for spec in inputs)
    return _infer(manifest, *_binary_zeros(inputs)) if size <= LARGEST else None


def _infer(manifest: Manifest, headers: dict[str, str], body: bytes) -> Request:
    path = f"/v2/models/{manifest.model}/versions/{manifest.version}/infer"
    return Request("POST", path, headers, body, "warm-up")


def _binary(datatypes: Iterable[str]) -> bool:
    return not {"FP16", "BF16"}.isdisjoint(datatypes)


def _of_golden(golden: Golden, manifest: Manifest) -> tuple[dict[str, str], bytes]:
    """As JSON where that is small and strict, so that reading and writing it are rehearsed too."""
    tensors = (*golden.inputs, *golden.outputs)
    few = sum(len(tensor.data) for tensor in tensors) <= SMALL
    strict = few and all(
        not isinstance(value, float) or math.isfinite(value)
        for tensor in tensors
        for value in tensor.data
    )
    if strict and not _binary(tensor.datatype for tensor in tensors):
        body = orjson.dumps({"inputs": [tensor.to_json() for tensor in golden.inputs]})
        return {"content-type": "application/json"}, body
    from modelport.goldens.form import Asked  # few need it, and every cold start would pay
    from modelport.goldens.v2 import build_binary

    return build_binary(golden, Asked(manifest.content.signature))


def _small_zeros(inputs: Sequence[TensorSpec]) -> tuple[dict[str, str], bytes]:
    tensors = [
        {
            "name": spec.name,
            "datatype": spec.datatype,
            "shape": list(_shape(spec.shape)),
            "data": [_ZEROS.get(spec.datatype, 0)] * math.prod(_shape(spec.shape)),
        }
        for spec in inputs
    ]
    return {"content-type": "application/json"}, orjson.dumps({"inputs": tensors})


def _binary_zeros(inputs: Sequence[TensorSpec]) -> tuple[dict[str, str], bytes]:
    """Zeros of all datatypes are zero bytes; of text, its length."""
    tensors, total = [], 0
    for spec in inputs:
        size = math.prod(_shape(spec.shape)) * (DATATYPES[spec.datatype] or 4)
        total += size
        tensors.append(
            {
                "name": spec.name,
                "datatype": spec.datatype,
                "shape": list(_shape(spec.shape)),
                "parameters": {"binary_data_size": size},
            }
        )
    header = orjson.dumps({"inputs": tensors, "parameters": {"binary_data_output": True}})
    headers = {
        "content-type": "application/octet-stream",
        "inference-header-content-length": str(len(header)),
    }
    return headers, header + bytes(total)


def _shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(1 if dim < 0 else dim for dim in shape)

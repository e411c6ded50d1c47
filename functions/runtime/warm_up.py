"""One request nobody sent, before the first that somebody does.

A first run allocates, pages weights in and touches code that the second finds ready. Lambda does
not bill (much) for its init phase and SageMaker sends nothing before ``/ping`` says ready, so it is
done there: a golden through the whole data plane, else zeros of the declared shapes.

A rehearsal that goes wrong is a warning and no more, and its answer is not compared: whether a
version answers rightly was judged by its goldens when it was deployed, and a function that refuses
to start over one would turn a script's neighbour that is away for a second into no answers at all.
"""

from __future__ import annotations

import logging
import math
from typing import Any

import numpy as np
import orjson
from modelport.envelope import Request
from modelport.goldens import Golden, Tensor
from modelport.manifest import Manifest

from functions.runtime.data_plane import DataPlane
from functions.runtime.model import OnnxModel
from functions.runtime.tensors import DTYPES

logger = logging.getLogger(__name__)

#: Lambda's init phase ends after 10 s; a model whose first run takes this long is not run there.
LONGEST_MS = 3000.0
#: Zeros up to this many elements travel as JSON, so that parsing and writing are rehearsed too.
SMALL = 256


def warm_up(plane: DataPlane, model: OnnxModel, manifest: Manifest) -> None:
    """Rehearse one prediction; never raises."""
    if _first_run_ms(manifest) > LONGEST_MS:
        logger.info("no warm-up: the first run of this model takes seconds")
        return
    try:
        request = _request(manifest)
        if request is not None:
            plane.rehearse(request)
        elif manifest.content.settings.script is None:
            _with_zeros(model)
    except (Exception, SystemExit) as error:
        logger.warning("the warm-up failed: %s", getattr(error, "message", None) or repr(error))


def _first_run_ms(manifest: Manifest) -> float:
    ways = manifest.tuning.figures.get("ways", ()) if manifest.tuning else ()
    return max((float(way["first_ms"]) for way in ways if way["chosen"]), default=0.0)


def _request(manifest: Manifest) -> Request | None:
    """The first golden that can be asked, else zeros if they are few; None without either."""
    goldens = manifest.content.goldens or _zeros(manifest)
    for golden in goldens:
        if golden.kind == "raw":
            headers = {"content-type": golden.content_type}
            return Request("POST", "/invocations", headers, golden.body, "warm-up")
        if "v2" not in golden.unsendable:
            path = f"/v2/models/{manifest.model}/versions/{manifest.version}/infer"
            body = orjson.dumps({"inputs": [tensor.to_json() for tensor in golden.inputs]})
            headers = {"content-type": "application/json"}
            return Request("POST", path, headers, body, "warm-up")
    return None


def _zeros(manifest: Manifest) -> tuple[Golden, ...]:
    """Zeros as a golden, where the model takes tensors and they are few."""
    inputs = manifest.content.signature.inputs
    counts = [math.prod(_shape(spec.shape)) for spec in inputs]
    if manifest.content.settings.script or not inputs or sum(counts) > SMALL:
        return ()
    tensors = (
        Tensor(spec.name, spec.datatype, _shape(spec.shape), (_zero(spec.datatype),) * count)
        for spec, count in zip(inputs, counts, strict=True)
    )
    return (Golden("zeros", tuple(tensors)),)


def _zero(datatype: str) -> Any:
    return {"BYTES": "", "BOOL": False}.get(datatype, 0)


def _with_zeros(model: OnnxModel) -> None:
    """Straight into the model: what is too large for JSON or has no form in it."""
    inputs = model.signature.inputs
    if all(spec.datatype in DTYPES for spec in inputs):
        feeds = {
            spec.name: np.full(_shape(spec.shape), _zero(spec.datatype), DTYPES[spec.datatype])
            for spec in inputs
        }
        model.run(feeds)


def _shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(1 if dim < 0 else dim for dim in shape)

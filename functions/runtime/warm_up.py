"""One request nobody sent, before the first that somebody does.

A first run allocates, pages weights in and touches code that the second finds ready. Lambda does
not bill (much) for its init phase and SageMaker sends nothing before ``/ping`` says ready, so it is
done there: a golden through the whole data plane, else zeros of the declared shapes.

A rehearsal that goes wrong is a warning and no more. Whether a version answers rightly was judged
by its goldens when it was deployed; a function that refuses to start over it would turn one wrong
answer, or a script's neighbour that is away for a second, into no answers at all.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator

import numpy as np
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
SMALL = 4096
_PATHS = {
    "v1": "/v1/models/{}/versions/{}:predict",
    "v2": "/v2/models/{}/versions/{}/infer",
    "sagemaker": "/invocations",
}


def warm_up(plane: DataPlane, model: OnnxModel, manifest: Manifest) -> None:
    """Rehearse one prediction; never raises."""
    if _first_run_ms(manifest) > LONGEST_MS:
        logger.info("no warm-up: the first run of this model takes seconds")
        return
    try:
        golden = next(_rehearsable(manifest), None)
        if golden is not None:
            _rehearse(plane, golden, manifest)
        elif manifest.content.settings.script is None:
            _with_zeros(model)
    except (Exception, SystemExit) as error:
        logger.warning("the warm-up failed: %s", getattr(error, "message", None) or repr(error))


def _first_run_ms(manifest: Manifest) -> float:
    ways = manifest.tuning.figures.get("ways", ()) if manifest.tuning else ()
    return max((float(way["first_ms"]) for way in ways if way["chosen"]), default=0.0)


def _rehearsable(manifest: Manifest) -> Iterator[Golden]:
    """Goldens that some protocol carries, then zeros in their place."""
    yield from (golden for golden in manifest.content.goldens if golden.requests())
    inputs = manifest.content.signature.inputs
    elements = sum(_elements(spec.shape) for spec in inputs)
    if not manifest.content.settings.script and inputs and elements <= SMALL:
        tensors = tuple(
            Tensor(
                spec.name,
                spec.datatype,
                _shape(spec.shape),
                ({"BYTES": "", "BOOL": False}.get(spec.datatype, 0),) * _elements(spec.shape),
            )
            for spec in inputs
        )
        zeros = Golden("zeros", tensors)
        yield from (golden for golden in (zeros,) if golden.requests())


def _rehearse(plane: DataPlane, golden: Golden, manifest: Manifest) -> None:
    asked = golden.requests()[-1]
    path = _PATHS[asked.protocol].format(manifest.model, manifest.version)
    request = Request("POST", path, dict(asked.headers), asked.body, "warm-up")
    answer = plane.rehearse(request)
    problem = golden.check(asked.protocol, answer.body)
    if problem:
        logger.warning("golden %s answers differently here: %s", golden.name, problem)


def _with_zeros(model: OnnxModel) -> None:
    """Straight into the model: what is too large for JSON or has no form in it."""
    inputs = model.signature.inputs
    if all(spec.datatype in DTYPES for spec in inputs):
        model.run({
            spec.name: np.full(
                _shape(spec.shape), "" if spec.datatype == "BYTES" else 0, DTYPES[spec.datatype]
            )
            for spec in inputs
        })  # fmt: skip


def _shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(1 if dim < 0 else dim for dim in shape)


def _elements(shape: tuple[int, ...]) -> int:
    return math.prod(_shape(shape))

"""Which output answers TensorFlow Serving's ``:classify`` and ``:regress``, if one can.

- classify: a floating output of shape [N, K], the one called ``scores``, else ``probabilities``,
  else the model's first.
- regress: a floating output of shape [N] or [N, 1], the one called ``outputs``, else
  ``predictions``, else the model's first.

``:evaluate`` follows from these (`evaluated`). Shared by the runtime, which answers, and the
documents, which say what is answered.
"""

from __future__ import annotations

from modelport.signature import Signature, TensorSpec

_FLOATING = frozenset({"FP16", "FP32", "FP64"})
_LABELS = frozenset(
    {"BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "BYTES"}
)
_PREFERRED = {"classify": ("scores", "probabilities"), "regress": ("outputs", "predictions")}


def result_of(verb: str, signature: Signature) -> TensorSpec | None:
    """The output that is the result of ``classify`` or ``regress``; None where none can be."""
    fitting = [
        spec for spec in signature.outputs if spec.datatype in _FLOATING and _fits(verb, spec.shape)
    ]
    by_name = {spec.name: spec for spec in fitting}
    for name in _PREFERRED[verb]:
        if name in by_name:
            return by_name[name]
    return fitting[0] if fitting else None


def evaluated(task: str, signature: Signature) -> TensorSpec | None:
    """The output that ``:evaluate`` and `modelport evaluate` compare with labels; None without one.

    Regression: the one that answers ``:regress``. Classification: the one that answers
    ``:classify``; else a floating one of shape [N], the second class's score; else the first of
    whole numbers or text of shape [N] or [N, 1], which are labels and have no scores.
    """
    if task == "regression":
        return result_of("regress", signature)
    scores = result_of("classify", signature) or result_of("regress", signature)
    labels = (s for s in signature.outputs if s.datatype in _LABELS and _fits("regress", s.shape))
    return scores or next(labels, None)


def _fits(verb: str, shape: tuple[int, ...]) -> bool:
    if verb == "classify":
        return len(shape) == 2
    return len(shape) == 1 or (len(shape) == 2 and shape[1] == 1)

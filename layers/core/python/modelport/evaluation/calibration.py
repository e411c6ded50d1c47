"""Whether probabilities mean what they say: reliability bins and the expected calibration error.

Ten bins of equal width over the probability of the class that was answered; the error is the mean
distance between a bin's share of right rows and its mean probability, weighed by rows (Naeini,
Cooper and Hauskrecht 2015; Guo et al. 2017). scikit-learn has no multi-class form of it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from modelport.raw_tensors import Array

BINS = 10


def calibration(
    chances: Array, actual: Array, predicted: Array, bins: int = BINS
) -> dict[str, Any]:
    """``ece`` and the ``bins`` that have rows, from probabilities [N,K] and places [N]."""
    confidence = chances[np.arange(len(actual)), predicted]
    right = (actual == predicted).astype(np.float64)
    # A bin has its upper end, as in the papers; 0 belongs to the first.
    place = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    rows = np.bincount(place, minlength=bins)
    said = np.bincount(place, confidence, bins)
    held = np.bincount(place, right, bins)
    error = float(np.abs(held - said).sum() / len(actual))
    found = [
        {
            "low": i / bins,
            "high": (i + 1) / bins,
            "rows": int(rows[i]),
            "confidence": float(said[i] / rows[i]),
            "accuracy": float(held[i] / rows[i]),
        }
        for i in np.flatnonzero(rows).tolist()
    ]
    return {"ece": error, "bins": found}

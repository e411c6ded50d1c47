"""numpy without what only people and type checkers read: a quarter of what importing it costs.

numpy keeps the docstrings of its C types in two modules that do nothing else, and the types of its
annotations in a package that annotations of five results of `numpy.linalg` are all that need. They
are left out by being there already: empty, or loaded by the first who asks for a type. Only for
versions without a script: what a script imports may do things with docstrings and types. Must be
called before numpy is imported, and imports nothing that does.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from types import GenericAlias, ModuleType
from typing import Any

SCRIPT = "inference.py"
_DOCS = ("numpy._core._add_newdocs", "numpy._core._add_newdocs_scalars")
_TYPES = "numpy._typing"


def make_numpy_lean(bundle_dir: str) -> None:
    """Do so if the bundle has no script and numpy is not there yet."""
    if "numpy" in sys.modules or os.path.exists(os.path.join(bundle_dir, SCRIPT)):
        return
    for name in _DOCS:
        sys.modules[name] = ModuleType(name)
    sys.modules[_TYPES] = _Types(_TYPES)


class _Annotation:
    """What stands for an array's type: it can be asked for the type of its elements."""

    def __class_getitem__(cls, elements: Any) -> GenericAlias:
        return GenericAlias(cls, elements)


class _Types(ModuleType):
    """`numpy._typing`, until anybody wants more of it than an annotation."""

    NDArray = _Annotation

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # Python's own questions about a module
            raise AttributeError(name)
        if sys.modules.get(_TYPES) is self:
            del sys.modules[_TYPES]
        return getattr(import_module(_TYPES), name)

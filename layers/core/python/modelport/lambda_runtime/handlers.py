"""A handler by its name, ``module.function``: found, or told why not in Lambda's own words.

It must not run what it finds.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from typing import Any

#: An event and its context in, anything that Lambda can carry out.
Handler = Callable[[Any, Any], Any]


class FaultError(Exception):
    """A fault with a name of Lambda's, ``Runtime.…``, and the lines of a trace, if it has any."""

    def __init__(self, kind: str, message: str, trace: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.kind = f"Runtime.{kind}"
        self.message = message
        self.trace = list(trace)


def handler_named(name: str) -> Handler:
    """Import it; raises `FaultError`, and whatever its module raises."""
    try:
        module_name, function = name.rsplit(".", 1)
    except ValueError as error:
        raise FaultError("MalformedHandlerName", f"Bad handler '{name}': {error}") from None
    module_name = module_name.replace("/", ".")
    if module_name.partition(".")[0] in sys.builtin_module_names:
        problem = f"Cannot use built-in module {module_name} as a handler module"
        raise FaultError("BuiltInModuleConflict", problem)
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        problem = f"Unable to import module '{module_name}': {error}"
        raise FaultError("ImportModuleError", problem) from error
    except SyntaxError as error:
        trace = [f'  File "{error.filename}" Line {error.lineno}\n    {error.text}']
        problem = f"Syntax error in module '{module_name}': {error}"
        raise FaultError("UserCodeSyntaxError", problem, trace) from error
    found: Handler | None = getattr(module, function, None)
    if found is None:
        problem = f"Handler '{function}' missing on module '{module_name}'"
        raise FaultError("HandlerNotFound", problem)
    return found

"""One function of a bundle's script, and whether it takes a context.

SageMaker's inference toolkit counts parameters: one more than the contract has is the context.
Here a further parameter with a default stays the script's own unless it is called so, because a
threshold is no context. What cannot be called as the contract does is found at load.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from modelport.errors import InvalidBundleError

from functions.runtime.script_context import ScriptContext

_CONTEXT = ("context", "ctx", "_context", "_ctx")
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class ScriptFunction:
    """Call it with the context first; it passes on what the script's function takes."""

    def __init__(self, function: Callable[..., Any], given: int) -> None:
        """``given`` arguments are passed beside the context; raises ValueError if they do not fit.

        The message continues the function's name.
        """
        self._function = function
        self._positional, self._named = _takes_context(function, given)

    def __call__(self, context: ScriptContext, *arguments: Any) -> Any:
        if self._positional:
            return self._function(*arguments, context)
        if self._named:
            return self._function(*arguments, **{self._named: context})
        return self._function(*arguments)


def find_function(module: ModuleType, name: str, given: int) -> ScriptFunction | None:
    """The script's function called ``name``; raises `InvalidBundleError` for one of no use."""
    found = getattr(module, name, None)
    if found is None:
        return None
    file = Path(module.__file__ or "").name
    if not callable(found):
        raise InvalidBundleError(file, f"{name} is not a function")
    try:
        return ScriptFunction(found, given)
    except ValueError as error:
        raise InvalidBundleError(file, f"{name} {error}") from None


def _takes_context(function: Callable[..., Any], given: int) -> tuple[bool, str | None]:
    """Whether the context goes last, and the keyword it goes by if there is one."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # written in C; its own error will say what it takes
        return False, None
    positional = [each for each in parameters if each.kind in _POSITIONAL]
    named = [each for each in parameters if each.kind is inspect.Parameter.KEYWORD_ONLY]
    further = positional[given : given + 1]
    last = any(each.default is each.empty or each.name in _CONTEXT for each in further)
    keyword = next((each.name for each in named if each.name in _CONTEXT), None)
    needed = [each for each in positional if each.default is each.empty]
    open_ended = any(each.kind is inspect.Parameter.VAR_POSITIONAL for each in parameters)
    too_few = len(positional) < given and not open_ended
    if too_few or len(needed) > given + last:
        raise ValueError(
            f"takes {len(positional if too_few else needed)} arguments;"
            f" it is called with {given}, or with the context as number {given + 1}"
        )
    for each in named:
        if each.default is each.empty and each.name != keyword:
            raise ValueError(f"needs an argument {each.name!r}, which nobody gives it")
    return last, keyword

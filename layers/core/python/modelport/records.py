"""Frozen dataclasses that cost next to nothing to declare.

`dataclass` writes six methods for every class as source and compiles them: 0.4 ms a class, of which
a model function imports twenty before its first answer, 7 % of its cold start. `record` gives a
class the same methods, written once, here. To all else it is a dataclass: to type checkers, and to
`fields`, `replace` and `asdict`, for whom what they look for is made when they first ask. Instances
take longer to make (0.9 µs instead of 0.6), so what every request makes is no record.

Every annotation is a field, and `field` is for factories. Whoever needs more, such as a method of
its own in place of one of these, writes ``@dataclass``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

__all__ = ["record"]

if TYPE_CHECKING:
    from dataclasses import dataclass as record
else:

    def record(*, frozen: bool) -> Callable[[type], type]:
        """As ``@dataclass(frozen=True)``; the word is for whoever reads the class."""
        if not frozen:
            raise TypeError("a record is frozen")
        return _recorded


def _recorded(cls: Any) -> Any:
    names = tuple(cls.__annotations__)
    defaults = {name: vars(cls)[name] for name in names if name in vars(cls)}
    made = {name: each for name, each in defaults.items() if isinstance(each, dataclasses.Field)}
    told = tuple(name for name in names if name not in made or made[name].repr)
    compared = tuple(name for name in names if name not in made or made[name].compare)

    def __init__(self: Any, *values: Any, **named: Any) -> None:
        state = self.__dict__
        state.update(zip(names, values))  # noqa: B905 - strict costs as much as the rest
        if named or len(values) != len(names):
            _complete(cls, state, names, len(values), named, defaults)
        if after is not None:
            after(self)

    def __eq__(self: Any, other: object) -> Any:
        if other.__class__ is not self.__class__:
            return NotImplemented
        return _values(self, compared) == _values(other, compared)

    def __hash__(self: Any) -> int:
        return hash(_values(self, compared))

    def __repr__(self: Any) -> str:
        fields = ", ".join([f"{name}={getattr(self, name)!r}" for name in told])
        return f"{cls.__qualname__}({fields})"

    after = getattr(cls, "__post_init__", None)
    for name in made:
        delattr(cls, name)
    for method in (__init__, __eq__, __hash__, __repr__):
        setattr(cls, method.__name__, method)
    cls.__setattr__, cls.__delattr__ = _refuse_change, _refuse_removal
    cls.__match_args__ = names  # type: ignore[misc]
    cls.__dataclass_fields__ = _Fields(defaults)
    return cls


def _values(one: Any, names: tuple[str, ...]) -> tuple[Any, ...]:
    state = one.__dict__
    return tuple([state[name] for name in names])


def _complete(
    cls: type,
    state: dict[str, Any],
    names: tuple[str, ...],
    given: int,
    named: dict[str, Any],
    defaults: dict[str, Any],
) -> None:
    """Add what was not given by its place, in the fields' order, or raise as a function would."""
    what = f"{cls.__qualname__}.__init__()"
    if given > len(names):
        raise TypeError(f"{what} takes {len(names)} arguments but {given} were given")
    for name in names[given:]:
        if name in named:
            state[name] = named.pop(name)
        elif name not in defaults:
            raise TypeError(f"{what} missing a required argument: {name!r}")
        else:
            default = defaults[name]
            made = isinstance(default, dataclasses.Field)
            state[name] = default.default_factory() if made else default
    if named:
        name = next(iter(named))
        problem = "multiple values for" if name in names else "an unexpected keyword"
        raise TypeError(f"{what} got {problem} argument {name!r}")


def _refuse_change(self: Any, name: str, value: object) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_removal(self: Any, name: str) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")


class _Fields:
    """What `dataclasses` knows a class by, in its place until somebody asks."""

    def __init__(self, defaults: dict[str, Any]) -> None:
        self._defaults = defaults

    def __get__(self, instance: object, cls: Any) -> Any:
        body = {"__annotations__": cls.__annotations__, "__module__": cls.__module__}
        known: Any = type(cls.__name__, (), {**body, **self._defaults})
        known = dataclasses.dataclass(init=False, repr=False, eq=False)(known)
        cls.__dataclass_fields__ = known.__dataclass_fields__
        return cls.__dataclass_fields__

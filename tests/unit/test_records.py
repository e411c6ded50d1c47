"""A record is what `dataclass(frozen=True)` would have made of the class, held side by side."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from dataclasses import FrozenInstanceError, asdict, dataclass, field, fields, is_dataclass, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelport.records import record


@record(frozen=True)
class Ours:
    """Fields with and without defaults, made ones, and one that says nothing."""

    name: str
    size: int
    kinds: tuple[str, ...] = ()
    notes: dict[str, Any] = field(default_factory=dict)
    count: list[int] = field(default_factory=list, compare=False, repr=False)


@dataclass(frozen=True)
class Theirs:
    """The same."""

    name: str
    size: int
    kinds: tuple[str, ...] = ()
    notes: dict[str, Any] = field(default_factory=dict)
    count: list[int] = field(default_factory=list, compare=False, repr=False)


@record(frozen=True)
class Checked:
    """Has a look at its fields, and keeps another form of one."""

    size: int
    half: int = 0

    def __post_init__(self) -> None:
        if self.size < 0:
            raise ValueError("negative")
        object.__setattr__(self, "half", self.size // 2)


def tried(make: Callable[[], Any]) -> Any:
    """What it makes, told by its fields, or that it is a TypeError."""
    try:
        made = make()
    except TypeError:
        return TypeError
    return {each.name: getattr(made, each.name) for each in fields(made)}


#: As anything that is called: type checkers know too well what these take.
BOTH: tuple[Callable[..., Any], ...] = (Ours, Theirs)
VALUES = st.one_of(st.integers(), st.text(max_size=3), st.none(), st.just((1,)))
NAMES = st.sampled_from(["name", "size", "kinds", "notes", "count", "other"])


@given(st.lists(VALUES, max_size=6), st.dictionaries(NAMES, VALUES, max_size=5))
def test_every_way_of_making_one_ends_the_same(values: list[Any], named: dict[str, Any]) -> None:
    ours, theirs = BOTH
    assert tried(lambda: ours(*values, **named)) == tried(lambda: theirs(*values, **named))


@given(st.tuples(VALUES, VALUES, VALUES), st.tuples(VALUES, VALUES, VALUES))
def test_equal_alike_hashed_and_written_alike(one: Any, other: Any) -> None:
    assert (Ours(*one) == Ours(*other)) == (Theirs(*one) == Theirs(*other))
    assert repr(Ours(*one)) == repr(Theirs(*one)).replace("Theirs", "Ours")
    flat = [made(*one, None) for made in BOTH]
    assert hash(flat[0]) == hash(flat[1])


def test_fields_that_do_not_compare_do_not() -> None:
    assert Ours("a", 1, count=[1]) == Ours("a", 1, count=[2])
    ours, theirs = BOTH
    assert ours("a", 1) != theirs("a", 1)


def test_made_defaults_are_not_shared() -> None:
    assert Ours("a", 1).notes is not Ours("a", 1).notes


def test_dataclasses_take_it_for_one() -> None:
    ours, theirs = Ours("a", 1, ("b",), {"c": 1}), Theirs("a", 1, ("b",), {"c": 1})
    assert is_dataclass(ours)
    assert asdict(ours) == asdict(theirs)
    assert [each.name for each in fields(Ours)] == [each.name for each in fields(Theirs)]
    assert replace(ours, size=2) == Ours("a", 2, ("b",), {"c": 1})
    assert Ours.kinds == Theirs.kinds == ()
    match ours:
        case Ours(name, size):
            assert (name, size) == ("a", 1)


def test_nobody_changes_one() -> None:
    ours: Any = Ours("a", 1)
    with pytest.raises(FrozenInstanceError):
        ours.name = "b"
    with pytest.raises(FrozenInstanceError):
        del ours.name
    assert ours == Ours("a", 1)


def test_it_may_look_at_itself_when_made() -> None:
    assert Checked(5).half == 2
    with pytest.raises(ValueError, match="negative"):
        Checked(-1)


def test_copies_are_equal() -> None:
    ours = Ours("a", 1, ("b",), {"c": [1]})
    assert copy.deepcopy(ours) == copy.copy(ours) == pickle.loads(pickle.dumps(ours)) == ours


def test_records_are_frozen() -> None:
    with pytest.raises(TypeError):
        record(frozen=False)

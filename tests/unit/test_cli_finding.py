"""`modelport list`: filters that all must fit, and pages that go on where the last one ended."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from modelport.errors import ModelNotFoundError
from modelport.manifest import Draft
from modelport.registry.errors import InvalidFilterError
from modelport.registry.notes import NoteEdit
from modelport.upkeep.many import side_by_side
from modelport.upkeep.search import Condition, parse_since

from tests.support.cli_world import ADA, Terminal, register
from tests.support.registry_world import make_draft


def draft(folder: Path, number: int, **content: Any) -> Draft:
    made = make_draft(folder / str(number), model=b"%d" % number)
    return replace(made, content=replace(made.content, **content))


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    """Five versions with metrics, two of them deployed, one of them tagged; and another model."""
    terminal = Terminal(tmp_path)
    for number in range(1, 6):
        metrics = {"accuracy": number / 10, **({"f1": 0.5} if number == 3 else {})}
        made = draft(tmp_path, number, metrics=metrics, description=f"Run {number}")
        manifest = terminal.registry.publish("magika", made, who=ADA)
        if number in (2, 4):
            register(terminal.registry, manifest)
    terminal.ok("promote", "magika:4", "--alias", "staging")
    terminal.registry.annotate("magika", 3, NoteEdit({"team": "vision", "gold": ""}), who=ADA)
    terminal.registry.annotate("magika", 2, NoteEdit({"team": "text"}, (), "Größe"), who=ADA)
    terminal.published("other")
    return terminal


def found(terminal: Terminal, *options: str) -> list[int]:
    told = terminal.ok("list", "magika", *options, "--json").json
    return [version["version"] for version in told["versions"]]


@pytest.mark.parametrize(
    ("options", "versions"),
    [
        ((), [5, 4, 3, 2, 1]),
        (("--tag", "team"), [3, 2]),
        (("--tag", "team=vision"), [3]),
        (("--tag", "team", "--tag", "gold"), [3]),
        (("--tag", "gold="), [3]),
        (("--tag", "none"), []),
        (("--metric", "accuracy>=0.4"), [5, 4]),
        (("--metric", "accuracy > 0.4"), [5]),
        (("--metric", "accuracy=0.2"), [2]),
        (("--metric", "accuracy!=0.2", "--metric", "accuracy<0.4"), [3, 1]),
        (("--metric", "f1<=1"), [3]),
        (("--since", "1d"), [5, 4, 3, 2, 1]),
        (("--since", "2999-01-01"), []),
        (("--since", "2001-01-01T00:00"), [5, 4, 3, 2, 1]),
        (("--deployed",), [4, 2]),
        (("--alias", "staging"), [4]),
        (("--alias", "production"), []),
        (("--input-dtype", "fp32"), [5, 4, 3, 2, 1]),
        (("--input-dtype", "INT64"), []),
        (("--text", "run 3"), [3]),
        (("--text", "VISION"), [3]),
        (("--text", "größe"), [2]),
        (("--deployed", "--metric", "accuracy>0.3"), [4]),
    ],
)
def test_all_filters_must_fit(
    terminal: Terminal, options: tuple[str, ...], versions: list[int]
) -> None:
    assert found(terminal, *options) == versions


def test_pages_go_on_where_the_last_one_ended(terminal: Terminal) -> None:
    first = terminal.ok("list", "magika", "--page-size", "2", "--json").json
    assert ([v["version"] for v in first["versions"]], first["next"]) == ([5, 4], "4")
    second = terminal.ok(
        "list", "magika", "--page-size", "2", "--after", first["next"], "--json"
    ).json
    assert ([v["version"] for v in second["versions"]], second["next"]) == ([3, 2], "2")
    last = terminal.ok("list", "magika", "--page-size", "2", "--after", "2", "--json").json
    assert ([v["version"] for v in last["versions"]], last["next"]) == ([1], None)
    whole = terminal.ok("list", "magika", "--all", "--json").json
    assert (len(whole["versions"]), whole["next"]) == (5, None)
    told = terminal.ok("list", "magika", "--page-size", "5").out
    assert "there is more" not in told
    assert "--after 4" in terminal.ok("list", "magika", "--page-size", "2").out


def test_models_come_in_pages(terminal: Terminal) -> None:
    for name in ("a", "a-1", "zz"):
        terminal.published(name)
    names, cursor = [], None
    while True:
        more = ("--after", cursor) if cursor else ()
        told = terminal.ok("list", "--page-size", "2", *more, "--json").json
        names += [model["model"] for model in told["models"]]
        cursor = told["next"]
        if cursor is None:
            break
    assert names == ["a-1", "a", "magika", "other", "zz"]
    assert "--after a" in terminal.ok("list", "--page-size", "2").out


def test_matches_are_looked_for_in_all_models(terminal: Terminal) -> None:
    terminal.running("zz", versions=3)
    told = terminal.ok("list", "--deployed", "--page-size", "3", "--json").json
    rows = [(row["model"], row["version"]) for row in told["versions"]]
    assert (rows, told["next"]) == ([("magika", 4), ("magika", 2), ("zz", 3)], "zz:3")
    rest = terminal.ok("list", "--deployed", "--after", "zz:3", "--json").json
    rows = [(row["model"], row["version"]) for row in rest["versions"]]
    assert (rows, rest["next"]) == ([("zz", 2), ("zz", 1)], None)
    assert "magika" in terminal.ok("list", "--tag", "team").out
    assert terminal("list", "--deployed", "--after", "zz").code == 2


def test_rows_say_what_is_noted(terminal: Terminal) -> None:
    rows = {v["version"]: v for v in terminal.ok("list", "magika", "--json").json["versions"]}
    assert rows[3]["tags"] == {"gold": "", "team": "vision"}
    assert rows[2]["description"] == "Größe"
    assert rows[1]["description"] == "Run 1"
    out = terminal.ok("list", "magika").out
    assert "gold team=vision" in out
    assert "Größe" in out
    told = terminal.ok("show", "magika:2", "--json").json
    assert told["notes"]["tags"] == {"team": "text"}
    assert told["description"] == "Run 2"
    assert "Größe" in terminal.ok("show", "magika:2").out


@pytest.mark.parametrize(
    "options",
    [
        ("--metric", "accuracy"),
        ("--metric", "accuracy!=nan"),
        ("--metric", "accuracy>=high"),
        ("--metric", ">=1"),
        ("--since", "yesterday"),
        ("--since", "0000-99-99"),
        ("--input-dtype", "FP33"),
        ("--alias", "no alias"),
        ("--after", "x"),
        ("--after", "9" * 30),
        ("--page-size", "0"),
    ],
)
def test_what_cannot_be_searched_for_is_refused(
    terminal: Terminal, options: tuple[str, ...]
) -> None:
    assert terminal("list", "magika", *options).code == 2


def test_what_was_removed_is_not_listed(terminal: Terminal) -> None:
    terminal.ok("gc", "--keep", "1", "--yes")
    assert found(terminal) == [5, 4, 2]
    assert terminal("show", "magika:1").code == 3
    assert "was removed" in terminal("show", "magika:1").err


def test_a_condition_reads_as_people_write_it() -> None:
    assert Condition.parse("f1_macro>=.9") == Condition("f1_macro", ">=", 0.9)
    assert not Condition.parse("f1>0").holds({})
    assert parse_since("2026-01-31").utcoffset() is not None
    with pytest.raises(InvalidFilterError):
        Condition.parse("a>>1")


@pytest.mark.parametrize("threads", [1, 4])
def test_many_requests_answer_in_order_and_stop_at_the_first_failure(threads: int) -> None:
    assert list(side_by_side(lambda n: n * n, range(100), threads)) == [n * n for n in range(100)]
    asked = []

    def ask(number: int) -> int:
        asked.append(number)
        if number == 5:
            raise ModelNotFoundError("m")
        return number

    with pytest.raises(ModelNotFoundError):
        list(side_by_side(ask, range(1000), threads))
    assert len(asked) < 100

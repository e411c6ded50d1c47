"""What a benchmark's figures say: targets, records of several runs, the README's part."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from tests.bench.figures import OURS, Figure, Target
from tests.bench.plan import Plan, in_turns
from tests.bench.plots import plots
from tests.bench.publish import BEGIN, END, PUBLISHED, README, section, with_section
from tests.bench.record import Record, Run
from tests.bench.report import MISSED, REACHED, TOLD, UNMEASURED, markdown, table, verdicts

RUN = Run("2026-01-02", "a machine", 3, 1.5, {"peer": "1.2"})
LATER = Run("2026-03-04", "another", 5, 3.0, {})


def figure(row: int = 1, unit: str = "req/s", *targets: Target, **samples: list[float]) -> Figure:
    return Figure(
        row, f"what {row}", unit, {OURS: [90.0, 100.0, 110.0], **samples}, targets, "note"
    )


RATES = figure(
    *(1, "req/s", Target(("slow", "quick"), at_least=4), Target(("floor",), at_least=0.6)),
    *(Target(("absent",), at_least=2),),
    slow=[5.0],
    quick=[20.0],
    floor=[200.0],
)


def test_a_rate_is_held_against_the_highest_and_a_time_against_the_lowest() -> None:
    assert [line.reached for line in verdicts([RATES])] == ["5.00×", "0.50×", UNMEASURED]
    assert [line.verdict for line in verdicts([RATES])] == [REACHED, MISSED, UNMEASURED]
    assert [line.against for line in verdicts([RATES])] == ["20.0 quick", "200 floor", ""]
    times = figure(8, "µs", Target(("slow", "quick"), at_most=4), quick=[20.0], slow=[50.0])
    (line,) = verdicts([times])
    assert (line.reached, line.verdict, line.target) == ("5.00×", MISSED, "≤ 4×")


@pytest.mark.parametrize(("bound", "verdict"), [(99.0, MISSED), (100.0, REACHED)])
def test_a_bound_of_ours_alone_is_in_its_own_unit(bound: float, verdict: str) -> None:
    (line,) = verdicts([figure(5, "MiB", Target(at_most=bound), floor=[1.0])])
    assert (line.target, line.reached) == (f"≤ {bound:g} MiB", "100 MiB")
    assert (line.ours, line.verdict) == ("100 MiB [90.0–110]", verdict)


def test_a_figure_without_a_target_is_for_information() -> None:
    (line,) = verdicts([figure(9, "ms", cold=[3.0], warm=[1.0, 2.0])])
    assert (line.against, line.verdict) == ("3.00 cold, 1.50 warm", TOLD)


def test_verdicts_are_words_in_the_table_too() -> None:
    said = StringIO()
    Console(width=200, file=said).print(table([RATES]))
    for word in (REACHED, MISSED, UNMEASURED, "what 1", "20.0 quick"):
        assert word in said.getvalue()


def test_a_later_run_replaces_its_rows_only() -> None:
    first = Record().with_run([figure(3), figure(1)], RUN)
    both = first.with_run([RATES], LATER)
    assert [(f.row, run.date) for f, run in both.entries] == [(1, LATER.date), (3, RUN.date)]
    assert both.of(1) == [RATES]
    assert both.runs() == [RUN, LATER]


def test_a_record_is_read_back_as_it_was_written() -> None:
    record = Record().with_run([RATES, figure(7)], RUN).with_run([figure(2)], LATER)
    assert Record.from_json(record.to_json()).to_json() == record.to_json()


def test_a_run_names_the_versions_of_its_peers() -> None:
    versions = Run.now(Plan(peers=("flask", "kserve"))).versions
    assert {"onnxruntime", "flask", "kserve"} <= set(versions)
    assert all(number[0].isdigit() for number in versions.values())


def test_rounds_are_taken_in_turns() -> None:
    asked: list[str] = []

    def contender(name: str, value: float) -> dict[str, float]:
        asked.append(name)
        return {"figure": value}

    found = in_turns({"a": lambda: contender("a", 1), "b": lambda: contender("b", 2)}, 2)
    assert (asked, found) == (["a", "b", "a", "b"], {"figure": {"a": [1, 1], "b": [2, 2]}})


def test_markdown_has_a_line_for_every_target() -> None:
    lines = markdown([RATES, figure(2)]).splitlines()
    assert len(lines) == 2 + 3 + 1
    assert len({line.count("|") for line in lines}) == 1


def test_there_is_a_plot_for_what_was_measured_only() -> None:
    assert set(plots(Record().with_run([RATES, figure(9)], RUN))) == {
        "throughput.png",
        "targets.png",
    }
    drawn = plots(Record().with_run([RATES, figure(3), figure(4)], RUN))
    assert set(drawn) == {"throughput.png", "image.png", "targets.png"}
    assert all(png.startswith(b"\x89PNG") for png in drawn.values())


def test_the_readme_keeps_what_is_around_the_figures() -> None:
    readme = f"above\n{BEGIN}\nold\n{END}\nbelow\n"
    assert with_section(readme, "new") == f"above\n{BEGIN}\nnew\n{END}\nbelow\n"
    with pytest.raises(ValueError, match="README"):
        with_section("no markers", "new")


def test_the_readme_says_what_was_measured() -> None:
    readme = README.read_text()
    assert with_section(readme, section(Record.at(PUBLISHED))) == readme
    for line in readme.splitlines():
        if line.startswith("![") and "docs/figures/" in line:
            assert (README.parent / line.partition("(")[2].rstrip(")")).is_file()

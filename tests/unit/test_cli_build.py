"""What building says and reads without a registry: sizes, shares, where things are looked for."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelport.cli.building import parse_size
from modelport.cli.failures import InvalidUsageError
from modelport.cli.image_report import MAX_PARTS, Shown
from modelport.cli.image_works import ImageWorks, NoRepositoryError
from modelport.images.layer import Part
from modelport.images.report import Row
from rich.console import Console

from tests.support.cli_world import Terminal

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1000", 1000),
        ("500MB", 500_000_000),
        ("500 mb", 500_000_000),
        ("1.5GiB", 3 * 2**29),
        ("2kB", 2000),
        (" 10GB ", 10**10),
    ],
)
def test_sizes_are_read_as_people_write_them(text: str, expected: int) -> None:
    assert parse_size(text) == expected


@given(st.integers(1, 10**15 - 1), st.sampled_from(["", "B"]))
def test_plain_bytes_are_exact_within_reason(count: int, unit: str) -> None:
    assert parse_size(f"{count}{unit}") == count


@pytest.mark.parametrize(
    "text", ["", "much", "0", "-5", "5 TB", "1e9", "0.1B", "1_000", "٣", "9" * 400]
)
def test_what_is_no_size_is_said_with_an_example(text: str) -> None:
    with pytest.raises(InvalidUsageError, match="is no size") as caught:
        parse_size(text)
    assert "500MB" in caught.value.hint


def row(kind: str, size: int, unpacked: int, *parts: Part) -> Row:
    return Row(kind, DIGEST, size, unpacked, parts)  # type: ignore[arg-type]


def rendered(shown: Shown) -> str:
    out = io.StringIO()
    shown.render(Console(file=out, width=120))
    return out.getvalue()


def test_shares_add_up_and_small_parts_are_summed() -> None:
    parts = tuple(Part(f"package-{number}", 100) for number in range(MAX_PARTS + 3))
    deps = row("deps", 700, 1500, *parts)
    shown = Shown("magika:1", DIGEST, "linux/amd64", (row("base", 400, 500), deps))
    said = rendered(shown)
    assert "25%" in said
    assert "75%" in said
    assert "3 more" in said
    assert "1.1 kB in the registry, 700 B of it above the base; 2.0 kB unpacked" in said
    assert len(shown.to_json()["layers"][1]["parts"]) == MAX_PARTS + 3


def test_what_nobody_looked_into_is_not_made_up() -> None:
    shown = Shown("r.io/m", DIGEST, "linux/amd64", (row("base", 4, 8), row("model", 9, 0)))
    assert shown.unpacked is None
    assert shown.to_json()["unpacked_bytes"] is None
    assert shown.to_json()["layers"][1]["unpacked_bytes"] is None
    assert "? unpacked" in rendered(shown)


def works(terminal: Terminal) -> ImageWorks:
    return ImageWorks(terminal.session())


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"MODELPORT_CACHE": "/kept"}, "/kept/images"),
        ({"MODELPORT_CACHE": "kept"}, "{here}/kept/images"),
        ({"XDG_CACHE_HOME": "/xdg", "HOME": "/home/ada"}, "/xdg/modelport/images"),
        ({"HOME": "/home/ada"}, "/home/ada/.cache/modelport/images"),
        ({}, "{here}/.cache/modelport/images"),
    ],
)
def test_layers_are_kept_where_caches_are(
    tmp_path: Path, environ: dict[str, str], expected: str
) -> None:
    terminal = Terminal(tmp_path, environ=environ)
    assert works(terminal).workspace == Path(expected.replace("{here}", str(tmp_path)))


def test_the_runtime_comes_from_the_checkout_around_here(tmp_path: Path, root: Path) -> None:
    assert works(Terminal(tmp_path)).sources == root
    for name in ("functions/__init__.py", "functions/runtime/__init__.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "models").mkdir()
    assert works(Terminal(tmp_path / "models")).sources == tmp_path


def test_an_option_beats_the_file_and_the_file_beats_the_platform(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    with pytest.raises(NoRepositoryError):
        works(terminal).target()
    terminal.stacks["modelport-dev-platform"] = {"ImageRepositoryUri": "r.io/platform"}
    assert str(works(terminal).target()) == "r.io/platform"
    settings = '[environment]\nimage_repository = "r.io/file"\n'
    (tmp_path / "deployments.toml").write_text(settings)
    assert str(works(terminal).target()) == "r.io/file"
    assert str(works(terminal).target("r.io/option:tag")) == "r.io/option:tag"

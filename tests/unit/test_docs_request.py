"""`docs/request.md` leads through files and functions that exist."""

from __future__ import annotations

import re

import pytest

from tests.conftest import ROOT

TEXT = (ROOT / "docs/request.md").read_text()
ITEMS = [
    " ".join(item.split()) for item in re.findall(r"^- (.+?)(?=\n- |\n\n|\Z)", TEXT, re.M | re.S)
]


def test_every_step_of_the_way_is_an_item() -> None:
    assert len(ITEMS) > 25


@pytest.mark.parametrize("item", ITEMS)
def test_the_files_and_functions_of_a_step_exist(item: str) -> None:
    first, *others = re.findall(r"`([^`]+\.py)`", item)
    code = (ROOT / first).read_text()
    for function in re.findall(r"`(\w+)\(\)`", item):
        assert re.search(rf"^ *(async )?(def|class) {function}\b", code, re.M), function
    for other in others:
        assert (ROOT / other).exists() or (ROOT / first).with_name(other).exists(), other


def test_the_readme_names_it() -> None:
    assert "docs/request.md" in (ROOT / "README.md").read_text()

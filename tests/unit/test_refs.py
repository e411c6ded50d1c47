"""Names and references: what is allowed, and that everything else is refused by name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelport.errors import InvalidNameError, InvalidRefError, ModelportError
from modelport.refs import MAX_VERSION, ModelRef, check_alias, check_name, check_version, parse_ref


@pytest.mark.parametrize("name", ["a", "magika", "my-model-2", "a" * 40, "0"])
def test_a_model_name_within_the_grammar_is_kept(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name", ["", "-a", "a-", "A", "a_b", "a.b", "a" * 41, "a b", "ä", "a\n", "a/b"]
)
def test_a_model_name_outside_the_grammar_says_what_is_allowed(name: str) -> None:
    with pytest.raises(InvalidNameError, match="a-z, 0-9"):
        check_name(name)


@pytest.mark.parametrize("alias", ["", "1", "-x", "a" * 41, "a b", "a:b"])
def test_an_alias_outside_the_grammar_is_refused(alias: str) -> None:
    with pytest.raises(InvalidNameError):
        check_alias(alias)


@pytest.mark.parametrize("version", [0, -1, "1.5", "x", "", MAX_VERSION + 1, "٣", True])
def test_a_version_is_a_positive_decimal(version: object) -> None:
    with pytest.raises(InvalidNameError):
        check_version(version)


@pytest.mark.parametrize(
    ("text", "ref"),
    [
        ("magika", ModelRef("magika")),
        ("magika:3", ModelRef("magika", version=3)),
        ("magika@canary", ModelRef("magika", alias="canary")),
    ],
)
def test_references_read_and_print_back(text: str, ref: ModelRef) -> None:
    assert parse_ref(text) == ref
    assert str(ref) == text


@pytest.mark.parametrize("text", ["", ":", "a:", "a:b", "a@", "@a", "a:1@b", "a@b:1"])
def test_a_malformed_reference_is_refused(text: str) -> None:
    with pytest.raises(InvalidRefError):
        parse_ref(text)


@given(st.text())
def test_any_text_is_a_reference_or_a_clear_error(text: str) -> None:
    try:
        ref = parse_ref(text)
    except ModelportError:
        return
    assert parse_ref(str(ref)) == ref

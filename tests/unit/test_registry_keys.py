"""The form of keys: what lies where, in which order, and that nothing else gets in."""

from __future__ import annotations

import pytest
from modelport.errors import IntegrityError
from modelport.registry import keys

DIGEST = "sha256:" + "0123456789abcdef" * 4


def test_keys_are_the_documented_ones() -> None:
    assert keys.blob(DIGEST) == f"blobs/sha256/01/{DIGEST[7:]}"
    assert keys.routes("m") == "models/m/routes.json"
    assert keys.manifest("m", 12) == "models/m/versions/0000000012.json"
    assert keys.log_entry("m", 3) == "models/m/log/0000000003.json"
    assert keys.publication("m", DIGEST) == f"models/m/publications/{DIGEST[7:]}.json"


def test_numbers_are_listed_in_numeric_order() -> None:
    numbers = [1, 2, 9, 10, 99, 1000, 2**31 - 1]
    assert sorted(map(keys.numbered, numbers)) == list(map(keys.numbered, numbers))
    assert [keys.number_of(keys.numbered(number)) for number in numbers] == numbers


@pytest.mark.parametrize(
    "name", ["", "notes.txt", "1.json", "00000000001.json", "0000000001", "٠" * 10]
)
def test_what_is_no_number_is_none(name: str) -> None:
    assert keys.number_of(name) is None


@pytest.mark.parametrize(
    "digest", ["", "sha256:", DIGEST[7:], DIGEST[:-1], DIGEST.upper(), "sha256:" + "../" * 21 + "x"]
)
def test_what_is_no_digest_is_refused(digest: str) -> None:
    with pytest.raises(IntegrityError):
        keys.blob(digest)
    with pytest.raises(IntegrityError):
        keys.publication("m", digest)

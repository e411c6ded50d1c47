"""Names of images: what they mean, which registry they lead to, and what is no name."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelport.images.reference import InvalidReferenceError, Reference

DIGEST = "sha256:" + "a1" * 32
WORD = st.from_regex(r"[a-z0-9]{1,8}(?:(?:\.|_|__|-{1,2})[a-z0-9]{1,5})?", fullmatch=True)
NAME = st.lists(WORD, min_size=1, max_size=4).map("/".join)
HOST = st.sampled_from(["127.0.0.1:5000", "localhost", "ghcr.io", "r.example.com:443", "[::1]:1"])
TAG = st.none() | st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,20}", fullmatch=True)


@given(HOST, NAME, TAG, st.none() | st.just(DIGEST))
def test_what_is_written_is_read_back(
    host: str, name: str, tag: str | None, digest: str | None
) -> None:
    reference = Reference(host, name, tag, digest)
    assert Reference.parse(str(reference)) == reference


@given(st.text(max_size=60))
def test_any_text_is_a_reference_or_our_error(text: str) -> None:
    with suppress(InvalidReferenceError):
        parsed = Reference.parse(text)
        assert Reference.parse(str(parsed)) == parsed


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("python:3.12", Reference("docker.io", "library/python", "3.12")),
        ("me/app", Reference("docker.io", "me/app")),
        ("index.docker.io/me/app", Reference("docker.io", "me/app")),
        ("localhost/app", Reference("localhost", "app")),
        ("r:5000/a/b:t", Reference("r:5000", "a/b", "t")),
        (f"ghcr.io/a@{DIGEST}", Reference("ghcr.io", "a", None, DIGEST)),
        (f"ghcr.io/a:t@{DIGEST}", Reference("ghcr.io", "a", "t", DIGEST)),
        ("GHCR.io/a", Reference("ghcr.io", "a")),
    ],
)
def test_names_mean_what_docker_makes_of_them(text: str, expected: Reference) -> None:
    assert Reference.parse(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "UPPER/case",
        "a//b",
        "../etc",
        "r.io/a:",
        "r.io/a:bad tag",
        "r.io/a@sha256:12",
        f"r.io/a@sha512:{'a' * 128}",
        "https://r.io/a",
        "user@r.io/a",
        "r.io:99999/a",
        "r.io/a?x=1",
        "r.io/a#f",
        "r.io/" + "a" * 256,
    ],
)
def test_what_names_no_image_is_said_with_an_example(text: str) -> None:
    with pytest.raises(InvalidReferenceError, match="names no image") as caught:
        Reference.parse(text)
    assert "sha256" in caught.value.hint


@pytest.mark.parametrize(
    ("registry", "api"),
    [
        ("127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("localhost", "http://localhost"),
        ("[::1]:5000", "http://[::1]:5000"),
        ("docker.io", "https://registry-1.docker.io"),
        ("r.example.com:5000", "https://r.example.com:5000"),
        ("10.0.0.1:5000", "https://10.0.0.1:5000"),
        ("127.0.0.1.example.com", "https://127.0.0.1.example.com"),
        ("localhost.example.com:80", "https://localhost.example.com:80"),
        ("127.0.0.2:5000", "https://127.0.0.2:5000"),
    ],
)
def test_plain_http_is_for_this_machine_only(registry: str, api: str) -> None:
    assert Reference(registry, "a").api == api


@pytest.mark.parametrize(
    ("registry", "region"),
    [
        ("123456789012.dkr.ecr.eu-central-1.amazonaws.com", "eu-central-1"),
        ("123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com", "us-gov-west-1"),
        ("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn", "cn-north-1"),
        ("123456789012.dkr.ecr.eu-central-1.amazonaws.com.example.com", None),
        ("public.ecr.aws", None),
        ("ghcr.io", None),
    ],
)
def test_a_private_registry_in_ecr_is_known_by_its_name(registry: str, region: str | None) -> None:
    assert Reference(registry, "a").ecr_region == region


def test_a_digest_takes_the_place_of_a_tag() -> None:
    reference = Reference.parse("ghcr.io/a:t")
    assert reference.which == "t"
    assert str(reference.at(DIGEST)) == f"ghcr.io/a@{DIGEST}"
    assert reference.at(DIGEST).which == DIGEST
    assert reference.repository.which == "latest"

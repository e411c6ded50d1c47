"""A bundle's requirements.txt: versions and hashes, beside what the image already carries."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelport.images import requirements
from modelport.images.errors import RequirementError
from modelport.images.wheels import Platform

HASH = "--hash=sha256:" + "ab" * 32
NUMPY = "numpy==2.4.6 ; python_full_version < '3.12'"
OURS = f"{NUMPY} \\\n    {HASH} \\\n    {HASH}\nh11==0.16.0 {HASH}\n"
PLATFORM = Platform("3.12", "amd64")


@pytest.mark.parametrize(
    "line",
    [
        "six",
        "six==1.17.0",
        "Pillow >= 10, < 12",
        "scikit-learn~=1.5.0",
        "uvicorn[standard]>=0.3",
        "typing_extensions (>=4.0)",
        'tomli; python_version < "3.11"',
        "ruamel.yaml!=0.18.*  # newer",
        f"six==1.17.0 {HASH} {HASH}",
        f'six==1.17.0 ; python_version >= "3.8" {HASH}',
    ],
)
def test_packages_with_versions_markers_and_hashes_are_taken(line: str) -> None:
    found = requirements.parse(f"# what it needs\n\n{line}\n")
    assert len(found.lines) == 1
    assert found.hashed == (HASH in line)


def test_lines_that_go_on_are_one_line() -> None:
    found = requirements.parse(f"six==1.17.0 \\\n    {HASH} \\\r\n    {HASH}\n    # via x\nidna\n")
    assert found.lines == (f"six==1.17.0 {HASH} {HASH}", "idna")
    assert found.names == ("six", "idna")
    assert not found.hashed


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("-e .", "option -e is not allowed"),
        ("--index-url https://example.com/simple", "option --index-url is not allowed"),
        ("--extra-index-url=https://example.com", "not allowed"),
        ("-r other.txt", "option -r is not allowed"),
        ("--find-links wheels", "not allowed"),
        ("--no-binary :all:", "not allowed"),
        ("https://example.com/six-1.17.0-py3-none-any.whl", "addresses are not allowed"),
        ("git+https://example.com/six.git", "addresses are not allowed"),
        ("six @ https://example.com/six.whl", "addresses are not allowed"),
        ("six @ file:///six.whl", "addresses are not allowed"),
        ("./six", "local files are not allowed"),
        ("../six", "local files are not allowed"),
        ("/opt/six", "local files are not allowed"),
        ("wheels/six.whl", "local files are not allowed"),
        ("six.whl", "local files are not allowed"),
        ("six 1.17", "this is no requirement"),
        ("six --global-option=x", "this is no requirement"),
        ("six==1.17 --index-url https://example.com", "addresses are not allowed"),
        ("six==1.17 --config-settings=x", "this is no requirement"),
        ('six; python_version > "3" --index-url x', "this is no requirement"),
    ],
)
def test_a_line_that_reaches_beyond_the_lock_is_refused(line: str, says: str) -> None:
    with pytest.raises(RequirementError) as raised:
        requirements.parse(f"idna\n{line}\n")
    assert repr(line) in raised.value.message
    assert says in raised.value.message
    assert "one package per line" in raised.value.hint


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    lines: tuple[str, ...] = ()
    with suppress(RequirementError):
        lines = requirements.parse(text).lines
    assert not any(line.startswith("-") or "://" in line for line in lines)


def resolved(answer: str, asked: list[tuple[str, str]]) -> requirements.Resolve:
    def resolve(wanted: str, ours: str, platform: Platform, names: tuple[str, ...]) -> str:
        asked.append((wanted, ours))
        return answer

    return resolve


def test_what_the_image_carries_is_its_version_and_is_not_installed_again() -> None:
    asked: list[tuple[str, str]] = []
    answer = f"six==1.17.0 \\\n    {HASH}\nnumpy==2.4.6 \\\n    {HASH}\nidna==3.20 \\\n    {HASH}\n"
    wanted = requirements.parse("numpy\nsix\n")
    lock = requirements.lock(wanted, OURS, PLATFORM, resolved(answer, asked))
    assert lock == f"idna==3.20 {HASH}\nsix==1.17.0 {HASH}\n"
    ((told, ours),) = asked
    assert told == "numpy\nsix\n"
    assert ours == "numpy==2.4.6 ; python_full_version < '3.12'\nh11==0.16.0\n"


def test_onnxruntime_for_gpus_serves_who_asks_for_onnxruntime() -> None:
    asked: list[tuple[str, str]] = []
    wanted = requirements.parse("onnxruntime>=1.20\nsix\n")
    answer = f"onnxruntime==1.31.1 {HASH}\nsix==1.17.0 {HASH}\n"
    ours = f"onnxruntime-gpu==1.31.1 {HASH}\n"
    lock = requirements.lock(wanted, ours, PLATFORM, resolved(answer, asked))
    assert lock == f"six==1.17.0 {HASH}\n"
    assert asked[0][1] == "onnxruntime-gpu==1.31.1\nonnxruntime==1.31.1\n"


def test_the_authors_hashes_are_kept_not_the_indexs() -> None:
    wanted = requirements.parse(f"six==1.17.0 {HASH}\nnumpy==2.4.6 {HASH}\n")
    other = "--hash=sha256:" + "cd" * 32
    answer = f"six==1.17.0 {other}\nnumpy==2.4.6 {other}\n"
    lock = requirements.lock(wanted, OURS, PLATFORM, resolved(answer, []))
    assert lock == f"six==1.17.0 {HASH}\n"


def test_hashes_must_cover_what_the_packages_need() -> None:
    wanted = requirements.parse(f"pandas==3.0.0 {HASH}\n")
    answer = f"pandas==3.0.0 {HASH}\nnumpy==2.4.6 {HASH}\nsix==1.17.0 {HASH}\n"
    with pytest.raises(RequirementError, match="requirement six: is needed") as raised:
        requirements.lock(wanted, OURS, PLATFORM, resolved(answer, []))
    assert "--generate-hashes" in raised.value.hint


@pytest.mark.parametrize(
    ("glibc", "tag"),
    [
        ((2, 17), "x86_64-manylinux_2_17"),
        ((2, 26), "x86_64-manylinux_2_17"),
        ((2, 28), "x86_64-manylinux_2_28"),
        ((2, 30), "x86_64-manylinux_2_28"),
        ((2, 36), "x86_64-manylinux_2_36"),
        ((2, 99), "x86_64-manylinux_2_40"),
    ],
)
def test_wheels_are_the_newest_the_c_library_can_load(glibc: tuple[int, int], tag: str) -> None:
    assert Platform("3.12", "amd64", glibc).tag == tag
    assert Platform("3.12", "arm64", glibc).tag == tag.replace("x86_64", "aarch64")


def test_a_c_library_older_than_any_wheel_is_refused() -> None:
    with pytest.raises(RequirementError, match=r"2\.12 is older"):
        _ = Platform("3.12", "amd64", (2, 12)).tag

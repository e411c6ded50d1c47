"""What an image carries is what the runtime asks for, at the versions that were tested."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from modelport.images import requirements

LOCKS = ("runtime", "runtime-cuda")


def wanted(root: Path, name: str) -> set[str]:
    text = (root / f"layers/deps/{name}.in").read_text()
    return set(requirements.parse(text).names)


def entries(path: Path) -> dict[str, set[str]]:
    """Every pin of a lock, with its hashes."""
    lines = requirements.parse(path.read_text()).lines
    return {line.split(" --hash")[0]: set(re.findall("--hash=(\\S+)", line)) for line in lines}


def test_the_images_carry_the_runtimes_own_requirements(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    runtime = set(project["optional-dependencies"]["runtime"])
    assert wanted(root, "runtime") == runtime
    assert wanted(root, "runtime-cuda") == runtime - {"onnxruntime"} | {"onnxruntime-gpu"}


@pytest.mark.parametrize("name", LOCKS)
def test_every_package_is_pinned_by_hash_and_nothing_else_is_in_the_lock(
    root: Path, name: str
) -> None:
    path = root / f"layers/deps/{name}.txt"
    assert requirements.parse(path.read_text()).hashed
    assert wanted(root, name) <= set(requirements.pins(path.read_text()))


@pytest.mark.parametrize("name", LOCKS)
def test_the_versions_are_the_tested_ones(root: Path, name: str) -> None:
    tested = entries(root / "requirements.lock")
    carried = entries(root / f"layers/deps/{name}.txt")
    for pin, hashes in carried.items():
        if not pin.startswith("onnxruntime-gpu"):
            assert hashes <= tested[pin], pin


def test_onnxruntime_is_the_same_for_gpus(root: Path) -> None:
    cpu, cuda = (requirements.pins((root / f"layers/deps/{n}.txt").read_text()) for n in LOCKS)
    assert cuda["onnxruntime-gpu"] == cpu["onnxruntime"]


def test_what_onnxruntime_only_declares_is_left_out(root: Path) -> None:
    (unused,) = re.findall(r"^UNUSED := (.*)$", (root / "Makefile").read_text(), re.MULTILINE)
    for name in LOCKS:
        carried = set(requirements.pins((root / f"layers/deps/{name}.txt").read_text()))
        assert not carried & set(unused.split())

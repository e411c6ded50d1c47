"""deployments.toml: what it accepts, how it is edited, and the names that follow from it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelport.deployments import (
    DeploymentEntry,
    Deployments,
    function_name,
    platform_stack,
    with_entry,
    without_entry,
)
from modelport.errors import InvalidSettingError
from modelport.refs import MODEL_NAME

ENTRY = DeploymentEntry(model="magika", version=1, digest="sha256:" + "a" * 64)
TEXT = """\
# what runs here
[environment]
name = "dev"  # short

[[deployment]]
model = "other"
version = 7
digest = "sha256:0"
"""


def test_a_missing_file_is_an_empty_one(tmp_path: Path) -> None:
    assert Deployments.load(tmp_path / "none.toml").deployments == ()


def test_edits_keep_the_rest_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "deployments.toml"
    path.write_text(TEXT)
    with_entry(path, ENTRY)
    assert path.read_text().startswith(TEXT.rstrip())
    assert Deployments.load(path).entry("magika", 1) == ENTRY
    with_entry(path, ENTRY.model_copy(update={"memory_mb": 512}))
    loaded = Deployments.load(path).entry("magika", 1)
    assert loaded is not None
    assert loaded.memory_mb == 512
    without_entry(path, "magika", 1)
    without_entry(path, "magika", 1)
    assert path.read_text().rstrip() == TEXT.rstrip()


def test_an_entry_can_start_the_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "deployments.toml"
    with_entry(path, ENTRY)
    assert Deployments.load(path).deployments == (ENTRY,)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[environment", "not TOML"),
        ("[environment]\nname = 'Not Good'", "environment.name"),
        ("[environment]\nauth = 'open'", "environment.auth"),
        ("[environment]\nunknown = 1", "environment.unknown"),
        ("[[deployment]]\nmodel = 'm'\nversion = 1", "digest"),
        ("[[deployment]]\nmodel = 'm'\nversion = 0\ndigest = 'd'", "version"),
        ("[[deployment]]\nmodel = 'm'\nversion = 1\ndigest = 'd'\n" * 2, "twice"),
        ("[[deployment]]\nmodel = 'm'\nversion = 1\ndigest = 'd'\nmemory_mb = 1", "memory_mb"),
    ],
)
def test_a_wrong_file_names_the_place(tmp_path: Path, text: str, named: str) -> None:
    path = tmp_path / "deployments.toml"
    path.write_text(text)
    with pytest.raises(InvalidSettingError, match=named):
        Deployments.load(path)


def test_names_say_environment_model_and_version() -> None:
    assert function_name("dev", "magika", 3) == "modelport-dev-magika-v3"
    assert platform_stack("dev") == "modelport-dev-platform"


@given(
    st.from_regex(MODEL_NAME, fullmatch=True),
    st.integers(1, 2**31 - 1),
    st.sampled_from(["d", "production12"]),
)
def test_every_name_fits_lambda_and_sagemaker(model: str, version: int, environment: str) -> None:
    name = function_name(environment, model, version)
    assert len(name) <= 63
    assert name.startswith(f"modelport-{environment}-{model[:10]}")
    assert name.endswith(f"-v{version}")


def test_the_file_takes_entries_again_after_its_last_one_left(tmp_path: Path) -> None:
    path = tmp_path / "deployments.toml"
    with_entry(path, ENTRY)
    without_entry(path, "magika", 1)
    with_entry(path, ENTRY)
    assert Deployments.load(path).deployments == (ENTRY,)


def test_the_file_keeps_its_mode_and_a_link_stays_a_link(tmp_path: Path) -> None:
    real = tmp_path / "real" / "deployments.toml"
    real.parent.mkdir()
    real.write_text(TEXT)
    real.chmod(0o640)
    link = tmp_path / "deployments.toml"
    link.symlink_to(real)
    with_entry(link, ENTRY)
    assert link.is_symlink()
    assert real.stat().st_mode & 0o777 == 0o640
    assert Deployments.load(real).entry("magika", 1) == ENTRY
    assert list(real.parent.iterdir()) == [real]


def test_entries_written_at_once_are_all_kept(tmp_path: Path) -> None:
    path = tmp_path / "deployments.toml"
    entries = [ENTRY.model_copy(update={"version": number}) for number in range(1, 17)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda entry: with_entry(path, entry), entries))
    assert {entry.version for entry in Deployments.load(path).deployments} == set(range(1, 17))

"""A version's files in a folder: all of them, as they were published, or none."""

from __future__ import annotations

from pathlib import Path

import pytest
from modelport.manifest import File, Manifest
from modelport.registry import Progress, silent
from modelport.registry.memory import MemoryRegistry

from tests.support.cli_world import Terminal


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    terminal = Terminal(tmp_path)
    terminal.published("magika", versions=2)
    return terminal


def test_the_files_and_the_record_are_what_the_registry_has(terminal: Terminal) -> None:
    told = terminal.ok("export", "bundle", "magika:2", "new/folder", "--json").json
    folder = terminal.folder / "new/folder"
    manifest = terminal.registry.manifest("magika", 2)
    assert Manifest.from_bytes((folder / "manifest.json").read_bytes()) == manifest
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert found == {"manifest.json", *(file.path for file in manifest.files)} == set(told["files"])
    assert (folder / "model.bin").read_bytes() == b"\x02"
    assert (told["digest"], told["folder"]) == (manifest.digest, str(folder))


def test_an_empty_folder_is_filled_and_a_link_to_one_stays_a_link(terminal: Terminal) -> None:
    (terminal.folder / "empty").mkdir()
    (terminal.folder / "link").symlink_to("empty")
    terminal.ok("export", "bundle", "magika:1", "link")
    assert (terminal.folder / "link").is_symlink()
    assert (terminal.folder / "empty/manifest.json").is_file()


def test_a_folder_with_something_in_it_is_left_alone(terminal: Terminal) -> None:
    (terminal.folder / "mine").mkdir()
    (terminal.folder / "mine/file").write_text("kept")
    for to in ("mine", "mine/file"):
        result = terminal("export", "bundle", "magika:1", to, "--json")
        assert (result.code, result.json["error"]["code"]) == (2, "usage")
    assert [path.name for path in (terminal.folder / "mine").iterdir()] == ["file"]


def test_a_place_that_cannot_be_is_said(terminal: Terminal) -> None:
    (terminal.folder / "file").write_text("kept")
    result = terminal("export", "bundle", "magika:1", "file/below", "--json")
    assert (result.code, result.json["error"]["code"]) == (2, "usage")


class Breaking(MemoryRegistry):
    """Somebody presses Ctrl-C when the first file is there."""

    def fetch(self, file: File, to: Path, progress: Progress = silent) -> None:
        super().fetch(file, to, progress)
        raise KeyboardInterrupt


def test_what_was_stopped_half_way_leaves_nothing(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path, registry=Breaking())
    terminal.published("magika")
    before = set(tmp_path.iterdir())
    assert terminal("export", "bundle", "magika:1", "out").code != 0
    assert set(tmp_path.iterdir()) == before

"""A bundle's own packages: installed for the image's platform, or refused by name.

uv resolves against a folder of small wheels made here, so nothing depends on what an index has.
"""

from __future__ import annotations

import base64
import hashlib
import json
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from modelport.images.base import Base
from modelport.images.build import build
from modelport.images.errors import RequirementError
from modelport.images.image import REQUIREMENTS_LABEL, Image
from modelport.images.wheels import Architecture

from tests.support.images_world import USUAL, base_image, config_of, version

ANY = "py3-none-any"


class Wheelhouse:
    """A folder that uv takes wheels from, and nothing else."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()

    def add(
        self, name: str, release: str, tag: str = ANY, needs: Sequence[str] = (), text: str = ""
    ) -> str:
        """Add a wheel with one module and a script; its hash as a requirement's option."""
        info = f"{name}-{release}.dist-info"
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {release}\n"
        files = {
            f"{name}.py": text or f"release = {release!r}\n",
            f"{name}-{release}.data/scripts/{name}": "#!python\n",
            f"{info}/METADATA": metadata + "".join(f"Requires-Dist: {need}\n" for need in needs),
            f"{info}/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n",
        }
        record = "".join(f"{path},{_record(body)},{len(body)}\n" for path, body in files.items())
        files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n"
        path = self.folder / f"{name}-{release}-{tag}.whl"
        with zipfile.ZipFile(path, "w") as wheel:
            for inner, body in files.items():
                wheel.writestr(zipfile.ZipInfo(inner), body)
        return f"--hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def _record(body: str) -> str:
    digest = hashlib.sha256(body.encode()).digest()
    return "sha256=" + base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Wheelhouse:
    house = Wheelhouse(tmp_path / "wheels")
    config = tmp_path / "uv.toml"
    config.write_text(f"no-index = true\nfind-links = [{json.dumps(str(house.folder))}]\n")
    monkeypatch.setenv("UV_CONFIG_FILE", str(config))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv-cache"))
    return house


@pytest.fixture
def checkout(wheels: Wheelhouse, tmp_path: Path) -> Path:
    """A repository whose images carry numpy 2.4.6, as far as anybody can tell."""
    ours = wheels.add("numpy", "2.4.6")
    wheels.add("numpy", "1.26.4")
    root = tmp_path / "checkout"
    for path, text in {
        "layers/core/python/modelport/__init__.py": "",
        "layers/deps/runtime.txt": f"numpy==2.4.6 {ours}\n",
        "functions/__init__.py": "",
        "functions/runtime/__init__.py": "",
    }.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return root


def base_of(work: Path, architecture: Architecture = "amd64") -> Base:
    return base_image(work, [USUAL], architecture)


def made(checkout: Path, work: Path, text: str, architecture: Architecture = "amd64") -> Image:
    manifest, bundle = version(
        {"model.onnx": b"m", "requirements.txt": text.encode()}, requirements="requirements.txt"
    )
    return build(manifest, bundle.fetch, base_of(work, architecture), checkout, work)


def contents(image: Image, kind: str) -> dict[str, bytes]:
    found = {}
    for layer in image.layers:
        if layer.kind == kind and layer.path:
            with tarfile.open(layer.path) as archive:
                for member in archive:
                    file = archive.extractfile(member)
                    if file:
                        found[member.name] = file.read()
    return found


def refused(checkout: Path, work: Path, text: str) -> str:
    with pytest.raises(RequirementError) as raised:
        made(checkout, work, text)
    assert "Traceback" not in raised.value.message
    return f"{raised.value.message} {raised.value.hint}"


def test_packages_and_what_they_need_go_below_user_python(
    checkout: Path, wheels: Wheelhouse, tmp_path: Path
) -> None:
    wheels.add("tokens", "1.0", needs=["shared>=1"])
    wheels.add("shared", "1.5")
    image = made(checkout, tmp_path / "w", "tokens\n")
    found = contents(image, "user")
    assert found["opt/user-python/tokens.py"] == b"release = '1.0'\n"
    assert found["opt/user-python/shared.py"] == b"release = '1.5'\n"
    assert "opt/user-python/__pycache__/tokens.cpython-311.pyc" in found
    assert not any("/bin/" in path for path in found)
    assert contents(image, "model").keys() == {
        "opt/model/manifest.json",
        "opt/model/model.onnx",
        "opt/model/requirements.txt",
    }


def test_what_the_image_carries_is_not_carried_twice(
    checkout: Path, wheels: Wheelhouse, tmp_path: Path
) -> None:
    wheels.add("tokens", "1.0", needs=["numpy>=2"])
    image = made(checkout, tmp_path / "w", "tokens\nnumpy\n")
    assert "opt/python/numpy.py" in contents(image, "deps")
    assert "opt/user-python/numpy.py" not in contents(image, "user")
    assert "opt/user-python/tokens.py" in contents(image, "user")


def test_packages_that_are_all_carried_need_no_layer(checkout: Path, tmp_path: Path) -> None:
    assert contents(made(checkout, tmp_path / "w", "numpy>=2\n"), "user") == {}


def test_without_hashes_the_resolution_is_kept_told_and_in_the_image(
    checkout: Path, wheels: Wheelhouse, tmp_path: Path
) -> None:
    mark = wheels.add("tokens", "1.0")
    first = made(checkout, tmp_path / "w", "tokens>=1\n")
    assert any("has no hashes" in note and "--generate-hashes" in note for note in first.notes)
    label = config_of(first.config)["config"]["Labels"][REQUIREMENTS_LABEL]
    assert label == "tokens==1.0"
    lock = contents(first, "user")["opt/user-python/requirements.lock"].decode()
    assert lock == f"tokens==1.0 {mark}\n"
    wheels.add("tokens", "2.0")
    assert made(checkout, tmp_path / "w", "tokens>=1\n") == first
    elsewhere = made(checkout, tmp_path / "elsewhere", "tokens>=1\n")
    assert elsewhere.digest != first.digest


def test_with_hashes_every_machine_makes_the_same_image_and_nothing_is_noted(
    checkout: Path, wheels: Wheelhouse, tmp_path: Path
) -> None:
    mark = wheels.add("tokens", "1.0")
    first = made(checkout, tmp_path / "w", f"tokens==1.0 {mark}\n")
    wheels.add("tokens", "1.0.post1")
    second = made(checkout, tmp_path / "elsewhere", f"tokens==1.0 {mark}\n")
    assert second.digest == first.digest
    assert first.notes == ()


def test_a_wheel_is_chosen_for_the_images_platform_not_this_machines(
    checkout: Path, wheels: Wheelhouse, tmp_path: Path
) -> None:
    for machine in ("x86_64", "aarch64"):
        wheels.add("fast", "1.0", f"cp311-cp311-manylinux_2_28_{machine}", text=f"m = {machine!r}")
    for architecture, machine in (("amd64", "x86_64"), ("arm64", "aarch64")):
        image = made(checkout, tmp_path / "w", "fast\n", architecture)  # type: ignore[arg-type]
        assert contents(image, "user")["opt/user-python/fast.py"] == f"m = {machine!r}".encode()


# --- what is refused ------------------------------------------------------------------------------


def test_a_package_without_a_wheel_for_the_platform_says_which_exist(
    checkout: Path, wheels: Wheelhouse, tmp_path: Path
) -> None:
    wheels.add("fast", "1.0", "cp311-cp311-macosx_11_0_arm64")
    wheels.add("fast", "1.0", "cp311-cp311-win_amd64")
    said = refused(checkout, tmp_path / "w", "fast==1.0\n")
    assert said.startswith("requirement fast: has no wheel for Python 3.11 on linux/amd64")
    assert "macosx_11_0_arm64" in said
    assert "win_amd64" in said


def test_a_package_for_other_pythons_says_for_which(
    checkout: Path, wheels: Wheelhouse, tmp_path: Path
) -> None:
    wheels.add("fast", "1.0", "cp38-cp38-manylinux_2_28_x86_64")
    said = refused(checkout, tmp_path / "w", "fast\n")
    assert said.startswith("requirement fast: has no wheel for Python 3.11")
    assert "cp38" in said


def test_a_package_that_wants_a_newer_c_library_says_so(
    checkout: Path, wheels: Wheelhouse, tmp_path: Path
) -> None:
    wheels.add("fast", "1.0", "cp311-cp311-manylinux_2_39_x86_64")
    said = refused(checkout, tmp_path / "w", "fast\n")
    assert "(glibc 2.36)" in said
    assert "manylinux_2_39_x86_64" in said


def test_a_package_that_is_source_only_is_never_built(
    checkout: Path, wheels: Wheelhouse, tmp_path: Path
) -> None:
    marker = tmp_path / "it-was-run"
    source = tmp_path / "setup.py"
    source.write_text(f"open({str(marker)!r}, 'w')\n")
    with tarfile.open(wheels.folder / "slow-1.0.tar.gz", "w:gz") as archive:
        archive.add(source, "slow-1.0/setup.py")
    said = refused(checkout, tmp_path / "w", "slow\n")
    assert said.startswith("requirement slow: has no wheel")
    assert "nothing is built from source" in said
    assert not marker.exists()


def test_a_requirement_against_ours_names_both(checkout: Path, tmp_path: Path) -> None:
    said = refused(checkout, tmp_path / "w", "numpy<2\n")
    assert said.startswith("requirement numpy: ")
    assert "numpy<2" in said
    assert "modelport's runtime needs numpy==2.4.6" in said
    assert "loosen this line" in said


def test_a_package_whose_own_need_is_against_ours_names_both(
    checkout: Path, wheels: Wheelhouse, tmp_path: Path
) -> None:
    wheels.add("old", "1.0", needs=["numpy<2"])
    said = refused(checkout, tmp_path / "w", "old\n")
    assert said.startswith("requirement old: ")
    assert "numpy<2" in said
    assert "modelport's runtime needs numpy==2.4.6" in said
    assert "ask for another release of old that works with it" in said


def test_a_package_that_does_not_exist_is_named(checkout: Path, tmp_path: Path) -> None:
    said = refused(checkout, tmp_path / "w", "nosuchpackage\n")
    assert said.startswith("requirement nosuchpackage: ")
    assert said.endswith("the package index has none of that name")


def test_a_release_that_does_not_exist_is_told_with_one_that_does(
    checkout: Path, wheels: Wheelhouse, tmp_path: Path
) -> None:
    wheels.add("six", "1.16.0")
    wheels.add("six", "1.17.0")
    said = refused(checkout, tmp_path / "w", "six==99.0\n")
    assert said.startswith("requirement six: ")
    assert said.endswith("is six==1.17.0")


def test_a_version_that_is_none_is_refused_without_a_path_of_this_machine(
    checkout: Path, tmp_path: Path
) -> None:
    said = refused(checkout, tmp_path / "w", "six==1..0\n")
    assert said.startswith("requirement six: ")
    assert "1..0" in said
    assert "/" not in said.replace("`requirements.txt`", "")


def test_a_package_that_another_needs_and_that_has_no_wheel_is_told(
    checkout: Path, wheels: Wheelhouse, tmp_path: Path
) -> None:
    wheels.add("tokens", "1.0", needs=["native"])
    wheels.add("native", "1.0", "cp311-cp311-win_amd64")
    said = refused(checkout, tmp_path / "w", "tokens\n")
    assert said.startswith("requirement tokens: has no wheel")
    assert "native" in said
    assert "win_amd64" in said


def test_a_file_of_comments_asks_for_nothing(checkout: Path, tmp_path: Path) -> None:
    image = made(checkout, tmp_path / "w", "# nothing yet\n\n")
    assert [layer.kind for layer in image.layers] == ["base", "deps", "code", "model"]


def test_a_lock_of_ours_that_cannot_be_installed_names_the_package(
    checkout: Path, wheels: Wheelhouse, tmp_path: Path
) -> None:
    (wheels.folder / f"numpy-2.4.6-{ANY}.whl").unlink()
    assert refused(checkout, tmp_path / "w", "").startswith("requirement numpy: ")


def test_a_wheel_that_is_not_the_hashed_one_is_refused(
    checkout: Path, wheels: Wheelhouse, tmp_path: Path
) -> None:
    wheels.add("tokens", "1.0")
    wrong = "--hash=sha256:" + "0" * 64
    said = refused(checkout, tmp_path / "w", f"tokens==1.0 {wrong}\n")
    assert said.startswith("requirement tokens: ")
    assert "hash" in said.lower()


def test_hashes_that_do_not_cover_everything_are_refused(
    checkout: Path, wheels: Wheelhouse, tmp_path: Path
) -> None:
    mark = wheels.add("tokens", "1.0", needs=["shared"])
    wheels.add("shared", "1.5")
    said = refused(checkout, tmp_path / "w", f"tokens==1.0 {mark}\n")
    assert said.startswith("requirement shared: ")


@pytest.mark.parametrize("line", ["-e .", "--index-url https://example.com", "./wheels/x.whl"])
def test_a_line_that_is_no_package_is_refused_before_anything_is_asked(
    checkout: Path, tmp_path: Path, line: str
) -> None:
    assert "not allowed" in refused(checkout, tmp_path / "w", f"{line}\n")
    assert not (tmp_path / "w" / "locks").exists()


def test_a_refused_requirement_leaves_nothing_behind(checkout: Path, tmp_path: Path) -> None:
    refused(checkout, tmp_path / "w", "nosuchpackage\n")
    assert not list((tmp_path / "w").rglob(".*"))
    layers = [json.loads(path.read_bytes()) for path in (tmp_path / "w/layers").glob("*")]
    assert not any(layer["kind"] == "user" for layer in layers)

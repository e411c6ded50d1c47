"""The base image: named by digest, verified twice, and understood from its layers alone."""

from __future__ import annotations

import gzip
import tarfile
from pathlib import Path

import pytest
from modelport.errors import IntegrityError
from modelport.images.base import read
from modelport.images.errors import BaseImageError, ImageNotFoundError
from modelport.images.filesystem import Filesystem
from modelport.images.reference import Reference
from modelport.manifest import canonical, digest_of

from tests.support.images_world import (
    DOCKER_LAYER,
    LIBC_SAYS,
    USUAL,
    MemoryRepository,
    Tree,
    base_image,
    push_base,
)

PYTHON: Tree = {"usr/bin/python3.12": b"", "usr/lib/libc.so.6": LIBC_SAYS}


def located(tmp_path: Path, *layers: Tree, path: str | None = None) -> tuple[str, str]:
    repository = MemoryRepository()
    config = {"Env": [f"PATH={path}"]} if path else {}
    reference = push_base(repository, layers, config=config or None)
    base = read(repository, reference, "amd64", tmp_path)
    return base.python, base.interpreter


def test_a_base_tells_its_python_its_library_and_its_weight(tmp_path: Path) -> None:
    base = base_image(tmp_path, [USUAL, {"usr/share/text": b"x" * 5000}])
    assert (base.python, base.interpreter) == ("3.11", "/usr/bin/python3.11")
    assert (base.glibc, base.architecture) == ((2, 36), "amd64")
    assert base.platform.tag == "x86_64-manylinux_2_36"
    assert [layer.kind for layer in base.layers] == ["base", "base"]
    for layer in base.layers:
        assert layer.path is not None
        assert len(gzip.decompress(layer.path.read_bytes())) == layer.unpacked
    assert base.unpacked == sum(layer.unpacked for layer in base.layers)


def test_what_was_read_once_is_not_read_again(tmp_path: Path) -> None:
    repository = MemoryRepository()
    reference = push_base(repository)
    first = read(repository, reference, "amd64", tmp_path)
    asked = list(repository.read)
    assert read(repository, reference, "amd64", tmp_path) == first
    assert repository.read == asked


def test_a_kept_layer_that_rotted_is_read_again(tmp_path: Path) -> None:
    repository = MemoryRepository()
    reference = push_base(repository)
    first = read(repository, reference, "amd64", tmp_path)
    path = first.layers[0].path
    assert path is not None
    path.write_bytes(b"rotten")
    assert read(repository, reference, "amd64", tmp_path) == first
    assert digest_of(path.read_bytes()) == first.layers[0].digest


def test_layers_of_docker_are_taken_as_they_are(tmp_path: Path) -> None:
    repository = MemoryRepository()
    reference = push_base(repository, layer_type=DOCKER_LAYER)
    assert read(repository, reference, "amd64", tmp_path).python == "3.11"


# --- where Python is ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layers", "path", "expected"),
    [
        ([PYTHON], None, ("3.12", "/usr/bin/python3.12")),
        ([PYTHON, {"usr/local/bin/python3.13": b""}], None, ("3.13", "/usr/local/bin/python3.13")),
        ([PYTHON, {"var/lang/bin/python3.14": b""}], "/var/lang/bin:/usr/bin", ("3.14", None)),
        ([{"var/lang/bin/python3.12": b""}], None, ("3.12", "/var/lang/bin/python3.12")),
        ([{"opt/conda/bin/python3.11": b""}], "/opt/conda/bin", ("3.11", None)),
        # the highest, unless python3 says which
        ([PYTHON, {"usr/bin/python3.13": b""}], None, ("3.13", "/usr/bin/python3.13")),
        ([PYTHON, {"usr/bin/python3.13": b"", "usr/bin/python3": "->python3.12"}], None,
         ("3.12", "/usr/bin/python3.12")),
        # too old is passed over
        ([{"usr/local/bin/python3.10": b""}, PYTHON], None, ("3.12", "/usr/bin/python3.12")),
        # links: of the file, of its folder, absolute, relative, and over several layers
        ([{"usr/bin/python3.12": "->../lib/py/python3.12"}, {"usr/lib/py/python3.12": b""}], None,
         ("3.12", "/usr/bin/python3.12")),
        ([{"usr/local/bin": "->/opt/py/bin"}, {"opt/py/bin/python3.13": b""}], None,
         ("3.13", "/usr/local/bin/python3.13")),
        ([{"usr/bin/python3.13": "->nowhere"}, PYTHON], None, ("3.12", "/usr/bin/python3.12")),
        ([{"usr/bin/python3.13": "->python3.13"}, PYTHON], None, ("3.12", "/usr/bin/python3.12")),
        # what a layer takes away is gone
        ([{"usr/local/bin/python3.13": b""}, {"usr/local/bin/.wh.python3.13": b""}, PYTHON], None,
         ("3.12", "/usr/bin/python3.12")),
        ([{"usr/local/bin/python3.13": b""}, {"usr/.wh.local": b""}, PYTHON], None,
         ("3.12", "/usr/bin/python3.12")),
        ([{"usr/local/bin/python3.13": b""}, {"usr/local/.wh..wh..opq": b""}, PYTHON], None,
         ("3.12", "/usr/bin/python3.12")),
        ([{"usr/local/bin/python3.13": b""},
          {"usr/local/bin/.wh..wh..opq": b"", "usr/local/bin/python3.12": b""}], None,
         ("3.12", "/usr/local/bin/python3.12")),
        ([{"usr/local/bin/python3.13": b""}, {"usr/local/bin": b"a file now"}, PYTHON], None,
         ("3.12", "/usr/bin/python3.12")),
    ],
)  # fmt: skip
def test_the_python_a_shell_would_find_first(
    tmp_path: Path, layers: list[Tree], path: str | None, expected: tuple[str, str | None]
) -> None:
    python, interpreter = located(tmp_path, *layers, path=path)
    assert python == expected[0]
    assert interpreter == (expected[1] or f"{(path or '').split(':')[0]}/python{python}")


def test_links_are_followed_as_linux_does() -> None:
    files = Filesystem()
    for name, target in {"a": "b/./c", "b/c": "../d", "loop": "loop", "up": "/../../d"}.items():
        link = tarfile.TarInfo(name)
        link.type, link.linkname = tarfile.SYMTYPE, target
        files.add(link)
    files.add(tarfile.TarInfo("./d"))
    assert [files.resolve(path) for path in ("/a", "up", "d", "loop", "no")] == [
        "d",
        "d",
        "d",
        None,
        None,
    ]


@pytest.mark.parametrize(
    ("tree", "expected"),
    [
        ({**PYTHON, "usr/lib/libc.so.6": LIBC_SAYS.replace(b"2.36", b"2.26")}, (2, 26)),
        ({"usr/bin/python3.12": b"", "lib64/libc.so.6": "->libc-2.26.so",
          "lib64/libc-2.26.so": b"GNU C Library stable release version 2.26, by"}, (2, 26)),
        ({"usr/bin/python3.12": b""}, (2, 28)),
    ],
)  # fmt: skip
def test_the_c_library_is_the_one_the_base_has(
    tmp_path: Path, tree: Tree, expected: tuple[int, int]
) -> None:
    assert base_image(tmp_path, [tree]).glibc == expected


# --- what is refused ------------------------------------------------------------------------------


def refused(tmp_path: Path, repository: MemoryRepository, reference: Reference) -> str:
    with pytest.raises(BaseImageError) as raised:
        read(repository, reference, "amd64", tmp_path)
    assert str(reference) in raised.value.message
    return raised.value.message + raised.value.hint


def test_a_base_without_a_digest_is_refused(tmp_path: Path) -> None:
    tagged = Reference.parse("docker.io/library/python:3.12")
    said = refused(tmp_path, MemoryRepository(), tagged)
    assert "by digest" in said
    assert "@sha256:" in said


def test_a_base_of_another_architecture_is_refused(tmp_path: Path) -> None:
    repository = MemoryRepository()
    reference = push_base(repository, architecture="arm64")
    said = refused(tmp_path, repository, reference)
    assert "linux/arm64, not linux/amd64" in said


def test_zstd_layers_are_refused_with_the_way_out(tmp_path: Path) -> None:
    repository = MemoryRepository()
    kind = "application/vnd.oci.image.layer.v1.tar+zstd"
    said = refused(tmp_path, repository, push_base(repository, layer_type=kind))
    assert kind in said
    assert "gzip" in said
    assert not repository.read


@pytest.mark.parametrize(
    ("tree", "says"),
    [
        ({"bin/sh": b""}, "has no Python 3.11 or newer"),
        ({"usr/bin/python3.9": b"", "usr/bin/python2.7": b""}, "it has /usr/bin/python3.9"),
        ({"usr/bin/python3.12": b"", "lib/ld-musl-x86_64.so.1": b""}, "musl"),
    ],
)
def test_a_base_that_cannot_run_the_runtime_is_refused(
    tmp_path: Path, tree: Tree, says: str
) -> None:
    repository = MemoryRepository()
    assert says in refused(tmp_path, repository, push_base(repository, [tree]))


@pytest.mark.parametrize("body", [b"not json", b"[]", b'{"layers": []}', b'{"manifests": []}'])
def test_a_manifest_that_is_none_is_refused(tmp_path: Path, body: bytes) -> None:
    repository = MemoryRepository(manifests={digest_of(body): body})
    reference = Reference.parse(f"example.com/base@{digest_of(body)}")
    assert "no image's manifest" in refused(tmp_path, repository, reference)


@pytest.mark.parametrize("config", [b"[]", b"nonsense", b'{"architecture": "amd64"}'])
def test_a_config_that_is_none_is_refused(tmp_path: Path, config: bytes) -> None:
    repository = MemoryRepository()
    manifest = canonical({"config": repository.add(config), "layers": []})
    repository.manifests[digest_of(manifest)] = manifest
    reference = Reference.parse(f"example.com/base@{digest_of(manifest)}")
    assert "config" in refused(tmp_path, repository, reference)


def test_a_layer_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    repository = MemoryRepository()
    for body in (b"no gzip at all", gzip.compress(b"no tar at all" * 100)[:-9]):
        layer = {"mediaType": DOCKER_LAYER, **repository.add(body)}
        config = {"architecture": "amd64", "rootfs": {"diff_ids": ["sha256:" + "0" * 64]}}
        manifest = canonical({"config": repository.add(canonical(config)), "layers": [layer]})
        repository.manifests[digest_of(manifest)] = manifest
        reference = Reference.parse(f"example.com/base@{digest_of(manifest)}")
        assert "cannot be read" in refused(tmp_path, repository, reference)


def test_a_registry_that_lies_about_a_blob_is_caught(tmp_path: Path) -> None:
    class Liar(MemoryRepository):
        def blob(self, digest: str, to: Path, progress: object = None) -> None:
            to.write_bytes(b"something else")

    repository = Liar()
    with pytest.raises(IntegrityError, match="blob sha256:"):
        read(repository, push_base(repository), "amd64", tmp_path)


def test_a_registry_that_lies_about_a_manifest_is_caught(tmp_path: Path) -> None:
    repository = MemoryRepository()
    reference = push_base(repository)
    repository.manifests[reference.which] += b" "
    with pytest.raises(IntegrityError, match="manifest of"):
        read(repository, reference, "amd64", tmp_path)


def test_a_layer_that_unpacks_to_something_else_is_caught(tmp_path: Path) -> None:
    repository = MemoryRepository()
    reference = push_base(repository, diff_ids=["sha256:" + "0" * 64])
    with pytest.raises(IntegrityError, match="unpacked"):
        read(repository, reference, "amd64", tmp_path)


def test_a_base_with_more_layers_than_it_says_is_caught(tmp_path: Path) -> None:
    repository = MemoryRepository()
    reference = push_base(repository, diff_ids=["sha256:" + "0" * 64] * 2)
    with pytest.raises(IntegrityError, match="2 layers"):
        read(repository, reference, "amd64", tmp_path)


def test_a_base_that_is_not_there_stays_the_registrys_error(tmp_path: Path) -> None:
    missing = Reference.parse("example.com/base@sha256:" + "1" * 64)
    with pytest.raises(ImageNotFoundError):
        read(MemoryRepository(), missing, "amd64", tmp_path)


def test_a_hard_link_is_a_file_like_any_other() -> None:
    files = Filesystem()
    link = tarfile.TarInfo("usr/bin/python3.12")
    link.type, link.linkname = tarfile.LNKTYPE, "usr/bin/python3"
    files.add(link)
    assert files.resolve("usr/bin/python3.12") == "usr/bin/python3.12"
    assert list(files.names("usr/bin")) == ["python3.12"]

"""Bytecode and trimming: the same sources are the same bytes, and only what nobody opens goes."""

from __future__ import annotations

import importlib.util
import marshal
import os
import subprocess
import sys
from pathlib import Path

import pytest
from modelport.images import bytecode
from modelport.images.trim import package_of, trim

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"
SOURCES = {
    "pkg/__init__.py": "names = {'a', 'b', 'c'}\n",
    "pkg/deep/code.py": "def f(x):\n    return x in {'one', 'two', 'three', 1.5}\n",
    "module.py": "import pkg\n",
}


def laid_out(folder: Path, files: dict[str, str]) -> Path:
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return folder


def compiled(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.pyc")}


def test_bytecode_lies_beside_its_source_for_the_place_it_runs_from(tmp_path: Path) -> None:
    bytecode.write(laid_out(tmp_path, SOURCES), "/opt/python", sys.executable)
    made = compiled(tmp_path)
    tag = sys.implementation.cache_tag
    assert made.keys() == {
        f"__pycache__/module.{tag}.pyc",
        f"pkg/__pycache__/__init__.{tag}.pyc",
        f"pkg/deep/__pycache__/code.{tag}.pyc",
    }
    body = made[f"pkg/deep/__pycache__/code.{tag}.pyc"]
    assert marshal.loads(body[16:]).co_filename == "/opt/python/pkg/deep/code.py"
    # unchecked hash: no time of a file in it, and none asked for when it is loaded
    assert body[:8] == importlib.util.MAGIC_NUMBER + (1).to_bytes(4, "little")
    assert body[8:16] == importlib.util.source_hash(SOURCES["pkg/deep/code.py"].encode())


def test_neither_place_nor_times_nor_order_reach_the_bytecode(tmp_path: Path) -> None:
    one = laid_out(tmp_path / "one", SOURCES)
    two = laid_out(tmp_path / "another/place", dict(reversed(SOURCES.items())))
    for path in two.rglob("*.py"):
        os.utime(path, (1, 1))
    for folder in (one, two):
        bytecode.write(folder, "/opt/python", sys.executable)
    assert compiled(one) == compiled(two)


def test_a_source_of_another_python_stays_a_source(tmp_path: Path) -> None:
    files = {"good.py": "x = 1\n", "old.py": "print 'two'\n", "odd.py": "\0", "w.py": "'\\d'\n"}
    bytecode.write(laid_out(tmp_path, files), "/", sys.executable)
    assert {name.split("/")[1].split(".")[0] for name in compiled(tmp_path)} == {"good", "w"}


def test_nothing_that_is_compiled_is_run(tmp_path: Path) -> None:
    mark = tmp_path / "it-ran"
    evil = f"open({str(mark)!r}, 'w')\n"
    names = ("sitecustomize.py", "usercustomize.py", "py_compile.py", "os.py", "warnings.py")
    bytecode.write(laid_out(tmp_path, dict.fromkeys(names, evil)), "/", sys.executable)
    assert len(compiled(tmp_path)) == len(names)
    assert not mark.exists()


def test_this_python_is_found_and_one_that_is_not_here_is_not() -> None:
    assert bytecode.interpreter(HERE) == sys.executable
    assert bytecode.interpreter("3.99") is None
    assert bytecode.release(sys.executable) == sys.version


def test_a_stand_in_that_does_not_start_is_no_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in = tmp_path / "python3.98"
    stand_in.write_text("#!/bin/sh\nexit 127\n")
    stand_in.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert bytecode.interpreter("3.98") is None


def test_trimming_keeps_licences_metadata_and_shared_objects(tmp_path: Path) -> None:
    kept = [
        "numpy/__init__.py",
        "numpy/testing/__init__.py",
        "numpy/_core/_multiarray_umath.cpython-311-x86_64-linux-gnu.so",
        "numpy-2.0.dist-info/METADATA",
        "numpy-2.0.dist-info/licenses/LICENSE.txt",
        "numpy.libs/libscipy_openblas64_-1.so",
        "onnxruntime/ThirdPartyNotices.txt",
        "onnxruntime/capi/libonnxruntime_providers_shared.so",
        "onnxruntime/capi/onnxruntime_pybind11_state.so",
        "other/tests/of_a_package_of_nobodys.py",
    ]
    gone = [
        "bin/uvicorn",
        "numpy/__init__.pyi",
        "numpy/_core/tests/test_dtype.py",
        "numpy/lib/tests/data/x.npy",
        "numpy/f2py/__init__.py",
        "numpy/_core/include/numpy/arrayobject.h",
        "numpy-2.0.dist-info/RECORD",
        "onnxruntime/capi/libonnxruntime.so.1.31.1",
        "onnxruntime/transformers/models/x.py",
    ]
    laid_out(tmp_path, dict.fromkeys([*kept, *gone], "x"))
    trim(tmp_path)
    left = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*")}
    assert {path for path in left if (tmp_path / path).is_file()} == set(kept)
    assert not any(
        (tmp_path / path).is_dir() and not any((tmp_path / path).iterdir()) for path in left
    )


def test_trimming_runs_alone_on_the_standard_library(root: Path, tmp_path: Path) -> None:
    laid_out(tmp_path, {"bin/tool": "", "a/b.pyi": "", "a/c.py": ""})
    subprocess.run(
        [sys.executable, "-S", "-m", "modelport.images.trim", str(tmp_path)],
        env={"PYTHONPATH": str(root / "layers/core/python")},
        check=True,
    )
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["c.py"]


@pytest.mark.parametrize(
    ("path", "package"),
    [
        ("numpy/_core/x.py", "numpy"),
        ("numpy.libs/lib.so", "numpy"),
        ("numpy-2.0.dist-info/METADATA", "numpy"),
        ("six.py", "six"),
        ("__pycache__/six.cpython-311.pyc", "six"),
        ("runtime_client.cpython-311-x86_64-linux-gnu.so", "runtime_client"),
    ],
)
def test_a_file_belongs_to_the_package_people_know(path: str, package: str) -> None:
    assert package_of(path) == package

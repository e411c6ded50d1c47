"""What installed wheels carry that a serving process never opens, and how it is taken out.

The rules are for the packages of our own lock, each of which a test serves a model without; a
user's packages stay as they are. Licences stay. Shared objects are left out whole or not at all:
stripping them breaks OpenBLAS. Runs alone too, as the Dockerfile uses it, on the standard library:

    python -m modelport.images.trim FOLDER
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path, PurePosixPath

#: Folders and files, as patterns of their path below the folder that wheels were installed to.
UNUSED = (
    # scripts, and what installers note about themselves
    "bin",
    "*.dist-info/INSTALLER",
    "*.dist-info/RECORD",
    "*.dist-info/REQUESTED",
    "*.dist-info/WHEEL",
    "*.dist-info/entry_points.txt",
    "*.dist-info/sboms",
    "*.dist-info/top_level.txt",
    # onnxruntime: converters, and a second copy of itself for C programs
    "onnxruntime/Privacy.md",
    "onnxruntime/backend",
    "onnxruntime/capi/libonnxruntime.so*",
    "onnxruntime/datasets",
    "onnxruntime/quantization",
    "onnxruntime/tools",
    "onnxruntime/transformers",
    # numpy: what compiles or tests against it
    "numpy/_configtool.py",
    "numpy/_core/_*tests.*.so",
    "numpy/_core/_simd.*.so",
    "numpy/_core/include",
    "numpy/_core/lib",
    "numpy/_pyinstaller",
    "numpy/conftest.py",
    "numpy/distutils",
    "numpy/doc",
    "numpy/f2py",
    "numpy/random/_examples",
    "numpy/random/lib",
    "numpy/**/tests",
    "simdjson/*.cpp",
    "simplejson/tests",
)
#: Names that are only for compilers and type checkers, wherever they lie.
UNUSED_NAMES = ("*.pyi", "*.pxd", "*.pyx", "*.pxi", "*.c", "*.h", "*.a", "py.typed")


def trim(folder: Path) -> None:
    """Take out of ``folder`` what the rules name, and the folders that leaves empty."""
    for pattern in (*UNUSED, *(f"**/{name}" for name in UNUSED_NAMES)):
        for path in list(folder.glob(pattern)):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()


def package_of(path: str) -> str:
    """The name people know the package of an installed file by, from its path."""
    top, *below = PurePosixPath(path).parts
    if top == "__pycache__" and below:
        top = below[0]
    if top.endswith(".dist-info"):
        return top.split("-")[0]
    return top.removesuffix(".libs").split(".")[0]


if __name__ == "__main__":
    trim(Path(sys.argv[1]))

"""Bytecode for the Python that will run it, at the place it will run from.

Written once, when an image or a layer is built, because a process in it can never write it:
without, a start takes three times as long. The same sources give the same bytes: one isolated
process, no site packages, a fixed hash seed, one order, and no file times inside. Another patch
release of the same Python may compile a function in another way (3.11.2 and 3.11.7 differ in 2 of
532 files of numpy and uvicorn), so machines that shall make the same layers need the same release.
Never runs what it compiles. Runs alone too, as the Dockerfile uses it, on the standard library:

    python -m modelport.images.bytecode FOLDER RUNS_AT
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

#: Runs in the other Python, so it knows nothing of modelport.
_SCRIPT = """
import os, py_compile, sys, warnings
folder, runs_at = sys.argv[1:]
warnings.simplefilter("ignore")
sources = sorted(
    os.path.join(place, name)
    for place, _, names in os.walk(folder)
    for name in names
    if name.endswith(".py")
)
for source in sources:
    place, name = os.path.split(source)
    try:
        py_compile.compile(
            source,
            os.path.join(place, "__pycache__", f"{name[:-3]}.{sys.implementation.cache_tag}.pyc"),
            os.path.join(runs_at, os.path.relpath(source, folder)),
            doraise=True,
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )
    except (py_compile.PyCompileError, ValueError, RecursionError):
        pass  # wheels carry templates and sources of other Pythons; as sources they stay
"""


def write(folder: Path, runs_at: str, interpreter: str) -> None:
    """Put bytecode beside every source below ``folder``, which will lie at ``runs_at``."""
    subprocess.run(
        # -I would ignore the seed; these three isolate as well, and the environment is empty
        [interpreter, "-S", "-s", "-P", "-c", _SCRIPT, str(folder), runs_at],
        check=True,
        capture_output=True,
        env={"PYTHONHASHSEED": "0"},
    )


def interpreter(python: str) -> str | None:
    """A Python of this minor version on this machine: this one, or one that really starts."""
    if python == f"{sys.version_info.major}.{sys.version_info.minor}":
        return sys.executable
    candidates = [shutil.which(f"python{python}") or ""]
    for kept in (".pyenv/versions", ".local/share/uv/python"):
        found = (Path.home() / kept).glob(f"*{python}*/bin/python{python}")
        candidates += sorted(str(path) for path in found)
    return next((path for path in candidates if path and _starts(path, python)), None)


def release(interpreter: str) -> str:
    """The exact release of ``interpreter``; raises nothing, an odd one has an odd answer."""
    if interpreter == sys.executable:
        return sys.version
    asked = [interpreter, "-S", "-c", "import sys; print(sys.version)"]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()


def _starts(path: str, python: str) -> bool:
    """Version managers put stand-ins on PATH for Pythons that are not active."""
    return release(path).startswith(f"{python}.")


if __name__ == "__main__":
    write(Path(sys.argv[1]), sys.argv[2], sys.executable)

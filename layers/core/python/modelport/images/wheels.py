"""Third-party wheels for another machine: installed from hashes, resolved where there are none.

uv does the work, for the Python and the platform the wheels will run on, whatever this machine is.
Nothing is ever built from source, and nothing of a wheel is run. What uv says against it becomes a
`RequirementError` that names the requirement and what exists instead.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from uv import find_uv_bin

from modelport.images.errors import RequirementError
from modelport.images.trim import trim

Architecture = Literal["amd64", "arm64"]
#: As wheels spell them.
_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
#: The C libraries that wheels are made for, newest first.
_MANYLINUX = (*((2, minor) for minor in range(40, 30, -1)), (2, 28), (2, 17))
#: What uv says of releases, and of packages, that the index does not have.
_NO_VERSION = re.compile(r"there (?:is|are) no versions? of ([\w.-]+)")
_NO_PACKAGE = re.compile(r"was not found in the (?:package registry|provided package locations)")
#: uv's name for every package in its messages: ``name``, ``name==1.0`` or ``name>=1,<2``.
_NAMED = r"(?<![\w.-]){}(?:(?=[<>=!~ ,])|$)"


@dataclass(frozen=True, slots=True)
class Platform:
    """What wheels must run on: a Python, an architecture and a C library."""

    python: str
    architecture: Architecture
    glibc: tuple[int, int] = (2, 28)

    @property
    def tag(self) -> str:
        """uv's name of it: the newest kind of wheel that the C library can load."""
        fits = next((known for known in _MANYLINUX if known <= self.glibc), None)
        if fits is None:
            raise RequirementError(
                "glibc",
                f"version {'.'.join(map(str, self.glibc))} is older than any wheel is made for",
                "choose a newer base image",
            )
        return f"{_MACHINES[self.architecture]}-manylinux_{fits[0]}_{fits[1]}"

    def __str__(self) -> str:
        libc = ".".join(map(str, self.glibc))
        return f"Python {self.python} on linux/{self.architecture} (glibc {libc})"


def install(
    requirements: Path,
    folder: Path,
    platform: Platform,
    *,
    trimmed: bool,
    names: Iterable[str] = (),
) -> None:
    """Install the hashed wheels of ``requirements``, and nothing else, into ``folder``.

    ``names`` are the requirements a person wrote, in whose words errors are told.
    """
    arguments = ["install", "--no-deps", "--require-hashes", "--link-mode", "copy"]
    arguments += ["--target", str(folder), "--requirement", str(requirements)]
    _uv(arguments, platform, tuple(names))
    shutil.rmtree(folder / "bin", ignore_errors=True)
    (folder / ".lock").unlink(missing_ok=True)
    if trimmed:
        trim(folder)


def resolve(requirements: str, constraints: str, platform: Platform, names: Iterable[str]) -> str:
    """The lock of ``requirements``: every package they need, with versions and hashes.

    Packages that ``constraints`` name take its versions. The same index gives the same lock.
    """
    with tempfile.TemporaryDirectory() as scratch:
        wanted, ours = Path(scratch, "requirements.txt"), Path(scratch, "constraints.txt")
        wanted.write_text(requirements)
        ours.write_text(constraints)
        arguments = ["compile", "--generate-hashes", "--no-header", "--no-annotate"]
        arguments += ["--no-emit-index-url", "--no-emit-find-links", "--constraint", str(ours)]
        carried = tuple(re.findall(r"^[\w.-]+==[^\s;]+", constraints, re.MULTILINE))
        try:
            return _uv([*arguments, str(wanted)], platform, tuple(names), carried)
        except RequirementError as error:
            missing = _NO_VERSION.search(error.message)
            if missing and not error.hint:
                wanted.write_text(f"{missing[1]}\n")
                error.hint = _newest([*arguments, str(wanted)], platform, missing[1])
            raise


def _newest(arguments: Sequence[str], platform: Platform, name: str) -> str:
    """A hint with the release that the index would give to who asks for any."""
    try:
        found = re.search(rf"^{re.escape(name)}==[^\s;]+", _uv(arguments, platform, (name,)), re.M)
    except RequirementError:
        found = None
    return f"the newest that fits {platform} is {found[0]}" if found else ""


def _uv(
    arguments: Sequence[str],
    platform: Platform,
    names: tuple[str, ...],
    carried: tuple[str, ...] = (),
) -> str:
    command = [find_uv_bin(), "pip", *arguments, "--quiet", "--no-progress", "--color", "never"]
    command += ["--python", sys.executable, "--only-binary", ":all:"]
    command += ["--python-version", platform.python, "--python-platform", platform.tag]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise _error(done.stderr, platform, names, carried)
    return done.stdout


def _error(
    said: str, platform: Platform, names: tuple[str, ...], carried: tuple[str, ...]
) -> RequirementError:
    """What uv said, as our error about the requirement it is about."""
    text = " ".join(
        said.replace("error: No solution found when resolving dependencies", "").split()
    )
    text = re.sub(r"^(?:error: |cause: |× )+", "", text)
    # where the file lies on this machine is nobody's business
    text = re.sub(r"`[^`]*/(requirements\.txt)`", r"`\1`", text)
    about = next((name for name in names if re.search(_NAMED.format(re.escape(name)), text)), None)
    if about is None:
        found = re.search(
            r"(?:Because|all versions of|parse requirement|package) `?([\w.-]+)", text
        )
        about = found[1] if found else "(of several)"
    cause, *hints = re.split(r"\s*hint: ", text)
    no_wheel = re.search(r"no wheels|no usable wheels|only found wheels|source distribution", text)
    if no_wheel:
        exist = [hint for hint in hints if "Wheels are available" in hint or "only found" in hint]
        problem = f"has no wheel for {platform}; " + (
            " ".join(exist) or "it exists as source only, and nothing is built from source"
        )
        return RequirementError(about, f"{problem} ({cause})", "choose a version that has one")
    ours = next((pin for pin in carried if re.search(rf"{re.escape(pin)}(?![\w.])", text)), None)
    if ours:
        name = ours.partition("==")[0]
        way_out = (
            "loosen this line"
            if about == name
            else f"ask for another release of {about} that works with it"
        )
        hints = [
            f"modelport's runtime needs {ours}, and an image has one {name}: {way_out},"
            " or leave the line out"
        ]
    elif _NO_PACKAGE.search(text):
        hints = ["is its name right? the package index has none of that name"]
    return RequirementError(about, cause, " ".join(hints))

"""A bundle's requirements.txt: which lines it may have, and how it meets what the image carries.

Versions and hashes, nothing else: no options, no addresses, no paths, because an image holds what
its version names and not what another machine happens to offer. Packages the image already carries
are taken from there, at its versions. Text in, text out; installing is `modelport.images.wheels`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from modelport.images.errors import RequirementError
from modelport.images.wheels import Platform

_VERSION = r"(?:===|[<>=!~]=|[<>])\s*[A-Za-z0-9.*+!_-]+"
_LINE = re.compile(
    r"(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)(?<!\.whl)(?<!\.gz)(?<!\.zip)\s*"
    r"(?:\[[A-Za-z0-9._,\s-]*\])?\s*"
    rf"\(?\s*(?:{_VERSION}(?:\s*,\s*{_VERSION})*)?\s*\)?\s*"
    r"(?:;(?:(?!--|://)[^@])*?)?\s*"
    r"(?P<hashes>(?:\s*--hash=sha(?:256|384|512):[0-9a-f]+)*)"
)
_PIN = re.compile(r"(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;\\]+)")
#: The same modules under another name: what asks for the key is served by the value.
_STANDS_FOR = {"onnxruntime": "onnxruntime-gpu"}
_ALLOWED = "one package per line: NAME, NAME==1.2, NAME>=1,<2, with --hash=sha256:… if you like"

Resolve = Callable[[str, str, Platform, tuple[str, ...]], str]


@dataclass(frozen=True, slots=True)
class Requirements:
    """The lines that count, and whether each one carries its hashes."""

    lines: tuple[str, ...]
    names: tuple[str, ...]
    hashed: bool

    @property
    def text(self) -> str:
        return "".join(f"{line}\n" for line in self.lines)


def parse(text: str) -> Requirements:
    """Read a requirements.txt; raises `RequirementError` about the first line not allowed."""
    lines, names, hashed = [], [], True
    for line in _logical_lines(text):
        found = _LINE.fullmatch(line)
        if found is None:
            raise RequirementError(repr(line), _problem(line), _ALLOWED)
        lines.append(line)
        names.append(normalised(found["name"]))
        hashed = hashed and bool(found["hashes"])
    return Requirements(tuple(lines), tuple(names), hashed and bool(lines))


def lock(wanted: Requirements, ours: str, platform: Platform, resolve: Resolve) -> str:
    """What is to be installed beside ``ours``, a lock's text: pinned, hashed, in one order."""
    carried = pins(ours)
    served = {n: carried[by] for n, by in _STANDS_FOR.items() if by in carried and n not in carried}
    constraints = _constraints(ours) + "".join(f"{n}=={v}\n" for n, v in served.items())
    carried |= served
    text = resolve(wanted.text, constraints, platform, wanted.names)
    beside = {name: pin for name, pin in _entries(text) if name not in carried}
    if not wanted.hashed:
        return "".join(f"{pin}\n" for _, pin in sorted(beside.items()))
    if unnamed := sorted(set(beside) - set(wanted.names)):
        raise RequirementError(
            unnamed[0],
            "is needed by requirements.txt, which has hashes but does not name it",
            "lock it whole: uv pip compile --generate-hashes requirements.in",
        )
    # The author's own hashes, not those of whatever the index has today.
    said = zip(wanted.names, wanted.lines, strict=True)
    return "".join(f"{line}\n" for name, line in sorted(said) if name in beside)


def pins(text: str) -> dict[str, str]:
    """Names and versions that a lock's text pins; of several for one name, the last."""
    return {normalised(found["name"]): found["version"] for found in _PIN.finditer(text)}


def normalised(name: str) -> str:
    """A package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _problem(line: str) -> str:
    if line.startswith("-"):
        return f"the option {line.split()[0]} is not allowed in a bundle"
    if "://" in line or " @ " in line:
        return "addresses are not allowed in a bundle"
    if line.startswith((".", "/", "~")) or "/" in line or line.endswith((".whl", ".tar.gz")):
        return "local files are not allowed in a bundle"
    return "this is no requirement"


def _logical_lines(text: str) -> Iterator[str]:
    joined = re.sub(r"\\\r?\n", " ", text.removeprefix("\ufeff"))
    for raw in joined.splitlines():
        line = re.sub(r"(^|\s)#.*$", "", raw).strip()
        if line:
            yield re.sub(r"\s+", " ", line)


def _constraints(lock: str) -> str:
    """The pins of a lock with their markers, without its hashes."""
    return "".join(re.sub(r"\s*--hash=\S+", "", line) + "\n" for line in _logical_lines(lock))


def _entries(lock: str) -> Iterator[tuple[str, str]]:
    for line in _logical_lines(lock):
        found = _PIN.match(line)
        if found:
            yield normalised(found["name"]), line

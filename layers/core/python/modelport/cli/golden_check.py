"""Asks a version its goldens before it is published, in a process of its own.

The bundle is laid out as an image has it and opened by the runtime of this checkout
(`modelport.cli.version_process`). The process may crash, hang or lack a package, and which of these
it was is told. It publishes nothing.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modelport.cli.version_process import VersionProcess
from modelport.envelope import Request
from modelport.errors import InvalidBundleError
from modelport.goldens import Golden, GoldenRequest
from modelport.goldens.forms import Uncarried, asked_of, each, uncarried
from modelport.grammar import Call, canonical_path
from modelport.manifest import Draft, Manifest

#: Everything together: opening the version and all requests. The rest is asked at deploy.
LIMIT_S = 120.0
#: Files up to this size are copied, so that a script can do no harm to where they come from.
COPIED = 64 << 20
_AGAIN = "correct the golden or the model; --no-verify publishes without asking, deploy asks again"


@dataclass
class Checked:
    """What became of the goldens: requests that agreed by form, and why others were not asked."""

    forms: Counter[str] = field(default_factory=Counter)
    uncarried: list[Uncarried] = field(default_factory=list)
    #: Why not everything, or nothing, was asked; "" when all was.
    left: str = ""

    def to_json(self) -> dict[str, Any]:
        """As ``--json`` has it."""
        return {
            "requests": self.forms.total(),
            "forms": dict(self.forms),
            "not_checked": self.left or None,
            "uncarried": [
                {"golden": one.golden, "form": one.form, "reason": one.reason}
                for one in self.uncarried
            ],
        }


class UncheckedError(Exception):
    """Why the version cannot be asked here, in words."""


def check_goldens(
    draft: Draft,
    name: str,
    work: Path,
    sources: Path,
    environ: Mapping[str, str],
    tell: Callable[[str], None],
    *,
    limit_s: float = LIMIT_S,
    python: str = sys.executable,
) -> Checked:
    """Ask every golden in every form; raises `InvalidBundleError` for an answer that disagrees.

    ``sources`` is the checkout whose runtime answers; ``work`` a folder to lay the bundle out in.
    """
    checked = Checked()
    content = draft.content
    manifest = Manifest(name, 1, content, "", draft.lineage, draft.tuning)
    end = time.monotonic() + limit_s
    try:
        folder = _laid_out(manifest, draft.sources, work / "asked")
        with _Version(manifest, folder, sources, environ, python, end) as version:
            for golden in content.goldens:
                tell(golden.name)
                for one in each(golden, asked_of(content)):
                    if isinstance(one, Uncarried):
                        checked.uncarried.append(one)
                        continue
                    problem = version.problem(golden, one)
                    if problem:
                        raise _disagrees(golden, one, problem)
                    checked.forms[one.form] += 1
    except UncheckedError as reason:
        return unasked(draft, str(reason), checked.forms)
    except OSError as error:
        return unasked(draft, f"{work}: {error.strerror}", checked.forms)
    return checked


def unasked(draft: Draft, why: str, forms: Counter[str] | None = None) -> Checked:
    """What there is to say where not everything was asked."""
    asked = asked_of(draft.content)
    return Checked(forms or Counter(), uncarried(draft.content.goldens, asked), why)


def _disagrees(golden: Golden, one: GoldenRequest, problem: str) -> InvalidBundleError:
    where = f"as {one.form} ({one.verb})"
    return InvalidBundleError(f"golden/{golden.name}.json", f"{where}: {problem}", _AGAIN)


def _laid_out(manifest: Manifest, sources: Mapping[str, Path], folder: Path) -> Path:
    """The bundle as an image has it."""
    for name, source in sources.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.stat().st_size > COPIED:
            with suppress(OSError):  # another file system
                os.link(source.resolve(), target)
                continue
        shutil.copyfile(source, target)
    (folder / "manifest.json").write_bytes(manifest.to_bytes())
    return folder


class _Version:
    """The process that answers, until time is up; a context."""

    def __init__(
        self,
        manifest: Manifest,
        folder: Path,
        sources: Path,
        environ: Mapping[str, str],
        python: str,
        end: float,
    ) -> None:
        self._manifest = manifest
        self._end = end
        self._process = VersionProcess(manifest, folder, sources, environ, python)

    def __enter__(self) -> _Version:
        try:
            self._check_opened()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._process.__exit__()

    def problem(self, golden: Golden, one: GoldenRequest) -> str | None:
        """What is wrong with the version's answer, or None."""
        call = Call(one.protocol, one.verb, self._manifest.model)
        path = canonical_path(call, self._manifest.version)
        request = Request("POST", path, one.headers, one.body, f"publish-{golden.name}")
        with _in_time():
            response = self._process.ask(request, self._left())
        if response is None:
            return f"the version ended with {self._process.ending()} instead of answering"
        if response.status != 200:
            said = response.body[:300].decode(errors="replace")
            return f"expected status 200, got {response.status}: {said}"
        return one.check(response.headers, response.body)

    def _check_opened(self) -> None:
        with _in_time():
            said = self._process.opened(self._left())
        if said is None:
            raise InvalidBundleError(
                self._manifest.content.settings.entry,
                f"opening it ended the process with {self._process.ending()}",
                _AGAIN,
            )
        if "missing" in said:
            raise UncheckedError(
                f"{said['missing']} is not installed here (pip install 'modelport[runtime]')"
            )
        if "problem" in said:
            if said["script_lacks"]:
                lacks = said["script_lacks"]
                raise UncheckedError(f"inference.py needs {lacks}, which is not installed here")
            raise InvalidBundleError("the version cannot be loaded", said["problem"], _AGAIN)

    def _left(self) -> float:
        return self._end - time.monotonic()


@contextmanager
def _in_time() -> Iterator[None]:
    try:
        yield
    except TimeoutError:
        raise UncheckedError("it took too long; deploy asks the rest") from None

"""Builds the image of a version: layers from what they are made of, kept by what went into them.

    base → deps (locked wheels) → code (ours) → user (script and its requirements) → model (bundle)

A layer whose inputs are known is not made again, so a new version costs its model layer alone.
Files of any size are streamed, from the registry straight into their layer. Whatever a manifest
says is checked before it becomes a path, and an image that would be too large is refused before
anything leaves this machine. Pushes nothing.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache as once
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

from modelport.errors import IntegrityError
from modelport.images import bytecode, cache, layer, report, requirements, sources, tar, wheels
from modelport.images.arriving import Arriving
from modelport.images.base import Base
from modelport.images.errors import ImageTooLargeError, InterpreterError
from modelport.images.image import BUNDLE_DIR, Image, compose
from modelport.images.layer import Kind, Layer, Part
from modelport.manifest import File, Manifest, digest_of
from modelport.refs import check_name, check_version
from modelport.registry import Progress, silent

#: What Lambda takes at most, unpacked.
LIMIT = 10 * 2**30
Accelerator = Literal["cpu", "cuda"]
#: The bytes of a file, verified: what reads them to the end is told when they were wrong.
Fetch = Callable[[File], Iterable[bytes]]
#: Modules whose change may change a layer's bytes, and the tools that do.
_MADE_BY = ("bytecode.py", "layer.py", "requirements.py", "tar.py", "trim.py", "wheels.py")
_TOOLS = ("uv", "zlib-ng")
_PYTHON, _USER_PYTHON, _BUNDLE = "opt/python", "opt/user-python", BUNDLE_DIR.lstrip("/")


def build(
    manifest: Manifest,
    fetch: Fetch,
    base: Base,
    sources: Path,
    workspace: Path,
    *,
    accelerator: Accelerator = "cpu",
    budget: int = LIMIT,
    progress: Progress = silent,
) -> Image:
    """The image of ``manifest`` on ``base``; ``fetch`` brings its files, ``workspace`` keeps."""
    _check(manifest)
    model = tuple(Part(file.path, file.size) for file in manifest.files)
    coming = Layer("", "", 0, manifest.content.size, "model", parts=model)
    _afford(manifest, (*base.layers, coming), budget)
    interpreter = bytecode.interpreter(base.python)
    if interpreter is None:
        raise InterpreterError(base.python)
    workspace.mkdir(parents=True, exist_ok=True)
    cache.sweep(workspace)
    builder = _Builder(manifest, fetch, base, sources, workspace, interpreter, progress)
    image = builder.image(accelerator, budget)
    cache.Cache(workspace).trim({each.digest for each in image.layers})
    return image


def _check(manifest: Manifest) -> None:
    """Refuse what is no version or no plain file of a bundle, whoever wrote this manifest."""
    check_name(manifest.model)
    check_version(manifest.version)
    for file in manifest.files:
        tar.check_path(file.path)
        if file.size < 0:
            raise IntegrityError(f"size of {file.path}", "0 or more", str(file.size))
    paths = {file.path for file in manifest.files}
    said = manifest.content.settings
    for role, name in (("script", said.script), ("requirements", said.requirements)):
        if name is not None and name not in paths:
            raise IntegrityError(f"{role} {name} of the manifest", "a file of the bundle", "none")


def _afford(manifest: Manifest, layers: tuple[Layer, ...], budget: int) -> None:
    size = sum(layer.unpacked for layer in layers)
    if size > budget:
        what = "Lambda's limit" if budget == LIMIT else "the budget"
        ref = f"{manifest.model}:{manifest.version}"
        raise ImageTooLargeError(size, budget, what, ref, report.largest(layers))


@dataclass
class _Builder:
    """One build: what it is made from, and the layers so far."""

    manifest: Manifest
    fetch: Fetch
    base: Base
    sources: Path
    workspace: Path
    interpreter: str
    progress: Progress
    notes: list[str] = field(default_factory=list)

    def image(self, accelerator: Accelerator, budget: int) -> Image:
        wheels_lock = sources.lock(self.sources, accelerator).read_text()
        user, lock = self._user(wheels_lock)
        added = (self._deps(wheels_lock), self._code(), *user, self._model())
        _afford(self.manifest, (*self.base.layers, *added), budget)
        return compose(
            self.manifest,
            self.base,
            added,
            requirements=" ".join(f"{n}=={v}" for n, v in requirements.pins(lock).items()),
            notes=tuple(self.notes),
        )

    # --- the layers -------------------------------------------------------------------------------

    def _deps(self, lock: str) -> Layer:
        def make() -> Layer:
            with self._scratch() as scratch:
                self._install(lock, scratch, _PYTHON, trimmed=True)
                return self._written("deps", scratch)

        return self._layer("deps", {"lock": lock, **self._made_for()}, make)

    def _code(self) -> Layer:
        found = sources.of_image(self.sources)
        contents = {path: digest_of(source.read_bytes()) for path, source in found.items()}

        def make() -> Layer:
            with self._scratch() as scratch:
                sources.copy(found, scratch)
                bytecode.write(scratch, "/", self.interpreter)
                return self._written("code", scratch)

        return self._layer("code", {"sources": contents, **self._made_for()}, make)

    def _user(self, ours: str) -> tuple[tuple[Layer, ...], str]:
        """The user's own layer, if there is any of it, and the lock it was installed from."""
        script = self._file(self.manifest.content.settings.script)
        lock = self._user_lock(ours)
        if script is None and not lock:
            return (), ""

        def make() -> Layer:
            with self._scratch() as scratch:
                if lock:
                    self._install(lock, scratch, _USER_PYTHON, trimmed=False)
                    (scratch / _USER_PYTHON / "requirements.lock").write_text(lock)
                if script:
                    self._bring(script, scratch / _BUNDLE / script.path)
                    bytecode.write(scratch / _BUNDLE, BUNDLE_DIR, self.interpreter)
                return self._written("user", scratch)

        inputs = {"script": script and [script.path, script.digest], "lock": lock}
        return (self._layer("user", {**inputs, **self._made_for()}, make),), lock

    def _user_lock(self, ours: str) -> str:
        # versions published before the setting was recorded have the file alone
        said = self.manifest.content.settings.requirements or "requirements.txt"
        file = self._file(said)
        if file is None:
            return ""
        with self._scratch() as scratch:
            self._bring(file, scratch / "requirements.txt")
            text = (scratch / "requirements.txt").read_text("utf-8", "replace")
        wanted = requirements.parse(text)
        if not wanted.lines:
            return ""
        platform = self.base.platform

        def learn() -> dict[str, Any]:
            return {"lock": requirements.lock(wanted, ours, platform, wheels.resolve)}

        key = digest_of("\n".join((wanted.text, ours, str(platform))).encode())
        if not wanted.hashed:
            self.notes.append(
                "requirements.txt has no hashes: the versions it resolved to are kept in this"
                f" workspace and in the image ({_USER_PYTHON}/requirements.lock); for the same"
                " image on every machine, publish it locked: uv pip compile --generate-hashes"
            )
        return str(cache.remembered(self.workspace / "locks", key, learn)["lock"])

    def _model(self) -> Layer:
        record = self.manifest.to_bytes()
        script = self.manifest.content.settings.script
        files = [file for file in self.manifest.files if file.path != script]

        def make() -> Layer:
            entries = [
                tar.Entry(f"{_BUNDLE}/{file.path}", file.size, self._opener(file)) for file in files
            ]
            entries.append(
                tar.Entry(f"{_BUNDLE}/manifest.json", len(record), lambda: io.BytesIO(record))
            )
            return self._written("model", entries)

        return self._layer("model", {"record": digest_of(record), **_made_by()}, make)

    # --- how they are made ------------------------------------------------------------------------

    def _layer(self, kind: Kind, inputs: dict[str, Any], make: Callable[[], Layer]) -> Layer:
        made = cache.Cache(self.workspace).layer(kind, inputs, make)
        self.progress(f"{kind} layer", made.size, made.size)
        return made

    def _written(self, kind: Kind, content: Path | list[tar.Entry]) -> Layer:
        entries = content if isinstance(content, list) else list(tar.tree(content))
        parts = report.parts((entry.path, entry.size) for entry in entries)
        return layer.write(kind, entries, cache.Cache(self.workspace).blobs, parts)

    def _install(self, lock: str, root: Path, where: str, *, trimmed: bool) -> None:
        folder = root / where
        folder.mkdir(parents=True)
        with self._scratch() as scratch:
            path = scratch / "requirements.txt"
            path.write_text(lock)
            names = tuple(requirements.pins(lock))
            wheels.install(path, folder, self.base.platform, trimmed=trimmed, names=names)
        bytecode.write(folder, f"/{where}", self.interpreter)

    def _made_for(self) -> dict[str, Any]:
        release = bytecode.release(self.interpreter)
        return {"platform": self.base.platform.tag, "python": release, **_made_by()}

    def _file(self, name: str | None) -> File | None:
        return next((file for file in self.manifest.files if file.path == name), None)

    def _opener(self, file: File) -> Callable[[], BinaryIO]:
        return lambda: cast("BinaryIO", Arriving(file, self.fetch(file), self.progress))

    def _bring(self, file: File, to: Path) -> None:
        """Write a file to ``to``; what is not exactly that file does not get further."""
        to.parent.mkdir(parents=True, exist_ok=True)
        with to.open("xb") as out:
            out.writelines(self.fetch(file))
        self.progress(file.path, file.size, file.size)
        if (size := to.stat().st_size) != file.size:
            raise IntegrityError(file.path, f"{file.size:,} bytes", f"{size:,}")

    @contextmanager
    def _scratch(self) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(dir=self.workspace, prefix=cache.SCRATCH) as folder:
            yield Path(folder)


@once
def _made_by() -> dict[str, Any]:
    here = Path(__file__).parent
    own = {name: digest_of((here / name).read_bytes()) for name in _MADE_BY}
    return own | {name: installed(name) for name in _TOOLS}

"""From a path a user gives to a draft the registry can publish.

A bundle is an ``.onnx`` file (with the data files it names beside it) or a folder with
``model.onnx`` and, as wanted, external data, ``model.toml``, ``labels.txt``, ``inference.py``,
``requirements.txt``, ``golden/`` and any other file the model reads.

Which files of a folder belong to the version: all of them, in the order of their paths, except

* names that start with a dot, ``__pycache__`` folders and ``*.pyc`` files: left by tools;
* the ``golden/`` folder: the manifest carries what is in it.

A ``manifest.json`` at the top is refused: the record of the version takes that place wherever the
files are laid out. Links are followed only to files inside the folder, so that nothing is published
that the folder does not hold.

Reads and hashes; never runs the model or its script. With a work folder the weights are laid out
for a fast start (`modelport.weights_layout`) in there; without one nothing is written.
"""

from __future__ import annotations

import ast
import hashlib
import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path, PurePosixPath

from modelport.beside import Beside
from modelport.errors import InvalidBundleError, InvalidOnnxError
from modelport.goldens import Golden, Tensor, load_goldens
from modelport.manifest import Content, Draft, File
from modelport.model_toml import ModelToml, read_model_toml
from modelport.onnx_file import OnnxInfo, read_onnx
from modelport.registry import Progress, silent
from modelport.registry.checksums import PartChecksums
from modelport.signature import Signature, TensorSpec
from modelport.weights_layout import lay_out

__all__ = ["load_bundle"]

ENTRY, LABELS, SCRIPT = "model.onnx", "labels.txt", "inference.py"
REQUIREMENTS = "requirements.txt"
_RECORD = "manifest.json"
_CHUNK = 1 << 20
#: Files that were read, or written, once: what that told of each.
Hashed = dict[File, PartChecksums]
_LAYOUT = "a bundle is an .onnx file, or a folder with model.onnx in it"


def load_bundle(path: Path, progress: Progress = silent, *, work: Path | None = None) -> Draft:
    """Check the bundle at ``path`` and describe it; InvalidBundleError says what is wrong.

    Files that are laid out anew lie in ``work``, which must stay until the draft is published.
    """
    try:
        if path.is_dir():
            return _folder(path, progress, work)
        if not path.exists():
            raise InvalidBundleError(path, "no such file or folder", _LAYOUT)
        return _single_file(path, progress, work)
    except OSError as error:
        raise InvalidBundleError(
            error.filename or path, f"cannot be read: {error.strerror}"
        ) from None


def _single_file(path: Path, progress: Progress, work: Path | None) -> Draft:
    info = read_onnx(path)
    if ENTRY in info.external_data:
        raise InvalidBundleError(path, f"its external data is called {ENTRY!r}, like the model")
    # The model's own file name says nothing the version needs: the same model is the same version.
    sources = {ENTRY: path} | {name: path.parent / name for name in info.external_data}
    known: Hashed = {}
    if work is not None:
        sources, known = _laid_out(path, ENTRY, info, sources, work, progress)
    settings = ModelToml().settings(entry=ENTRY, labels=None, script=None)
    hashed = _hashed(sources, known, progress)
    return _draft(Content(tuple(hashed), info.signature, settings), sources, hashed)


def _folder(folder: Path, progress: Progress, work: Path | None) -> Draft:
    found = dict(_walk(folder, folder.resolve()))
    told = read_model_toml(found["model.toml"]) if "model.toml" in found else ModelToml()
    goldens = load_goldens(folder / "golden") if (folder / "golden").is_dir() else ()
    sources = {name: file for name, file in found.items() if not name.startswith("golden/")}
    if _RECORD in sources:
        raise InvalidBundleError(
            sources[_RECORD], "has the name of the version's own record", "rename the file"
        )
    entry = told.model.entry or _only_model(folder, sources)
    info = _entry(folder, entry, sources)
    for golden in goldens:
        _check_golden(folder / "golden" / f"{golden.name}.json", golden, info.signature)
    if told.runtime.batching:
        _check_batching(folder / "model.toml", info.signature)
    settings = told.settings(
        entry=entry,
        labels=_labels(folder, told, sources),
        script=_script(sources),
        requirements=REQUIREMENTS if REQUIREMENTS in sources else None,
    )
    known: Hashed = {}
    if work is not None and told.runtime.layout == "fast":
        sources, known = _laid_out(folder / entry, entry, info, sources, work, progress)
    hashed = _hashed(sources, known, progress)
    content = Content(
        files=tuple(hashed),
        signature=info.signature,
        settings=settings,
        goldens=goldens,
        description=told.model.description,
        metrics=dict(told.metrics),
    )
    return _draft(content, sources, hashed)


# --- weights laid out -----------------------------------------------------------------------------


def _laid_out(
    model: Path,
    entry: str,
    info: OnnxInfo,
    sources: dict[str, Path],
    work: Path,
    progress: Progress,
) -> tuple[dict[str, Path], Hashed]:
    """The sources with the model and its data files in their fast form, if there is a faster."""
    parent = PurePosixPath(entry).parent
    own = {(parent / name).as_posix() for name in info.external_data}
    kept = own & _used_by_others(entry, model, sources)
    inside = (PurePosixPath(name) for name in sources if name not in own - kept | {entry})
    taken = [str(name.relative_to(parent)) for name in inside if name.is_relative_to(parent)]
    layout = lay_out(model, work, entry, taken=taken, progress=progress)
    if layout is None:
        return sources, {}
    gone = {(parent / name).as_posix() for name in layout.replaced} - kept
    rest = {name: path for name, path in sources.items() if name not in gone}
    data = (parent / layout.data.name).as_posix()
    written = File(data, layout.digest, layout.data.stat().st_size)
    return rest | {entry: layout.model, data: layout.data}, {written: layout.checksums}


def _used_by_others(entry: str, model: Path, sources: dict[str, Path]) -> set[str]:
    """Data files of the other models in the bundle, which a script may open."""
    folder = model.parents[len(PurePosixPath(entry).parts) - 1]
    used: set[str] = set()
    for name in sources:
        if not name.endswith(".onnx") or name == entry:
            continue
        try:
            data = read_onnx(folder / name).external_data
        except InvalidOnnxError:  # not for serving; whatever it is, it loses nothing
            return set(sources)
        used.update((PurePosixPath(name).parent / file).as_posix() for file in data)
    return used


# --- which files ----------------------------------------------------------------------------------


def _walk(folder: Path, root: Path, prefix: str = "") -> Iterator[tuple[str, Path]]:
    """Path in the bundle and on disk of every file that counts; refuses what is not a file."""
    with os.scandir(folder) as listing:
        entries = sorted(listing, key=lambda entry: entry.name)
    for entry in entries:
        if entry.name.startswith(".") or entry.name == "__pycache__" or entry.name.endswith(".pyc"):
            continue
        name, path = prefix + entry.name, Path(entry.path)
        if not entry.name.isprintable() or "\\" in entry.name:
            raise InvalidBundleError(
                folder, f"the file name {entry.name!r} cannot be stored", "rename the file"
            )
        if entry.is_symlink():
            yield name, _followed(path, root)
        elif entry.is_dir():
            yield from _walk(path, root, name + "/")
        elif entry.is_file():
            yield name, path
        else:
            raise InvalidBundleError(path, "is a pipe, socket or device; a bundle holds files")


def _followed(link: Path, root: Path) -> Path:
    try:
        target = link.resolve(strict=True)
    except (OSError, RuntimeError):  # a loop is a RuntimeError before Python 3.13
        raise InvalidBundleError(link, "is a link to nothing") from None
    if not target.is_relative_to(root):
        raise InvalidBundleError(
            link,
            "is a link out of the bundle, so the bundle does not hold what it would publish",
            "copy the folder with its files in place: cp -rL",
        )
    if not stat.S_ISREG(target.stat().st_mode):
        raise InvalidBundleError(link, "is a link to something that is not a file", "copy it")
    return target


def _only_model(folder: Path, sources: dict[str, Path]) -> str:
    models = [name for name in sources if name.endswith(".onnx")]
    if ENTRY in models or len(models) == 1:
        return ENTRY if ENTRY in models else models[0]
    if not models:
        raise InvalidBundleError(folder, "has no .onnx file", _LAYOUT)
    raise InvalidBundleError(
        folder,
        f"has several .onnx files and none is {ENTRY}: {', '.join(models)}",
        'say which in model.toml: [model] entry = "…"',
    )


def _entry(folder: Path, entry: str, sources: dict[str, Path]) -> OnnxInfo:
    if entry not in sources:
        raise InvalidBundleError(folder, f"model.toml names entry {entry!r}, which is not in it")
    info = read_onnx(folder / entry)
    for data in info.external_data:
        name = (Path(entry).parent / data).as_posix()
        if name not in sources:
            raise InvalidBundleError(
                folder,
                f"external data file {name!r} has a name that bundles leave out",
                "save the model again with a data file whose name does not start with a dot",
            )
    return info


def _labels(folder: Path, told: ModelToml, sources: dict[str, Path]) -> str | None:
    name = told.model.labels or (LABELS if LABELS in sources else None)
    if name is None:
        return None
    if name not in sources:
        raise InvalidBundleError(folder, f"model.toml names labels {name!r}, which is not in it")
    try:
        sources[name].read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InvalidBundleError(sources[name], f"labels must be UTF-8 text: {error}") from None
    return name


def _script(sources: dict[str, Path]) -> str | None:
    """``inference.py`` if there is one; it must at least be Python."""
    if SCRIPT not in sources:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the author's style is the author's business
            ast.parse(sources[SCRIPT].read_bytes(), SCRIPT)
    except SyntaxError as error:
        raise InvalidBundleError(
            sources[SCRIPT], f"not Python: {error.msg}, line {error.lineno}"
        ) from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise InvalidBundleError(sources[SCRIPT], f"not Python: {error}") from None
    return SCRIPT


# --- what is in them ------------------------------------------------------------------------------


def _draft(content: Content, sources: dict[str, Path], hashed: Hashed) -> Draft:
    checksums = {file.path: checksums for file, checksums in hashed.items()}
    return Draft(content, dict(sorted(sources.items())), checksums=checksums)


def _hashed(sources: dict[str, Path], known: Hashed, progress: Progress) -> Hashed:
    """Digest, size and checksums of every file, in the order of their paths."""
    total = sum(path.stat().st_size for path in sources.values())
    written = {file.path: file for file in known}
    done = 0
    hashed: Hashed = {}
    for name, path in sorted(sources.items()):
        if name in written:
            file, checksums = written[name], known[written[name]]
            progress(name, done + file.size, total)
        else:
            file, checksums = _read(name, path, done, total, progress)
        hashed[file] = checksums
        done += file.size
    return hashed


def _read(
    name: str, path: Path, done: int, total: int, progress: Progress
) -> tuple[File, PartChecksums]:
    """Read a file once, for its digest on one processor and its checksums on another."""
    digest, checksums, size = hashlib.sha256(), PartChecksums(), 0
    # A thread takes longer to begin than a chunk to be hashed.
    beside = Beside(digest.update) if path.stat().st_size > _CHUNK else None
    take = beside.take if beside else digest.update
    with path.open("rb") as file, beside or nullcontext():
        while chunk := file.read(_CHUNK):
            take(chunk)
            checksums.update(chunk)
            size += len(chunk)
            progress(name, done + size, total)
    return File(name, f"sha256:{digest.hexdigest()}", size), checksums


def _check_golden(path: Path, golden: Golden, signature: Signature) -> None:
    if golden.kind == "raw":
        return
    missing = {spec.name for spec in signature.inputs} - {t.name for t in golden.inputs}
    if missing:
        raise InvalidBundleError(path, f"input {', '.join(sorted(missing))} is missing")
    for role, tensors, specs in (
        ("input", golden.inputs, signature.inputs),
        ("output", golden.outputs, signature.outputs),
    ):
        if len({tensor.name for tensor in tensors}) < len(tensors):
            raise InvalidBundleError(path, f"gives an {role} twice")
        for tensor in tensors:
            _check_tensor(path, role, tensor, specs)


def _check_batching(path: Path, signature: Signature) -> None:
    """Rows of several requests can only be put together along a first dimension of any size."""
    for role, specs in (("input", signature.inputs), ("output", signature.outputs)):
        for spec in specs:
            if spec.shape[:1] != (-1,):
                raise InvalidBundleError(
                    path,
                    f"runtime.batching: {role} {spec.name!r} is {spec}, without a batch dimension"
                    " of any size in front",
                    "export the model with a dynamic batch dimension, or leave batching out",
                )


def _check_tensor(path: Path, role: str, tensor: Tensor, specs: tuple[TensorSpec, ...]) -> None:
    spec = next((spec for spec in specs if spec.name == tensor.name), None)
    if spec is None:
        names = ", ".join(spec.name for spec in specs)
        raise InvalidBundleError(
            path, f"the model has no {role} {tensor.name!r}; its {role}s are: {names}"
        )
    got = TensorSpec(tensor.name, tensor.datatype, tensor.shape)
    if got.datatype != spec.datatype or not spec.accepts(got.shape):
        raise InvalidBundleError(path, f"{role} {tensor.name!r}: expected {spec}, got {got}")

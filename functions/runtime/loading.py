"""From a bundle folder to a warm data plane: read the manifest, check it, open, rehearse.

Hashes nothing: the image or the registry's download was verified when it was made, and reading the
weights twice would double a cold start. Sizes are compared, which costs one ``stat`` per file.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from os import PathLike
from os.path import getsize, isfile, join
from typing import TYPE_CHECKING

from modelport.envelope import Response
from modelport.errors import IntegrityError, InvalidBundleError
from modelport.manifest import Manifest, ModelSettings, machine
from modelport.settings import RuntimeSettings

from functions.runtime.codecs import Subject
from functions.runtime.data_plane import MOST_DECOMPRESSED, DataPlane
from functions.runtime.logs import RequestLog, recorded
from functions.runtime.model import OnnxModel, open_model
from functions.runtime.providers import Accelerators
from functions.runtime.statistics import Statistics
from functions.runtime.warm_up import warm_up

if TYPE_CHECKING:
    from functions.runtime.inference_script import InferenceScript

MANIFEST = "manifest.json"
#: Mostly text: `pathlib` is 2 ms of a cold start.
Folder = str | PathLike[str]
#: Bytes of a body that is fetched where nobody says how much memory there is.
MOST_FETCHED = 256 * 1024 * 1024


def load(
    settings: RuntimeSettings,
    check: Callable[[Response], None] | None = None,
    *,
    statistics: Statistics | None = None,
    most_decompressed: int = MOST_DECOMPRESSED,
    log: RequestLog = recorded,
    rehearse: bool = True,
) -> DataPlane:
    """The version that ``settings`` names, ready to answer; raises what is wrong with it.

    ``rehearse`` is for where nobody waits for an answer yet: it costs what the first request saves.

    The rest is as `DataPlane` has it; ``statistics`` may be those that several workers share.
    """
    directory = settings.bundle_dir
    manifest = read_manifest(directory)
    check_identity(manifest, settings)
    check_files(manifest, directory)
    content = manifest.content
    accelerators = Accelerators.here(settings.providers, settings.tensorrt_cache)
    model = open_model(
        directory,
        opening(manifest, accelerators),
        content.signature,
        settings.memory_mb,
        threads=settings.threads,
        accelerators=accelerators,
    )
    script = content.settings.script
    plane = DataPlane(
        Subject(
            manifest.model,
            manifest.version,
            manifest.digest,
            content.signature,
            read_labels(directory, content.settings.labels),
            partial(read_manifest, directory),
            statistics or Statistics(),
        ),
        model,
        _script(join(directory, script), model, manifest) if script else None,
        check=check,
        most_decompressed=most_decompressed,
        payloads_url=settings.payloads_url,
        most_fetched=most_fetched(settings.memory_mb),
        log=log,
    )
    if rehearse:
        warm_up(plane, manifest)
    return plane


def most_fetched(memory_mb: int | None) -> int:
    """Bytes of a body that is fetched: a quarter of the memory, since tensors are made of it."""
    return MOST_FETCHED if memory_mb is None else memory_mb * 1024 * 1024 // 4


def _script(path: str, model: OnnxModel, manifest: Manifest) -> InferenceScript:
    from pathlib import Path  # only for those who have one, as the other

    from functions.runtime.inference_script import open_script

    return open_script(Path(path), model, manifest)


def read_labels(directory: Folder, name: str | None) -> tuple[str, ...]:
    """What the classes are called, one line each; empty when the bundle does not say."""
    if not name:
        return ()
    with open(join(directory, name)) as file:
        return tuple(file.read().splitlines())


def opening(manifest: Manifest, accelerators: Accelerators) -> ModelSettings:
    """How to open the version here. What publish measured holds for a CPU, and for its graph."""
    named = accelerators.named or (("gpu",) if accelerators.gpu else ())
    if set(named) - {"cpu"}:
        return manifest.content.settings
    from onnxruntime import __version__  # open_model needs it anyway, nothing before that does

    return manifest.settings_on(__version__, machine())


def read_manifest(directory: Folder) -> Manifest:
    """The manifest in ``directory``."""
    path = join(directory, MANIFEST)
    try:
        with open(path, "rb") as file:
            return Manifest.from_bytes(file.read())
    except OSError as error:
        raise InvalidBundleError(path, f"cannot be read: {error.strerror}") from None


def check_identity(manifest: Manifest, settings: RuntimeSettings) -> None:
    """The folder holds the version this function was deployed as."""
    for what, want, have in (
        ("model", settings.model, manifest.model),
        ("version", settings.version, manifest.version),
        ("digest", settings.digest, manifest.digest),
    ):
        if want != have:
            where = f"{what} of the bundle in {settings.bundle_dir}"
            raise IntegrityError(where, str(want), str(have))


def check_files(manifest: Manifest, directory: Folder) -> None:
    """Every file is there in its full size."""
    for file in manifest.files:
        path = join(directory, file.path)
        if not isfile(path):
            raise InvalidBundleError(file.path, f"is in the manifest but not in {directory}")
        size = getsize(path)
        if size != file.size:
            raise IntegrityError(file.path, f"{file.size} bytes", f"{size} bytes")

"""What stands in for the image pull: a version's files, fetched once from the registry.

On AWS the bundle is a layer of the image, under a digest; here the function's own variables
name the version and its digest, and the registry is the one the router reads. A bundle is
complete or not there: it is written beside its place and renamed.
"""

import asyncio
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from modelport.errors import IntegrityError, ModelportError
from modelport.registry import Registry

OpenRegistry = Callable[[str], Registry]
"""Opens the registry in a bucket."""


class PullError(Exception):
    """The bundle could not be fetched; the message says why."""


class Bundles:
    """A folder of fetched bundles, one per version: two models may have the same content."""

    def __init__(self, folder: Path, open_registry: OpenRegistry) -> None:
        self._folder = folder
        self._open_registry = open_registry
        self._locks: dict[str, asyncio.Lock] = {}

    async def pull(self, environment: Mapping[str, str]) -> Path | None:
        """The bundle a function's variables name, or None when they name none."""
        digest = environment.get("MODELPORT_DIGEST")
        if not digest:
            return None
        named = (environment.get(f"MODELPORT_{part}", "") for part in ("MODEL", "VERSION"))
        place = "-".join((*named, digest.rpartition(":")[2]))
        target = self._folder / place
        async with self._locks.setdefault(place, asyncio.Lock()):
            if not target.exists():
                await asyncio.to_thread(self._fetch, environment, digest, target)
        return target

    def _fetch(self, environment: Mapping[str, str], digest: str, target: Path) -> None:
        try:
            registry = self._open_registry(environment["MODELPORT_BUCKET"])
            name, version = environment["MODELPORT_MODEL"], environment["MODELPORT_VERSION"]
            manifest = registry.manifest(name, int(version))
            if manifest.digest != digest:
                raise IntegrityError(f"manifest of {name}:{version}", digest, manifest.digest)
            partial = target.with_name(f".{target.name}.{os.getpid()}")
            shutil.rmtree(partial, ignore_errors=True)
            for file in manifest.files:
                place = partial / file.path
                place.parent.mkdir(parents=True, exist_ok=True)
                registry.fetch(file, place)
            partial.mkdir(parents=True, exist_ok=True)
            (partial / "manifest.json").write_bytes(manifest.to_bytes())
            partial.rename(target)
        except KeyError as missing:
            raise PullError(f"the function has no variable {missing}") from missing
        except ModelportError as problem:
            raise PullError(str(problem)) from problem

"""Functions as processes of this machine: what to execute for an image and for a zip.

An image function runs from our own tree, with the bundle the registry holds; a zip function
from what was unpacked. Nothing is started here.
"""

import sys
from collections.abc import Mapping
from pathlib import Path

from lambda_host.archives import Archives
from lambda_host.bundles import Bundles
from lambda_host.function import Function, lambda_variables
from lambda_host.running import ProcessProgram

_IMAGE_ENV = {"ORT_DISABLE_TELEMETRY": "1", "PYTHONDONTWRITEBYTECODE": "1"}
_SYSTEM_ENV = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "en_US.UTF-8"}


class ImageProcesses:
    """Model images without images: our tree where they have /opt/python and /var/task."""

    def __init__(self, bundles: Bundles, root: Path, ambient: Mapping[str, str]) -> None:
        self._bundles = bundles
        self._root = root
        self._ambient = ambient

    async def program(self, function: Function) -> ProcessProgram:
        """The program of a function; its bundle is fetched when it is not here."""
        bundle = await self._bundles.pull(function.environment)
        settings = {"PYTHONPATH": _path(self._root, self._root / "layers/core/python")}
        own = {"MODELPORT_BUNDLE_DIR": str(bundle)} if bundle else {}
        env = {**self._ambient, **settings, **_IMAGE_ENV, **function.environment, **own}
        return _program(function, self._root, env, "functions.runtime")


class ZipProcesses:
    """Zip functions: their code first, then their layers in order."""

    def __init__(self, archives: Archives, ambient: Mapping[str, str]) -> None:
        self._archives = archives
        self._ambient = ambient

    async def program(self, function: Function) -> ProcessProgram:
        """The program of a function; its code is downloaded when it is not here."""
        code, layers = await self._archives.unpack(function)
        settings = {"PYTHONPATH": _path(code, *(layer / "python" for layer in layers))}
        env = {**self._ambient, **settings, **function.environment}
        return _program(function, code, env, "awslambdaric")


def _path(*folders: Path) -> str:
    return ":".join(str(folder) for folder in folders)


def _program(function: Function, cwd: Path, env: Mapping[str, str], loop: str) -> ProcessProgram:
    argv = (sys.executable, "-m", loop, function.handler)
    variables = {**env, **_SYSTEM_ENV, **lambda_variables(function, str(cwd))}
    return ProcessProgram(argv, cwd, variables, function.memory_mb)

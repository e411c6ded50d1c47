"""A model served on this machine, by the program that a model image runs, from a checkout.

For ``mlflow deployments run-local``. Publishes into a registry in memory, lays the version out in a
folder and starts the runtime's HTTP server on loopback as a process of its own. Nothing of it
outlives the call.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import modelport
from modelport.bundle import load_bundle
from modelport.cli.export import write_bundle
from modelport.cli.publishing import described
from modelport.errors import NotSupportedError
from modelport.mlflow_models import Settings, Source
from modelport.refs import check_name
from modelport.registry import Actor
from modelport.registry.memory import MemoryRegistry
from modelport.settings import RuntimeSettings

_CORE = Path(modelport.__file__).resolve().parents[1]
CHECKOUT = _CORE.parents[2]
_PATIENCE_S = 35.0


def serve(
    name: str,
    source: Source,
    settings: Settings,
    environ: Mapping[str, str],
    tell: Callable[[str], None],
    checkout: Path = CHECKOUT,
) -> int:
    """Serve the model until it is stopped (Ctrl-C); the server's exit status.

    Raises `NotSupportedError` where there is no checkout to run from.
    """
    if not (checkout / "functions" / "runtime" / "__main__.py").is_file():
        raise NotSupportedError(
            "run-local",
            "the model server is part of modelport's repository, not of the installed package",
            hint="install modelport from a checkout: pip install -e '.[mlflow,runtime]'",
        )
    if find_spec("onnxruntime") is None:
        raise NotSupportedError(
            "run-local", "onnxruntime is not installed", hint="pip install 'modelport[runtime]'"
        )
    with tempfile.TemporaryDirectory(prefix="modelport-") as work:
        runtime = _laid_out(check_name(name), source, settings, Path(work))
        path = os.pathsep.join([str(checkout), str(_CORE)])
        process = subprocess.Popen(
            [sys.executable, "-m", "functions.runtime", "serve"],
            env={
                **environ,
                **runtime.to_env(),
                "PYTHONPATH": path,
                "MODELPORT_HOST": "127.0.0.1",
                "SAGEMAKER_BIND_TO_PORT": str(settings.port),
                "SAGEMAKER_MODEL_SERVER_WORKERS": "1",
            },
        )
        where = f"http://127.0.0.1:{settings.port}" if settings.port else "the port it logs"
        tell(f"serving {name} on {where}; stop it with Ctrl-C")
        return _waited_for(process)


def _laid_out(name: str, source: Source, settings: Settings, work: Path) -> RuntimeSettings:
    made = work / "made"
    made.mkdir()
    draft = load_bundle(source.path, work=made)
    draft = described(draft, settings.description or source.description, {})
    draft = replace(draft, lineage={**draft.lineage, **source.origin})
    registry = MemoryRegistry()
    manifest = registry.publish(name, draft, who=Actor("local", ""))
    folder = work / "bundle"
    write_bundle(registry, manifest, folder)
    return RuntimeSettings(name, manifest.version, manifest.digest, str(folder))


def _waited_for(process: subprocess.Popen[bytes]) -> int:
    try:
        return process.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(_PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

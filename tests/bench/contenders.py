"""Who is compared as a server: ours, the floor below it, and the servers of other projects.

Each is a command that serves one model file on one port, and the paths it has for the protocols it
speaks. One worker, one thread for the model, no telemetry; logs as each has them by default. Starts
nothing but what has to be made beforehand.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.bench.figures import OURS
from tests.bench.processes import Program, free_port
from tests.bench.protocols import BINARY, V1, V2
from tests.bench.subjects import Subject
from tests.conftest import ROOT
from tests.support.client_environments import locked_environment
from tests.support.runtime_bundles import write_bundle

HOME = ROOT / ".local" / "bench"
FLOORS, PEERS = Path(__file__).with_name("floors"), Path(__file__).with_name("peers")
FLOOR, BARE = "floor", "bare process"
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
_NO_TELEMETRY = {
    "ORT_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "true",
    "BENTOML_DO_NOT_TRACK": "True",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}

#: How to serve: the program that answers on a port.
Serve = Callable[[int], Program]


@dataclass(frozen=True)
class Contender:
    """A server's name, its path for each protocol (by its name), and how a model is given to it.

    ``prepare`` makes what serving needs in a folder of its own, outside of all that is measured.
    """

    name: str
    paths: Mapping[str, str]
    prepare: Callable[[Subject, Path], Serve]


def environ(folder: Path, **more: str) -> dict[str, str]:
    """Nothing of the caller's environment but where programs are; ``folder`` is the home."""
    return {"PATH": os.environ["PATH"], "HOME": str(folder), **_ONE_THREAD, **_NO_TELEMETRY, **more}


def contenders(peers: Iterable[str]) -> list[Contender]:
    """Ours, the floor, and these peers."""
    return [
        Contender(OURS, {V1.name: _OURS_V1, V2.name: _OURS_V2, BINARY.name: _OURS_V2}, _ours),
        Contender(FLOOR, {V1.name: "/v1", V2.name: "/v2", BINARY.name: "/raw"}, _floor),
        *(Contender(name, _PATHS[name], _peer(name)) for name in peers),
    ]


_OURS_V1, _OURS_V2 = "/v1/models/demo:predict", "/v2/models/demo/infer"
_PATHS: Mapping[str, Mapping[str, str]] = {
    "flask": {V1.name: "/predict"},
    "fastapi": {V1.name: "/predict"},
    "litserve": {V1.name: "/predict"},
    "bentoml": {V1.name: "/predict"},
    # It has a path for V2's binary tensors and answers 500 to them.
    "mlserver": {V2.name: "/v2/models/demo/infer"},
    "kserve": {
        V1.name: "/v1/models/demo:predict",
        V2.name: "/v2/models/demo/infer",
        BINARY.name: "/v2/models/demo/infer",
    },
    "mlflow": {V1.name: "/invocations"},
}


def _ours(subject: Subject, folder: Path) -> Serve:
    """The server as an image starts it, with the variables an image has."""
    settings = write_bundle(folder / "bundle", subject.onnx)
    variables = environ(
        folder,
        **settings.to_env(),
        PYTHONPATH=os.pathsep.join([str(ROOT), str(ROOT / "layers" / "core" / "python")]),
        PYTHONUNBUFFERED="1",
        MODELPORT_HOST="127.0.0.1",
        SAGEMAKER_MODEL_SERVER_WORKERS="1",
        MODELPORT_THREADS="1",
    )
    command = [sys.executable, "-m", "functions.runtime", "serve"]
    return lambda port: Program(command, {**variables, "SAGEMAKER_BIND_TO_PORT": str(port)}, folder)


def _floor(subject: Subject, folder: Path) -> Serve:
    command = [sys.executable, str(FLOORS / "server.py")]
    files = [str(_written(subject, folder)), *map(str, filter(None, [number_parser()]))]
    return lambda port: Program([*command, str(port), *files], environ(folder), folder)


def bare(subject: Subject, folder: Path) -> Program:
    """The floor under a start: no server, one answer."""
    files = [str(FLOORS / "bare.py"), str(_written(subject, folder)), "x", "4"]
    return Program([sys.executable, *files], environ(folder), folder)


def number_parser() -> Path | None:
    """The floor's parser as a library, compiled where that is not done; None without a compiler."""
    source, library = FLOORS / "numbers.cpp", HOME / "numbers.so"
    if library.exists() and library.stat().st_mtime > source.stat().st_mtime:
        return library
    if (compiler := shutil.which("g++")) is None:
        return None
    HOME.mkdir(parents=True, exist_ok=True)
    flags = ["-std=c++17", "-O3", "-march=native", "-shared", "-fPIC"]
    subprocess.run([compiler, *flags, str(source), "-o", str(library)], check=True)
    return library


def peer_python(name: str) -> Path:
    """The Python of a peer's environment, made where it is missing."""
    return locked_environment(PEERS / f"{name}.txt", HOME / "peers" / name)


def _peer(name: str) -> Callable[[Subject, Path], Serve]:
    def prepare(subject: Subject, folder: Path) -> Serve:
        python, model = peer_python(name), str(_written(subject, folder))
        path = os.pathsep.join([str(python.parent), os.environ["PATH"]])
        variables = environ(folder, BENCH_MODEL=model, PATH=path)
        if name == "mlflow":
            save = [str(python), str(PEERS / "mlflow_server.py"), str(folder / "saved")]
            subprocess.run(save, env=variables, cwd=folder, check=True, capture_output=True)

        def serve(port: int) -> Program:
            ports = {
                "BENCH_PORT": str(port),
                "BENCH_PORT_2": str(free_port()),
                "BENCH_PORT_3": str(free_port()),
            }
            command = [str(python), *_arguments(name, port)]
            return Program(command, {**variables, **ports, "PYTHONPATH": str(PEERS)}, folder)

        return serve

    return prepare


def _arguments(name: str, port: int) -> list[str]:
    """What stands behind ``python`` to serve; most peers are a program, some have a command."""
    at = ["--port", str(port), "--host", "127.0.0.1"]
    if name == "flask":
        bind = ["--bind", f"127.0.0.1:{port}"]
        return ["-m", "gunicorn", "--workers", "1", "--threads", "8", *bind, "flask_server:app"]
    if name == "bentoml":
        return ["-m", "bentoml", "serve", "bentoml_server:Classifier", *at]
    if name == "mlflow":
        how = ["--env-manager", "local", "--workers", "1", *at]
        return ["-m", "mlflow", "models", "serve", "--model-uri", "saved", *how]
    return [str(PEERS / f"{name}_server.py")]


def _written(subject: Subject, folder: Path) -> Path:
    """The model as a file of the folder."""
    path = folder / "model.onnx"
    path.write_bytes(subject.onnx)
    return path

"""Which of our own sources run where: in the functions' layer, and in every model image.

The one list, for the image builder, the Dockerfile and the infrastructure. Nothing here compiles
or reads what is in the files. Runs alone too, as the Dockerfile uses it, on the standard library:

    python -m modelport.images.sources REPOSITORY FOLDER
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from modelport.errors import InvalidSettingError

#: Parts of the package that never run in a function.
NOT_SHIPPED = (
    "approvals.py",
    "beside.py",
    "bundle.py",
    "cli",
    "client",
    "deployments.py",
    "evaluation",
    "images",
    "mlflow_local.py",
    "mlflow_models.py",
    "mlflow_plugin.py",
    "model_toml.py",
    "offline_graph.py",
    "onnx_external.py",
    "onnx_file.py",
    "onnx_rewrite.py",
    "onnx_tensors.py",
    "onnx_wire.py",
    "sagemaker_settings.py",
    "tuning.py",
    "tuning_probe.py",
    "upkeep",
    "weights_layout.py",
)
#: Parts that only the functions around the models use: no image carries them.
NOT_IN_IMAGES = (
    *NOT_SHIPPED,
    "aws",
    "backends",
    "embedded_metrics.py",
    "jobs",
    "rollouts",
    "shadows",
    "telemetry.py",
)
CORE = "layers/core/python/modelport"
RUNTIME = ("functions/__init__.py", "functions/runtime")
#: The lock of an image's wheels, by accelerator.
LOCKS = {"cpu": "layers/deps/runtime.txt", "cuda": "layers/deps/runtime-cuda.txt"}


def of_image(root: Path) -> dict[str, Path]:
    """Every source of a model image: path in the image → file below the repository ``root``."""
    found = {
        f"opt/python/modelport/{path.relative_to(root / CORE).as_posix()}": path
        for path in _files(root / CORE)
        if path.relative_to(root / CORE).parts[0] not in NOT_IN_IMAGES
    }
    for name in RUNTIME:
        place = root / name
        for path in _files(place) if place.is_dir() else [place]:
            found[f"var/task/{path.relative_to(root).as_posix()}"] = path
    missing = [name for name in (CORE, *RUNTIME) if not (root / name).exists()]
    if missing:
        raise InvalidSettingError(
            "sources", str(root), f"has no {', '.join(missing)}; images are built from a checkout"
        )
    return dict(sorted(found.items()))


def lock(root: Path, accelerator: str) -> Path:
    """The lock of the wheels for an accelerator."""
    if accelerator not in LOCKS:
        raise InvalidSettingError("accelerator", accelerator, f"allowed: {', '.join(LOCKS)}")
    path = root / LOCKS[accelerator]
    if not path.exists():
        raise InvalidSettingError("layers/deps", str(path), "the lock file is missing")
    return path


def copy(files: dict[str, Path], into: Path) -> None:
    """Lay ``files``, as `of_image` lists them, out below ``into``."""
    for path, source in files.items():
        (into / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, into / path)


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*.py") if path.is_file()]


if __name__ == "__main__":
    copy(of_image(Path(sys.argv[1])), Path(sys.argv[2]))

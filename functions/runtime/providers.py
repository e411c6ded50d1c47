"""Which onnxruntime execution providers run a model: CUDA or TensorRT where they can, else CPU.

Decides from what onnxruntime was built with, whether a GPU is there, and what the operator named;
opens sessions in that order of preference. A provider that does not start is a warning and the next
one's turn. It must not import onnxruntime: the caller passes its surface in.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from typing import Any

from modelport.errors import InvalidSettingError
from modelport.records import record

logger = logging.getLogger(__name__)

CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"
_NAMES = {"cpu": CPU, "cuda": CUDA, "tensorrt": TENSORRT}
_CUDA_LIBRARY = "libonnxruntime_providers_cuda.so"

#: As onnxruntime takes it: a name, with options where it has any.
Provider = str | tuple[str, dict[str, Any]]
Opener = Callable[[list[Provider]], Any]


@record(frozen=True)
class Accelerators:
    """What this machine and its operator offer beside the CPU; a Lambda has nothing of it."""

    gpu: bool = False
    #: What the operator named, in order; empty leaves the choice to us.
    named: tuple[str, ...] = ()
    #: Where TensorRT keeps built engines. Building takes minutes, so without it there is none.
    tensorrt_cache: str | None = None

    @classmethod
    def here(cls, named: str | None, tensorrt_cache: str | None) -> Accelerators:
        """Those of this machine, with the operator's settings."""
        names = tuple(name.strip().lower() for name in (named or "").split(",") if name.strip())
        return cls(gpu_present(), names, tensorrt_cache or None)

    def preferred(self, available: Sequence[str]) -> list[Provider]:
        """The providers to try, best first; the CPU is always the last.

        Raises `InvalidSettingError` for a name that this onnxruntime does not have.
        """
        if self.named:
            wanted = [_named(name, available) for name in self.named]
        else:
            wanted = [name for name in (TENSORRT, CUDA) if self.gpu and name in available]
        chosen = [name for name in wanted if name != CPU and self._usable(name)]
        if TENSORRT in chosen and CUDA in available and CUDA not in chosen:
            chosen.append(CUDA)  # for the nodes TensorRT has no form for
        return [*(self._with_options(name) for name in chosen), CPU]

    def _usable(self, name: str) -> bool:
        if name != TENSORRT:
            return True
        cache = self.tensorrt_cache
        if cache is not None and _writable(cache):
            return True
        if self.named or cache is not None:
            logger.warning(
                "TensorRT is left out: it needs MODELPORT_TENSORRT_CACHE, a folder it can write,"
                " or it would build its engines anew at every start"
            )
        return False

    def _with_options(self, name: str) -> Provider:
        if name != TENSORRT:
            return name
        cache = self.tensorrt_cache
        return name, {
            "trt_engine_cache_enable": True,
            "trt_engine_cache_path": cache,
            "trt_timing_cache_enable": True,
            "trt_timing_cache_path": cache,
        }


def open_session(opener: Opener, preferred: list[Provider]) -> Any:
    """A session on the first provider that starts; raises what the CPU, the last one, raised."""
    for start, provider in enumerate(preferred):
        last = start == len(preferred) - 1
        try:
            session = opener(preferred[start:])
        except Exception as error:
            if last:
                raise
            logger.warning("%s does not start, trying the next: %s", _name(provider), error)
            continue
        running = session.get_providers()
        # onnxruntime leaves a provider out whose libraries it cannot load, and says so only here.
        if _name(provider) not in running:
            logger.warning(
                "%s did not start: its libraries or its driver are missing", _name(provider)
            )
        level = logging.INFO if len(preferred) > 1 else logging.DEBUG
        logger.log(level, "the model runs on %s", ", ".join(running))
        return session
    raise AssertionError("the CPU is always among the preferred")


def gpu_present(devices: str | os.PathLike[str] = "/dev") -> bool:
    """Whether an NVIDIA GPU is in this container (``dxg`` is how WSL shows one)."""
    try:
        names = os.listdir(devices)
    except OSError:
        return False
    return "dxg" in names or any(
        name.startswith("nvidia") and "0" <= name[6:7] <= "9" for name in names
    )


def cuda_installed(package: str = "onnxruntime") -> bool:
    """Whether the installed onnxruntime has CUDA, without importing it."""
    from importlib.util import find_spec  # no function on Lambda asks

    spec = find_spec(package)
    folders = (spec.submodule_search_locations or []) if spec else []
    return any(os.path.exists(os.path.join(at, "capi", _CUDA_LIBRARY)) for at in folders)


def _named(name: str, available: Sequence[str]) -> str:
    full = _NAMES.get(name) or next((a for a in available if a.lower() == name), name)
    if full not in available:
        have = ", ".join(short for short, long in _NAMES.items() if long in available)
        raise InvalidSettingError("MODELPORT_PROVIDERS", name, f"this onnxruntime has: {have}")
    return full


def _name(provider: Provider) -> str:
    return provider if isinstance(provider, str) else provider[0]


def _writable(folder: str) -> bool:
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK | os.X_OK)

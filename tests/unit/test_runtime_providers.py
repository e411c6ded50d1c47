"""Which execution providers run a model, with a stand-in for onnxruntime's surface."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from modelport.errors import InvalidSettingError

from functions.runtime.providers import (
    CPU,
    CUDA,
    TENSORRT,
    Accelerators,
    Provider,
    cuda_installed,
    gpu_present,
    open_session,
)

BUILT = [TENSORRT, CUDA, CPU]


@dataclass
class Session:
    """What is used of an onnxruntime session."""

    running: list[str]

    def get_providers(self) -> list[str]:
        return self.running


@dataclass
class Opener:
    """Opens sessions on what starts; what is ``silent`` is left out, as with a missing library."""

    broken: set[str] = field(default_factory=set)
    silent: set[str] = field(default_factory=set)
    tried: list[list[Provider]] = field(default_factory=list)

    def __call__(self, providers: list[Provider]) -> Any:
        self.tried.append(providers)
        names = [p if isinstance(p, str) else p[0] for p in providers]
        if self.broken & set(names):
            raise RuntimeError(f"{names[0]} has no device")
        return Session([name for name in names if name not in self.silent])


def names(providers: list[Provider]) -> list[str]:
    return [p if isinstance(p, str) else p[0] for p in providers]


@pytest.mark.parametrize(
    ("accelerators", "available", "want"),
    [
        (Accelerators(), BUILT, [CPU]),
        (Accelerators(gpu=True), [CPU], [CPU]),
        (Accelerators(gpu=True), BUILT, [CUDA, CPU]),
        (Accelerators(gpu=True, named=("cpu",)), BUILT, [CPU]),
        (Accelerators(named=("cuda",)), BUILT, [CUDA, CPU]),
        (Accelerators(named=("cudaexecutionprovider",)), BUILT, [CUDA, CPU]),
        (Accelerators(gpu=True, named=("tensorrt",)), BUILT, [CPU]),
    ],
)
def test_the_best_that_is_there_comes_first_and_the_cpu_last(
    accelerators: Accelerators, available: list[str], want: list[str]
) -> None:
    assert names(accelerators.preferred(available)) == want


def test_tensorrt_is_used_with_a_folder_for_its_engines_only(tmp_path: Path) -> None:
    cache = tmp_path / "engines"
    chosen = Accelerators(gpu=True, tensorrt_cache=str(cache)).preferred(BUILT)
    assert names(chosen) == [TENSORRT, CUDA, CPU]
    assert cache.is_dir()
    options = dict([chosen[0]] if isinstance(chosen[0], tuple) else [])[TENSORRT]
    assert options["trt_engine_cache_enable"] is True
    assert options["trt_engine_cache_path"] == str(cache)
    named = Accelerators(named=("tensorrt",), tensorrt_cache=str(cache)).preferred(BUILT)
    assert names(named) == [TENSORRT, CUDA, CPU]


def test_a_folder_that_cannot_be_written_leaves_tensorrt_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    taken = Accelerators(gpu=True, tensorrt_cache=str(tmp_path / "file" / "engines"))
    assert names(taken.preferred(BUILT)) == [CUDA, CPU]
    assert "MODELPORT_TENSORRT_CACHE" in caplog.text


def test_a_provider_this_onnxruntime_lacks_is_named_with_those_it_has() -> None:
    with pytest.raises(InvalidSettingError, match=r"MODELPORT_PROVIDERS.*'rocm'.*cpu, cuda"):
        Accelerators(named=("rocm",)).preferred([CUDA, CPU])


def test_the_operators_words_are_read_loosely() -> None:
    here = Accelerators.here(" CUDA, cpu ,", "/cache")
    assert (here.named, here.tensorrt_cache) == (("cuda", "cpu"), "/cache")
    assert Accelerators.here(None, None).named == ()


def test_what_does_not_start_is_the_next_ones_turn(caplog: pytest.LogCaptureFixture) -> None:
    opener = Opener(broken={TENSORRT, CUDA})
    session = open_session(opener, [(TENSORRT, {}), CUDA, CPU])
    assert session.get_providers() == [CPU]
    assert [names(tried) for tried in opener.tried] == [BUILT, [CUDA, CPU], [CPU]]
    assert caplog.text.count("does not start, trying the next") == 2


def test_a_provider_that_is_left_out_silently_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "functions.runtime"):
        session = open_session(Opener(silent={CUDA}), [CUDA, CPU])
    assert session.get_providers() == [CPU]
    assert f"{CUDA} did not start" in caplog.text
    assert f"the model runs on {CPU}" in caplog.text


def test_a_model_that_nothing_opens_is_the_cpus_error() -> None:
    with pytest.raises(RuntimeError, match=f"{CPU} has no device"):
        open_session(Opener(broken={CPU}), [CUDA, CPU])


def test_a_gpu_is_seen_by_its_device_file(tmp_path: Path) -> None:
    assert not gpu_present(tmp_path)
    (tmp_path / "nvidiactl").touch()
    assert not gpu_present(tmp_path)
    (tmp_path / "nvidia0").touch()
    assert gpu_present(tmp_path)


def test_a_cpu_wheel_has_no_cuda() -> None:
    assert not cuda_installed("a_package_that_is_not_there")
    assert not cuda_installed("modelport")

"""``model.toml``: what a publisher may say about a bundle. All of it is optional.

    [model]
    description = "What it does, in a sentence"
    entry = "model.onnx"            # which .onnx file to serve
    labels = "labels.txt"           # one label per line

    [runtime]
    threads = 1                     # default: from the function's memory
    disable_prepacking = false      # true: faster cold start, slower steady state
    graph_optimization = "all"      # all | extended | basic | disabled
    layout = "as-is"                # publish the model's files as they are; default: fast

    [runtime.batching]              # requests run together; default: each on its own
    max_rows = 32                   # at most this many rows at once
    max_delay_ms = 5                # the first of them waits at most this long

    [metrics]
    accuracy = 0.98                 # numbers of your own; shown by `modelport show`

    [gates]                         # what `modelport evaluate` must have shown before a promotion
    require = ["f1>=0.92"]          # of its latest report on each data set
    no_worse_than = "stable"        # on the same data

A key that is not listed is an error, so that a misspelt one is never silently ignored. Reads this
one file; whether the files it names exist is for `modelport.bundle` to say.
"""

from __future__ import annotations

import math
import tomllib
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from modelport.errors import InvalidBundleError
from modelport.evaluation.conditions import checked_baseline, checked_condition
from modelport.manifest import Batching, Gates, ModelSettings
from modelport.settings import MAX_DELAY_MS

__all__ = ["ModelToml", "read_model_toml"]


def _plain_path(text: str) -> str:
    path = PurePosixPath(text)
    if str(path) != text or path.is_absolute() or ".." in path.parts or "\\" in text:
        raise ValueError("must be a plain path below the bundle's folder")
    return text


def _finite(number: float) -> float:
    if not math.isfinite(number):
        raise ValueError("must be a finite number")
    return number


_Path = Annotated[str, Field(min_length=1), AfterValidator(_plain_path)]
_Number = Annotated[float, AfterValidator(_finite)]
_Condition = Annotated[str, AfterValidator(checked_condition)]
_Baseline = Annotated[str, AfterValidator(checked_baseline)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class _Model(_Table):
    description: str = ""
    entry: _Path | None = None
    labels: _Path | None = None


class _Batching(_Table):
    max_rows: int = Field(ge=2, le=65_536)
    max_delay_ms: float = Field(ge=0, le=MAX_DELAY_MS)


class _Runtime(_Table):
    threads: int | None = Field(default=None, ge=1, le=1024)
    disable_prepacking: bool | None = None
    graph_optimization: Literal["all", "extended", "basic", "disabled"] | None = None
    layout: Literal["fast", "as-is"] = "fast"
    batching: _Batching | None = None


class _Gates(_Table):
    require: list[_Condition] = []
    no_worse_than: _Baseline | None = None


class ModelToml(_Table):
    """The file's content; every table and key has its default."""

    model: _Model = _Model()
    runtime: _Runtime = _Runtime()
    metrics: dict[str, _Number] = {}
    gates: _Gates = _Gates()

    def settings(
        self,
        *,
        entry: str,
        labels: str | None,
        script: str | None,
        requirements: str | None = None,
    ) -> ModelSettings:
        """The runtime's view, with the files the bundle turned out to have."""
        batching, gates = self.runtime.batching, self.gates
        return ModelSettings(
            entry=entry,
            labels=labels,
            script=script,
            requirements=requirements,
            threads=self.runtime.threads,
            disable_prepacking=self.runtime.disable_prepacking,
            graph_optimization=self.runtime.graph_optimization,
            batching=Batching(batching.max_rows, batching.max_delay_ms) if batching else None,
            gates=Gates(tuple(gates.require), gates.no_worse_than) if gates != _Gates() else None,
        )


def read_model_toml(path: Path) -> ModelToml:
    """Read ``path``; InvalidBundleError names the key that is wrong and the keys there are."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidBundleError(path, f"not TOML: {error}") from None
    except OSError as error:
        raise InvalidBundleError(path, str(error.strerror)) from error
    try:
        return ModelToml.model_validate(data)
    except ValidationError as error:
        raise _problem(path, error) from None


def _problem(path: Path, error: ValidationError) -> InvalidBundleError:
    errors = error.errors()
    # A misspelt key is why another one is missing.
    first = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        allowed = ", ".join(_keys(first["loc"]))
        return InvalidBundleError(path, f"unknown key {where!r}", f"allowed here: {allowed}")
    if first["type"] == "missing":
        return InvalidBundleError(path, f"{where} is missing")
    message = first["msg"].removeprefix("Value error, ")
    return InvalidBundleError(path, f"{where} = {_shown(first['input'])}: {message}")


def _keys(location: tuple[int | str, ...]) -> list[str]:
    """The keys of the table that ``location`` lies in."""
    tables: dict[tuple[int | str, ...], type[_Table]] = {
        ("model",): _Model,
        ("runtime",): _Runtime,
        ("runtime", "batching"): _Batching,
        ("gates",): _Gates,
    }
    return list(tables.get(location[:-1], ModelToml).model_fields)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."

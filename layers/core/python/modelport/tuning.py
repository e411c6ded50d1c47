"""Chooses how a version is opened, by measuring: prepacking or not, which graph, optimised when.

A cold start wants weights used as they lie and a graph that is optimised already; steady work may
want them repacked and fused for the machine. Which weighs more differs per model, so publish opens
the model in every way (`modelport.tuning_probe`, in a process of its own that may crash or hang),
in turns, on the goldens or on zeros, and takes what costs least for one start and `REQUESTS`
requests. Of ways within noise of each other the first in the order of `ways` is taken, plain ones
first, so that onnxruntime's own defaults stand unless something is really gained.

What the publisher said in ``model.toml`` is not measured away: only what was left open is chosen.
Whatever goes wrong here costs the figures, never the publishing; the reason is told.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path, PurePosixPath
from typing import Any

from modelport.goldens import Golden
from modelport.manifest import Draft, File, ModelSettings, Tuning

__all__ = ["Measured", "Way", "best", "told", "tune", "ways"]

#: A cold start is weighed against this many requests: about what an idle-prone sandbox lives to
#: answer. More would favour steady speed, fewer the start; ``model.toml`` decides for one model.
REQUESTS = 20
#: What is noise: this share of the cheapest way's cost, or so many milliseconds.
NOISE, NOISE_MS = 0.05, 0.5
#: Goldens measured, and how long everything may take.
GOLDENS = 3
LIMIT_S = 120.0


@dataclass(frozen=True, slots=True)
class Way:
    """One way to open a model."""

    optimized: bool
    graph_optimization: str
    disable_prepacking: bool


@dataclass(frozen=True, slots=True)
class Measured:
    """A way with its figures in milliseconds."""

    way: Way
    open_ms: float
    first_ms: float
    warm_ms: float

    @property
    def cost(self) -> float:
        """Milliseconds for a start and the requests it is weighed against."""
        return self.open_ms + self.first_ms + REQUESTS * self.warm_ms


def tune(
    draft: Draft,
    work: Path,
    environ: Mapping[str, str],
    *,
    limit_s: float = LIMIT_S,
    python: str = sys.executable,
) -> tuple[Draft, str]:
    """The draft with what was measured, and what to say about it in a sentence.

    ``environ`` is what the measuring process gets, with what it needs on top. An optimised graph
    that was chosen lies below ``work`` until the draft is published.
    """
    said = draft.content.settings
    if said.disable_prepacking is not None and said.graph_optimization is not None:
        return draft, "not measured: model.toml says how to open it"
    try:
        with tempfile.TemporaryDirectory(dir=work) as scratch:
            return _measured(draft, work, _Probe(python, environ, Path(scratch), limit_s))
    except OSError as error:
        return draft, f"not measured: {work}: {error.strerror}"


def _measured(draft: Draft, work: Path, probe: _Probe) -> tuple[Draft, str]:
    job = _job(draft, probe)
    result = probe.run(job)
    if "crashed" in result and job["graph"]:  # once more without what is new about it
        result = probe.run({**job, "graph": None})
    if "problem" in result:
        return draft, f"not measured: {result['problem']}"
    measured = [
        Measured(Way(**row["way"]), row["open_ms"], row["first_ms"], row["warm_ms"])
        for row in result["measured"]
    ]
    chosen = best(measured)
    draft = replace(draft, tuning=_tuning(chosen, measured, result))
    if chosen.way.optimized:
        draft = _with_graph(draft, Path(job["graph"]), work)
    return draft, _sentence(chosen, measured)


def ways(said: ModelSettings) -> tuple[Way, ...]:
    """The ways worth measuring, the defaults first; what was said is not varied."""
    packing = (False, True) if said.disable_prepacking is None else (said.disable_prepacking,)
    if said.graph_optimization is not None:
        graphs = [(False, said.graph_optimization)]
    else:
        graphs = [(False, "all"), (False, "extended"), (True, "all"), (True, "disabled")]
    return tuple(Way(*graph, disable) for graph, disable in product(graphs, packing))


def best(measured: Sequence[Measured]) -> Measured:
    """The first way whose cost is that of the cheapest, but for noise."""
    least = min(way.cost for way in measured)
    enough = least + max(NOISE_MS, NOISE * least)
    return next(way for way in measured if way.cost <= enough)


def _job(draft: Draft, probe: _Probe) -> dict[str, Any]:
    said = draft.content.settings
    entry = draft.sources[said.entry]
    beside = _graph_path(draft)
    wanted = beside is not None and said.graph_optimization is None
    return {
        "model": str(entry),
        "graph": str(probe.scratch / PurePosixPath(beside).name) if wanted and beside else None,
        "limit_s": probe.limit_s,
        "data": [str(path) for path in _data(draft)],
        "threads": said.threads or 1,
        "signature": draft.content.signature.to_json(),
        "goldens": [_inputs(golden) for golden in _goldens(draft.content.goldens)],
        "ways": [asdict(way) for way in ways(said)],
        "requests": REQUESTS,
    }


def _goldens(goldens: Iterable[Golden]) -> list[Golden]:
    return [golden for golden in goldens if golden.kind == "tensors"][:GOLDENS]


def _inputs(golden: Golden) -> dict[str, Any]:
    tensors = [tensor.to_json() for tensor in golden.inputs]
    return {"inputs": tensors, "rtol": golden.rtol, "atol": golden.atol}


def _data(draft: Draft) -> list[Path]:
    """Files beside the model, which an optimised graph of it refers to."""
    entry = draft.sources[draft.content.settings.entry]
    return [path for path in draft.sources.values() if path.parent == entry.parent != path]


def _graph_path(draft: Draft) -> str | None:
    entry = PurePosixPath(draft.content.settings.entry)
    path = str(entry.with_name(entry.stem + ".optimized.onnx"))
    return None if path in draft.sources else path


@dataclass(frozen=True, slots=True)
class _Probe:
    """How to run `modelport.tuning_probe`."""

    python: str
    environ: Mapping[str, str]
    scratch: Path
    limit_s: float

    def run(self, job: dict[str, Any]) -> dict[str, Any]:
        """What the probe found, or ``problem`` in words."""
        told, found = self.scratch / "job.json", self.scratch / "result.json"
        told.write_text(json.dumps(job))
        found.unlink(missing_ok=True)
        quiet = subprocess.DEVNULL
        try:
            done = subprocess.run(
                [self.python, "-m", "modelport.tuning_probe", str(told), str(found)],
                env=self._environ(),
                stdin=quiet,
                stdout=quiet,
                stderr=quiet,
                timeout=self.limit_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return {"problem": f"it took over {self.limit_s:g} s"}
        except OSError as error:
            return {"problem": f"{self.python} does not start: {error.strerror}"}
        try:
            result: dict[str, Any] = json.loads(found.read_bytes())
        except (OSError, ValueError):
            code = done.returncode
            crashed = f"onnxruntime crashed with signal {-code}"
            failed = f"measuring ended with status {code}"
            return {"problem": crashed if code < 0 else failed, "crashed": True}
        return result

    def _environ(self) -> dict[str, str]:
        return {
            **self.environ,
            # glibc keeps large blocks for the next session otherwise, which no cold start has.
            "MALLOC_MMAP_THRESHOLD_": "131072",
            "ORT_DISABLE_TELEMETRY": "1",
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            # Publish may be called in any folder; a numpy.py that lies there must not run.
            "PYTHONSAFEPATH": "1",
        }


def _tuning(chosen: Measured, measured: Sequence[Measured], result: dict[str, Any]) -> Tuning:
    figures = {name: value for name, value in result.items() if name != "measured"}
    figures["weighed_requests"] = REQUESTS
    figures["ways"] = [
        {
            **asdict(each.way),
            "open_ms": each.open_ms,
            "first_ms": each.first_ms,
            "warm_ms": each.warm_ms,
            "chosen": each is chosen,
        }
        for each in measured
    ]
    return Tuning(chosen.way.disable_prepacking, chosen.way.graph_optimization, figures)


def _with_graph(draft: Draft, graph: Path, work: Path) -> Draft:
    assert draft.tuning is not None
    name = str(_graph_path(draft))
    body = graph.read_bytes()  # kilobytes: the weights are elsewhere
    kept = work / "graphs" / name
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_bytes(body)
    file = File(name, "sha256:" + hashlib.sha256(body).hexdigest(), len(body))
    tuning = replace(draft.tuning, graph=file)
    made = {"onnxruntime": draft.tuning.figures["onnxruntime"], "file": name}
    return replace(
        draft,
        sources={**draft.sources, name: kept},
        tuning=tuning,
        lineage={**draft.lineage, "optimized_graph": made},
    )


def told(tuning: Tuning | None) -> str:
    """How a version is opened and what was measured of that, in a line; "" when nothing was."""
    if tuning is None or not tuning.figures.get("ways"):
        return ""
    rows = tuning.figures["ways"]
    measured = [
        Measured(
            Way(row["optimized"], row["graph_optimization"], row["disable_prepacking"]),
            row["open_ms"],
            row["first_ms"],
            row["warm_ms"],
        )
        for row in rows
    ]
    chosen = next(m for m, row in zip(measured, rows, strict=True) if row["chosen"])
    return _sentence(chosen, measured)


def _sentence(chosen: Measured, measured: Sequence[Measured]) -> str:
    default = measured[0]
    opened = chosen.open_ms + chosen.first_ms
    text = f"in {opened:.1f} ms with its first answer, then {chosen.warm_ms:.2f} ms each"
    if chosen is default:
        return f"{text}, the plain way"
    before = default.open_ms + default.first_ms
    said = [
        *(["optimised beforehand"] if chosen.way.optimized else []),
        *(["without prepacking"] if chosen.way.disable_prepacking else []),
        *([f"level {chosen.way.graph_optimization}"] if not chosen.way.optimized else []),
    ]
    return f"{text}, {', '.join(said)} (plain: {before:.1f} ms, then {default.warm_ms:.2f} ms)"

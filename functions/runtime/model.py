"""The loaded ONNX model: one onnxruntime session, opened from the manifest's settings.

Runs canonical tensors and nothing else; it must not know a protocol. Threads follow the memory
size, because Lambda grants CPU by memory and the CPU count of the host says nothing about it; the
HTTP server knows its container's CPUs and says how many.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from modelport.errors import InvalidBundleError, TensorError
from modelport.manifest import ModelSettings
from modelport.signature import Signature

from functions.runtime.providers import Accelerators, Provider, open_session
from functions.runtime.tensors import Array, Tensors, describe

if TYPE_CHECKING:  # only scripts need it, and every cold start would pay
    from pathlib import Path

#: Elements that an array without any may have along its other dimensions: a graph that sums over
#: the empty one makes as many zeros, out of a request of a few bytes.
MOST_OF_NOTHING = 2**20
#: Lambda grants one vCPU per this many MB of memory.
MB_PER_VCPU = 1769
_LEVELS = {
    "all": "ORT_ENABLE_ALL",
    "extended": "ORT_ENABLE_EXTENDED",
    "basic": "ORT_ENABLE_BASIC",
    "disabled": "ORT_DISABLE_ALL",
}


class Runner(Protocol):
    """What runs tensors: the model, or something in front of it that gathers requests."""

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str] = ()) -> Tensors:
        """The named outputs (all of them when none is named) for these inputs."""
        ...


class Tie(NamedTuple):
    """Two dimensions of inputs that the model calls by one name, so they have one size."""

    name: str
    axis: int
    first: str
    first_axis: int


class OnnxModel:
    """A model ready to run; safe to call from several threads at once.

    ``inference.py`` gets this object as ``model`` unless it defines ``model_fn``.
    """

    def __init__(
        self, session: Any, signature: Signature, directory: str | os.PathLike[str]
    ) -> None:
        self._session = session
        self.signature = signature
        self._directory = directory
        specs = (*signature.inputs, *signature.outputs)
        self._brain_floats = any(spec.datatype == "BF16" for spec in specs)
        #: onnxruntime's own run of all there is, for aligned arrays that fit.
        self.run_plain = _innermost(session)
        self._taken = {spec.name: spec for spec in signature.inputs}.keys()
        self._given = tuple(spec.name for spec in signature.outputs)
        self._ties = tuple(_ties(session.get_inputs()))

    @property
    def directory(self) -> Path:
        """Where the bundle's files lie."""
        from pathlib import Path

        return Path(self._directory)

    @property
    def gpu_id(self) -> int | None:
        """The GPU it runs on, None for the CPU: a container has one, which is number 0."""
        return 0 if len(self._session.get_providers()) > 1 else None

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str] = ()) -> Tensors:
        """The named outputs (all of them when none is named) for these inputs.

        Raises `TensorError` for inputs whose sizes the model cannot take together.
        """
        names = outputs or self._given
        feeds = dict(inputs)
        for name, array in inputs.items():
            if not array.flags.aligned:  # what came raw starts anywhere, and kernels compiled for
                feeds[name] = array.copy()  # whole addresses may rely on them
            if not array.size:
                _check_small(name, array)
        try:
            if self._brain_floats:
                from functions.runtime.brain_floats import run  # few models have them

                return run(self._session, feeds, names)
            # onnxruntime's Python says best what is missing, and to others would only say yes.
            ask = self.run_plain if feeds.keys() == self._taken else self._session.run
            return dict(zip(names, ask(names, feeds, None), strict=True))
        except Exception as error:
            refused = _refused(error, feeds) or self._torn(feeds)
            if refused is None:
                raise
            raise refused from error

    def _torn(self, inputs: Mapping[str, Array]) -> TensorError | None:
        """Why a run failed, if sizes that the model calls by one name differ.

        Asked of failed runs only: some models give one name to sizes that broadcast (1 and N).
        """
        for tie in self._ties if inputs.keys() == self._taken else ():
            if inputs[tie.name].shape[tie.axis] != inputs[tie.first].shape[tie.first_axis]:
                return self._apart(tie, inputs)
        return None

    def _apart(self, tie: Tie, inputs: Mapping[str, Array]) -> TensorError:
        spec, first = self.signature.input(tie.name), inputs[tie.first]
        expected = (
            f"{spec} with as many in dimension {tie.axis} as input {tie.first!r}"
            f" has in dimension {tie.first_axis} ({first.shape[tie.first_axis]})"
        )
        return TensorError(tie.name, expected, describe(inputs[tie.name]))


def _ties(inputs: Sequence[Any]) -> Iterator[Tie]:
    """Every dimension whose name stood before, with where it stood first."""
    first: dict[str, tuple[str, int]] = {}
    for argument in inputs:
        for axis, size in enumerate(argument.shape):
            if not isinstance(size, str) or not size:  # fixed, or free without a name
                continue
            place = first.setdefault(size, (argument.name, axis))
            if place != (argument.name, axis):
                yield Tie(argument.name, axis, *place)


def _check_small(name: str, array: Array) -> None:
    """Raise for an array of nothing with a dimension that only a real body should have."""
    if math.prod(size for size in array.shape if size) > MOST_OF_NOTHING:
        expected = f"at most {MOST_OF_NOTHING:,} elements along the dimensions that are not 0"
        raise TensorError(name, expected, describe(array))


def _refused(error: Exception, inputs: Mapping[str, Array]) -> TensorError | None:
    """onnxruntime's own word against an input, for the caller; None for what a node raised."""
    text = str(error)
    if "INVALID_ARGUMENT" not in text or " while running " in text:
        return None
    got = ", ".join(f"{name} {describe(array)}" for name, array in inputs.items())
    named = [name for name in inputs if f"input: {name} " in text]
    return TensorError(named[0] if named else ", ".join(inputs), "what the model takes", got)


def _innermost(session: Any) -> Any:
    """What the session's ``run`` calls, past its checks in Python, which take a quarter of the time
    of a small model; where onnxruntime keeps it elsewhere, ``run`` itself."""
    return getattr(getattr(session, "_sess", None), "run", session.run)


def threads_for(settings: ModelSettings, memory_mb: int | None, threads: int | None = None) -> int:
    """Intra-op threads: as the version says, else ``threads``, else one per vCPU of its memory."""
    return settings.threads or threads or max(1, (memory_mb or 0) // MB_PER_VCPU)


def open_model(
    directory: str | os.PathLike[str],
    settings: ModelSettings,
    signature: Signature,
    memory_mb: int | None,
    *,
    threads: int | None = None,
    accelerators: Accelerators | None = None,
) -> OnnxModel:
    """Open the session; raises `InvalidBundleError` when the model cannot be loaded."""
    # Imported here and not above: nothing but opening a model needs it.
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads_for(settings, memory_mb, threads)
    options.inter_op_num_threads = 1
    options.graph_optimization_level = getattr(
        ort.GraphOptimizationLevel, _LEVELS[settings.graph_optimization or "all"]
    )
    options.log_severity_level = 4  # what goes wrong is raised, and then stands in our own log
    if settings.disable_prepacking:
        options.add_session_config_entry("session.disable_prepacking", "1")
    path = os.path.join(directory, settings.entry)
    name = os.path.basename(path)
    preferred = (accelerators or Accelerators()).preferred(ort.get_available_providers())

    def opener(providers: list[Provider]) -> Any:
        # By path, so that external data is found beside the model and memory-mapped. Falling back
        # is ours to do: onnxruntime prints to stdout when it does.
        return ort.InferenceSession(path, options, providers=providers, enable_fallback=0)

    try:
        session = open_session(opener, preferred)
    except Exception as error:
        raise InvalidBundleError(name, f"onnxruntime cannot open it: {error}") from error
    _check_names(name, session, signature)
    _check_carried(name, signature)
    return OnnxModel(session, signature, directory)


def _check_carried(name: str, signature: Signature) -> None:
    """onnxruntime's Python takes text in no way that also takes or gives brain floats."""
    datatypes = {spec.datatype for spec in (*signature.inputs, *signature.outputs)}
    if "BF16" in datatypes and any(spec.datatype == "BYTES" for spec in signature.inputs):
        problem = "it takes text and has BF16 tensors, which cannot be run together"
        raise InvalidBundleError(name, problem, "cast BF16 to FP32 inside the model")


def _check_names(name: str, session: Any, signature: Signature) -> None:
    """The file is the one the manifest describes, as far as its tensor names can tell."""
    for kind, declared, actual in (
        ("inputs", signature.inputs, session.get_inputs()),
        ("outputs", signature.outputs, session.get_outputs()),
    ):
        want, have = [spec.name for spec in declared], [arg.name for arg in actual]
        if want != have:
            problem = f"its {kind} are {', '.join(have)}, but the manifest says {', '.join(want)}"
            raise InvalidBundleError(name, problem)

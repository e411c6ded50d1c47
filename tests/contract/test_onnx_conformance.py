"""ONNX's own backend suite the whole way: published, laid out, loaded, asked over V2, compared.

Every case that onnxruntime passes by itself and that a version can be made of must get the suite's
answer, within the suite's tolerances, in V2's binary form and, where JSON carries it, in JSON. What
publish refuses is counted by reason, so that neither a new refusal nor a lost case goes unnoticed.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from modelport.bundle import load_bundle
from modelport.envelope import Request, Response
from modelport.errors import InvalidOnnxError
from modelport.raw_tensors import datatype_of, pack, unpack
from modelport.registry import Actor
from modelport.registry.memory import MemoryRegistry
from modelport.settings import RuntimeSettings
from modelport.signature import Signature

from functions.runtime.data_plane import DataPlane
from functions.runtime.loading import load
from tests.support.onnx_suite import Arrays, Case, as_bits, fails_alone, node_cases

LENGTH = "inference-header-content-length"
#: Cases that publish refuses, by what it says. A file alone decides it, so it is the same anywhere.
REFUSED = {
    "a tensor has element type FLOAT4E2M1, which no protocol can carry": 8,
    "a tensor has element type FLOAT8E4M3FN, which no protocol can carry": 12,
    "a tensor has element type FLOAT8E4M3FNUZ, which no protocol can carry": 12,
    "a tensor has element type FLOAT8E5M2, which no protocol can carry": 12,
    "a tensor has element type FLOAT8E5M2FNUZ, which no protocol can carry": 12,
    "a tensor has element type INT2, which no protocol can carry": 10,
    "a tensor has element type INT4, which no protocol can carry": 10,
    "a tensor has element type UINT2, which no protocol can carry": 10,
    "a tensor has element type UINT4, which no protocol can carry": 10,
    "a tensor is a sequence; only tensors can be served": 20,
    "a tensor is an optional; only tensors can be served": 3,
    "opset 27 of ai.onnx; onnxruntime 1.31 loads 1 to 26": 62,
    "opset 28 of ai.onnx; onnxruntime 1.31 loads 1 to 26": 227,
}
#: Cases served at least; onnxruntime's kernels differ a little from processor to processor.
SERVED, IN_JSON = 1365, 1310


@dataclass
class Run:
    """What became of the suite."""

    cases: int = 0
    served: list[str] = field(default_factory=list)
    in_json: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    alone: dict[str, str] = field(default_factory=dict)
    wrong: dict[str, str] = field(default_factory=dict)


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """All cases in this process, over one registry."""
    ort.set_default_logger_severity(4)
    run, registry, folder = Run(), MemoryRegistry(), tmp_path_factory.mktemp("suite")
    for number, case in enumerate(node_cases()):
        run.cases += 1
        home = folder / str(number)
        home.mkdir()
        (home / "model.onnx").write_bytes(case.body)
        try:
            draft = load_bundle(home / "model.onnx", work=home)
        except InvalidOnnxError as error:
            run.refused[case.name] = error.message.partition("model.onnx: ")[2]
            continue
        alone = fails_alone(case)
        if alone:
            run.alone[case.name] = alone
            continue
        manifest = registry.publish(f"case-{number}", draft, who=Actor("suite"))
        for file in manifest.files:
            registry.fetch(file, home / "image" / file.path)
        (home / "image" / "manifest.json").write_bytes(manifest.to_bytes())
        settings = RuntimeSettings(
            manifest.model, manifest.version, manifest.digest, str(home / "image")
        )
        _ask(run, case, load(settings), manifest.content.signature)
    return run


def _ask(run: Run, case: Case, plane: DataPlane, signature: Signature) -> None:
    for inputs, outputs in case.sets:
        feeds = case.feeds(inputs)
        problem = _answered(case, plane, signature, _binary(feeds), outputs)
        if problem:
            run.wrong[f"{case.name} in binary"] = problem
        if _in_json(case, feeds, outputs):
            problem = _answered(case, plane, signature, _json(feeds), outputs)
            if problem:
                run.wrong[f"{case.name} in JSON"] = problem
            run.in_json.append(case.name)
    run.served.append(case.name)


def _answered(
    case: Case,
    plane: DataPlane,
    signature: Signature,
    asked: tuple[dict[str, str], bytes],
    want: list[Any],
) -> str | None:
    path = f"/v2/models/{plane.subject.model}/versions/1/infer"
    answer = plane.handle(Request("POST", path, *asked, "suite"))
    if answer.status != 200:
        return f"status {answer.status}: {answer.body[:300]!r}"
    return case.disagreement([_output(answer, spec.name) for spec in signature.outputs], want)


def _binary(feeds: Arrays) -> tuple[dict[str, str], bytes]:
    raw = {name: bytes(pack(array)) for name, array in feeds.items()}
    inputs = [
        _tensor(name, array) | {"parameters": {"binary_data_size": len(raw[name])}}
        for name, array in feeds.items()
    ]
    header = json.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}}).encode()
    return {LENGTH: str(len(header))}, header + b"".join(raw.values())


def _json(feeds: Arrays) -> tuple[dict[str, str], bytes]:
    inputs = [
        _tensor(name, array) | {"data": array.reshape(-1).tolist()} for name, array in feeds.items()
    ]
    return {"content-type": "application/json"}, json.dumps({"inputs": inputs}).encode()


def _tensor(name: str, array: np.ndarray[Any, Any]) -> dict[str, Any]:
    return {"name": name, "shape": list(array.shape), "datatype": datatype_of(array)}


def _in_json(case: Case, feeds: Arrays, outputs: list[Any]) -> bool:
    """Whether strict JSON has a form for every value there and back."""
    arrays = [*feeds.values(), *(as_bits(value) for value in outputs)]
    for array in arrays:
        if datatype_of(array) in ("FP16", "BF16"):
            return False
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            return False
    return True


def _output(answer: Response, name: str) -> np.ndarray[Any, Any]:
    length = int(answer.headers.get(LENGTH, len(answer.body)))
    document, raw = json.loads(answer.body[:length]), answer.body[length:]
    at = 0
    for output in document["outputs"]:
        size = output.get("parameters", {}).get("binary_data_size", 0)
        if output["name"] != name:
            at += size
            continue
        if "data" not in output:
            return unpack(output["datatype"], output["shape"], raw[at : at + size])
        flat = np.empty(len(output["data"]), unpack(output["datatype"], [0], b"").dtype)
        flat[:] = output["data"]
        return flat.reshape(output["shape"])
    raise AssertionError(f"no output {name!r}")


def _kinds(refused: dict[str, str]) -> Iterator[str]:
    return (re.sub(r"(input|output) '[^']*'", "a tensor", said) for said in refused.values())


def test_what_onnxruntime_passes_a_version_answers_in_every_form(suite: Run) -> None:
    assert not suite.wrong
    assert len(suite.served) >= SERVED
    assert len(suite.in_json) >= IN_JSON


def test_what_publish_refuses_is_known_by_reason(suite: Run) -> None:
    assert dict(Counter(_kinds(suite.refused))) == REFUSED


def test_no_case_is_lost(suite: Run) -> None:
    told = len(suite.served) + len(suite.refused) + len(suite.alone)
    assert told == suite.cases >= 1884

"""What a model function has loaded after init and one request: a list, because imports are time.

Every cold start pays for every module here. Whoever adds one to this list pays for it knowingly;
whoever needs one only sometimes imports it where it is needed.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.support import runtime_bundles as bundles

#: What numpy and onnxruntime bring along is theirs, and measured, not listed.
_PROGRAM = """
import sys
import numpy, onnxruntime, orjson
before = set(sys.modules)
import functions.runtime.lambda_loop, modelport.lambda_runtime.loop
from functions.runtime.handler import handler
class Context:
    aws_request_id = "1"
body = '{"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}]}'
path = "/v2/models/demo/versions/3/infer"
event = {"modelport": 1, "method": "POST", "path": path, "headers": {}, "body": body}
assert handler(event, Context())["status"] == 200
print(sorted(set(sys.modules) - before), file=sys.stderr)
"""
_BUDGET = {
    # the program
    "functions",
    "functions.runtime",
    "functions.runtime.codecs",
    "functions.runtime.codecs.codec",
    "functions.runtime.codecs.later",
    "functions.runtime.codecs.v1",
    "functions.runtime.codecs.v2",
    "functions.runtime.data_plane",
    "functions.runtime.exchange",
    "functions.runtime.failures",
    "functions.runtime.handler",
    "functions.runtime.identity",
    "functions.runtime.json_numbers",
    "functions.runtime.kept_memory",
    "functions.runtime.lambda_loop",
    "functions.runtime.lambda_transport",
    "functions.runtime.lean_numpy",
    "functions.runtime.ledger",
    "functions.runtime.loading",
    "functions.runtime.logs",
    "functions.runtime.model",
    "functions.runtime.prediction_summary",
    "functions.runtime.providers",
    "functions.runtime.statistics",
    "functions.runtime.tensors",
    "functions.runtime.warm_up",
    "modelport",
    "modelport.envelope",
    "modelport.errors",
    "modelport.fast_json",
    "modelport.goldens",
    "modelport.goldens.golden",
    "modelport.grammar",
    "modelport.lambda_runtime",
    "modelport.lambda_runtime.api",
    "modelport.lambda_runtime.connection",
    "modelport.lambda_runtime.context",
    "modelport.lambda_runtime.handlers",
    "modelport.lambda_runtime.log_lines",
    "modelport.lambda_runtime.loop",
    "modelport.manifest",
    "modelport.metadata",
    "modelport.raw_tensors",
    "modelport.records",
    "modelport.refs",
    "modelport.refusals",
    "modelport.settings",
    "modelport.signature",
    # the standard library, beyond what those bring along
    "array",
    "atexit",
    "base64",
    "binascii",
    "copy",
    "dataclasses",
    "errno",
    "gc",
    "logging",
    "select",
    "selectors",
    "socket",
    "string",
    "threading",
    "traceback",
}
#: Of large things whole families stay away, whoever might bring them.
_NEVER = (
    "asyncio", "boto3", "botocore", "concurrent", "csv", "email", "fastapi", "hashlib", "http",
    "httpx", "importlib.util", "multiprocessing", "onnx", "pydantic", "ssl", "starlette",
    "subprocess", "tempfile", "typing_extensions", "unittest", "uvicorn",
)  # fmt: skip


def run(program: str, folder: Path, script: str | None = None) -> str:
    """What a fresh process with a version's environment says."""
    settings = bundles.write_bundle(folder, bundles.DOUBLE, script=script)
    path = os.pathsep.join([str(ROOT), str(ROOT / "layers" / "core" / "python")])
    clean = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    return subprocess.run(
        [sys.executable, "-c", program],
        env={**clean, **settings.to_env(), "PYTHONPATH": path},
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ).stderr


def loaded(tmp_path: Path, script: str | None = None) -> set[str]:
    """Modules of a fresh process after init and one request."""
    return set(ast.literal_eval(run(_PROGRAM, tmp_path, script)))


def test_a_model_function_loads_what_is_listed_and_nothing_else(tmp_path: Path) -> None:
    # Accelerators of the standard library (_csv, _hashlib) come with the modules they belong to;
    # the parts of pathlib and glob differ from one Python to the next.
    extra = {
        name
        for name in loaded(tmp_path) - _BUDGET
        if not name.startswith(("_", "pathlib.", "importlib."))
    }
    assert not extra


def test_what_is_large_never_comes(tmp_path: Path) -> None:
    tops = loaded(tmp_path)
    assert not [name for name in _NEVER if name in tops]


SCRIPT = "def input_fn(data, content_type):\n    return data\n"


def test_only_those_with_a_script_load_what_runs_one(tmp_path: Path) -> None:
    assert "functions.runtime.inference_script" in loaded(tmp_path, SCRIPT)


@pytest.mark.parametrize(("script", "whole"), [(None, False), (SCRIPT, True)])
def test_only_scripts_pay_for_numpys_docstrings_and_types(
    tmp_path: Path, script: str | None, whole: bool
) -> None:
    program = (
        "import functions.runtime.handler, numpy, sys\n"
        "there = bool(numpy.ndarray.__doc__), 'numpy._typing._array_like' in sys.modules\n"
        "print((*there, float(numpy.ones(3).sum())), file=sys.stderr)"
    )
    assert ast.literal_eval(run(program, tmp_path, script)) == (whole, whole, 3.0)


def test_numpys_types_are_there_for_whoever_asks(tmp_path: Path) -> None:
    program = (
        "import functions.runtime.handler, numpy, sys\n"
        "q, r = numpy.linalg.qr(numpy.eye(2))\n"
        "from numpy.typing import ArrayLike, DTypeLike, NDArray\n"
        "import numpy._typing._array_like as real\n"
        "same = ArrayLike is real.ArrayLike\n"
        "print((same, sys.modules['numpy._typing'] is numpy._typing), file=sys.stderr)"
    )
    assert ast.literal_eval(run(program, tmp_path)) == (True, True)

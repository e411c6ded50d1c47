"""A bundle's ``inference.py``: each function of the contract, each default, each way to fail."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from modelport.envelope import Request
from modelport.errors import InvalidBundleError
from modelport.manifest import ModelSettings

from functions.runtime.script_context import CUSTOM_ATTRIBUTES
from tests.support import runtime_bundles as bundles
from tests.support.runtime_planes import SAGEMAKER, V1, V2, open_plane, v2_tensor


@pytest.fixture(autouse=True)
def import_state() -> Iterator[None]:
    """Scripts change the import path and the module table; each test gets them back."""
    path, module = list(sys.path), sys.modules.get("modelport_inference")
    yield
    sys.path[:] = path
    sys.modules.pop("modelport_inference", None)
    if module is not None:
        sys.modules["modelport_inference"] = module


FULL = """
import numpy as np

def input_fn(data, content_type):
    assert isinstance(data, bytes)
    return np.array([[len(data), len(content_type)]], np.float32)

def predict_fn(data, model):
    labels = (model.directory / "labels.txt").read_text().split()
    return labels[0], model.run({"x": data})["y"]

def output_fn(prediction, accept):
    label, y = prediction
    return f"{label} {y.tolist()} {accept}", "text/plain"
"""


def test_all_functions_run_in_turn_for_any_content_type(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("cat dog")
    plane = open_plane(tmp_path, bundles.DOUBLE, script=FULL)
    headers = {"content-type": "image/png", "accept": "text/plain, */*"}
    response = plane.post(SAGEMAKER, b"\x89PNG", headers)
    assert response.headers["content-type"] == "text/plain"
    assert response.body == b"cat [[8.0, 18.0]] text/plain"


def test_the_scripts_time_is_told_as_the_models(tmp_path: Path) -> None:
    script = "import time\ndef predict_fn(data, model): time.sleep(0.01); return data"
    plane = open_plane(tmp_path, bundles.DOUBLE, script=script)
    told = plane.post(SAGEMAKER, {"instances": [[1, 2]]}).headers["server-timing"]
    assert float(told.removeprefix("model;dur=").removesuffix(", cold")) >= 10


def test_tensor_protocols_go_past_the_script(tmp_path: Path) -> None:
    plane = open_plane(tmp_path, bundles.DOUBLE, script="def predict_fn(data, model): 1 / 0")
    assert plane.answer(V1, {"instances": [[1, 2]]}) == {"predictions": [[2, 4]]}
    answer = plane.answer(V2, {"inputs": [v2_tensor("x", [1, 2], [1, 2])]})
    assert answer["outputs"][0]["data"] == [2, 4]


def test_without_any_function_it_answers_as_without_a_script(tmp_path: Path) -> None:
    plane = open_plane(tmp_path, bundles.DOUBLE, script="")
    assert plane.answer(SAGEMAKER, {"inputs": [[1, 2]]}) == {"predictions": [[2, 4]]}
    response = plane.post(SAGEMAKER, b"1,2", {"content-type": "text/csv", "accept": "text/csv"})
    assert response.body == b"2.0,4.0\n"


def test_input_fn_alone_may_return_an_array_or_a_dict(tmp_path: Path) -> None:
    array = "import numpy\ndef input_fn(data, t): return numpy.ones((1, 2), 'f4')"
    plane = open_plane(tmp_path / "a", bundles.DOUBLE, script=array)
    assert plane.answer(SAGEMAKER, b"") == {"y": [[2, 2]]}
    named = "import numpy\ndef input_fn(data, t): return {'x': numpy.ones((1, 2), 'f4')}"
    plane = open_plane(tmp_path / "b", bundles.DOUBLE, script=named)
    assert plane.answer(SAGEMAKER, b"") == {"y": [[2, 2]]}


def test_an_array_cannot_feed_several_inputs(tmp_path: Path) -> None:
    script = "import numpy\ndef input_fn(data, t): return numpy.ones((1, 2), 'f4')"
    plane = open_plane(tmp_path, bundles.SUM, script=script)
    assert "expected a dict of arrays from input_fn, got ndarray" in plane.refusal(SAGEMAKER, b"")


def test_model_fn_replaces_the_model(tmp_path: Path) -> None:
    called = "def model_fn(model_dir): return lambda data: {'dir': model_dir, 'x': data['x'][0]}"
    plane = open_plane(tmp_path, bundles.DOUBLE, script=called)
    assert plane.answer(SAGEMAKER, {"instances": [[1, 2]]}) == {"dir": str(tmp_path), "x": [1, 2]}


def test_model_fn_may_return_an_object_with_run(tmp_path: Path) -> None:
    script = """
class Model:
    def run(self, data):
        return [float(data["x"].sum())]

def model_fn(model_dir):
    return Model()
"""
    plane = open_plane(tmp_path, bundles.DOUBLE, script=script)
    assert plane.answer(SAGEMAKER, {"instances": [[1, 2]]}) == [3.0]


def test_modules_beside_the_script_can_be_imported(tmp_path: Path) -> None:
    (tmp_path / "beside_the_script.py").write_text("WORD = 'found'")
    script = "from beside_the_script import WORD\ndef predict_fn(data, model): return WORD"
    assert open_plane(tmp_path, bundles.DOUBLE, script=script).answer(
        SAGEMAKER, {"instances": [[1, 2]]}
    ) == "found"  # fmt: skip
    sys.modules.pop("beside_the_script")


@pytest.mark.parametrize(
    ("result", "content_type", "body"),
    [
        ("b'\\x00'", "image/gif", b"\x00"),
        ("bytearray(b'a')", "image/gif", b"a"),
        ("'é'", "image/gif", "é".encode()),
        ("{'a': 1}", "application/json", b'{"a":1}'),
        ("('<a>', 'text/html')", "text/html", b"<a>"),
        ("[1, None]", "application/json", b"[1,null]"),
    ],
)
def test_output_fn_may_return_many_things(
    tmp_path: Path, result: str, content_type: str, body: bytes
) -> None:
    script = f"def output_fn(prediction, accept): return {result}"
    plane = open_plane(tmp_path, bundles.DOUBLE, script=script)
    response = plane.post(SAGEMAKER, {"instances": [[1, 2]]}, {"accept": "image/gif"})
    assert response.headers["content-type"] == content_type
    assert response.body == body


@pytest.mark.parametrize("kind", ["text/plain\\r\\nx-evil: 1", "text/\u20ac", ""])
def test_a_content_type_that_no_header_carries_is_the_models_failure(
    tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    script = f"def output_fn(prediction, accept): return 'x', '{kind}'"
    plane = open_plane(tmp_path, bundles.DOUBLE, script=script)
    plane.refusal(SAGEMAKER, {"instances": [[1, 2]]}, status=500)
    assert "is no content type that a header can carry" in caplog.text


@pytest.mark.parametrize("accept", ["", "*/*"])
def test_a_caller_who_accepts_anything_gets_json(tmp_path: Path, accept: str) -> None:
    script = "def output_fn(prediction, accept): return accept"
    plane = open_plane(tmp_path, bundles.DOUBLE, script=script)
    response = plane.post(SAGEMAKER, {"instances": [[1, 2]]}, {"accept": accept})
    assert response.body == b"application/json"


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("float('nan')", "Out of range float values"),
        ("[numpy.float32('inf'), {'a': numpy.array([[numpy.nan]])}]", "Out of range float values"),
        ("object()", "object has no JSON form"),
        ("b'\\xff'", "utf-8"),
    ],
)
def test_a_prediction_without_a_json_form_is_said_so(
    tmp_path: Path, value: str, problem: str
) -> None:
    script = f"import numpy\ndef predict_fn(data, model): return {value}"
    plane = open_plane(tmp_path, bundles.DOUBLE, script=script)
    message = plane.refusal(SAGEMAKER, {"instances": [[1, 2]]})
    assert message.startswith("output 'prediction' cannot be encoded")
    assert problem in message


def test_numpy_values_anywhere_become_json(tmp_path: Path) -> None:
    script = """
import numpy as np
def predict_fn(data, model):
    return {"s": np.float32(0.1), "z": np.array(0.1, "f4"), "t": np.array([["a"]]), "b": b"x",
            "f": np.arange(4, dtype="f4").reshape(2, 2).T, "h": np.float16(0.5),
            "i": np.int8(1), "d": np.datetime64("2026-01-01")}
"""
    plane = open_plane(tmp_path, bundles.DOUBLE, script=script)
    body = plane.post(SAGEMAKER, {"instances": [[1, 2]]}).body
    assert json.loads(body) == {
        "s": 0.1, "z": 0.1, "t": [["a"]], "b": "x", "f": [[0, 2], [1, 3]], "h": 0.5, "i": 1,
        "d": "2026-01-01T00:00:00",
    }  # fmt: skip


def test_what_orjson_refuses_still_becomes_json(tmp_path: Path) -> None:
    script = """
import numpy as np
def predict_fn(data, model):
    return {"e": np.array([1], ">i4"), "s": np.float32(0.5), "big": 2**70, 5: None, "ü": b"x"}
"""
    plane = open_plane(tmp_path, bundles.DOUBLE, script=script)
    assert plane.answer(SAGEMAKER, {"instances": [[1, 2]]}) == {
        "e": [1], "s": 0.5, "big": 2**70, "5": None, "ü": "x",
    }  # fmt: skip


@pytest.mark.parametrize("how", ["raise ValueError('secret')", "import sys; sys.exit('secret')"])
@pytest.mark.parametrize("where", ["input_fn", "predict_fn", "output_fn"])
def test_a_script_that_raises_is_a_model_failure(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, how: str, where: str
) -> None:
    script = f"def {where}(a, b):\n    {how}"
    plane = open_plane(tmp_path, bundles.DOUBLE, script=script)
    with caplog.at_level(logging.ERROR):
        response = plane.post(SAGEMAKER, {"instances": [[1, 2]]})
    assert response.status == 500
    assert response.headers["x-modelport-error"] == "model-failed"
    assert b"id-1" in response.body
    assert b"secret" not in response.body
    assert "secret" in caplog.text


def test_a_script_may_refuse_in_the_products_words(tmp_path: Path) -> None:
    script = """
from modelport.errors import UnsupportedMediaTypeError
def input_fn(data, content_type):
    raise UnsupportedMediaTypeError(content_type, ["image/png"])
"""
    plane = open_plane(tmp_path, bundles.DOUBLE, script=script)
    message = plane.refusal(SAGEMAKER, b"", {"content-type": "image/gif"}, status=415)
    assert message == "content type 'image/gif' is not supported here; allowed: image/png"


def test_a_script_that_is_no_python_file_fails_the_load(tmp_path: Path) -> None:
    (tmp_path / "inference.txt").write_text("")
    with pytest.raises(InvalidBundleError, match="not a Python module"):
        open_plane(tmp_path, bundles.DOUBLE, settings=ModelSettings(script="inference.txt"))


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        ("import not_there", "fails at load with ModuleNotFoundError"),
        ("def f(:", "fails at load with SyntaxError"),
        ("def model_fn(model_dir): 1 / 0", "fails at load with ZeroDivisionError"),
        ("def model_fn(model_dir): return 5", "has no predict_fn"),
        ("predict_fn = 5", "predict_fn is not a function"),
        ("def predict_fn(data): 0", "predict_fn takes 1 arguments; it is called with 2"),
        ("def predict_fn(a, b, c, d): 0", "predict_fn takes 4 arguments; it is called with 2"),
        ("def input_fn(a, b, *, c): 0", "input_fn needs an argument 'c', which nobody gives"),
        ("def transform_fn(m, d, c, a): 0\ndef input_fn(d, c): 0", "transform_fn is there inst"),
    ],
)
def test_a_script_that_cannot_serve_fails_the_load(
    tmp_path: Path, script: str, problem: str
) -> None:
    with pytest.raises(InvalidBundleError, match=problem) as caught:
        open_plane(tmp_path, bundles.DOUBLE, script=script)
    assert caught.value.message.startswith("inference.py")


@pytest.mark.parametrize(
    ("content_type", "kind"),
    [
        ("application/json", "str"),
        ("Text/CSV; charset=utf-8", "str"),
        ("application/octet-stream", "bytes"),
        ("application/x-npy", "bytes"),
        ("text/plain", "bytes"),
    ],
)
def test_json_and_csv_reach_a_script_as_text_like_on_sagemaker(
    tmp_path: Path, content_type: str, kind: str
) -> None:
    script = "def input_fn(data, t): return data\ndef predict_fn(d, m): return type(d).__name__"
    plane = open_plane(tmp_path, bundles.DOUBLE, script=script)
    assert plane.answer(SAGEMAKER, b"1,2", {"content-type": content_type}) == kind


def test_a_body_of_no_said_type_reaches_a_script_as_bytes(tmp_path: Path) -> None:
    script = (
        "def input_fn(data, t): return [type(data).__name__, t]\ndef predict_fn(d, m): return d"
    )
    plane = open_plane(tmp_path, bundles.DOUBLE, script=script)
    response = plane.plane.handle(Request("POST", SAGEMAKER, {}, b"\x89PNG", "id-1"))
    assert json.loads(response.body) == ["bytes", "application/json"]


def test_text_that_is_none_is_the_callers_fault(tmp_path: Path) -> None:
    script = "def input_fn(data, t): return data\ndef predict_fn(d, m): return d"
    plane = open_plane(tmp_path, bundles.DOUBLE, script=script)
    assert "not UTF-8 at offset 1" in plane.refusal(SAGEMAKER, b'"\xff"')


CONTEXT = """
SEEN = []

def model_fn(model_dir, context):
    SEEN.append([model_dir == context.system_properties["model_dir"], context.model_name])
    return object()

def input_fn(data, content_type, context):
    context.set_response_header(0, "X-Amzn-SageMaker-Custom-Attributes", "seen=1")
    return context.get_request_header(0, "Content-Type")

def predict_fn(data, model, context=None):
    properties = context.system_properties
    return [data, context.get_all_request_header(0)["X-Amzn-SageMaker-Custom-Attributes"],
            properties["gpu_id"], properties["server_name"]]

def output_fn(prediction, accept, *, context):
    context.set_response_header(0, "x-modelport-script-cost", "3")
    return [*SEEN, prediction, context.custom_attributes, context.request_id, context.model,
            context.version, context.digest[:7], context.get_request_id()]
"""


def test_every_function_may_take_a_context(tmp_path: Path) -> None:
    plane = open_plane(tmp_path, bundles.DOUBLE, script=CONTEXT)
    response = plane.post(SAGEMAKER, b"", {CUSTOM_ATTRIBUTES: "asked=1"})
    assert json.loads(response.body) == [
        [True, "demo"],
        ["application/json", "asked=1", None, "modelport"],
        "asked=1", "id-1", "demo", 3, "sha256:", "id-1",
    ]  # fmt: skip
    assert response.headers[CUSTOM_ATTRIBUTES] == "seen=1"
    assert response.headers["x-modelport-script-cost"] == "3"


def test_headers_of_one_request_are_not_those_of_the_next(tmp_path: Path) -> None:
    script = """
def predict_fn(data, model, context):
    if context.custom_attributes:
        context.set_response_header(0, "X-Amzn-SageMaker-Custom-Attributes", "mine")
        context.set_response_status(202, "Accepted")
    return [context.get_response_status(0), dict(context.get_response_headers(0)),
            context.get_request_header(0, "not-there")]
"""
    plane = open_plane(tmp_path, bundles.DOUBLE, script=script)
    body = {"instances": [[1, 2]]}
    first = plane.post(SAGEMAKER, body, {CUSTOM_ATTRIBUTES: "a"})
    assert (first.status, first.headers[CUSTOM_ATTRIBUTES]) == (202, "mine")
    assert json.loads(first.body) == [[202, ""], {CUSTOM_ATTRIBUTES: "mine"}, None]
    second = plane.post(SAGEMAKER, body)
    assert (second.status, CUSTOM_ATTRIBUTES in second.headers) == (200, False)


@pytest.mark.parametrize(
    ("function", "given"),
    [
        ("predict_fn(data, model, threshold=0.5)", 0.5),
        ("predict_fn(data, model, threshold=0.5, *, context=None)", 0.5),
        ("predict_fn(data, model, *rest, threshold=0.5)", 0.5),
        ("predict_fn(data, model, /, context, threshold=0.5)", 0.5),
    ],
)
def test_a_parameter_with_a_default_stays_the_scripts_own(
    tmp_path: Path, function: str, given: float
) -> None:
    plane = open_plane(tmp_path, bundles.DOUBLE, script=f"def {function}: return threshold")
    assert plane.answer(SAGEMAKER, {"instances": [[1, 2]]}) == given


def test_a_callable_without_a_signature_gets_no_context(tmp_path: Path) -> None:
    plane = open_plane(
        tmp_path, bundles.DOUBLE, script="input_fn = max\ndef predict_fn(d, m): return d"
    )
    assert plane.answer(SAGEMAKER, b"1") == "application/json"


def test_transform_fn_does_it_all(tmp_path: Path) -> None:
    script = """
def transform_fn(model, data, content_type, accept, context):
    y = model.run({"x": __import__("numpy").ones((1, 2), "f4")})["y"]
    context.set_response_content_type(0, "text/x-done")
    return f"{data} {content_type} {accept} {y.tolist()}", "text/plain"
"""
    plane = open_plane(tmp_path, bundles.DOUBLE, script=script)
    response = plane.post(SAGEMAKER, b"1", {"content-type": "text/csv", "accept": "text/csv"})
    assert response.body == b"1 text/csv text/csv [[2.0, 2.0]]"
    assert response.headers["content-type"] == "text/x-done"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("set-cookie", "a=b"),
        ("x-modelport-digest", "sha256:0"),
        ("content-length", "1"),
        ("transfer-encoding", "chunked"),
        ("x-accel-redirect", "/etc"),
        ("x-modelport-script-", "1"),
        ("x-modelport-script-a b", "1"),
        ("cache-control", "a\\r\\nx-evil: 1"),
        ("cache-control", "\u20ac"),
        ("cache-control", ""),
        ("X-Amzn-SageMaker-Custom-Attributes", "a" * 1025),
    ],
)
def test_a_header_that_is_not_a_scripts_to_set_is_its_failure(
    tmp_path: Path, name: str, value: str, caplog: pytest.LogCaptureFixture
) -> None:
    script = f"def predict_fn(d, m, context): context.set_response_header(0, '{name}', '{value}')"
    plane = open_plane(tmp_path, bundles.DOUBLE, script=script)
    response = plane.post(SAGEMAKER, {"instances": [[1, 2]]})
    assert response.status == 500
    assert name.lower() not in response.headers.keys() - {"x-modelport-digest"}
    assert "ValueError" in caplog.text


@pytest.mark.parametrize("status", ["99", "700", "True", "'200'"])
def test_a_status_that_no_answer_has_is_the_scripts_failure(tmp_path: Path, status: str) -> None:
    script = f"def predict_fn(d, m, context): context.set_response_status({status})"
    plane = open_plane(tmp_path, bundles.DOUBLE, script=script)
    plane.refusal(SAGEMAKER, {"instances": [[1, 2]]}, status=500)

"""Golden requests as the registrar sends them: every protocol answers and agrees."""

from __future__ import annotations

from pathlib import Path

import pytest
from modelport.envelope import Request
from modelport.goldens import Golden, Tensor

from tests.support import runtime_bundles as bundles
from tests.support.runtime_planes import SAGEMAKER, V1, V2, Plane, open_plane

PATHS = {"v1": V1, "v2": V2, "sagemaker": SAGEMAKER}


def problems(plane: Plane, golden: Golden) -> dict[str, str | None]:
    found = {}
    for request in golden.requests():
        sent = Request("POST", PATHS[request.protocol], request.headers, request.body)
        found[request.protocol] = golden.check(request.protocol, plane.plane.handle(sent).body)
    return found


FLOATS = Golden(
    "floats",
    inputs=(Tensor("x", "FP32", (1, 2), (0.1, 2.0)),),
    outputs=(Tensor("y", "FP32", (1, 2), (0.2, 4.0)),),
)
WHOLE = Golden(
    "whole",
    inputs=(Tensor("n", "INT64", (1, 3), (2**61, 0, -1)),),
    outputs=(Tensor("twice", "INT64", (1, 3), (2**62, 0, -2)),),
)
SCALAR = Golden(
    "scalar",
    inputs=(Tensor("x", "FP32", (1, 2), (1.0, 2.0)), Tensor("factor", "FP32", (), (3.0,))),
    outputs=(Tensor("y", "FP32", (1, 2), (3.0, 6.0)),),
)
COLONS = Golden(
    "colons",
    inputs=(Tensor("a:0", "FP32", (1, 2), (1.0, 2.0)), Tensor("b:0", "FP32", (1, 2), (3.0, 4.0))),
    outputs=(
        Tensor("sum:0", "FP32", (1, 2), (4.0, 6.0)),
        Tensor("diff:0", "FP32", (1, 2), (-2.0, -2.0)),
    ),
)
TEXT = Golden(
    "text",
    inputs=(Tensor("text", "BYTES", (2,), ("é", "")),),
    outputs=(
        Tensor("same", "BYTES", (2,), ("é", "")),
        Tensor("raw_bytes", "BYTES", (2,), ("é", "")),
    ),
)


@pytest.mark.parametrize(
    ("body", "golden"),
    [
        (bundles.DOUBLE, FLOATS),
        (bundles.COUNT, WHOLE),
        (bundles.SCALE, SCALAR),
        (bundles.SUM, COLONS),
    ],
    ids=lambda value: value.name if isinstance(value, Golden) else "",
)
def test_tensor_goldens_agree_in_every_protocol(
    tmp_path: Path, body: bytes, golden: Golden
) -> None:
    found = problems(open_plane(tmp_path, body), golden)
    assert found == {"v1": None, "v2": None}


def test_text_goldens_agree(tmp_path: Path) -> None:
    assert problems(open_plane(tmp_path, bundles.TEXT), TEXT) == {"v1": None, "v2": None}


def test_a_golden_that_is_wrong_is_noticed_in_every_protocol(tmp_path: Path) -> None:
    wrong = Golden("wrong", FLOATS.inputs, (Tensor("y", "FP32", (1, 2), (0.2, 4.1)),))
    found = problems(open_plane(tmp_path, bundles.DOUBLE), wrong)
    assert all("4.1" in str(problem) for problem in found.values())


def test_infinities_agree_where_they_can_be_carried(tmp_path: Path) -> None:
    golden = Golden(
        "log",
        inputs=(Tensor("x", "FP32", (2,), (0.0, -1.0)),),
        outputs=(Tensor("log", "FP32", (2,), (float("-inf"), float("nan"))),),
    )
    assert problems(open_plane(tmp_path, bundles.LOG), golden) == {"v1": None}


def test_a_raw_golden_reaches_the_script(tmp_path: Path) -> None:
    script = "def input_fn(data, t): return 0\n"
    script += "def predict_fn(data, model): return {'label': 'png', 'score': 0.5}\n"
    golden = Golden(
        "raw", content_type="image/png", body=b"\x89", answer={"label": "png", "score": 0.50001}
    )
    assert problems(open_plane(tmp_path, bundles.DOUBLE, script=script), golden) == {
        "sagemaker": None
    }

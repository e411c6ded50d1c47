"""``server-timing``: how long the model alone ran for an answer, and whether its process is new."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from modelport.envelope import Request

from tests.support import runtime_bundles as bundles
from tests.support.runtime_planes import SAGEMAKER, V1, V2, open_plane, v2_tensor

HEADER = "server-timing"
WARM = re.compile(r"model;dur=[0-9]+\.[0-9]{3}")
COLD = re.compile(WARM.pattern + ", cold")
ROWS = {"instances": [[1, 2]]}


@pytest.mark.parametrize(
    ("path", "document"),
    [
        (V1, ROWS),
        (V2, {"inputs": [v2_tensor("x", [1, 2], [1, 2])]}),
        (SAGEMAKER, ROWS),
    ],
)
def test_an_answer_says_how_long_the_model_ran_and_the_first_that_it_was_cold(
    tmp_path: Path, path: str, document: object
) -> None:
    plane = open_plane(tmp_path, bundles.DOUBLE)
    first, second = (plane.post(path, document).headers[HEADER] for _ in range(2))
    assert COLD.fullmatch(first)
    assert WARM.fullmatch(second)


def test_what_never_reached_the_model_took_none_of_its_time(tmp_path: Path) -> None:
    plane = open_plane(tmp_path, bundles.DOUBLE)
    assert plane.post(V1, b"no JSON").headers[HEADER] == "cold"
    refused = plane.post(V1, b"no JSON")
    assert (refused.status, HEADER in refused.headers) == (400, False)


def test_questions_about_the_model_take_none_and_leave_it_cold(tmp_path: Path) -> None:
    plane = open_plane(tmp_path, bundles.DOUBLE)
    assert HEADER not in plane.plane.handle(Request("GET", "/v2/models/demo")).headers
    assert COLD.fullmatch(plane.post(V1, ROWS).headers[HEADER])

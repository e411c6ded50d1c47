"""A data plane in process, over a real onnxruntime session, and short ways to call it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelport.envelope import Request, Response
from modelport.manifest import ModelSettings

from functions.runtime.data_plane import DataPlane
from functions.runtime.loading import load
from tests.support.runtime_bundles import write_bundle

V1 = "/v1/models/demo/versions/3:predict"
V2 = "/v2/models/demo/versions/3/infer"
SAGEMAKER = "/invocations"


@dataclass(frozen=True)
class Plane:
    """A loaded version; `post` sends JSON unless told otherwise."""

    plane: DataPlane

    def post(self, path: str, document: Any, headers: dict[str, str] | None = None) -> Response:
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        sent = {"content-type": "application/json"} | (headers or {})
        return self.plane.handle(Request("POST", path, sent, body, "id-1"))

    def answer(self, path: str, document: Any, headers: dict[str, str] | None = None) -> Any:
        """The JSON of a successful answer."""
        response = self.post(path, document, headers)
        assert response.status == 200, response.body
        return json.loads(response.body)

    def refusal(
        self, path: str, document: Any, headers: dict[str, str] | None = None, status: int = 400
    ) -> str:
        """The message of a refused request."""
        response = self.post(path, document, headers)
        assert response.status == status, response.body
        return str(json.loads(response.body)["error"])


OpenPlane = Callable[..., Plane]


def open_plane(
    folder: Path, body: bytes, *, script: str | None = None, settings: ModelSettings | None = None
) -> Plane:
    """Write a bundle of ``body`` and load it."""
    return Plane(load(write_bundle(folder, body, script=script, settings=settings)))


def v2_tensor(name: str, data: Any, shape: list[Any], datatype: str = "FP32") -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape, "data": data}

"""A model function as tutorials write it, for awslambdaric: what a plain way costs.

Beside V1's JSON it takes one tensor as bytes, so that it can be asked what the others are.
"""

import base64
import json
import os
from typing import Any

import numpy as np
import onnxruntime as ort

options = ort.SessionOptions()
options.intra_op_num_threads = 1
session = ort.InferenceSession(os.environ["MODEL"], options)
feed = session.get_inputs()[0]


def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    if event["base64"]:
        body = base64.b64decode(event["body"])
        start = int(event["headers"]["inference-header-content-length"])
        shape = json.loads(body[:start])["inputs"][0]["shape"]
        x = np.frombuffer(body, np.float32, offset=start).reshape(shape)
        raw = session.run(None, {feed.name: x})[0].tobytes()
        return {"status": 200, "body": base64.b64encode(raw).decode(), "base64": True}
    kind = np.int32 if feed.type == "tensor(int32)" else np.float32
    x = np.array(json.loads(event["body"])["instances"], dtype=kind)
    predictions = session.run(None, {feed.name: x})[0].tolist()
    return {"status": 200, "body": json.dumps({"predictions": predictions}), "base64": False}

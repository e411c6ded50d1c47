"""A model behind FastAPI: pydantic models of the request and the answer, served by uvicorn."""

import os
from typing import Any

import numpy as np
import onnxruntime
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(os.environ["BENCH_MODEL"], options)
app = FastAPI()


class Instances(BaseModel):
    # Nested lists as deep as the model wants them; spelling out the depth is slower.
    instances: list[Any]


class Predictions(BaseModel):
    predictions: list[list[float]]


@app.post("/predict")
async def predict(body: Instances) -> Predictions:
    (output,) = session.run(None, {"x": np.array(body.instances, np.float32)})
    return Predictions(predictions=output.tolist())


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ["BENCH_PORT"]))

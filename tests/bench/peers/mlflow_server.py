"""A model for MLflow's scoring server: saved in a folder, which `mlflow models serve` serves."""

import os
import sys

import mlflow.onnx
import numpy as np
import onnx
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec

model = onnx.load(os.environ["BENCH_MODEL"])
(taken,), (given,) = model.graph.input, model.graph.output


def spec(tensor):
    shape = [dimension.dim_value or -1 for dimension in tensor.type.tensor_type.shape.dim]
    return Schema([TensorSpec(np.dtype(np.float32), shape, tensor.name)])


mlflow.onnx.save_model(
    model,
    sys.argv[1],
    signature=ModelSignature(spec(taken), spec(given)),
    onnx_session_options={"intra_op_num_threads": 1, "inter_op_num_threads": 1},
    pip_requirements=["onnxruntime"],
)

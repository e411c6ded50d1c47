"""A model behind Flask: the view function of its quickstarts, served by gunicorn."""

import os

import numpy as np
import onnxruntime
from flask import Flask, jsonify, request

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(os.environ["BENCH_MODEL"], options)
app = Flask(__name__)


@app.post("/predict")
def predict():
    instances = np.array(request.get_json()["instances"], np.float32)
    (output,) = session.run(None, {"x": instances})
    return jsonify(predictions=output.tolist())

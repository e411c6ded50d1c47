"""A model behind BentoML: a service of numpy arrays, served by `bentoml serve`."""

import os

import bentoml
import numpy as np
import onnxruntime


@bentoml.service(workers=1)
class Classifier:
    def __init__(self):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(os.environ["BENCH_MODEL"], options)

    @bentoml.api
    def predict(self, instances: np.ndarray) -> np.ndarray:
        return self.session.run(None, {"x": instances.astype(np.float32)})[0]

"""A model behind KServe's Python server: one predictor for V1 and V2."""

import os

import kserve
import kserve.model_server
import numpy as np
import onnxruntime
from kserve.protocol.rest.server import RESTServer
from kserve.utils.utils import get_predict_response


class LoopbackServer(RESTServer):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.config.host = "127.0.0.1"


# KServe listens on every interface and has no setting for it; a benchmark has no business there.
kserve.model_server.RESTServer = LoopbackServer


class Classifier(kserve.Model):
    def __init__(self, name):
        super().__init__(name)
        self.load()

    def load(self):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(os.environ["BENCH_MODEL"], options)
        self.ready = True
        return self.ready

    async def predict(self, payload, headers=None, response_headers=None):
        if isinstance(payload, kserve.InferRequest):
            instances = payload.inputs[0].as_numpy()
        else:
            instances = np.array(payload["instances"], np.float32)
        (output,) = self.session.run(None, {"x": instances})
        return get_predict_response(payload, output, self.name)


if __name__ == "__main__":
    server = kserve.ModelServer(
        http_port=int(os.environ["BENCH_PORT"]), workers=1, enable_grpc=False
    )
    server.start([Classifier("demo")])

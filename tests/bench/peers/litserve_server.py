"""A model behind LitServe: a LitAPI with one worker on the CPU."""

import os

import litserve
import numpy as np
import onnxruntime


class Classifier(litserve.LitAPI):
    def setup(self, device):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(os.environ["BENCH_MODEL"], options)

    def decode_request(self, request):
        return np.array(request["instances"], np.float32)

    def predict(self, instances):
        return self.session.run(None, {"x": instances})[0]

    def encode_response(self, output):
        return {"predictions": output.tolist()}


if __name__ == "__main__":
    server = litserve.LitServer(Classifier(), accelerator="cpu", workers_per_device=1)
    server.run(
        host="127.0.0.1",
        port=int(os.environ["BENCH_PORT"]),
        num_api_servers=1,
        generate_client_file=False,
    )

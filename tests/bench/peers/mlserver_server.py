"""A model behind MLServer: a runtime of one's own, without workers beside the server's process."""

import asyncio
import os

import onnxruntime
from mlserver import MLModel, MLServer, ModelSettings, Settings
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Classifier(MLModel):
    async def load(self) -> bool:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(os.environ["BENCH_MODEL"], options)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        instances = self.decode(payload.inputs[0], default_codec=NumpyCodec)
        (output,) = self.session.run(None, {"x": instances})
        return InferenceResponse(
            model_name=self.name, outputs=[NumpyCodec.encode_output("y", output)]
        )


async def main() -> None:
    settings = Settings(
        debug=False,
        parallel_workers=0,
        host="127.0.0.1",
        http_port=int(os.environ["BENCH_PORT"]),
        grpc_port=int(os.environ["BENCH_PORT_2"]),
        metrics_port=int(os.environ["BENCH_PORT_3"]),
    )
    await MLServer(settings).start([ModelSettings(name="demo", implementation=Classifier)])


if __name__ == "__main__":
    asyncio.run(main())

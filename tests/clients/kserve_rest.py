"""KServe's REST client for V1 and V2, through the gateway: prints what it was told, as JSON.

python kserve_rest.py URL
"""

import asyncio
import json
import sys

import httpx
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest
from kserve.inference_client import RESTConfig

ROWS = np.array([[1, 2], [3, 4]], np.float32)


def request(binary, name="scale"):
    tensor = InferInput("x", list(ROWS.shape), "FP32")
    tensor.set_data_from_numpy(ROWS, binary_data=binary)
    return InferRequest(model_name=name, infer_inputs=[tensor])


async def half(client, url):
    """FP16 has no JSON form, so it goes binary, beside others in JSON."""
    values = {
        "f32": ("FP32", np.array([1.5], np.float32)),
        "f16": ("FP16", np.array([0.5, -2], np.float16)),
        "f64": ("FP64", np.array([1e300])),
        "i64": ("INT64", np.array([-(2**63)])),
        "u8": ("UINT8", np.array([255], np.uint8)),
        "flag": ("BOOL", np.array([True])),
        "text": ("BYTES", np.array(["ä"], object)),
    }
    inputs = []
    for name, (datatype, array) in values.items():
        tensor = InferInput(name, list(array.shape), datatype)
        tensor.set_data_from_numpy(array, binary_data=True)
        inputs.append(tensor)
    asked = InferRequest(
        model_name="echo", infer_inputs=inputs, parameters={"binary_data_output": True}
    )
    answer = await client.infer(url, asked, model_name="echo")
    (got,) = [output for output in answer.outputs if output.name == "f16_out"]
    return got.as_numpy().astype(float).tolist()


async def refused(call):
    try:
        await call
    except httpx.HTTPStatusError as error:
        return [error.response.status_code, str(error)]
    return None


async def v2(url):
    async with InferenceRESTClient(RESTConfig(protocol="v2", retries=0)) as client:
        answers = [await client.infer(url, request(b), model_name="scale") for b in (True, False)]
        return {
            "live": await client.is_server_live(url),
            "ready": await client.is_server_ready(url),
            "model_ready": await client.is_model_ready(url, "scale"),
            "answers": [answer.outputs[0].as_numpy().tolist() for answer in answers],
            "names": [answer.model_name for answer in answers],
            "half": await half(client, url),
            "absent": await refused(
                client.infer(url, request(True, "absent"), model_name="absent")
            ),
        }


async def v1(url):
    async with InferenceRESTClient(RESTConfig(protocol="v1", retries=0)) as client:
        rows = {"instances": ROWS.tolist()}
        return {
            "live": await client.is_server_live(url),
            "model_ready": await client.is_model_ready(url, "scale"),
            "answer": await client.infer(url, rows, model_name="scale"),
            "explain": await refused(client.explain(url, "scale", rows)),
            "absent": await refused(client.infer(url, rows, model_name="absent")),
        }


async def main(url):
    return {"v1": await v1(url), "v2": await v2(url)}


print(json.dumps(asyncio.run(main(sys.argv[1]))))

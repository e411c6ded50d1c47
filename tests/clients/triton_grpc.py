"""Triton's gRPC client, sync and aio, against a server: prints what it was told, as JSON.

python triton_grpc.py HOST:PORT
"""

import asyncio
import json
import sys

import numpy as np
import tritonclient.grpc as grpc
import tritonclient.grpc.aio as aio

SMALL = np.array([[1, 2]], np.float32)
LARGE = np.arange(400_000, dtype=np.float32).reshape(-1, 2)


def inputs(module, rows):
    tensor = module.InferInput("x", list(rows.shape), "FP32")
    tensor.set_data_from_numpy(rows)
    return [tensor]


def refused(call, *arguments):
    try:
        call(*arguments)
    except grpc.InferenceServerException as error:
        return [error.status(), error.message()]
    return None


def sync(url):
    client = grpc.InferenceServerClient(url)
    result = client.infer("demo", inputs(grpc, SMALL), request_id="r-1")
    pinned = client.infer("demo", inputs(grpc, SMALL), model_version="3", client_timeout=20)
    large = client.infer("demo", inputs(grpc, LARGE))
    metadata = client.get_model_metadata("demo")
    told = {
        "live": client.is_server_live(),
        "ready": client.is_server_ready(),
        "model_ready": client.is_model_ready("demo"),
        "server": client.get_server_metadata().name,
        "model": [metadata.name, list(metadata.versions), metadata.inputs[0].datatype],
        "shape": list(metadata.inputs[0].shape),
        "id": result.get_response().id,
        "answer": result.as_numpy("y").tolist(),
        "pinned": pinned.as_numpy("y").tolist(),
        "gzip": client.infer("demo", inputs(grpc, SMALL), compression_algorithm="gzip")
        .as_numpy("y")
        .tolist(),
        "large": bool((large.as_numpy("y") == 2 * LARGE).all()),
        "index": [model.name for model in client.get_model_repository_index().models],
        "wrong_name": refused(client.infer, "other", inputs(grpc, SMALL)),
        "wrong_version": refused(client.get_model_metadata, "demo", "4"),
        "wrong_shape": refused(client.infer, "demo", inputs(grpc, np.zeros((1, 3), np.float32))),
        "load": refused(client.load_model, "demo"),
        "statistics": refused(client.get_inference_statistics),
    }
    client.close()
    return told


async def many(url):
    async with aio.InferenceServerClient(url) as client:
        rows = [np.full((1, 2), number, np.float32) for number in range(64)]
        results = await asyncio.gather(*(client.infer("demo", inputs(aio, row)) for row in rows))
        return [result.as_numpy("y").tolist() for result in results]


print(json.dumps({"sync": sync(sys.argv[1]), "aio": asyncio.run(many(sys.argv[1]))}))

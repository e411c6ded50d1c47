"""Triton's HTTP client, sync and aio, through the gateway: prints what it was told, as JSON.

python triton_http.py URL        URL without its scheme, as this client wants it
"""

import asyncio
import json
import sys

import ml_dtypes
import numpy as np
import tritonclient.http as http
import tritonclient.http.aio as aio

VALUES = {
    "f32": ("FP32", np.array([1.5, -0.0, np.inf, np.nan], np.float32)),
    "f16": ("FP16", np.array([0.5, 65504], np.float16)),
    "f64": ("FP64", np.array([1e300], np.float64)),
    "i64": ("INT64", np.array([2**63 - 1, -(2**63)], np.int64)),
    "u8": ("UINT8", np.arange(256, dtype=np.uint8)),
    "flag": ("BOOL", np.array([True, False])),
    "text": ("BYTES", np.array(["ä", "", "b" * 300], object)),
}
BINARY_ONLY = ("f16",)


def inputs(module, binary, changes=()):
    made = []
    for name, (datatype, array) in {**VALUES, **dict(changes)}.items():
        tensor = module.InferInput(name, list(array.shape), datatype)
        tensor.set_data_from_numpy(array, binary_data=binary or name in BINARY_ONLY)
        made.append(tensor)
    return made


def outputs(module, binary):
    return [
        module.InferRequestedOutput(f"{name}_out", binary_data=binary or name in BINARY_ONLY)
        for name in VALUES
    ]


def same(result, changes=()):
    """The names of the outputs that did not come back as they were sent."""
    wrong = []
    for name, (datatype, sent) in {**VALUES, **dict(changes)}.items():
        got = result.as_numpy(f"{name}_out")
        if datatype == "BYTES":
            got = np.array([t.decode() if isinstance(t, bytes) else t for t in got], object)
            equal = got.tolist() == sent.tolist()
        else:
            equal = got.dtype == sent.dtype and np.array_equal(
                got, sent, equal_nan=sent.dtype.kind == "f"
            )
        if not equal:
            wrong.append(name)
    return wrong


def refused(call, *arguments, **named):
    try:
        call(*arguments, **named)
    except http.InferenceServerException as error:
        return [error.status(), error.message()]
    return None


#: JSON has no NaN; a client in plain JSON must not ask for one back.
FINITE = {"f32": ("FP32", np.array([1.5, -0.0], np.float32))}
EMPTY = {name: (kind, array[:0]) for name, (kind, array) in VALUES.items()}


def brain(module):
    tensor = module.InferInput("bf16", [3], "BF16")
    return [tensor.set_data_from_numpy(np.array([1.5, -2, 3e38], ml_dtypes.bfloat16))]


def sync(url):
    client = http.InferenceServerClient(url)
    infer = client.infer
    told = {
        "binary": same(infer("echo", inputs(http, True), outputs=outputs(http, True))),
        "nothing_said": same(infer("echo", inputs(http, True), request_id="r-1")),
        "json": same(
            infer("echo", inputs(http, False, FINITE), outputs=outputs(http, False)), FINITE
        ),
        "json_in": same(infer("echo", inputs(http, False))),
        "json_out": same(
            infer("echo", inputs(http, True, FINITE), outputs=outputs(http, False)), FINITE
        ),
        "empty": same(infer("echo", inputs(http, True, EMPTY)), EMPTY),
        "id": infer("echo", inputs(http, True), request_id="r-1").get_response()["id"],
        "bf16": infer("brain", brain(http)).as_numpy("bf16_out").astype(np.float32).tolist(),
        "live": client.is_server_live(),
        "ready": client.is_server_ready(),
        "model_ready": client.is_model_ready("echo", "1"),
        "not_ready": client.is_model_ready("absent"),
        "extensions": client.get_server_metadata()["extensions"],
        "metadata": client.get_model_metadata("scale"),
        "index": sorted(model["name"] for model in client.get_model_repository_index()),
        "statistics": client.get_inference_statistics("echo")["model_stats"][0]["name"],
        "all_statistics": [m["name"] for m in client.get_inference_statistics()["model_stats"]],
        "classes": infer(
            "scale", row(http), outputs=[http.InferRequestedOutput("y", class_count=1)]
        )
        .as_numpy("y")
        .tolist()[0][0]
        .decode(),
        "load": refused(client.load_model, "echo"),
        "unload": refused(client.unload_model, "echo"),
        "absent": refused(infer, "absent", row(http)),
        "wrong": refused(infer, "scale", row(http, columns=3)),
    }
    for coding in ("gzip", "deflate"):
        told[coding] = same(
            infer(
                "echo",
                inputs(http, True),
                outputs=outputs(http, True),
                request_compression_algorithm=coding,
                response_compression_algorithm=coding,
            )
        )
    client.close()
    return told


def row(module, columns=2):
    tensor = module.InferInput("x", [1, columns], "FP32")
    return [tensor.set_data_from_numpy(np.arange(1, columns + 1, dtype=np.float32)[None])]


async def asynchronous(url):
    async with aio.InferenceServerClient(url) as client:
        several = await asyncio.gather(
            *(client.infer("echo", inputs(aio, True)) for _ in range(8)),
            client.infer("echo", inputs(aio, False)),
            client.infer(
                "echo",
                inputs(aio, True),
                request_compression_algorithm="gzip",
                response_compression_algorithm="deflate",
            ),
        )
        return {
            "answers": [same(result) for result in several],
            "bf16": (await client.infer("brain", brain(aio)))
            .as_numpy("bf16_out")
            .astype(np.float32)
            .tolist(),
            "live": await client.is_server_live(),
        }


print(json.dumps({"sync": sync(sys.argv[1]), "aio": asyncio.run(asynchronous(sys.argv[1]))}))

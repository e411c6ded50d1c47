"""What a model says about itself over the wire: status and metadata as JSON-able dicts.

Pure shapes, shared by the router (which answers from the manifest without waking a model) and by
the runtime (which answers when it is called directly), so that both say the same. It must not do
I/O, know HTTP, or import anything heavier than the standard library.

V1 follows TensorFlow Serving's proto-JSON (int64 values are strings, default fields are printed)
together with KServe's `name`/`ready`; V2 follows the Open Inference Protocol.
"""

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from modelport.errors import MalformedRequestError

if TYPE_CHECKING:
    from modelport.signature import Signature, TensorSpec

JsonObject = dict[str, Any]

__all__ = [
    "alive",
    "v1_list",
    "v1_metadata",
    "v1_status",
    "v2_live",
    "v2_metadata",
    "v2_model_ready",
    "v2_ready_only",
    "v2_repository_entry",
    "v2_server_metadata",
    "v2_server_ready",
    "v2_statistics",
]

SERVER_NAME = "modelport"
V2_EXTENSIONS = (
    "binary_tensor_data",
    "classification",
    "model_repository",
    "statistics",
)
V2_PLATFORM = "onnx_onnxv1"

#: What V2's statistics measure, in Triton's order.
STATISTICS = (
    "success",
    "fail",
    "queue",
    "compute_input",
    "compute_infer",
    "compute_output",
    "cache_hit",
    "cache_miss",
)

_TFS_DTYPES = {
    "BOOL": "DT_BOOL",
    "UINT8": "DT_UINT8",
    "UINT16": "DT_UINT16",
    "UINT32": "DT_UINT32",
    "UINT64": "DT_UINT64",
    "INT8": "DT_INT8",
    "INT16": "DT_INT16",
    "INT32": "DT_INT32",
    "INT64": "DT_INT64",
    "FP16": "DT_HALF",
    "FP32": "DT_FLOAT",
    "FP64": "DT_DOUBLE",
    "BF16": "DT_BFLOAT16",
    "BYTES": "DT_STRING",
}


def alive() -> JsonObject:
    """`GET /`: what KServe's V1 client asks before anything else."""
    return {"status": "alive"}


def v1_list(models: Iterable[str]) -> JsonObject:
    """`GET /v1/models`: KServe's list (TensorFlow Serving only answers an error here)."""
    return {"models": list(models)}


def v1_status(model: str, versions: Iterable[int]) -> JsonObject:
    """`GET /v1/models/M`: TensorFlow Serving's version status and KServe's readiness in one object.

    >>> v1_status("magika", [3])["model_version_status"][0]["version"]
    '3'
    """
    states = [_available(version) for version in sorted(versions, reverse=True)]
    return {"name": model, "ready": bool(states), "model_version_status": states}


def v1_metadata(model: str, version: int, signature: "Signature") -> JsonObject:
    """`GET /v1/models/M/metadata`; the doubled `signature_def` is what TensorFlow Serving sends."""
    definition = {
        "inputs": {spec.name: _tensor_info(spec) for spec in signature.inputs},
        "outputs": {spec.name: _tensor_info(spec) for spec in signature.outputs},
        "method_name": "tensorflow/serving/predict",
    }
    return {
        "model_spec": {"name": model, "signature_name": "", "version": str(version)},
        "metadata": {"signature_def": {"signature_def": {"serving_default": definition}}},
    }


def v2_metadata(model: str, versions: Iterable[int], signature: "Signature") -> JsonObject:
    """`GET /v2/models/M`: the versions that answer, and what each tensor looks like."""
    return {
        "name": model,
        "versions": [str(version) for version in sorted(versions)],
        "platform": V2_PLATFORM,
        "inputs": [_v2_tensor(spec) for spec in signature.inputs],
        "outputs": [_v2_tensor(spec) for spec in signature.outputs],
    }


def v2_server_metadata() -> JsonObject:
    """`GET /v2`: who answers, and which protocol extensions it speaks."""
    return {"name": SERVER_NAME, "version": "2", "extensions": list(V2_EXTENSIONS)}


def v2_live() -> JsonObject:
    """`GET /v2/health/live`."""
    return {"live": True}


def v2_server_ready() -> JsonObject:
    """`GET /v2/health/ready`; `live` too, because the specification's text prints that key here."""
    return {"ready": True, "live": True}


def v2_model_ready(model: str) -> JsonObject:
    """`GET /v2/models/M/ready`."""
    return {"name": model, "ready": True}


def v2_repository_entry(model: str, version: int, reason: str = "") -> JsonObject:
    """One element of `POST /v2/repository/index`: a version that answers, or why it does not."""
    state = "UNAVAILABLE" if reason else "READY"
    return {"name": model, "version": str(version), "state": state, "reason": reason}


def v2_ready_only(body: bytes) -> bool:
    """Whether the body of `POST /v2/repository/index` asks for versions that answer, and no others.

    Raises `MalformedRequestError` for a body that is not ``{"ready": bool}``, ``{}`` or nothing.
    """
    if not body.strip():
        return False
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise MalformedRequestError("the body is not JSON: send {} or nothing") from None
    if not isinstance(document, dict):
        raise MalformedRequestError('the body is not an object: send {"ready": true} or nothing')
    ready = document.get("ready", False)
    if not isinstance(ready, bool):
        raise MalformedRequestError("'ready' is true or false")
    return ready


def v2_statistics(
    model: str,
    version: int,
    *,
    last_ms: int,
    inferences: int,
    executions: int,
    durations: Mapping[str, tuple[int, int]],
) -> JsonObject:
    """One element of ``model_stats``; what was not measured counts 0.

    ``last_ms`` is the time of the last inference in milliseconds since 1970, 0 for never;
    ``inferences`` counts batch elements, ``executions`` runs of the model; ``durations`` has
    ``(count, nanoseconds)`` by the names of `STATISTICS`.
    """
    measured = {name: durations.get(name, (0, 0)) for name in STATISTICS}
    return {
        "name": model,
        "version": str(version),
        "last_inference": last_ms,
        "inference_count": inferences,
        "execution_count": executions,
        "inference_stats": {
            name: {"count": count, "ns": ns} for name, (count, ns) in measured.items()
        },
        "batch_stats": [],
        "memory_usage": [],
    }


def _available(version: int) -> JsonObject:
    return {
        "version": str(version),
        "state": "AVAILABLE",
        "status": {"error_code": "OK", "error_message": ""},
    }


def _tensor_info(spec: "TensorSpec") -> JsonObject:
    return {
        "dtype": _TFS_DTYPES.get(spec.datatype, "DT_INVALID"),
        "name": f"{spec.name}:0",
        "tensor_shape": {
            "dim": [{"size": str(size), "name": ""} for size in spec.shape],
            "unknown_rank": False,
        },
    }


def _v2_tensor(spec: "TensorSpec") -> JsonObject:
    return {"name": spec.name, "datatype": spec.datatype, "shape": list(spec.shape)}

"""How an error reads on the wire: its status, and its words and shape in the caller's protocol.

The one home of both, for the router and for the model functions, so that a caller cannot tell by
the words which of them answered. Every protocol takes ``{"error": text}``; where SageMaker and
MLflow share a path, MLflow's two keys stand beside it. V1's texts are TensorFlow Serving's, because
its clients match on them. It must not repeat what a caller may not see: messages that name buckets,
keys or roles stay in the log.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from modelport import errors as e
from modelport.envelope import Request, Response
from modelport.grammar import Call, allowed_methods

#: The nearest class of an error's own ancestry that stands here decides.
STATUSES: Mapping[type[e.ModelportError], int] = {
    e.ModelportError: 500,
    e.InvalidInputError: 400,
    e.InvalidNameError: 400,
    e.InvalidRefError: 400,
    e.InvalidBundleError: 400,
    e.InvalidOnnxError: 400,
    e.InvalidWeightsError: 400,
    e.InvalidSettingError: 500,  # a setting is the operator's; no caller can mend it
    e.MalformedRequestError: 400,
    e.TensorError: 400,
    e.UnsupportedMediaTypeError: 415,
    e.PayloadTooLargeError: 413,
    e.AnswerTooLargeError: 413,
    e.NotEncodableError: 400,
    e.NotSupportedError: 501,
    e.NotFoundError: 404,
    e.ModelNotFoundError: 404,
    e.VersionNotFoundError: 404,
    e.AliasNotFoundError: 404,
    e.BlobNotFoundError: 500,  # a hole in the registry, not in the request
    e.NoVersionDeployedError: 404,
    e.RouteNotFoundError: 404,
    e.ConflictError: 409,
    e.NotDeployedError: 409,
    e.VersionInUseError: 409,
    e.NothingToRollBackError: 409,
    e.ConcurrentChangeError: 409,
    e.IntegrityError: 500,
    e.BackendError: 502,
    e.ModelFailedError: 500,
    e.ModelTimeoutError: 504,
    e.ThrottledError: 429,
    e.BackendGoneError: 503,
    e.RegistryUnavailableError: 503,
    e.GoldenMismatchError: 500,
}

#: MLflow's own names, by status; its table has one for each of these and none for the others.
_MLFLOW_CODES = {
    400: "BAD_REQUEST",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "RESOURCE_DOES_NOT_EXIST",
    409: "RESOURCE_CONFLICT",
    429: "REQUEST_LIMIT_EXCEEDED",
    500: "INTERNAL_ERROR",
    501: "NOT_IMPLEMENTED",
    503: "TEMPORARILY_UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
#: The protocols that answer on SageMaker's and MLflow's paths.
_MLFLOW_SHAPED = frozenset({"sagemaker", "mlflow"})
#: Characters of a message that are sent; some repeat names and keys as the caller sent them, and an
#: answer must not be as large as the body it refuses.
LONGEST = 2000
#: Their messages name buckets, keys and roles: for the log, not for callers.
_INTERNAL = (e.IntegrityError, e.InvalidSettingError, e.BlobNotFoundError)


def status_of(error: e.ModelportError) -> int:
    """The HTTP status of the nearest class in the table."""
    return next(STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES)


def error_body(protocol: str, status: int, message: str) -> dict[str, str]:
    """The JSON object of an error in a protocol of `modelport.grammar`; "" is no known one.

    >>> error_body("sagemaker", 404, "no such model")["error_code"]
    'RESOURCE_DOES_NOT_EXIST'
    """
    if protocol not in _MLFLOW_SHAPED:
        return {"error": message}
    fallback = "BAD_REQUEST" if status < 500 else "INTERNAL_ERROR"
    code = _MLFLOW_CODES.get(status, fallback)
    return {"error": message, "error_code": code, "message": message}


def refusal(
    status: int, message: str, code: str, request_id: str = "", protocol: str = ""
) -> Response:
    """An answer that says no; ``code`` is ours, for machines."""
    headers = {
        "content-type": "application/json",
        "x-modelport-error": code,
        "x-modelport-request-id": request_id,
    }
    if len(message) > LONGEST:
        message = message[:LONGEST] + "…"
    # Half a surrogate pair, which JSON can spell and UTF-8 has no form for, is shown as spelled.
    text = message.encode(errors="backslashreplace").decode()
    body = json.dumps(error_body(protocol, status, text), ensure_ascii=False)
    return Response(status, headers, body.encode())


def refused(error: e.ModelportError, request: Request, call: Call | None = None) -> Response:
    """The answer to ``request`` for an error of ours; ``call`` is what its path was read as."""
    protocol = call.protocol if call else protocol_of(request.path)
    if isinstance(error, e.RouteNotFoundError):
        return _misdirected(error, request, protocol)
    status = status_of(error)
    if protocol == "v1" and isinstance(error, e.AliasNotFoundError):
        status = 400  # to TensorFlow Serving a label it does not know is a bad request
    message = _worded(error, request, call)
    response = refusal(status, message, error.code, request.request_id, protocol)
    retry_after = getattr(error, "retry_after_s", None)
    if retry_after is not None:
        response.headers["retry-after"] = str(retry_after)
    return response


def crash(request: Request, call: Call | None = None) -> Response:
    """The answer for an error that nobody foresaw."""
    protocol = call.protocol if call else protocol_of(request.path)
    return refusal(500, _see_log(request), "internal", request.request_id, protocol)


def protocol_of(path: str) -> str:
    """Whose path this looks like, valid or not; "" when nobody's. It may carry a query."""
    path = path.partition("?")[0]
    if path.endswith("/invocations") or path.startswith("/endpoints/"):
        return "sagemaker"
    top = path[1:4].lower()
    return top[:2] if top in ("v1", "v1/", "v2", "v2/") else ""


def no_explainer() -> e.NotSupportedError:
    """What KServe's ``:explain`` is answered with."""
    return e.NotSupportedError(
        ":explain",
        "a model version here has no explainer beside it; publish a model whose outputs are the"
        " explanations and call its :predict",
    )


def no_jobs() -> e.NotSupportedError:
    """What asks for jobs or uploads is answered with where there are none."""
    return e.NotSupportedError(
        "this path", "jobs and uploads are the API's, of an environment that has a bucket for them"
    )


def not_at_runtime(verb: str, model: str) -> e.NotSupportedError:
    """What ``repository-load`` and ``repository-unload`` of a model are answered with."""
    if verb == "repository-load":
        return e.NotSupportedError(
            "loading a model over HTTP",
            "which versions run is decided by deploying, not by calls to what runs;"
            f" start one with: modelport deploy {model}:VERSION",
        )
    return e.NotSupportedError(
        "unloading a model over HTTP",
        "which versions run is decided by deploying, not by calls to what runs;"
        f" move traffic with: modelport route {model} ALIAS=VERSION,"
        f" end one with: modelport undeploy {model}:VERSION",
    )


def _misdirected(error: e.RouteNotFoundError, request: Request, protocol: str) -> Response:
    allowed = allowed_methods(request.path)
    if allowed and request.method not in allowed:
        names = ", ".join(allowed)
        message = f"{request.path.partition('?')[0]} takes {names}"
        response = refusal(405, message, "method-not-allowed", request.request_id, protocol)
        response.headers["allow"] = names
        return response
    # TensorFlow Serving calls a path below its own root that it cannot read a bad request.
    below_v1 = protocol == "v1" and len(request.path) > len("/v1/")
    status = 400 if below_v1 else status_of(error)
    message = f"{error.message}; {error.hint}"
    return refusal(status, message, error.code, request.request_id, protocol)


def _worded(error: e.ModelportError, request: Request, call: Call | None) -> str:
    if isinstance(error, e.RegistryUnavailableError):
        return f"{error.what} cannot be reached; try again in {error.retry_after_s} s"
    if isinstance(error, _INTERNAL):
        return _see_log(request)
    if call is not None and call.protocol == "v1":
        return _as_tensorflow_serving(error, call)
    return error.message


def _as_tensorflow_serving(error: e.ModelportError, call: Call) -> str:
    if isinstance(error, e.AliasNotFoundError):
        return f"Unrecognized servable version label: {call.alias}"
    missing = (e.ModelNotFoundError, e.VersionNotFoundError, e.NoVersionDeployedError)
    if not isinstance(error, missing):
        return error.message
    if call.verb == "status":
        which = "any versions" if call.version is None else f"version {call.version}"
        return f"Could not find {which} of model {call.model}"
    at = "" if call.version is None else f", {call.version}"
    return f"Servable not found for request: {'Specific' if at else 'Latest'}({call.model}{at})"


def _see_log(request: Request) -> str:
    return f"internal error; the log has the details under request id {request.request_id}"

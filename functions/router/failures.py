"""How an error looks on the wire: one table from error class to status, one shape, one wording.

The only place of the router that knows HTTP statuses of errors. It must not repeat anything a
caller may not see: errors outside `modelport.errors` become a bare 500 with the request id.
"""

from __future__ import annotations

import json

from modelport import errors as e
from modelport.envelope import Request, Response
from modelport.grammar import Call, allowed_methods

#: The nearest class of an error's own ancestry that stands here decides.
STATUS: dict[type[e.ModelportError], int] = {
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

JSON = {"content-type": "application/json"}
#: Their messages name buckets, keys and roles: for the log, not for callers.
_INTERNAL = (e.IntegrityError, e.InvalidSettingError, e.BlobNotFoundError)


def status_of(error: e.ModelportError) -> int:
    """The status of the nearest class in the table."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def refusal(error: e.ModelportError, call: Call | None, request: Request) -> Response:
    """The answer for an error of ours, worded as the caller's protocol words it."""
    headers = {**JSON, "x-modelport-error": error.code}
    retry_after = getattr(error, "retry_after_s", None)
    if retry_after is not None:
        headers["retry-after"] = str(retry_after)
    status = status_of(error)
    if isinstance(error, e.RouteNotFoundError):
        methods = allowed_methods(request.path)
        if methods and request.method not in methods:
            names = ", ".join(methods)
            headers |= {"allow": names, "x-modelport-error": "method-not-allowed"}
            return Response(405, headers, _body(f"{request.path} takes {names}"))
        return Response(status, headers, _body(f"{error.message}; {error.hint}"))
    if isinstance(error, e.RegistryUnavailableError):
        message = f"the registry cannot be reached; try again in {error.retry_after_s} s"
        return Response(status, headers, _body(message))
    if isinstance(error, _INTERNAL):
        return Response(status, headers, _body(_see_log(request.request_id)))
    return Response(status, headers, _body(_worded(error, call)))


def crash(request_id: str) -> Response:
    """The answer for an error that nobody foresaw."""
    return Response(500, {**JSON, "x-modelport-error": "internal"}, _body(_see_log(request_id)))


def _see_log(request_id: str) -> str:
    return f"internal error; the router's log has the details under request id {request_id}"


def _body(message: str) -> bytes:
    return json.dumps({"error": message}).encode()


def _worded(error: e.ModelportError, call: Call | None) -> str:
    """TensorFlow Serving's clients match on its messages; everyone else gets ours."""
    if call is None or call.protocol != "v1":
        return error.message
    if isinstance(error, e.AliasNotFoundError):
        return f"Unrecognized servable version label: {call.alias}"
    missing = (e.ModelNotFoundError, e.VersionNotFoundError, e.NoVersionDeployedError)
    if not isinstance(error, missing):
        return error.message
    if call.verb == "status":
        which = "any versions" if call.version is None else f"version {call.version}"
        return f"Could not find {which} of model {call.model}"
    wanted = (
        f"Latest({call.model})"
        if call.version is None
        else f"Specific({call.model}, {call.version})"
    )
    return f"Servable not found for request: {wanted}"

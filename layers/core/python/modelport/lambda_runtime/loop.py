"""One event at a time: fetched, handed to a handler, answered; from init until Lambda ends it.

The way of one request: `RuntimeApi.next`, `_answer`, the handler, `_payload`, `RuntimeApi.respond`.
An answer that is an `envelope.Response` is sent in pieces, each when it is made; that is what
awslambdaric lacks.
"""

from __future__ import annotations

import gc
import json
import logging
import sys
from collections.abc import Callable, MutableMapping
from typing import Any, NoReturn

from modelport.envelope import Response
from modelport.fast_json import dumps, loads
from modelport.lambda_runtime.api import Invocation, RuntimeApi
from modelport.lambda_runtime.context import Context
from modelport.lambda_runtime.handlers import FaultError, Handler
from modelport.lambda_runtime.log_lines import LogLines

_TRACE = "_X_AMZN_TRACE_ID"
_JSON = "application/json"
_UNHANDLED = (
    "LAMBDA_WARNING: Unhandled exception. The most likely cause is an issue in the function code. "
    "However, in rare cases, a Lambda runtime update can cause unexpected function behavior. "
    "For functions using managed runtimes, runtime updates can be triggered by a function change, "
    "or can be applied automatically. To determine if the runtime has been updated, check the "
    "runtime version in the INIT_START log entry. If this error correlates with a change in the "
    "runtime version, you may be able to mitigate this error by temporarily rolling back to the "
    "previous runtime version. For more information, see "
    "https://docs.aws.amazon.com/lambda/latest/dg/runtimes-update.html\r"
)
#: Bytes of an event → what it says; raises ValueError for none.
Reader = Callable[[bytes | bytearray], Any]


def run(
    make: Callable[[], Handler], environ: MutableMapping[str, str], read: Reader = loads
) -> NoReturn:
    """Be a function: ``make`` its handler, tell Lambda if that fails, then serve it."""
    api, log = RuntimeApi(environ["AWS_LAMBDA_RUNTIME_API"]), LogLines(environ)
    log.install()
    try:
        handler = make()
    except Exception as error:
        from modelport.lambda_runtime import faults

        logging.warning(_UNHANDLED)
        report, _ = faults.told(error)
        log.fault(report, faults.lines(report))
        api.init_error(faults.written(report), report["errorType"])
        sys.exit(1)
    if environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "snap-start":
        from modelport.lambda_runtime.snapshots import snapshot

        snapshot(api, log)
    serve(api, handler, environ, log, read)


def serve(
    api: RuntimeApi,
    handler: Handler,
    environ: MutableMapping[str, str],
    log: LogLines,
    read: Reader = loads,
) -> NoReturn:
    """Answer events until the process is ended; raises ConnectionError when Lambda is gone."""
    gc.enable()  # a start may have put that off, and not every handler knows of it
    while True:
        invocation = api.next()
        log.request_id = invocation.request_id
        log.tenant_id = invocation.headers.get("lambda-runtime-aws-tenant-id")
        trace = invocation.headers.get("lambda-runtime-trace-id")
        if trace:
            environ[_TRACE] = trace
        else:
            environ.pop(_TRACE, None)
        _answer(api, handler, invocation, environ, log, read)


def _answer(
    api: RuntimeApi,
    handler: Handler,
    invocation: Invocation,
    environ: MutableMapping[str, str],
    log: LogLines,
    read: Reader,
) -> None:
    try:
        context = _context(invocation, environ)
        result = handler(_event(invocation, read), context)
        payload, content_type = _payload(result)
    except Exception as error:
        from modelport.lambda_runtime import faults

        report, cause = faults.told(error, invocation.request_id)
        log.fault(report, faults.lines(report))
        api.fail(invocation, faults.written(report), cause)
        return
    if isinstance(payload, Response):
        from modelport.lambda_runtime.streams import send  # few versions stream

        send(api.address, invocation.request_id, payload)
        return
    api.respond(invocation, payload, content_type)


def _context(invocation: Invocation, environ: MutableMapping[str, str]) -> Context:
    headers = invocation.headers
    client = headers.get("lambda-runtime-client-context")
    identity = headers.get("lambda-runtime-cognito-identity")
    return Context(
        invocation,
        environ,
        _header(client, "Client Context") if client else None,
        _header(identity, "Cognito Identity") if identity else None,
    )


def _header(text: str, name: str) -> Any:
    try:
        return json.loads(text)
    except Exception as error:
        problem = f"Unable to parse {name} JSON: {error}"
        raise FaultError("LambdaContextUnmarshalError", problem) from error


def _event(invocation: Invocation, read: Reader) -> Any:
    if invocation.headers.get("content-type", _JSON) != _JSON:
        return bytes(invocation.event)
    try:
        return read(invocation.event)
    except Exception as error:
        problem = f"Unable to unmarshal input: {error}"
        raise FaultError("UnmarshalError", problem) from error


def _payload(result: Any) -> tuple[bytes | Response, str]:
    """What is posted, and its content type; an answer in pieces is left as it is."""
    if isinstance(result, Response):
        return result, ""
    if isinstance(result, bytes):
        return result, "application/unknown"
    try:
        return dumps(result), _JSON
    except Exception as error:
        problem = f"Unable to marshal response: {error}"
        raise FaultError("MarshalError", problem) from error

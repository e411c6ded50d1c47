"""One service at one endpoint: signs what is asked and sends it, once.

Knows no service and no error code; `modelport.aws.services` does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from urllib.parse import quote

from modelport import __version__
from modelport.aws.answers import Answer
from modelport.aws.credentials import Source
from modelport.aws.endpoints import Endpoint
from modelport.aws.pool import Pool, Timeouts
from modelport.aws.signing import Signer

_USER_AGENT = f"modelport/{__version__}"


class Caller:
    """Signed requests to ``endpoint``; for any number of threads.

    ``service`` is the name that it signs by. ``environ`` is read at each call, for the trace that
    this request is part of.
    """

    def __init__(
        self,
        service: str,
        endpoint: Endpoint,
        timeouts: Timeouts,
        credentials: Source,
        environ: Mapping[str, str],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._endpoint, self._credentials, self._now = endpoint, credentials, now
        self._signer = Signer(service, endpoint.region)
        self._pool = Pool(endpoint, timeouts, environ)
        self._environ = environ
        self._traces = "AWS_LAMBDA_FUNCTION_NAME" in environ

    def ask(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes = b"",
        query: str = "",
    ) -> Answer:
        """The answer, whatever its status; raises `CallError`.

        ``path`` and ``query`` are encoded already, names of ``headers`` lower case.
        """
        endpoint = self._endpoint
        path = (endpoint.prefix + path) or "/"
        signed = {"host": endpoint.authority, "user-agent": _USER_AGENT, **headers}
        if self._traces and (trace := self._environ.get("_X_AMZN_TRACE_ID")):
            # Lambda follows it from function to function, and stops loops by it.
            signed["x-amzn-trace-id"] = quote(trace, safe="-=;:+&[]{}\"',")
        self._signer.sign(method, path, query, signed, body, self._credentials(), self._now())
        return self._pool.ask(method, f"{path}?{query}" if query else path, signed, body)

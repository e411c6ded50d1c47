"""What a handler is told beside its event: awslambdaric's context, made of what is asked for.

Its documented members under their names; most handlers read one, so none costs before it is read.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from modelport.lambda_runtime.api import Invocation

_CLIENT = ("installation_id", "app_title", "app_version_name", "app_version_code")
_CLIENT_FIELDS = (*_CLIENT, "app_package_name")
_ENVIRONMENT = {
    "log_group_name": "AWS_LAMBDA_LOG_GROUP_NAME",
    "log_stream_name": "AWS_LAMBDA_LOG_STREAM_NAME",
    "function_name": "AWS_LAMBDA_FUNCTION_NAME",
    "memory_limit_in_mb": "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
    "function_version": "AWS_LAMBDA_FUNCTION_VERSION",
}


class Context:
    """The context of one invocation.

    ``client_context`` and ``cognito_identity`` are what their headers hold, None without one.
    """

    def __init__(
        self,
        invocation: Invocation,
        environ: Mapping[str, str],
        client_context: Any = None,
        cognito_identity: Any = None,
    ) -> None:
        self.aws_request_id = invocation.request_id
        self._headers = invocation.headers
        self._environ = environ
        self._client_context = client_context
        self._cognito_identity = cognito_identity

    def __getattr__(self, name: str) -> Any:
        """What the environment says."""
        if name in _ENVIRONMENT:
            return self._environ.get(_ENVIRONMENT[name])
        raise AttributeError(f"a Lambda context has no {name!r}")

    @property
    def invoked_function_arn(self) -> str | None:
        return self._headers.get("lambda-runtime-invoked-function-arn")

    @property
    def tenant_id(self) -> str | None:
        return self._headers.get("lambda-runtime-aws-tenant-id")

    @property
    def client_context(self) -> Any:
        """``custom``, ``env`` and ``client``, as a mobile SDK sent them; None without any."""
        if self._client_context is None:
            return None
        found = _object(self._client_context, ("custom", "env", "client"))
        if found.client is not None:
            found.client = _object(found.client, _CLIENT_FIELDS)
        return found

    @property
    def identity(self) -> Any:
        """``cognito_identity_id`` and ``cognito_identity_pool_id``, both None without any."""
        from types import SimpleNamespace

        known = self._cognito_identity or {}
        return SimpleNamespace(
            cognito_identity_id=known.get("cognitoIdentityId"),
            cognito_identity_pool_id=known.get("cognitoIdentityPoolId"),
        )

    def get_remaining_time_in_millis(self) -> int:
        """Until Lambda ends the invocation, never below 0."""
        deadline = int(self._headers.get("lambda-runtime-deadline-ms", 0))
        return max(0, deadline - int(time.time() * 1000))


def _object(known: Any, names: tuple[str, ...]) -> Any:
    from types import SimpleNamespace

    return SimpleNamespace(**{name: known.get(name) for name in names})

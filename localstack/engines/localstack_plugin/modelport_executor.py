"""Hands LocalStack's Lambda invocations to the Lambda host over HTTP.

Runs inside LocalStack, found by its entry point; the folder beside this file is that entry
point's metadata, so putting this folder on the path installs the plugin. It starts nothing:
environments, limits and logs are the host's. Needs only LocalStack and the standard library.
"""

import os
import urllib.error
import urllib.request

from localstack.services.lambda_.invocation.lambda_models import FunctionVersion, InvocationResult
from localstack.services.lambda_.invocation.plugins import RuntimeExecutorPlugin
from localstack.services.lambda_.invocation.runtime_executor import RuntimeExecutor

LONGEST_S = 960
"""Lambda's longest timeout and a minute; the host ends an invocation long before."""


def invoke(
    name: str, version: str, event: bytes, request_id: str, trace_id: str = ""
) -> tuple[bytes, bool]:
    """Have the host run an event; its answer, and whether that is an error."""
    request = urllib.request.Request(
        f"{os.environ['MODELPORT_LAMBDA_HOST']}/invoke",
        data=event,
        headers={
            "X-Amzn-Lambda-Function-Name": name,
            "X-Amzn-Lambda-Function-Version": version,
            "X-Amzn-Lambda-Request-Id": request_id,
            "X-Amzn-Trace-Id": trace_id,
        },
    )
    try:
        with urllib.request.urlopen(request, timeout=LONGEST_S) as answer:
            return answer.read(), False
    except urllib.error.HTTPError as error:
        return error.read(), True


class HostedExecutor(RuntimeExecutor):
    """What LocalStack takes for an environment; the real one is in the host's pool."""

    def start(self, env_vars: dict[str, str]) -> None:
        """Nothing: the host starts a process when there is work."""

    def stop(self) -> None:
        """Nothing: the host ends idle processes itself."""

    def get_address(self) -> str:
        """Where functions run: on this machine."""
        return "127.0.0.1"

    def get_endpoint_from_executor(self) -> str:
        """How functions reach LocalStack."""
        return "127.0.0.1"

    def get_runtime_endpoint(self) -> str:
        """Unused: answers come back on the request itself."""
        return ""

    def get_logs(self) -> str:
        """Log lines are in the host's files."""
        return ""

    def invoke(self, payload: dict[str, str]) -> InvocationResult:
        """Post the event to the host and give back what it answers."""
        function, request_id = self.function_version.id, payload["invoke-id"]
        body, failed = invoke(
            function.function_name,
            function.qualifier,
            _bytes(payload["payload"]),
            request_id,
            payload.get("trace-id") or "",
        )
        return InvocationResult(request_id, body, failed, "")

    @classmethod
    def prepare_version(cls, function_version: FunctionVersion) -> None:
        """Nothing: the host fetches a bundle or an archive on the first invocation."""

    @classmethod
    def cleanup_version(cls, function_version: FunctionVersion) -> None:
        """Nothing to clean up."""


class ModelportExecutorPlugin(RuntimeExecutorPlugin):
    """The entry point."""

    name = "modelport"

    def load(self, *args: object, **kwargs: object) -> type[RuntimeExecutor]:
        """The executor class."""
        return HostedExecutor


def _bytes(payload: str | bytes) -> bytes:
    return payload.encode() if isinstance(payload, str) else payload

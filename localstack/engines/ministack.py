"""MiniStack: the default engine. A Python package; no Docker, no account, no token.

Model functions reach the Lambda host through its documented proxy variable, zip functions through
our launcher, which also adds the resource types of SageMaker that it lacks and says when a function
is changed (``ministack_plugin/``): functions call each other on the Lambda host, not through it.
"""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from engine import DEFAULT_REGION, Hosts, Launch

LAUNCHER = Path(__file__).parent / "ministack_plugin" / "launch.py"


class MiniStack:
    """What is true of MiniStack alone."""

    name = "ministack"
    api: Literal["http", "rest"] = "http"
    account = "000000000000"
    changes = "run/function-changes"

    def prepare(self, tell: Callable[[str], None]) -> None:
        """Nothing to do: the lock file brings it."""

    def launch(self, port: int, home: Path, hosts: Hosts) -> Launch:
        """Run the package with the interpreter that runs us."""
        return Launch(
            (sys.executable, str(LAUNCHER)),
            {
                **hosts.variables,
                "MODELPORT_LAMBDA_HOST": hosts.functions,
                "MODELPORT_FUNCTION_CHANGES": str(home / self.changes),
                "GATEWAY_PORT": str(port),
                "BIND_HOST": "127.0.0.1",
                # These two would listen on every address, whatever the host above says.
                "SFTP_ENABLED": "0",
                "IOT_MTLS_ENABLED": "0",
                "MINISTACK_REGION": DEFAULT_REGION,
                "AWS_DEFAULT_REGION": DEFAULT_REGION,
                "MINISTACK_ACCOUNT_ID": self.account,
                "LOG_LEVEL": "INFO",
            },
        )

    def health_url(self, endpoint: str) -> str:
        """Its own path; the one it shares with other emulators answers too."""
        return f"{endpoint}/_ministack/health"

    def function_environment(self, hosts: Hosts) -> Mapping[str, str]:
        """The proxy variable."""
        return {"MINISTACK_LAMBDA_PROXY_URL": f"{hosts.functions}/invoke"}

    def api_url(self, endpoint: str, api_id: str, stage: str) -> str:
        """By path: a host name below localhost is not resolved everywhere."""
        return f"{endpoint}/_aws/execute-api/{api_id}/{stage or '$default'}"


ENGINE = MiniStack()

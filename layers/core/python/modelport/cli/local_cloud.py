"""Whether an error means that the local cloud, whose environment was sourced, is gone.

It looks only after something failed, and only at an AWS endpoint on loopback: what `make up` wrote
stays in the shell that sourced it when the cloud goes. It starts and mends nothing.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from modelport.errors import BackendError, InvalidSettingError

LOOPBACK = ("127.0.0.1", "localhost", "::1")
PATIENCE_S = 2.0


class LocalCloudDownError(BackendError):
    """Nothing listens any more where the local cloud was."""

    code = "local-cloud-down"

    def __init__(self, endpoint: str) -> None:
        super().__init__(
            f"the local cloud is down: nothing listens at {endpoint}",
            hint="make up, then: source .local/env",
        )


def explained(error: Exception, environ: Mapping[str, str]) -> Exception:
    """The error, or that the local cloud is down where that is its reason."""
    endpoint = environ.get("AWS_ENDPOINT_URL", "")
    deployments = environ.get("MODELPORT_DEPLOYMENTS")
    # The cloud takes its deployments file along, and then settings seem to be missing.
    unset = bool(deployments) and not Path(str(deployments)).exists()
    related = isinstance(error, BackendError) or (isinstance(error, InvalidSettingError) and unset)
    return LocalCloudDownError(endpoint) if related and _refuses(endpoint) else error


def _refuses(endpoint: str) -> bool:
    try:
        where = urlsplit(endpoint)
        port = where.port or (443 if where.scheme == "https" else 80)
    except ValueError:
        return False
    if where.hostname not in LOOPBACK:
        return False
    try:
        socket.create_connection((where.hostname, port), PATIENCE_S).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return False

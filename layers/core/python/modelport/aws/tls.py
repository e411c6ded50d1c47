"""TLS as boto3's clients speak it: the same certificates are trusted, and host names are checked.

Imported only for https, because ``ssl`` takes longer to load than the rest of this package.
"""

from __future__ import annotations

import os.path
import socket
import ssl
from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib.util import find_spec


def wrapper(host: str, environ: Mapping[str, str]) -> Callable[[socket.socket], socket.socket]:
    """What makes a connection to ``host`` secure, under the time-out that its socket has."""
    trusted = _context(_bundle(environ))

    def wrap(connection: socket.socket) -> socket.socket:
        # An end without TLS's goodbye is an error: anybody on the way could have made it.
        return trusted.wrap_socket(connection, server_hostname=host, suppress_ragged_eofs=False)

    return wrap


@lru_cache(maxsize=8)
def _context(bundle: str | None) -> ssl.SSLContext:
    # One for all services: reading the certificates takes longer than a request.
    if bundle is not None and os.path.isdir(bundle):
        context = ssl.create_default_context(capath=bundle)
    else:
        context = ssl.create_default_context(cafile=bundle)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


def _bundle(environ: Mapping[str, str]) -> str | None:
    """The certificates that botocore would trust; None for the system's."""
    given = environ.get("AWS_CA_BUNDLE") or environ.get("REQUESTS_CA_BUNDLE")
    if given:
        return given
    for package, path in (("certifi", "cacert.pem"), ("botocore", "cacert.pem")):
        found = find_spec(package)  # finds without importing
        for folder in (found.submodule_search_locations or ()) if found else ():
            if os.path.exists(f"{folder}/{path}"):
                return f"{folder}/{path}"
    return None

"""The HTTP client for a registry: what it waits for, and which certificates it trusts, and when.

Reading the certificates takes longer than all that a registry on this machine is asked. Knows
nothing of what is sent.
"""

from __future__ import annotations

import ssl
from functools import cached_property

import httpx

from modelport.images.reference import Reference

#: A registry may take its time to check a large blob before it answers.
_TIMEOUT = httpx.Timeout(60, connect=10, read=300)
#: Until it has answered for the first time: with the tries there are, silence is told within 30 s.
FIRST_TIMEOUT = httpx.Timeout(9, connect=5)


def client_for(reference: Reference) -> httpx.Client:
    """A client for the registry that ``reference`` names."""
    if not reference.is_loopback:
        return httpx.Client(timeout=_TIMEOUT)
    # The proxy of the environment leads away from this machine.
    return httpx.Client(
        timeout=_TIMEOUT, trust_env=False, transport=_plain(), mounts={"https://": _Tls()}
    )


def _plain() -> httpx.HTTPTransport:
    """For plain HTTP: trusts no certificate at all."""
    return httpx.HTTPTransport(verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))


class _Tls(httpx.BaseTransport):
    """Reads the trusted certificates when there is something to verify, after a redirect."""

    @cached_property
    def _transport(self) -> httpx.HTTPTransport:
        return httpx.HTTPTransport(trust_env=False)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request."""
        return self._transport.handle_request(request)

    def close(self) -> None:
        """Close what was opened."""
        if "_transport" in self.__dict__:
            self._transport.close()

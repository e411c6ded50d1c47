"""HTTP to a model container: its health, and one invocation with SageMaker's limits.

Sends exactly the headers it is given and takes answers as they are, undecoded. It must not
know of endpoints, variants or what an answer means.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType

import httpx

PING_LIMIT_S = 2.0
# Shorter than any server keeps an idle connection, so that none is closed under a request.
IDLE_S = 4.0


class SilentError(Exception):
    """The container gave no answer; the message says how."""


class TooLongError(Exception):
    """The container took longer than it may."""


class TooLargeError(Exception):
    """The container answered with more than may be passed on."""


@dataclass(frozen=True)
class Answered:
    """What a container answered; header names are lower-case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class ContainerHttp:
    """A client for containers on this machine."""

    def __init__(self) -> None:
        limits = httpx.Limits(
            max_connections=None, max_keepalive_connections=64, keepalive_expiry=IDLE_S
        )
        self._client = httpx.AsyncClient(limits=limits, timeout=None, trust_env=False)
        for name in list(self._client.headers):
            del self._client.headers[name]

    async def __aenter__(self) -> "ContainerHttp":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._client.aclose()

    async def ping(self, port: int) -> bool:
        """Whether ``GET /ping`` is answered with 200 in time."""
        url = f"http://127.0.0.1:{port}/ping"
        try:
            async with asyncio.timeout(PING_LIMIT_S):
                answer = await self._client.get(url)
        except (httpx.HTTPError, TimeoutError):
            return False
        return answer.status_code == 200

    async def invoke(
        self, port: int, headers: Mapping[str, str], body: bytes, *, limit_s: float, limit: int
    ) -> Answered:
        """``POST /invocations``; raises when there is no answer within time and size."""
        url = f"http://127.0.0.1:{port}/invocations"
        try:
            async with asyncio.timeout(limit_s):
                sent = self._client.stream("POST", url, headers=dict(headers), content=body)
                async with sent as answer:
                    received = await _read(answer, limit)
                    named = {name.lower(): value for name, value in answer.headers.items()}
                    return Answered(answer.status_code, named, received)
        except TimeoutError as error:
            raise TooLongError from error
        except httpx.HTTPError as error:
            raise SilentError(str(error) or type(error).__name__) from error


async def _read(answer: httpx.Response, limit: int) -> bytes:
    received = bytearray()
    async for chunk in answer.aiter_raw():
        received += chunk
        if len(received) > limit:
            raise TooLargeError
    return bytes(received)

"""The client for asyncio: carries out a call's steps with httpx, awaiting each.

Decides nothing about calls; that is `modelport.client.calls`.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import httpx

from modelport.client.calls import Compression, Wanted
from modelport.client.conversation import LostError, Reply, Send, Steps, T, Wait
from modelport.client.messages import Outputs, Parameter
from modelport.client.paths import path_of
from modelport.client.retries import Retries
from modelport.client.sending import (
    CONNECTIONS,
    MAX_ANSWER_BYTES,
    check_size,
    declared_size,
    limits,
    losses,
    questions,
    reply_of,
    request_of,
)
from modelport.client.signing import Signer
from modelport.refs import ModelRef, parse_ref
from modelport.signature import Signature


class AsyncClient:
    """`Client` for asyncio: the same arguments, the same calls, with ``await``.

    Its deadline is strict: an answer that comes drop by drop is given up when the time is over.
    """

    def __init__(
        self,
        endpoint: str | None = None,
        *,
        auth: Signer | str | None = None,
        timeout: float = 60.0,
        retries: Retries | None = None,
        compression: Compression = None,
        connections: int = CONNECTIONS,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        self._questions = questions(endpoint, os.environ, auth, retries, compression)
        self._timeout, self._most = timeout, max_answer_bytes
        self._own = http is None
        self._http = httpx.AsyncClient(limits=limits(connections)) if http is None else http

    @property
    def endpoint(self) -> str:
        """The API's base URL."""
        return self._questions.terms.endpoint

    def model(self, ref: str | ModelRef) -> AsyncModel:
        """A model to call: ``NAME``, ``NAME:VERSION`` or ``NAME@ALIAS``. Sends nothing."""
        return AsyncModel(self, ref if isinstance(ref, ModelRef) else parse_ref(ref))

    async def post(
        self,
        path: str,
        body: bytes,
        headers: Mapping[str, str],
        *,
        key: str = "",
        timeout: float | None = None,
    ) -> Reply:
        """Send a body as it is to a path of the API, with the same retries as everything."""
        left = self._timeout if timeout is None else timeout
        return await self._run(self._questions.post(path, body, headers, key=key, timeout_s=left))

    async def close(self) -> None:
        """Close the connections."""
        if self._own:
            await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def _run(self, steps: Steps[T]) -> T:
        try:
            step = next(steps)
            while True:
                if isinstance(step, Wait):
                    await asyncio.sleep(step.seconds)
                    step = next(steps)
                    continue
                try:
                    reply = await self._send(step)
                except LostError as lost:
                    step = steps.throw(lost)
                else:
                    step = steps.send(reply)
        except StopIteration as end:
            result: T = end.value
            return result

    async def _send(self, send: Send) -> Reply:
        started = time.perf_counter()
        try:
            async with asyncio.timeout(send.timeout_s):
                with losses(self.endpoint):
                    response, pieces = await self._exchange(send)
        except TimeoutError as error:
            raise LostError("time ran out", late=True) from error
        return reply_of(response, pieces, time.perf_counter() - started)

    async def _exchange(self, send: Send) -> tuple[httpx.Response, list[bytes]]:
        request = request_of(self._http, send)
        response = await self._http.send(request, stream=True, follow_redirects=False)
        try:
            check_size(self.endpoint, declared_size(response), self._most)
            pieces, size = [], 0
            async for piece in response.aiter_bytes():
                pieces.append(piece)
                size += len(piece)
                check_size(self.endpoint, size, self._most)
        finally:
            await response.aclose()
        return response, pieces


class AsyncModel:
    """`Model` for asyncio."""

    def __init__(self, client: AsyncClient, ref: ModelRef) -> None:
        self._client, self.ref = client, ref
        self._questions = client._questions

    async def predict(
        self,
        inputs: Any,
        *,
        outputs: Sequence[str] | None = None,
        parameters: Mapping[str, Parameter] | None = None,
        request_id: str = "",
        key: str = "",
        timeout: float | None = None,
    ) -> Outputs:
        """Run the model; its outputs by name, as arrays. See `Model.predict`."""
        left = self._client._timeout if timeout is None else timeout
        wanted = Wanted(outputs, parameters or {}, request_id, key, left)
        return await self._client._run(self._questions.predict(self.ref, inputs, wanted))

    async def invoke(
        self,
        body: bytes,
        content_type: str = "application/octet-stream",
        *,
        accept: str = "*/*",
        key: str = "",
        timeout: float | None = None,
    ) -> Reply:
        """Send a body as it is to ``/invocations``: what a bundle with ``inference.py`` reads."""
        headers = {"content-type": content_type, "accept": accept}
        path = path_of(self.ref, "raw")
        return await self._client.post(path, body, headers, key=key, timeout=timeout)

    async def signature(self) -> Signature:
        """The model's inputs and outputs, asked for once."""
        left = self._client._timeout
        return await self._client._run(self._questions.signature(self.ref, timeout_s=left))

    async def ready(self) -> bool:
        """Whether the model answers."""
        left = self._client._timeout
        return await self._client._run(self._questions.ready(self.ref, timeout_s=left))

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

from modelport.client import jobs
from modelport.client.calls import Compression, Wanted
from modelport.client.conversation import LostError, Reply, Send, Steps, T, Wait
from modelport.client.jobs import JobStatus
from modelport.client.messages import Outputs, Parameter, read_outputs
from modelport.client.paths import path_of
from modelport.client.retries import Retries, Terms
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

    async def post_later(
        self,
        path: str,
        body: bytes,
        headers: Mapping[str, str],
        *,
        key: str = "",
        webhook: str = "",
        timeout: float | None = None,
    ) -> AsyncJob:
        """Send a body as it is, to be answered later; see `AsyncModel.predict_later`."""
        left = self._timeout if timeout is None else timeout
        steps = self._questions.post_later(
            path, body, headers, key=key, webhook=webhook, timeout_s=left
        )
        return self._job(await self._run(steps))

    def job(self, id: str) -> AsyncJob:
        """A job that was taken before. Sends nothing."""
        return AsyncJob(self, id)

    def _job(self, reply: Reply) -> AsyncJob:
        if reply.status != jobs.ACCEPTED:
            return AsyncJob(self, "", reply)
        return AsyncJob(self, jobs.status_of(reply, self.endpoint).id)

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

    async def predict_later(
        self,
        inputs: Any,
        *,
        outputs: Sequence[str] | None = None,
        parameters: Mapping[str, Parameter] | None = None,
        request_id: str = "",
        key: str = "",
        webhook: str = "",
        timeout: float | None = None,
    ) -> AsyncJob:
        """Have the model run later; see `Model.predict_later`."""
        left = self._client._timeout if timeout is None else timeout
        wanted = Wanted(outputs, parameters or {}, request_id, key, left)
        steps = self._questions.predict_later(self.ref, inputs, wanted, webhook)
        return self._client._job(await self._client._run(steps))

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


class AsyncJob:
    """`Job` for asyncio."""

    def __init__(self, client: AsyncClient, id: str, reply: Reply | None = None) -> None:
        """``reply`` is the answer where the server has made no job but answered at once."""
        self._client, self.id, self._reply = client, id, reply

    async def status(self) -> JobStatus:
        """How far it is."""
        if self._reply is not None:
            return JobStatus(self.id, "succeeded")
        return await self._client._run(jobs.status(self.id, self._terms, self._client._timeout))

    async def reply(self, timeout: float | None = None) -> Reply:
        """The model's answer as it came, waited for at most ``timeout`` seconds.

        Raises `JobPendingError` when there is none in time, and what the call itself would raise.
        """
        if self._reply is None:
            left = self._client._timeout if timeout is None else timeout
            self._reply = await self._client._run(jobs.answer(self.id, self._terms, left))
        return self._reply

    async def result(self, timeout: float | None = None) -> Outputs:
        """The outputs of `AsyncModel.predict_later` by name, as arrays; waits as `reply` does."""
        return read_outputs(await self.reply(timeout), self._client.endpoint)

    async def cancel(self) -> JobStatus:
        """Give it up; raises `StateForbidsError` when it is over."""
        return await self._client._run(jobs.cancel(self.id, self._terms, self._client._timeout))

    @property
    def _terms(self) -> Terms:
        return self._client._questions.terms

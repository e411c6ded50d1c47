"""The client that blocks: carries out a call's steps with httpx, one after the other.

Decides nothing about calls; that is `modelport.client.calls`. Safe to share between threads.
"""

from __future__ import annotations

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


class Client:
    """Calls models over HTTP; keeps its connections, so make one and use it for everything.

    ``endpoint`` is the API's base URL (else MODELPORT_ENDPOINT), or that of a model server.
    ``auth="iam"`` signs with the AWS credentials of the environment. ``timeout`` is in seconds, for
    a call with all its attempts; a server that sends its answer drop by drop may hold one for twice
    as long. ``compression="gzip"`` packs requests and asks for packed answers. ``http`` is an httpx
    client of your own (a proxy, other certificates); it is left open.
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
        http: httpx.Client | None = None,
    ) -> None:
        self._questions = questions(endpoint, os.environ, auth, retries, compression)
        self._timeout, self._most = timeout, max_answer_bytes
        self._own = http is None
        self._http = httpx.Client(limits=limits(connections)) if http is None else http

    @property
    def endpoint(self) -> str:
        """The API's base URL."""
        return self._questions.terms.endpoint

    def model(self, ref: str | ModelRef) -> Model:
        """A model to call: ``NAME``, ``NAME:VERSION`` or ``NAME@ALIAS``. Sends nothing."""
        return Model(self, ref if isinstance(ref, ModelRef) else parse_ref(ref))

    def post(
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
        return self._run(self._questions.post(path, body, headers, key=key, timeout_s=left))

    def post_later(
        self,
        path: str,
        body: bytes,
        headers: Mapping[str, str],
        *,
        key: str = "",
        webhook: str = "",
        timeout: float | None = None,
    ) -> Job:
        """Send a body as it is, to be answered later; see `Model.predict_later`."""
        left = self._timeout if timeout is None else timeout
        steps = self._questions.post_later(
            path, body, headers, key=key, webhook=webhook, timeout_s=left
        )
        return self._job(self._run(steps))

    def job(self, id: str) -> Job:
        """A job that was taken before. Sends nothing."""
        return Job(self, id)

    def _job(self, reply: Reply) -> Job:
        if reply.status != jobs.ACCEPTED:
            return Job(self, "", reply)
        return Job(self, jobs.status_of(reply, self.endpoint).id)

    def close(self) -> None:
        """Close the connections."""
        if self._own:
            self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _run(self, steps: Steps[T]) -> T:
        try:
            step = next(steps)
            while True:
                if isinstance(step, Wait):
                    time.sleep(step.seconds)
                    step = next(steps)
                    continue
                try:
                    reply = self._send(step)
                except LostError as lost:
                    step = steps.throw(lost)
                else:
                    step = steps.send(reply)
        except StopIteration as end:
            result: T = end.value
            return result

    def _send(self, send: Send) -> Reply:
        started = time.perf_counter()
        with losses(self.endpoint):
            request = request_of(self._http, send)
            response = self._http.send(request, stream=True, follow_redirects=False)
            try:
                size = declared_size(response)
                check_size(self.endpoint, size, self._most)
                pieces, size = [], 0
                for piece in response.iter_bytes():
                    pieces.append(piece)
                    size += len(piece)
                    check_size(self.endpoint, size, self._most)
                    if time.perf_counter() - started > send.timeout_s:
                        raise LostError("time ran out in the middle of the answer", late=True)
            finally:
                response.close()
        return reply_of(response, pieces, time.perf_counter() - started)


class Model:
    """One model, version or alias, to call."""

    def __init__(self, client: Client, ref: ModelRef) -> None:
        self._client, self.ref = client, ref
        self._questions = client._questions

    def predict(
        self,
        inputs: Any,
        *,
        outputs: Sequence[str] | None = None,
        parameters: Mapping[str, Parameter] | None = None,
        request_id: str = "",
        key: str = "",
        timeout: float | None = None,
    ) -> Outputs:
        """Run the model; its outputs by name, as arrays.

        ``inputs`` is a dict of arrays, lists or numbers by input name, or one alone where the model
        has one input. Arrays keep their dtype; lists get the one the model declares. ``outputs``
        asks for some outputs only; ``key`` keeps a caller on one side of a split; ``request_id``
        comes back with the answer. What is too large for the API goes past it; where the API makes
        a job of a call that takes long, the job is waited for, within ``timeout``. Raises what
        `modelport.client.errors` draws.
        """
        left = self._client._timeout if timeout is None else timeout
        wanted = Wanted(outputs, parameters or {}, request_id, key, left)
        return self._client._run(self._questions.predict(self.ref, inputs, wanted))

    def predict_later(
        self,
        inputs: Any,
        *,
        outputs: Sequence[str] | None = None,
        parameters: Mapping[str, Parameter] | None = None,
        request_id: str = "",
        key: str = "",
        webhook: str = "",
        timeout: float | None = None,
    ) -> Job:
        """Have the model run later: the job of it, at once. Arguments as of `predict`.

        The job outlives this process and the API's own limits: a run may take 14 minutes. It is
        kept for a day. ``webhook`` is told when it is over, if the API allows its host. Tries of
        this call that were lost on the way make no second job.
        """
        left = self._client._timeout if timeout is None else timeout
        wanted = Wanted(outputs, parameters or {}, request_id, key, left)
        steps = self._questions.predict_later(self.ref, inputs, wanted, webhook)
        return self._client._job(self._client._run(steps))

    def invoke(
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
        return self._client.post(path, body, headers, key=key, timeout=timeout)

    def signature(self) -> Signature:
        """The model's inputs and outputs, asked for once."""
        left = self._client._timeout
        return self._client._run(self._questions.signature(self.ref, timeout_s=left))

    def ready(self) -> bool:
        """Whether the model answers."""
        left = self._client._timeout
        return self._client._run(self._questions.ready(self.ref, timeout_s=left))


class Job:
    """A call that is answered later. Its id is all that another process needs: `Client.job`."""

    def __init__(self, client: Client, id: str, reply: Reply | None = None) -> None:
        """``reply`` is the answer where the server has made no job but answered at once."""
        self._client, self.id, self._reply = client, id, reply

    def status(self) -> JobStatus:
        """How far it is."""
        if self._reply is not None:
            return JobStatus(self.id, "succeeded")
        return self._client._run(jobs.status(self.id, self._terms, self._client._timeout))

    def reply(self, timeout: float | None = None) -> Reply:
        """The model's answer as it came, waited for at most ``timeout`` seconds.

        Raises `JobPendingError` when there is none in time, and what the call itself would raise.
        """
        if self._reply is None:
            left = self._client._timeout if timeout is None else timeout
            self._reply = self._client._run(jobs.answer(self.id, self._terms, left))
        return self._reply

    def result(self, timeout: float | None = None) -> Outputs:
        """The outputs of `Model.predict_later` by name, as arrays; waits as `reply` does."""
        return read_outputs(self.reply(timeout), self._client.endpoint)

    def cancel(self) -> JobStatus:
        """Give it up; raises `StateForbidsError` when it is over."""
        return self._client._run(jobs.cancel(self.id, self._terms, self._client._timeout))

    @property
    def _terms(self) -> Terms:
        return self._client._questions.terms

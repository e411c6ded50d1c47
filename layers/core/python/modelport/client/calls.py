"""What can be asked of a model, each question a generator of steps.

The one place that knows which requests a question takes. `Questions` is what a client and its
models share: where the API is, on what terms, and the signatures that were asked for so far.
"""

from __future__ import annotations

import gzip
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from modelport.client import elsewhere, jobs
from modelport.client.arrays import declared, typed
from modelport.client.conversation import KEY_HEADER, Reply, Send, Steps
from modelport.client.errors import AnswerError, CallRefusedError, InvalidValueError
from modelport.client.messages import (
    Outputs,
    Parameter,
    infer_body,
    read_outputs,
    read_signature,
)
from modelport.client.paths import metadata_path, path_of
from modelport.client.retries import Terms, persistent
from modelport.raw_tensors import Array, datatype_of
from modelport.refs import ModelRef
from modelport.signature import Signature

Compression = Literal["gzip"] | None
#: Bodies below this are sent as they are: packing them costs more than it saves.
_WORTH_PACKING = 1_024
#: Level 6 costs four times as much for a few percent.
_GZIP_LEVEL = 1


@dataclass(frozen=True)
class Wanted:
    """What is asked of one infer call beside its inputs."""

    outputs: Sequence[str] | None = None
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    request_id: str = ""
    key: str = ""
    timeout_s: float = 60.0


@dataclass(frozen=True)
class Questions:
    """Everything a client can ask, on its terms."""

    terms: Terms
    compression: Compression = None
    signatures: dict[ModelRef, Signature] = field(default_factory=dict)

    def predict(self, ref: ModelRef, inputs: Any, wanted: Wanted) -> Steps[Outputs]:
        """Infer, in binary. The signature is asked for only where an input has no dtype."""
        clock = self.terms.retries.clock
        deadline = clock() + wanted.timeout_s
        arrays, guessed = yield from self._arrays(ref, inputs, wanted)
        headers, body = infer_body(arrays, wanted.outputs, wanted.parameters, wanted.request_id)
        left = deadline - clock()
        path = path_of(ref, "v2")
        try:
            reply = yield from self.post(path, body, headers, key=wanted.key, timeout_s=left)
        except CallRefusedError as error:
            if guessed:  # the alias may have moved to a version of another signature
                self.signatures.pop(ref, None)
            elif error.remote_code == "invalid-tensor":
                sent = ", ".join(f"{name}: {datatype_of(each)}" for name, each in arrays.items())
                error.hint = f"arrays go with their own dtype ({sent}): cast them with .astype()"
            raise
        return read_outputs(reply, self.terms.endpoint)

    def signature(self, ref: ModelRef, *, key: str = "", timeout_s: float) -> Steps[Signature]:
        """A model's inputs and outputs; asked once, remembered as long as the client lives."""
        known = self.signatures.get(ref)
        if known is None:
            reply = yield from self.ask("GET", metadata_path(ref), key=key, timeout_s=timeout_s)
            known = self.signatures[ref] = read_signature(reply, self.terms.endpoint)
        return known

    def ready(self, ref: ModelRef, *, timeout_s: float) -> Steps[bool]:
        """Whether a model answers; False also where there is none."""
        path = f"{metadata_path(ref)}/ready"
        try:
            yield from self.ask("GET", path, timeout_s=timeout_s)
        except AnswerError as error:
            if error.status in (400, 404, 409, 503):
                return False
            raise
        return True

    def post(
        self,
        path: str,
        body: bytes,
        headers: Mapping[str, str],
        *,
        key: str = "",
        timeout_s: float,
    ) -> Steps[Reply]:
        """Send a body to a path of the API, compressed where the client compresses.

        A body too large for the API is uploaded first, an answer too large is fetched from where it
        lies, and a job is waited for; all within ``timeout_s``.
        """
        clock = self.terms.retries.clock
        deadline = clock() + timeout_s
        reply = yield from self._posted(path, body, headers, key, timeout_s)
        left = max(deadline - clock(), 0.001)
        if reply.status == elsewhere.SEE_OTHER:
            return (yield from elsewhere.fetched(reply, self.terms, left))
        if reply.status == jobs.ACCEPTED:
            job = jobs.status_of(reply, self.terms.endpoint)
            return (yield from jobs.answer(job.id, self.terms, left))
        return reply

    def post_later(
        self,
        path: str,
        body: bytes,
        headers: Mapping[str, str],
        *,
        key: str = "",
        webhook: str = "",
        timeout_s: float,
    ) -> Steps[Reply]:
        """The same, but the answer is the job's; where the server makes none, the call's own."""
        wishes = jobs.wishes(uuid.uuid4().hex, webhook)
        reply = yield from self._posted(path, body, {**headers, **wishes}, key, timeout_s)
        if reply.status == elsewhere.SEE_OTHER:
            return (yield from elsewhere.fetched(reply, self.terms, timeout_s))
        return reply

    def predict_later(
        self, ref: ModelRef, inputs: Any, wanted: Wanted, webhook: str = ""
    ) -> Steps[Reply]:
        """Infer later; the reply is a job's, as of `post_later`."""
        arrays, _ = yield from self._arrays(ref, inputs, wanted)
        headers, body = infer_body(arrays, wanted.outputs, wanted.parameters, wanted.request_id)
        return (
            yield from self.post_later(
                path_of(ref, "v2"),
                body,
                headers,
                key=wanted.key,
                webhook=webhook,
                timeout_s=wanted.timeout_s,
            )
        )

    def _posted(
        self, path: str, body: bytes, headers: Mapping[str, str], key: str, timeout_s: float
    ) -> Steps[Reply]:
        if self.compression and len(body) >= _WORTH_PACKING:
            body = gzip.compress(body, _GZIP_LEVEL, mtime=0)
            headers = {**headers, "content-encoding": self.compression}
        clock = self.terms.retries.clock
        deadline = clock() + timeout_s
        if len(body) > elsewhere.CARRIED:
            id = yield from elsewhere.uploaded(body, self.terms, timeout_s)
            if id is not None:
                body, headers = b"", {**headers, elsewhere.BODY_HEADER: id}
        left = deadline - clock()
        return (yield from self.ask("POST", path, body, headers=headers, key=key, timeout_s=left))

    def ask(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        headers: Mapping[str, str] | None = None,
        key: str = "",
        timeout_s: float,
    ) -> Steps[Reply]:
        """Send a request to a path of the API as it is."""
        said = {"accept-encoding": self.compression or "identity", **(headers or {})}
        if key:
            said[KEY_HEADER] = key
        for name, value in said.items():
            if not value.isascii() or not value.isprintable():
                raise InvalidValueError(f"header {name}", "only printable ASCII can be sent")
        url = self.terms.endpoint + path
        return (yield from persistent(Send(method, url, said, body, timeout_s), self.terms))

    def _arrays(
        self, ref: ModelRef, inputs: Any, wanted: Wanted
    ) -> Steps[tuple[dict[str, Array], bool]]:
        """The inputs as arrays, and whether the signature had to help."""
        found: dict[str, Array] = {}
        if isinstance(inputs, Mapping):
            for name, value in inputs.items():
                if (array := typed(name, value)) is not None:
                    found[name] = array
            if len(found) == len(inputs):
                return found, False
        signature = yield from self.signature(ref, key=wanted.key, timeout_s=wanted.timeout_s)
        if not isinstance(inputs, Mapping):
            if len(signature.inputs) != 1:
                listed = ", ".join(spec.name for spec in signature.inputs)
                raise InvalidValueError("inputs", f"{ref} has several: give a dict with {listed}")
            only = signature.inputs[0]
            array = typed(only.name, inputs)
            return {only.name: declared(only, inputs) if array is None else array}, True
        for name, value in inputs.items():
            spec = signature.input(name)
            if spec is None:
                listed = ", ".join(each.name for each in signature.inputs)
                raise InvalidValueError(f"input {name!r}", f"{ref} has none such; it has {listed}")
            if name not in found:
                found[name] = declared(spec, value)
        return {name: found[name] for name in inputs}, True

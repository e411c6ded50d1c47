"""The one data plane: an `envelope.Request` in, an `envelope.Response` out, whoever carried it.

Reads the path, checks that the call is for this very version, has the protocol's codec read and
write, runs the model in between, and writes one log line per request. It must not know a transport
and never raises: what goes wrong becomes an answer, and a traceback goes to the log only.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

import orjson
from modelport.envelope import REFERENCE, Request, Response, Stream
from modelport.errors import (
    AliasNotFoundError,
    ModelFailedError,
    ModelNotFoundError,
    ModelportError,
    TensorError,
    VersionNotFoundError,
)
from modelport.grammar import PREDICTIONS, Call, parse
from modelport.refusals import no_jobs

from functions.runtime.codecs import CODECS, DESCRIBERS, Codec, Describer, Subject
from functions.runtime.failures import failure
from functions.runtime.identity import identity_headers
from functions.runtime.logs import RequestLog, recorded
from functions.runtime.model import Runner
from functions.runtime.prediction_summary import HEADER as PREDICTED
from functions.runtime.prediction_summary import PredictionSummary
from functions.runtime.statistics import Spent
from functions.runtime.tensors import Tensors

if TYPE_CHECKING:  # most versions have no script, and pay for none
    from functions.runtime.inference_script import InferenceScript

logger = logging.getLogger(__name__)

#: Ends of the paths that a bundle's script answers.
_SCRIPTED = ("/invocations", "/generate", "/generate_stream")
#: Callers of one version use a handful of paths over and over; errors are not kept.
_parse = lru_cache(maxsize=128)(parse)
UNKNOWN = Call("unknown", "unknown")
#: What a compressed request may grow to where nobody says otherwise, in bytes: on Lambda, where a
#: request as it comes has 6 MB at most.
MOST_DECOMPRESSED = 32 * 1024 * 1024


@dataclass(slots=True)
class Trace:
    """What the log line of one request says beyond its answer."""

    started_ns: int
    call: Call = UNKNOWN
    model_ns: int = 0
    #: Whether the answer may be a `Stream`.
    streams: bool = False
    streamed: int = 0
    #: Whether the request named a body.
    fetched: bool = False
    #: None for what no codec predicted: a script's answer, an error.
    spent: Spent | None = None


@dataclass(slots=True)
class Run:
    """What a request wants of the model, and what who gathers runs says of its own."""

    inputs: Tensors
    outputs: tuple[str, ...]
    ns: int | None = None
    counts: bool = True

    def ran(self, seconds: float, counts: bool) -> None:
        """It was in a run that took so long; ``counts`` is False for all but one that share it."""
        self.ns, self.counts = round(seconds * 1e9), counts


#: One request on its way: gives what it wants of the model, takes the outputs, ends in its answer.
Steps = Generator[Run, Tensors, Response]


def advance(steps: Steps, outcome: Tensors | Exception | None = None) -> Run | Response:
    """The next thing a request wants, given what became of the last, or else its answer."""
    try:
        if isinstance(outcome, Exception):
            return steps.throw(outcome)
        return next(steps) if outcome is None else steps.send(outcome)
    except StopIteration as end:
        response: Response = end.value
        return response


class DataPlane:
    """One loaded version, in every protocol. Safe to call from several threads at once."""

    def __init__(
        self,
        subject: Subject,
        model: Runner,
        script: InferenceScript | None = None,
        *,
        check: Callable[[Response], None] | None = None,
        codecs: Mapping[str, Codec] = CODECS,
        most_decompressed: int = MOST_DECOMPRESSED,
        payloads_url: str | None = None,
        most_fetched: int = MOST_DECOMPRESSED,
        log: RequestLog = recorded,
    ) -> None:
        """``check`` may refuse an answer its transport cannot carry, by raising.

        ``most_decompressed`` is how many bytes a compressed request may become. Below
        ``payloads_url`` lie the bodies that a request may name, of ``most_fetched`` bytes at most.
        ``log`` takes one line per request.
        """
        self.subject = subject
        self.model: Runner = model
        self._script = script
        self._check = check
        self._codecs = codecs
        self._describers: Mapping[str, Describer] = {**DESCRIBERS, **codecs}
        self._most_decompressed = most_decompressed
        self._payloads_url, self._most_fetched = payloads_url, most_fetched
        self._counts_rows = all(spec.shape[:1] == (-1,) for spec in subject.signature.inputs)
        self._identity = identity(subject)
        self._summary = PredictionSummary(subject.signature, subject.labels)
        self._cold = True
        self._write_line = log
        self._observer: Callable[[Mapping[str, Any]], None] | None = None

    def observe(self, observer: Callable[[Mapping[str, Any]], None]) -> None:
        """Tell ``observer`` what each request's log line says."""
        self._observer = observer

    def handle(self, request: Request) -> Response:
        """Answer one request."""
        return self._walk(self.steps(request))

    def stream(self, request: Request) -> Response:
        """Answer one request, by a `Stream` if its answer comes in pieces.

        Its pieces are made on the thread that takes them, and nobody else may run the script until
        they are all taken or it is closed.
        """
        return self._walk(self.steps(request, streams=True))

    def _walk(self, steps: Steps) -> Response:
        step = advance(steps)
        while not isinstance(step, Response):
            try:
                outputs = self.model.run(step.inputs, step.outputs)
            except Exception as error:
                step = advance(steps, error)
            else:
                step = advance(steps, outputs)
        return step

    def runs_script(self, request: Request) -> bool:
        """Whether this request is for ``inference.py``, which runs inside the first step."""
        return self._script is not None and request.path.partition("?")[0].endswith(_SCRIPTED)

    def steps(self, request: Request, *, streams: bool = False) -> Steps:
        """Answer one request, leaving the runs of the model to whoever takes the steps."""
        trace, place = Trace(perf_counter_ns(), streams=streams), None
        try:
            if request.headers.get("content-type") == REFERENCE and request.method == "POST":
                from functions.runtime.references import fetched  # few requests name a body

                request, place = fetched(request, self._payloads_url, self._most_fetched)
                trace.fetched = True
            response = yield from self._answer(request, trace)
            if "accept-encoding" in request.headers and trace.call.verb in PREDICTIONS:
                from functions.runtime.compression import compressed

                response = compressed(request, response)
            if place is not None:
                response = place.kept(response, self._check)
            elif self._check:
                self._check(response)
        except ModelportError as error:
            call = None if trace.call is UNKNOWN else trace.call
            response = failure(error, request.request_id, request, call)
        except Exception:
            response = self._failed(request)
        response.headers.update(self._identity)
        if trace.call.verb in PREDICTIONS and (spent := self._told(trace)):
            response.headers["server-timing"] = spent
        if request.method == "HEAD":
            response = Response(response.status, response.headers)
        if not isinstance(response, Stream):
            self._log(request, response, trace)
        return response

    def rehearse(self, request: Request) -> Response:
        """Answer a request that nobody sent: no log line, and the next one is still the first."""
        return self._walk(self._answer(request, Trace(perf_counter_ns())))

    def _answer(self, request: Request, trace: Trace) -> Steps:
        trace.call = call = _parse(request.method, request.path)
        self._check_is_ours(call)
        if "content-encoding" in request.headers and request.method == "POST":
            from functions.runtime.compression import decompressed

            most = self._most_fetched if trace.fetched else self._most_decompressed
            request = decompressed(request, most)
        if call.verb not in PREDICTIONS:
            if call.protocol == "jobs":
                raise no_jobs()
            return _described(self._describers[call.protocol].describe(call, request, self.subject))
        if call.verb.startswith("generate"):
            return self._generate(request, trace)
        if self._script and call.protocol == "sagemaker":
            return self._run_script(self._script, request, trace)
        return (yield from self._predict(self._codecs[call.protocol], request, trace))

    def _predict(self, codec: Codec, request: Request, trace: Trace) -> Steps:
        parsed = codec.parse(trace.call, request, self.subject)
        run = Run(parsed.tensors, parsed.outputs)
        started = perf_counter_ns()
        try:
            outputs = yield run
        except TensorError:  # these inputs do not go together, which the model can tell
            raise
        except Exception as error:
            raise self._blamed_on_model(request) from error
        finally:
            ended = perf_counter_ns()
            trace.model_ns = ended - started
        headers, body = codec.format(outputs, parsed, self.subject)
        # What is asked to measure a version is not what its callers ask.
        if trace.call.verb != "evaluate" and (predicted := self._summary.of(outputs)) is not None:
            headers[PREDICTED] = predicted
        infer_ns = trace.model_ns if run.ns is None else min(run.ns, trace.model_ns)
        trace.spent = Spent(
            input_ns=started - trace.started_ns,
            queue_ns=trace.model_ns - infer_ns,
            infer_ns=infer_ns,
            output_ns=perf_counter_ns() - ended,
            rows=self._rows(parsed.tensors),
            executions=int(run.counts),
        )
        return Response(200, headers, body)

    def _rows(self, tensors: Tensors) -> int:
        """Batch elements of a request: its rows where every input's first dimension is free."""
        if not self._counts_rows or not tensors:
            return 1
        return len(next(iter(tensors.values())))

    def _run_script(self, script: InferenceScript, request: Request, trace: Trace) -> Response:
        started = perf_counter_ns()
        try:
            return script.answer(trace.call, request, self.subject)
        except ModelportError:
            raise
        except (Exception, SystemExit) as error:  # a script that exits must not end the server
            raise self._blamed_on_model(request) from error
        finally:
            trace.model_ns = perf_counter_ns() - started

    def _generate(self, request: Request, trace: Trace) -> Response:
        from functions.runtime.generation import Generation  # most versions generate no text

        def ended(size: int) -> None:
            trace.streamed = size
            self._log(request, Response(200), trace)

        def blamed() -> ModelFailedError:
            return self._blamed_on_model(request)

        generation = Generation(self._script, request, self.subject, trace, blamed)
        if trace.call.verb == "generate":
            return generation.whole()
        return generation.stream(ended) if trace.streams else generation.buffered()

    def _blamed_on_model(self, request: Request) -> ModelFailedError:
        logger.exception("the model failed on request %s", request.request_id)
        return ModelFailedError(self.subject.model, self.subject.version, request.request_id)

    def _failed(self, request: Request) -> Response:
        return failure(self._blamed_on_model(request), request.request_id)

    def _check_is_ours(self, call: Call) -> None:
        ours = self.subject
        if call.model not in (None, ours.model):
            raise ModelNotFoundError(str(call.model))
        if call.version not in (None, ours.version):
            raise VersionNotFoundError(ours.model, call.version or 0)
        if call.alias is not None:
            raise AliasNotFoundError(ours.model, call.alias, ())

    def _told(self, trace: Trace) -> str:
        """What ``server-timing`` says: the model's run alone, and whether this process is new."""
        ns = trace.spent.infer_ns if trace.spent else trace.model_ns
        ran = f"model;dur={ns / 1e6:.3f}" if ns else ""
        if not self._cold:
            return ran
        return f"{ran}, cold" if ran else "cold"

    def _log(self, request: Request, response: Response, trace: Trace) -> None:
        predicts = trace.call.verb in PREDICTIONS
        duration_ns = perf_counter_ns() - trace.started_ns
        line = {
            "request_id": request.request_id,
            "model": self.subject.model,
            "version": self.subject.version,
            "protocol": trace.call.protocol,
            "verb": trace.call.verb,
            "status": response.status,
            "duration_ms": _ms(duration_ns),
            "model_ms": _ms(trace.model_ns),
            "cold_start": self._cold and predicts,
            "bytes_in": len(request.body),
            "bytes_out": len(response.body) + trace.streamed,
        }
        if predicts:
            self._cold = False
            spent = trace.spent or Spent(infer_ns=trace.model_ns)
            succeeded = response.status < 400
            self.subject.statistics.count(spent, duration_ns, succeeded=succeeded)
        if self._observer:
            self._observer(line)
        # SageMaker pings every few seconds; that is noise, not traffic.
        level = logging.DEBUG if trace.call.verb == "ping" else logging.INFO
        self._write_line(line, level)


def identity(subject: Subject) -> dict[str, str]:
    """The headers that say which version answered."""
    return identity_headers(subject.model, subject.version, subject.digest)


def _described(answer: Mapping[str, Any] | Response | None) -> Response:
    if answer is None or isinstance(answer, Response):
        return answer or Response(200)
    return Response(200, {"content-type": "application/json"}, orjson.dumps(answer))


def _ms(duration_ns: int) -> float:
    return round(duration_ns / 1e6, 3)

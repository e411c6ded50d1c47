"""The one data plane: an `envelope.Request` in, an `envelope.Response` out, whoever carried it.

Reads the path, checks that the call is for this very version, has the protocol's codec read and
write, runs the model in between, and writes one log line per request. It must not know a transport
and never raises: what goes wrong becomes an answer, and a traceback goes to the log only.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
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

from functions.runtime.codecs import CODECS, DESCRIBERS, Codec, Describer, Parsed, Subject
from functions.runtime.exchange import UNKNOWN, Exchange
from functions.runtime.failures import failure
from functions.runtime.identity import identity_headers
from functions.runtime.ledger import Ledger
from functions.runtime.logs import RequestLog, recorded
from functions.runtime.model import Runner
from functions.runtime.prediction_summary import HEADER as PREDICTED
from functions.runtime.prediction_summary import PredictionSummary
from functions.runtime.statistics import Spent
from functions.runtime.tensors import Array, Tensors

if TYPE_CHECKING:  # most versions have no script, and pay for none
    from functions.runtime.inference_script import InferenceScript

logger = logging.getLogger(__name__)

#: Ends of the paths that a bundle's script answers.
_SCRIPTED = ("/invocations", "/generate", "/generate_stream")
#: Callers of one version use a handful of paths over and over; errors are not kept.
_parse = lru_cache(maxsize=128)(parse)
#: What a compressed request may grow to where nobody says otherwise, in bytes: on Lambda, where a
#: request as it comes has 6 MB at most.
MOST_DECOMPRESSED = 32 * 1024 * 1024


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
        self.identity = identity(subject)
        self.summary = PredictionSummary(subject.signature, subject.labels)
        self._cold = True
        self.ledger = Ledger(subject.statistics, log)

    def handle(self, request: Request) -> Response:
        """Answer one request."""
        return self._finished(self.begin(request))

    def stream(self, request: Request) -> Response:
        """Answer one request, by a `Stream` if its answer comes in pieces.

        Its pieces are made on the thread that takes them, and nobody else may run the script until
        they are all taken or it is closed.
        """
        return self._finished(self.begin(request, streams=True))

    def begin(self, request: Request, *, streams: bool = False) -> Exchange | Response:
        """Answer a request, or read it up to where the model has to run: then `finish` it."""
        exchange = Exchange(request, perf_counter_ns(), streams)
        try:
            if request.headers.get("content-type") == REFERENCE and request.method == "POST":
                self._fetch(exchange)
            response = self._read(exchange)
            if response is None:
                exchange.read_ns = perf_counter_ns()
                return exchange
            response = self._carried(exchange, response)
        except Exception as error:
            response = self._refused(exchange, error)
        return self._ended(exchange, response)

    def finish(self, exchange: Exchange, outcome: Tensors | Exception) -> Response:
        """The answer, of what became of the model's run: its outputs, or what it raised."""
        try:
            response = self._carried(exchange, self._answer(exchange, outcome))
        except Exception as error:
            response = self._refused(exchange, error)
        return self._ended(exchange, response)

    def _finished(self, exchange: Exchange | Response) -> Response:
        if isinstance(exchange, Response):
            return exchange
        return self.finish(exchange, self._outcome(exchange.parsed))

    def _outcome(self, parsed: Parsed) -> Tensors | Exception:
        try:
            return self.model.run(parsed.tensors, parsed.outputs)
        except Exception as error:
            return error

    def rehearse(self, request: Request) -> Response:
        """Answer a request that nobody sent: no log line, and the next one is still the first."""
        exchange = Exchange(request, perf_counter_ns())
        response = self._read(exchange)
        return response or self._answer(exchange, self._outcome(exchange.parsed))

    @property
    def keeps_its_cpu(self) -> bool:
        """Whether answering is work for the CPU alone: no script that may wait, no GPU."""
        return self._script is None and getattr(self.model, "gpu_id", None) is None

    def runs_script(self, request: Request) -> bool:
        """Whether this request is for ``inference.py``, which runs inside `begin`."""
        return self._script is not None and request.path.partition("?")[0].endswith(_SCRIPTED)

    def _fetch(self, exchange: Exchange) -> None:
        from functions.runtime.references import fetched  # few requests name a body

        exchange.request, exchange.place = fetched(
            exchange.request, self._payloads_url, self._most_fetched
        )

    def _read(self, exchange: Exchange) -> Response | None:
        """The answer of all but the model; None where that has to run what was read."""
        request = exchange.request
        exchange.call = call = _parse(request.method, request.path)
        self._check_is_ours(call)
        if "content-encoding" in request.headers and request.method == "POST":
            from functions.runtime.compression import decompressed

            most = self._most_fetched if exchange.place else self._most_decompressed
            request = decompressed(request, most)
        if call.verb not in PREDICTIONS:
            if call.protocol == "jobs":
                raise no_jobs()
            self.ledger.settle()  # some questions are about what was counted
            return _described(self._describers[call.protocol].describe(call, request, self.subject))
        if call.verb.startswith("generate"):
            return self._generate(request, exchange)
        if self._script and call.protocol == "sagemaker":
            return self._run_script(self._script, request, exchange)
        exchange.parsed = self._codecs[call.protocol].parse(call, request, self.subject)
        return None

    def _answer(self, exchange: Exchange, outcome: Tensors | Exception) -> Response:
        ended = perf_counter_ns()
        exchange.model_ns = took = ended - exchange.read_ns
        if isinstance(outcome, TensorError):  # inputs that do not go together: the model can tell
            raise outcome
        if isinstance(outcome, Exception):
            raise self._blamed_on_model(exchange.request, outcome) from outcome
        call, parsed = exchange.call, exchange.parsed
        headers, body = self._codecs[call.protocol].format(outcome, parsed, self.subject)
        # What is asked to measure a version is not what its callers ask.
        if call.verb != "evaluate" and (predicted := self.summary.of(outcome)) is not None:
            headers[PREDICTED] = predicted
        infer_ns = took if exchange.run_ns is None else min(exchange.run_ns, took)
        exchange.spent = Spent(
            exchange.read_ns - exchange.started_ns,
            took - infer_ns,
            infer_ns,
            perf_counter_ns() - ended,
            self.rows(next(iter(parsed.tensors.values()), None)),
            int(exchange.counts),
        )
        return Response(200, headers, body)

    def _carried(self, exchange: Exchange, response: Response) -> Response:
        """The answer as it goes out, if it can: as the caller reads it, and where it belongs."""
        if "accept-encoding" in exchange.request.headers and exchange.call.verb in PREDICTIONS:
            from functions.runtime.compression import compressed

            response = compressed(exchange.request, response)
        if exchange.place is not None:
            return exchange.place.kept(response, self._check)
        if self._check:
            self._check(response)
        return response

    def _refused(self, exchange: Exchange, error: Exception) -> Response:
        request = exchange.request
        if not isinstance(error, ModelportError):
            return failure(self._blamed_on_model(request, error), request.request_id)
        call = None if exchange.call is UNKNOWN else exchange.call
        return failure(error, request.request_id, request, call)

    def _ended(self, exchange: Exchange, response: Response) -> Response:
        """The answer with what every answer says, and its log line written."""
        response.headers.update(self.identity)
        if exchange.call.verb in PREDICTIONS and (spent := self._told(exchange)):
            response.headers["server-timing"] = spent
        if exchange.request.method == "HEAD":
            response = Response(response.status, response.headers)
        if not isinstance(response, Stream):
            self._log(exchange, response)
        return response

    def rows(self, first: Array | None) -> int:
        """Batch elements of a request whose first input this is: its rows, where these are free."""
        return len(first) if self._counts_rows and first is not None else 1

    @property
    def is_cold(self) -> bool:
        """Whether nobody has asked for a prediction yet."""
        return self._cold

    def _run_script(
        self, script: InferenceScript, request: Request, exchange: Exchange
    ) -> Response:
        started = perf_counter_ns()
        try:
            return script.answer(exchange.call, request, self.subject)
        except ModelportError:
            raise
        except (Exception, SystemExit) as error:  # a script that exits must not end the server
            raise self._blamed_on_model(request, error) from error
        finally:
            exchange.model_ns = perf_counter_ns() - started

    def _generate(self, request: Request, exchange: Exchange) -> Response:
        from functions.runtime.generation import Generation  # most versions generate no text

        def ended(size: int) -> None:
            exchange.streamed = size
            self._log(exchange, Response(200))

        def blamed() -> ModelFailedError:
            return self._blamed_on_model(request, True)

        generation = Generation(self._script, request, self.subject, exchange, blamed)
        if exchange.call.verb == "generate":
            return generation.whole()
        return generation.stream(ended) if exchange.streams else generation.buffered()

    def _blamed_on_model(self, request: Request, error: BaseException | bool) -> ModelFailedError:
        """What the caller is told; the log is told of ``error``, True for the one in hand."""
        logger.error("the model failed on request %s", request.request_id, exc_info=error)
        return ModelFailedError(self.subject.model, self.subject.version, request.request_id)

    def _check_is_ours(self, call: Call) -> None:
        ours = self.subject
        if call.model not in (None, ours.model):
            raise ModelNotFoundError(str(call.model))
        if call.version not in (None, ours.version):
            raise VersionNotFoundError(ours.model, call.version or 0)
        if call.alias is not None:
            raise AliasNotFoundError(ours.model, call.alias, ())

    def _told(self, exchange: Exchange) -> str:
        """What ``server-timing`` says: the model's run alone, and whether this process is new."""
        ns = exchange.spent.infer_ns if exchange.spent else exchange.model_ns
        ran = f"model;dur={ns / 1e6:.3f}" if ns else ""
        if not self._cold:
            return ran
        return f"{ran}, cold" if ran else "cold"

    def _log(self, exchange: Exchange, response: Response) -> None:
        request, call = exchange.request, exchange.call
        predicts = call.verb in PREDICTIONS
        duration_ns = perf_counter_ns() - exchange.started_ns
        line = {
            "request_id": request.request_id,
            "model": self.subject.model,
            "version": self.subject.version,
            "protocol": call.protocol,
            "verb": call.verb,
            "status": response.status,
            "duration_ms": milliseconds(duration_ns),
            "model_ms": milliseconds(exchange.model_ns),
            "cold_start": self._cold and predicts,
            "bytes_in": len(request.body),
            "bytes_out": len(response.body) + exchange.streamed,
        }
        spent = exchange.spent
        if predicts:
            self._cold = False
            spent = spent or Spent(infer_ns=exchange.model_ns)
        self.ledger.note(line, spent, duration_ns)


def identity(subject: Subject) -> dict[str, str]:
    """The headers that say which version answered."""
    return identity_headers(subject.model, subject.version, subject.digest)


def _described(answer: Mapping[str, Any] | Response | None) -> Response:
    if answer is None or isinstance(answer, Response):
        return answer or Response(200)
    return Response(200, {"content-type": "application/json"}, orjson.dumps(answer))


def milliseconds(duration_ns: int) -> float:
    """Milliseconds with three digits; whole microseconds first are quicker than `round`."""
    return (duration_ns + 500) // 1000 / 1000

"""A world around jobs: router, worker, a queue that delivers twice and late, and a way to die.

Every call that worker and router make to something outside goes through one `Line`, which counts
them: at any call something else can happen first or after it, such as the end of the process. Time
passes only when told to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from modelport.backends import CallableBackend
from modelport.envelope import Request, Response
from modelport.grammar import Call
from modelport.jobs.board import Board
from modelport.jobs.job import Job
from modelport.jobs.payloads import MemoryPayloads
from modelport.registry import Snapshot
from modelport.registry.memory import MemoryStore
from modelport.routes import Deployment, Routes

from functions.router.jobs import Jobs, Terms
from functions.worker.jobs import JobRunner, Work
from functions.worker.messages import consume

MODEL = "magika"
RUN_S = 900.0
INVISIBLE_S = 960.0
DELIVERIES = 5
DEAD_ARN = "arn:aws:sqs:eu-central-1:1:dead-jobs"
PATH = f"/v2/models/{MODEL}/infer"
MAX_UPLOAD = 10_000_000


class KilledError(BaseException):
    """The process ends here: nothing catches it, nothing after it happens."""


class Clock:
    """The time of day."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


class Line:
    """Through which all calls go; ``at`` says what happens at the call of that number."""

    def __init__(self) -> None:
        self.calls = 0
        self.names: list[str] = []
        self.before: dict[int, Callable[[], None]] = {}
        self.after: dict[int, Callable[[], None]] = {}

    def cut(self) -> None:
        """Forget what was to happen, and start counting anew."""
        self.calls = 0
        self.names.clear()
        self.before.clear()
        self.after.clear()

    def through(self, name: str, call: Callable[[], Any]) -> Any:
        self.calls += 1
        self.names.append(name)
        number = self.calls
        self.before.pop(number, lambda: None)()
        result = call()
        self.after.pop(number, lambda: None)()
        return result


class OnLine:
    """An object whose methods are called through a line."""

    def __init__(self, target: Any, line: Line, name: str) -> None:
        self._target, self._line, self._name = target, line, name

    def __getattr__(self, method: str) -> Any:
        found = getattr(self._target, method)
        if not callable(found):
            return found
        name = f"{self._name}.{method}"
        return lambda *a, **k: self._line.through(name, lambda: found(*a, **k))


@dataclass
class Waiting:
    """A message in the queue."""

    body: dict[str, Any]
    visible_at: float
    receives: int = 0


class FakeQueue:
    """SQS as far as it matters: hidden while somebody has it, back when its time is over."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.messages: dict[str, Waiting] = {}
        self.dead: dict[str, Waiting] = {}
        self.sent = 0

    def send(self, message: Mapping[str, Any]) -> None:
        self.sent += 1
        self.messages[f"m-{self.sent}"] = Waiting(dict(message), self.clock())

    def later(self, receipt: str, seconds: float) -> None:
        held = self.messages.get(receipt) or self.dead.get(receipt)
        if held is not None:
            held.visible_at = self.clock() + seconds

    def received(self, held: Waiting) -> None:
        """Note that somebody has it, hidden or not: SQS may deliver one twice."""
        held.receives += 1
        held.visible_at = self.clock() + INVISIBLE_S

    def sweep(self) -> None:
        """Move what came too often to the dead letters."""
        for number, held in list(self.messages.items()):
            if held.receives >= DELIVERIES and held.visible_at <= self.clock():
                self.dead[number] = self.messages.pop(number)


def record(number: str, held: Waiting, arn: str = "arn:jobs") -> dict[str, Any]:
    """A message as Lambda gets it."""
    import json

    return {
        "messageId": number,
        "receiptHandle": number,
        "body": json.dumps(held.body),
        "attributes": {"ApproximateReceiveCount": str(held.receives)},
        "eventSourceARN": arn,
    }


def deployment(version: int = 1, target: str = "lambda", **settings: Any) -> Deployment:
    """A version that runs."""
    return Deployment(version, target, f"f-{version}", f"sha256:{version:064x}", settings)


def routes(*deployments: Deployment) -> Routes:
    """The model's routes with these versions deployed."""
    found = Routes(MODEL)
    for each in deployments or (deployment(),):
        found = found.with_published(each.version).with_deployment(each)
    return found


def doubled(request: Request) -> Response:
    """What the model answers: the body twice."""
    headers = {"content-type": request.headers.get("content-type", "text/plain"), "server": "x"}
    return Response(200, headers, request.body * 2)


def event(who: str) -> dict[str, Any]:
    """The gateway's event of a caller it knows."""
    if not who:
        return {"requestContext": {"http": {"sourceIp": "10.0.0.1"}}}
    arn = f"arn:aws:iam::1:user/{who}"
    return {"requestContext": {"authorizer": {"iam": {"userArn": arn}}}}


@dataclass
class JobsWorld:
    """Everything; each worker of it is a new process."""

    model: Callable[[Request], Response] = doubled
    clock: Clock = field(default_factory=Clock)
    line: Line = field(default_factory=Line)
    payloads: MemoryPayloads = field(default_factory=MemoryPayloads)
    store: MemoryStore = field(default_factory=MemoryStore)
    routes: Routes = field(default_factory=routes)
    news: list[dict[str, Any]] = field(default_factory=list)
    runs: int = 0
    records: list[Mapping[str, Any]] = field(default_factory=list)
    webhook_down: bool = False

    def __post_init__(self) -> None:
        self.queue = FakeQueue(self.clock)
        self.board = Board(self.store, clock=self.clock, sleep=self._slept)
        self.jobs = Jobs(
            Board(OnLine(self.store, self.line, "store"), clock=self.clock, sleep=self._slept),
            OnLine(self.payloads, self.line, "payloads"),
            OnLine(self.queue, self.line, "queue"),
            Terms(MAX_UPLOAD, "hooks.example,other.example:8443"),
            sleep=self._slept,
        )

    def _slept(self, seconds: float) -> None:
        self.clock.now += seconds

    # --- callers ----------------------------------------------------------------------------------

    def accept(self, body: bytes = b"row", who: str = "ada", **headers: str) -> Response:
        """A caller's request that becomes a job; header names are written with underscores."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        sent = {"content-type": "text/plain", "prefer": "respond-async", **named}
        request = Request("POST", PATH, sent, body, "r-1")
        asked = Request("POST", PATH, {"content-type": sent["content-type"]}, body, "r-1")
        call = Call("v2", "infer", MODEL)
        return self.jobs.accept(call, self.routes.deployments[1], asked, request, event(who))

    def ask(self, verb: str, id: str = "", who: str = "ada", body: bytes = b"") -> Response:
        """A caller's question about a job, or its wish for a place to upload to."""
        method = "GET" if verb in ("status", "answer") else "POST"
        request = Request(method, f"/jobs/{id}", {}, body, "r-2")
        return self.jobs.answer(Call("jobs", verb, job=id), request, event(who))

    def job(self, id: str) -> Job:
        """The job's document."""
        return self.board.get(id)

    # --- workers ----------------------------------------------------------------------------------

    def worker(self) -> JobRunner:
        """A new process of the worker."""

        def ran(request: Request) -> Response:
            self.runs += 1
            return self.model(request)

        def tell(url: str, news: Mapping[str, Any]) -> None:
            if self.webhook_down:
                from functions.worker.webhooks import WebhookFailedError

                raise WebhookFailedError("hooks.example", "status 500")
            self.news.append({"url": url, **news})

        class Registry:
            def routes(_, model: str, *, etag: str | None = None) -> Snapshot | None:
                return Snapshot(self.routes, '"1"')

        backend = CallableBackend({each.resource: ran for each in self.routes.deployments.values()})
        on = OnLine(backend, self.line, "backend")
        return JobRunner(
            Work(
                OnLine(Registry(), self.line, "registry"),
                {"lambda": on, "sagemaker": on},
                Board(OnLine(self.store, self.line, "store"), clock=self.clock, sleep=self._slept),
                OnLine(self.payloads, self.line, "payloads"),
                OnLine(self.queue, self.line, "queue"),
                lambda url, news: self.line.through("tell", lambda: tell(url, news)),
                lambda line: self.records.append(dict(line)),
                "test",
            )
        )

    def deliver(self, number: str) -> None:
        """Have a worker take a message, whether it is hidden or not; it may be killed."""
        held = self.queue.messages.get(number)
        if held is None:
            return
        self.queue.received(held)
        self._consume(number, held, "arn:jobs", self.queue.messages)

    def bury(self, number: str) -> None:
        """Have a worker take a dead letter."""
        held = self.queue.dead.get(number)
        if held is not None:
            self.queue.received(held)
            self._consume(number, held, DEAD_ARN, self.queue.dead)

    def _consume(self, number: str, held: Waiting, arn: str, of: dict[str, Waiting]) -> None:
        until = self.clock() + RUN_S
        try:
            answer = consume(
                {"Records": [record(number, held, arn)]},
                {"job": self.worker()},
                until,
                lambda line: self.records.append(dict(line)),
                DEAD_ARN,
            )
        except KilledError:
            return
        if not answer["batchItemFailures"]:
            of.pop(number, None)

    def settle(self) -> None:
        """Let time pass until no message is left."""
        for _ in range(40):
            self.queue.sweep()
            for number in self._visible(self.queue.messages):
                self.deliver(number)
            for number in self._visible(self.queue.dead):
                self.bury(number)
            if not self.queue.messages and not self.queue.dead:
                return
            self.clock.now += INVISIBLE_S + 10
        raise AssertionError("a message is never done for")

    def _visible(self, messages: dict[str, Waiting]) -> Iterator[str]:
        now = self.clock()
        return iter([number for number, held in messages.items() if held.visible_at <= now])


def killed() -> None:
    """What to do at a call, to end there."""
    raise KilledError

"""Rows 1 to 5: servers of one model over loopback, each as a fresh process in turns.

A process is started, found to answer rightly, put under each load in turn, found to still answer
rightly, weighed and ended. Rates of a tiny model are taken with wrk, those of an image with a
client that counts every request it began. Knows no server's ways: `contenders` has them.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter

from tests.bench.contenders import BARE, FLOOR, HOME, Contender, Serve, bare, contenders
from tests.bench.figures import Figure, Target
from tests.bench.load import Line, LoadError, Question, rate, wrk_rate
from tests.bench.plan import PEERS, BenchError, Plan, Round, cpus, in_turns, pinned
from tests.bench.processes import Running, ServerError, resident, running
from tests.bench.protocols import BINARY, V1, V2, Protocol
from tests.bench.subjects import Array, Subject, image, tiny

#: Questions asked before a load, so that no first use of anything is part of it.
_WARM_UP = 5
_START, _MEMORY = "tiny model, start to first answer", "tiny model, memory after the load"


class WrongAnswerError(BenchError):
    """A contender answered something else than onnxruntime, or nothing; says who and to what."""


@dataclass(frozen=True)
class Workload:
    """One load: a subject, asked by so many clients in the first protocol that a contender has."""

    row: int
    what: str
    subject: str
    protocols: Sequence[Protocol]
    clients: int
    targets: Sequence[Target]
    note: str = ""

    def protocol(self, contender: Contender) -> Protocol | None:
        """The protocol this contender is asked in; None where it has none of them."""
        return next((p for p in self.protocols if p.name in contender.paths), None)


_EVERY, _V2_PEERS = PEERS["all"], ("kserve", "mlserver")
_IMAGE_NOTE = "MLServer has no V1 and is asked in V2 JSON"
WORKLOADS = (
    Workload(
        *(1, "tiny model, V1 JSON, 32 clients", "tiny", [V1], 32),
        (Target(_EVERY, at_least=8), Target((FLOOR,), at_least=0.6)),
    ),
    Workload(
        *(2, "tiny model, V2 JSON, 32 clients", "tiny", [V2], 32),
        (Target(_V2_PEERS, at_least=8),),
    ),
    Workload(
        *(2, "tiny model, V2 binary, 32 clients", "tiny", [BINARY], 32),
        (Target(_V2_PEERS, at_least=8),),
        "MLServer answers 500 to V2 binary and is left out",
    ),
    Workload(
        *(3, "image, JSON, 1 client", "image", [V1, V2], 1),
        (Target(_EVERY, at_least=1.8), Target((FLOOR,), at_least=0.8)),
        _IMAGE_NOTE,
    ),
    Workload(
        *(3, "image, JSON, 8 clients", "image", [V1, V2], 8),
        (Target(_EVERY, at_least=1.8), Target((FLOOR,), at_least=0.8)),
        _IMAGE_NOTE,
    ),
    Workload(
        *(4, "image, V2 binary, 1 client", "image", [BINARY], 1),
        (Target(("kserve",), at_least=12), Target((FLOOR,), at_least=0.95)),
    ),
)
_ROW_5 = {
    _START: (
        "ms",
        (Target((BARE,), at_most=1.2),),
        "from the process's start; the bare process imports numpy and onnxruntime and runs once",
    ),
    _MEMORY: (
        "MiB",
        (Target(at_most=75),),
        "resident, of all its processes together, a page that they share counted once",
    ),
}


def measure(plan: Plan) -> Iterator[Figure]:
    """The figures of the plan's rows; raises `WrongAnswerError`, `ServerError`."""
    wanted = [load for load in WORKLOADS if load.row in plan.rows]
    HOME.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=HOME) as folder:
        rounds = _rounds(plan, wanted, Path(folder))
        if not plan.short:  # a first start compiles and finds nothing in the page cache
            in_turns(rounds.first, 1, "servers, first start")
        found = in_turns(rounds.every, plan.rounds, "servers")
    for load in wanted:
        yield Figure(load.row, load.what, "req/s", found[load.what], load.targets, load.note)
    if 5 in plan.rows:
        for what, (unit, targets, note) in _ROW_5.items():
            yield Figure(5, what, unit, found[what], targets, note)


@dataclass(frozen=True)
class _Rounds:
    """What is done once, and what in every round."""

    first: Mapping[str, Round]
    every: Mapping[str, Round]


def _rounds(plan: Plan, wanted: Sequence[Workload], folder: Path) -> _Rounds:
    first: dict[str, Round] = {}
    every: dict[str, Round] = {}
    for contender in contenders(plan.peers):
        visits = [
            _Visit(contender, subject, loads, plan, _made(folder, contender, subject))
            for subject in (tiny(), image())
            if (loads := _loads(contender, subject, wanted, plan))
        ]
        if visits:
            first[contender.name] = partial(_all, [visit.start for visit in visits])
            every[contender.name] = partial(_all, [visit.whole for visit in visits])
    if 5 in plan.rows:
        place = _place(folder, BARE, "tiny")
        every[BARE] = first[BARE] = partial(_bare, tiny(), place)
    return _Rounds(first, every)


def _all(rounds: Sequence[Round]) -> Mapping[str, float]:
    return {what: sample for round_ in rounds for what, sample in round_().items()}


def _loads(
    contender: Contender, subject: Subject, wanted: Sequence[Workload], plan: Plan
) -> list[Workload]:
    """What is asked of a contender about a subject; row 5 needs the tiny one whatever else is."""
    loads = [w for w in wanted if w.subject == subject.name and w.protocol(contender)]
    if not loads and subject.name == "tiny" and 5 in plan.rows:
        loads = [w for w in WORKLOADS if w.subject == "tiny" and w.protocol(contender)][:1]
    return loads


def _place(folder: Path, *names: str) -> Path:
    place = folder.joinpath(*names)
    place.mkdir(parents=True, exist_ok=True)
    return place


def _made(folder: Path, contender: Contender, subject: Subject) -> tuple[Serve, Path]:
    place = _place(folder, contender.name, subject.name)
    return contender.prepare(subject, place), place


@dataclass(frozen=True)
class _Visit:
    """A contender with one subject's loads: the fresh process of a round."""

    contender: Contender
    subject: Subject
    loads: Sequence[Workload]
    plan: Plan
    made: tuple[Serve, Path]

    def start(self) -> Mapping[str, float]:
        """Start, answer once, end."""
        serve, place = self.made
        with running(serve, place) as server:
            self._first_answer(server)
        return {}

    def whole(self) -> Mapping[str, float]:
        """Start, answer, carry every load, answer, be weighed, end."""
        serve, place = self.made
        with running(serve, place) as server:
            found = {_START: self._first_answer(server) * 1000}
            for load in self.loads:
                found[load.what] = self._carry(server, load)
            found[_MEMORY] = server.memory()
        if self.subject.name != "tiny" or 5 not in self.plan.rows:
            del found[_START], found[_MEMORY]
        return found

    def _question(self, load: Workload) -> tuple[Protocol, Question]:
        protocol = load.protocol(self.contender)
        assert protocol is not None
        return protocol, protocol.ask(self.contender.paths[protocol.name], self.subject.array)

    def _first_answer(self, server: Running) -> float:
        """Seconds from the start to the first right answer, which is the first 200 there is."""
        protocol, question = self._question(self.loads[0])
        request = question.to_bytes()

        def is_ready() -> bool:
            with suppress(ConnectionError), Line(server.port) as line:
                answer = line.ask(request)
                if answer.status == 200:
                    return self._checked(protocol.read(answer), self.loads[0])
            return False

        try:
            return server.until(is_ready)
        except ServerError as error:
            raise ServerError(f"{self.contender.name}: {error}") from error

    def _carry(self, server: Running, load: Workload) -> float:
        protocol, question = self._question(load)
        request = question.to_bytes()

        def check(times: int) -> None:
            with Line(server.port) as line:
                for _ in range(times):
                    answer = line.ask(request)
                    if answer.status != 200:
                        raise LoadError(f"status {answer.status}: {answer.body[:300]!r}")
                    self._checked(protocol.read(answer), load)

        # wrk where a client in Python would be what is measured; it needs a whole second.
        asking = wrk_rate if load.subject == "tiny" and not self.plan.short else rate
        with pinned(cpus()[1]):
            try:
                check(1 if self.plan.short else _WARM_UP)
                found = asking(server.port, question, load.clients, self.plan.seconds)
                check(1)
            except (LoadError, OSError) as error:
                who = f"{self.contender.name}, {load.what}"
                raise WrongAnswerError(f"{who}: {error}\n{server.said()}") from error
        return found

    def _checked(self, answer: Array, load: Workload) -> bool:
        if not self.subject.is_right(answer):
            who = f"{self.contender.name}, {load.what}"
            raise WrongAnswerError(f"{who}: answered {answer}, not {self.subject.expected}")
        return True


def _bare(subject: Subject, place: Path) -> Mapping[str, float]:
    """Start, run once, be weighed, end."""
    program = bare(subject, place)
    with pinned(cpus()[0]):
        started = perf_counter()
        process = subprocess.Popen(
            program.command,
            env=program.environ,
            cwd=program.folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
    with process:
        assert process.stdout is not None
        said = process.stdout.readline()
        took = perf_counter() - started
        memory = resident([process.pid]) / 2**20
    if len(said.split()) != subject.expected.size:
        raise WrongAnswerError(f"{BARE}: answered {said!r}")
    return {_START: took * 1000, _MEMORY: memory}

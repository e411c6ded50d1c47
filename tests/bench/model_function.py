"""Row 6: a warm model function on Lambda, the router's envelope in, its answer out.

Ours as an image starts it, a plain handler under awslambdaric, and a floor written by hand, each a
fresh process on one CPU behind the same Runtime API. Beside them the model alone, in a process of
its own on the same CPU: what of a large request's time is not ours.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from modelport.envelope import Request, Response

from tests.bench.figures import OURS, Figure, Target
from tests.bench.function_host import FunctionError, FunctionHost, Program, function
from tests.bench.load import Answer
from tests.bench.plan import Plan, Round, cpus, in_turns, pinned
from tests.bench.protocols import BINARY, V1, Protocol
from tests.bench.subjects import Subject, image, tiny
from tests.conftest import ROOT
from tests.support.runtime_bundles import write_bundle

FUNCTIONS = ROOT / "tests" / "bench" / "functions"
PATH = os.pathsep.join([str(ROOT), str(ROOT / "layers" / "core" / "python")])
PLAIN, FLOOR, ALONE = "awslambdaric", "hand-written", "onnxruntime"
_ROW = 6
#: Runs of the model alone; prints the median in ms.
_MODEL = """
import statistics, sys, time
import numpy, onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[1], options)
feed = {"x": numpy.load(sys.argv[2])}
spent = []
for _ in range(int(sys.argv[3])):
    began = time.perf_counter()
    session.run(None, feed)
    spent.append(time.perf_counter() - began)
print(statistics.median(spent[len(spent) // 4 :]) * 1e3)
"""


@dataclass(frozen=True)
class Question:
    """One event, what its answer must be, and how often it is asked."""

    what: str
    subject: Subject
    protocol: Protocol
    times: int

    def event(self) -> bytes:
        """What the router sends to the function."""
        verb = "predict" if self.protocol is V1 else "infer"
        path = f"/v1/models/demo/versions/3:{verb}"
        if verb == "infer":
            path = "/v2/models/demo/versions/3/infer"
        asked = self.protocol.ask(path, self.subject.array)
        headers = {name.lower(): value for name, value in asked.headers.items()}
        return Request("POST", path, {**_ROUTER, **headers}, asked.body, "r" * 32).to_event()

    def check(self, answer: bytes) -> None:
        """Raise unless it is onnxruntime's."""
        response = Response.from_event(_enveloped(answer))
        read = self.protocol.read(Answer(response.status, response.headers, response.body))
        if response.status != 200 or not self.subject.is_right(read):
            raise FunctionError(f"{self.what}: a wrong answer: {answer[:500]!r}")


#: What a caller's request brings along through API Gateway.
_ROUTER = {
    "accept": "*/*",
    "user-agent": "python-requests/2.32.5",
    "host": "abcdefghij.execute-api.us-east-1.amazonaws.com",
    "x-amzn-trace-id": "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700",
    "x-forwarded-for": "192.0.2.1",
}


def _enveloped(answer: bytes) -> bytes:
    """Plain functions answer without the envelope's version and headers."""
    if b'"modelport":1' in answer[:100]:
        return answer
    return b'{"modelport":1,"headers":{},' + answer.strip()[1:]


def measure(plan: Plan) -> Iterator[Figure]:
    """Median time per request of each contender, and what is left of it without the model's."""
    times = 3 if plan.short else 200
    questions = (
        Question("tiny model", tiny(), V1, times * 10),
        Question("1x3x224x224 as JSON, 3 MB", image(), V1, times // 2 + 1),
        Question("1x3x224x224 binary, 600 KB", image(), BINARY, times // 2 + 1),
    )
    with tempfile.TemporaryDirectory() as name:
        for question in questions:
            folder = Path(name) / question.protocol.name / question.subject.name
            settings = write_bundle(folder, question.subject.onnx).to_env()
            spent = in_turns(_contenders(question, folder, settings), plan.rounds)["ms"]
            yield from _figures(question, spent)


def _contenders(
    question: Question, folder: Path, settings: Mapping[str, str]
) -> Mapping[str, Round]:
    base = {"PATH": os.environ["PATH"], "ORT_DISABLE_TELEMETRY": "1"}
    plain = {**base, "MODEL": str(folder / "model.onnx"), "PYTHONPATH": str(FUNCTIONS)}
    python = sys.executable
    programs = {
        OURS: Program(
            (python, "-m", "functions.runtime", "functions.runtime.handler.handler"),
            {**base, **settings, "PYTHONPATH": PATH},
        ),
        PLAIN: Program((python, "-m", "awslambdaric", "plain.handler"), plain),
        FLOOR: Program((python, str(FUNCTIONS / "hand_written.py")), plain),
    }

    def through(program: Program) -> Round:
        def once() -> Mapping[str, float]:
            with function(program, folder / "log") as host:
                return {"ms": _asked(host, question)}

        return once

    rounds = {name: through(program) for name, program in programs.items()}
    return {**rounds, ALONE: lambda: {"ms": _alone(question, folder)}}


def _asked(host: FunctionHost, question: Question) -> float:
    """The median time of one request, in ms."""
    event, spent = question.event(), []
    for number in range(question.times + question.times // 4):
        answer, seconds = host.invoke(event)
        if number in (0, question.times):
            question.check(answer)
        if number >= question.times // 4:
            spent.append(seconds)
    question.check(host.invoke(event)[0])
    return median(spent) * 1e3


def _alone(question: Question, folder: Path) -> float:
    import numpy as np

    np.save(folder / "x.npy", question.subject.array)
    command = [sys.executable, "-c", _MODEL, str(folder / "model.onnx"), str(folder / "x.npy")]
    with pinned(cpus()[0]):
        done = subprocess.run(
            [*command, str(question.times)], check=True, capture_output=True, text=True
        )
    return float(done.stdout)


def _figures(question: Question, spent: Mapping[str, list[float]]) -> Iterator[Figure]:
    model = spent[ALONE]
    answered = {name: values for name, values in spent.items() if name != ALONE}
    if question.subject.name == "tiny":
        micro = {name: [ms * 1e3 for ms in values] for name, values in answered.items()}
        yield Figure(_ROW, question.what, "µs", micro, [Target((PLAIN,), at_most=1.0)])
        return
    bound = 7.0 if question.protocol is V1 else 3.0
    over = {
        name: [ms - own for ms, own in zip(values, model, strict=True)]
        for name, values in answered.items()
    }
    note = f"the model's own {median(model):.1f} ms are taken off"
    yield Figure(
        _ROW, f"{question.what}, over the model", "ms", over, [Target((), None, bound)], note
    )

"""The HTTP server's processes: workers that die, hang or cannot load, and callers who meet that."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from modelport.envelope import Request, Response
from modelport.manifest import Batching, ModelSettings
from modelport.sagemaker_envelope import HEADER, attributes_of, body_of, unwrapped

from tests.support import runtime_bundles as bundles
from tests.support.runtime_world import PATIENCE_S, HttpRuntime

V1 = "/v1/models/demo/versions/3:predict"
V2 = "/v2/models/demo/versions/3/infer"
ROWS = json.dumps({"instances": [[1, 2]]}).encode()

# Says which process answers; ends, hangs or holds the interpreter as the body asks it to.
OBEDIENT = """
import ctypes, os, time
from pathlib import Path

def predict_fn(data, model):
    return {"pid": os.getpid(), "waited": data}

def input_fn(body, content_type):
    word = body.decode()
    if word == "die":
        os._exit(9)
    if word == "hang":
        print("hanging now", flush=True)
        time.sleep(3600)
    return word
"""
HOLDS_THE_INTERPRETER = """
import ctypes
from pathlib import Path

def model_fn(model_dir):
    print("holding", flush=True)
    ctypes.PyDLL(None).sleep(3)  # keeps the interpreter's lock, as a careless extension does
    return lambda data: data
"""


def until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def pid_of(runtime: HttpRuntime) -> int:
    answer = runtime.send(Request("POST", "/invocations", {}, b"who"))
    assert answer.status == 200, answer.body
    return int(json.loads(answer.body)["pid"])


def try_to(runtime: HttpRuntime, body: bytes) -> Response | None:
    """The answer, or None when the connection is cut."""
    try:
        return runtime.send(Request("POST", "/invocations", {}, body))
    except (ConnectionError, http.client.HTTPException):
        return None


def metric(runtime: HttpRuntime, name: str) -> float:
    text = runtime.send(Request("GET", "/metrics")).body.decode()
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name))


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., HttpRuntime]]:
    """Start a server over a bundle; every one of them ends with the test."""
    started: list[HttpRuntime] = []

    def start(script: str | None = None, *, body: bytes = bundles.DOUBLE, **options: Any) -> Any:
        settings = bundles.write_bundle(
            tmp_path, body, script=script, settings=options.pop("settings", None)
        )
        started.append(HttpRuntime(settings, options))
        return started[-1]

    yield start
    for runtime in started:
        runtime.close()


def test_two_workers_answer_and_one_stays_when_the_other_is_killed(
    start: Callable[..., HttpRuntime],
) -> None:
    runtime = start(OBEDIENT, SAGEMAKER_MODEL_SERVER_WORKERS="2").ready()
    assert json.loads(runtime.wait_for("2 workers"))["message"].startswith("2 workers, ")
    until(lambda: metric(runtime, "modelport_workers_ready") == 2, "the second never came")
    seen: set[int] = set()

    def both_answered() -> bool:
        seen.add(pid_of(runtime))
        return len(seen) == 2

    until(both_answered, "one of them gets nothing")
    os.kill(min(seen), signal.SIGKILL)
    runtime.wait_for("ended with signal 9; starting another")
    assert runtime.send(Request("GET", "/ping")).status == 200
    assert pid_of(runtime) == max(seen)
    until(lambda: metric(runtime, "modelport_workers_ready") == 2, "nobody took its place")
    assert metric(runtime, "modelport_requests_total") >= 3
    assert runtime.stop() == 0


def test_a_script_that_ends_its_process_is_replaced_and_until_then_it_is_503(
    start: Callable[..., HttpRuntime],
) -> None:
    runtime = start(OBEDIENT).ready()
    before = pid_of(runtime)
    assert try_to(runtime, b"die") is None
    runtime.wait_for("worker 0 ended with status 9; starting another")
    answers = []

    def serves_again() -> bool:
        answers.append(runtime.send(Request("GET", "/ping")).status)
        return answers[-1] == 200

    until(serves_again, "no worker came back")
    assert set(answers) <= {200, 503}
    assert pid_of(runtime) != before
    assert runtime.stop() == 0


def test_a_version_that_kills_its_loader_ends_everything_with_1(
    start: Callable[..., HttpRuntime],
) -> None:
    runtime = start("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n")
    assert runtime.exit_code() == 1
    assert "3 workers in a row ended while loading it" in runtime.log
    assert "signal 9" in runtime.log


def test_a_version_that_takes_too_long_to_load_ends_everything_with_1(
    start: Callable[..., HttpRuntime],
) -> None:
    runtime = start("import time\ntime.sleep(3600)\n", SAGEMAKER_STARTUP_TIMEOUT="1")
    assert runtime.exit_code() == 1
    assert "the version is not loaded after 1 s" in runtime.log
    assert "SAGEMAKER_STARTUP_TIMEOUT" in runtime.log


def test_a_request_over_its_time_is_504_and_its_worker_is_replaced(
    start: Callable[..., HttpRuntime],
) -> None:
    runtime = start(OBEDIENT, SAGEMAKER_MODEL_SERVER_TIMEOUT_SECONDS="1").ready()
    before = pid_of(runtime)
    response = runtime.send(Request("POST", "/invocations", {}, b"hang"))
    assert response.status == 504
    assert "did not answer within 1 s" in json.loads(response.body)["error"]
    runtime.wait_for("starting another")
    until(lambda: runtime.send(Request("GET", "/ping")).status == 200, "nobody took its place")
    assert pid_of(runtime) != before
    assert runtime.stop() == 0


def test_a_model_that_was_quick_a_hundred_times_and_then_hangs_is_504_too(
    start: Callable[..., HttpRuntime],
) -> None:
    """Run on the event loop itself by then, which nothing on it can end."""
    runtime = start(body=bundles.REPEAT, SAGEMAKER_MODEL_SERVER_TIMEOUT="1").ready()
    kept = http.client.HTTPConnection("127.0.0.1", runtime.port, timeout=PATIENCE_S)
    for number in range(100):
        kept.request("POST", V1, b'{"instances":[%d]}' % number)
        assert json.loads(kept.getresponse().read()) == {"predictions": [number]}
    kept.request("POST", V1, b'{"instances":[9000000000000]}')
    late = kept.getresponse()
    assert (late.status, late.headers["connection"]) == (504, "close")
    assert "did not answer within 1 s" in json.loads(late.read())["error"]
    kept.close()
    runtime.wait_for("it held up everything else, this worker ends")
    runtime.wait_for("worker 0 ended with status 1; starting another")
    until(lambda: runtime.send(Request("GET", "/ping")).status == 200, "nobody took its place")
    assert runtime.send(Request("POST", V1, {}, b'{"instances":[3]}')).status == 200
    assert len(runtime.request_lines()) >= 100
    assert runtime.stop() == 0


def test_a_worker_that_ends_over_one_request_gets_no_others(
    start: Callable[..., HttpRuntime],
) -> None:
    runtime = start(OBEDIENT, SAGEMAKER_MODEL_SERVER_TIMEOUT_SECONDS="2").ready()
    hanging = [threading.Thread(target=try_to, args=(runtime, b"hang")) for _ in range(2)]
    hanging[0].start()
    runtime.wait_for("hanging now")
    time.sleep(1)  # so that the second is still waited for when the first is given up
    hanging[1].start()
    runtime.wait_for("this worker ends")
    answers = [runtime.send(Request("GET", "/ping")).status]
    while not any("starting another" in line for line in runtime.lines):
        answers.append(runtime.send(Request("GET", "/ping")).status)  # raises when it is cut
    assert set(answers) <= {200, 503}
    for caller in hanging:
        caller.join(PATIENCE_S)
    until(lambda: runtime.send(Request("GET", "/ping")).status == 200, "nobody took its place")


def test_a_worker_that_is_only_busy_is_kept(start: Callable[..., HttpRuntime]) -> None:
    slow = OBEDIENT.replace("    return word", "    time.sleep(0.4)\n    return word")
    runtime = start(slow, SAGEMAKER_MODEL_SERVER_TIMEOUT_SECONDS="2").ready()
    before = pid_of(runtime)
    answers: list[Response | None] = []
    callers = [
        threading.Thread(target=lambda: answers.append(try_to(runtime, b"who"))) for _ in range(12)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(PATIENCE_S)
    assert {answer.status if answer else None for answer in answers} == {200, 504}
    late: list[Response | None] = []

    def answers_again() -> bool:
        late.append(try_to(runtime, b"who"))
        return late[-1] is not None and late[-1].status == 200

    until(answers_again, "what nobody waits for keeps it busy")
    assert json.loads(late[-1].body)["pid"] == before if late[-1] else False


def test_a_worker_that_cannot_be_started_is_tried_again(tmp_path: Path) -> None:
    settings = bundles.write_bundle(tmp_path, bundles.DOUBLE, script=OBEDIENT)
    crowded = (
        "import errno, os, sys\n"
        "from functions.runtime import server\n"
        "class Crowded(server.Spawner):\n"
        "    slots = []\n"
        "    def __call__(self, slot):\n"
        "        self.slots.append(slot)\n"
        "        if len(self.slots) == 1:\n"
        "            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))\n"
        "        return super().__call__(slot)\n"
        "server.Spawner = Crowded\n"
        "sys.exit(server.main(['serve'], os.environ))\n"
    )
    runtime = HttpRuntime(settings, program=("-c", crowded)).ready()
    assert try_to(runtime, b"die") is None
    runtime.wait_for("worker 0 cannot be started, trying again: Resource temporarily unavailable")
    until(lambda: runtime.send(Request("GET", "/ping")).status == 200, "it was not tried again")
    assert runtime.stop() == 0


def test_a_hanging_request_does_not_keep_the_server_beyond_its_grace(tmp_path: Path) -> None:
    settings = bundles.write_bundle(tmp_path, bundles.DOUBLE, script=OBEDIENT)
    impatient = (
        "import os, sys\n"
        "from functions.runtime import server\n"
        "server.DRAIN_S = 1\n"
        "sys.exit(server.main(['serve'], os.environ))\n"
    )
    runtime = HttpRuntime(settings, program=("-c", impatient)).ready()
    hanging = threading.Thread(target=try_to, args=(runtime, b"hang"))
    hanging.start()
    runtime.wait_for("hanging now")
    runtime.signal(signal.SIGTERM)
    assert runtime.exit_code() == 0
    hanging.join(PATIENCE_S)
    assert not hanging.is_alive()


def test_ping_is_answered_while_loading_holds_the_interpreter(
    start: Callable[..., HttpRuntime],
) -> None:
    runtime = start(HOLDS_THE_INTERPRETER)
    runtime.wait_for("holding")
    for _ in range(5):
        assert runtime.send(Request("GET", "/ping")).status == 503
    assert not any("ready:" in line for line in runtime.lines)
    runtime.ready()
    assert runtime.send(Request("GET", "/ping")).status == 200


LOADING = "import time\ntime.sleep(3600)\n"


def test_while_it_loads_every_kind_of_request_gets_an_answer(
    start: Callable[..., HttpRuntime],
) -> None:
    runtime = start(LOADING)
    large = runtime.send(Request("POST", V1, {}, b"x" * 3_000_000))
    assert (large.status, large.headers["retry-after"]) == (503, "1")
    assert large.headers["x-modelport-version"] == "3"
    head = runtime.send(Request("HEAD", "/ping"))
    assert (head.status, head.body) == (503, b"")
    assert metric(runtime, "modelport_model_loaded") == 0
    inner = Request("POST", V2, {"content-type": "application/json"}, b"{}", "id-1")
    carried = runtime.send(
        Request("POST", "/invocations", {HEADER: attributes_of(inner)}, body_of(inner))
    )
    assert carried.status == 200
    answer = unwrapped(carried)
    assert answer is not None
    assert answer.status == 503
    assert runtime.stop() == 0


def test_while_it_loads_nonsense_and_silence_harm_nobody(start: Callable[..., HttpRuntime]) -> None:
    runtime = start(LOADING)
    address = ("127.0.0.1", runtime.port)
    with (
        socket.create_connection(address, PATIENCE_S) as silent,
        socket.create_connection(address, PATIENCE_S) as nonsense,
        socket.create_connection(address, PATIENCE_S) as endless,
    ):
        nonsense.sendall(b"\x16\x03\x01 hello\r\n\r\n")
        assert nonsense.recv(1000).startswith(b"HTTP/1.1 400 ")
        with pytest.raises(ConnectionError):  # the head is over its limit and nobody reads on
            endless.sendall(b"x" * 100_000_000)
        assert runtime.send(Request("GET", "/ping")).status == 503
        silent.sendall(b"GET /ping HTTP/1.1\r\n\r\n")
        assert silent.recv(1000).startswith(b"HTTP/1.1 503 ")
    assert "Traceback" not in runtime.log


def test_the_parent_that_is_killed_takes_its_workers_along(
    start: Callable[..., HttpRuntime],
) -> None:
    runtime = start(OBEDIENT).ready()
    worker = pid_of(runtime)
    runtime.signal(signal.SIGKILL)

    def is_gone() -> bool:
        try:
            return Path(f"/proc/{worker}/stat").read_text().split()[2] == "Z"
        except FileNotFoundError:
            return True

    until(is_gone, "the worker lives on")


def test_whoever_is_orphaned_under_it_is_reaped(tmp_path: Path) -> None:
    """As process 1 of a container: here it is made the one that orphans come to."""
    forks = "import os, subprocess, sys\nsubprocess.Popen(['sh', '-c', 'sleep 0.1 & echo $!'])\n"
    settings = bundles.write_bundle(tmp_path, bundles.DOUBLE, script=forks)
    subreaper = (
        "import ctypes, os, sys\n"
        "assert ctypes.CDLL(None).prctl(36, 1, 0, 0, 0) == 0\n"
        "from functions.runtime.__main__ import main\n"
        "sys.exit(main(['serve'], os.environ))\n"
    )
    runtime = HttpRuntime(settings, program=("-c", subreaper)).ready()
    parent = runtime.pid

    def zombies() -> list[str]:
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        return [c for c in children if Path(f"/proc/{c}/stat").read_text().split()[2] == "Z"]

    until(lambda: any(line.isdigit() for line in runtime.lines), "the script never forked")
    orphan = next(line for line in runtime.lines if line.isdigit())
    until(lambda: not Path(f"/proc/{orphan}").exists(), "the orphan is still there")
    assert zombies() == []
    assert runtime.stop() == 0
    runtime.close()


def test_a_signal_in_its_first_moments_is_not_lost(tmp_path: Path) -> None:
    runtime = HttpRuntime(bundles.write_bundle(tmp_path, bundles.DOUBLE, script=LOADING))
    runtime.wait_for("listening on")
    runtime.signal(signal.SIGTERM)
    assert runtime.exit_code() == 0


# --- batching, metrics ----------------------------------------------------------------------------

BATCHED = ModelSettings(batching=Batching(16, 20.0))


def test_callers_at_once_share_runs_and_get_their_own_answers(
    start: Callable[..., HttpRuntime],
) -> None:
    runtime = start(settings=BATCHED, body=bundles.DOUBLE).ready()
    runtime.wait_for("batching up to 16 rows, waiting at most 20 ms")
    wrong: list[Any] = []

    def call(number: int) -> None:
        for turn in range(5):
            rows = [[number + one, turn] for one in range(1 + number % 3)]
            want = [[2.0 * a, 2.0 * b] for a, b in rows]
            if number % 2:
                body = json.dumps({"instances": rows}).encode()
                got = json.loads(runtime.send(Request("POST", V1, {}, body)).body)
                wrong.extend([got] if got != {"predictions": want} else [])
                continue
            tensor = {"name": "x", "datatype": "FP32", "shape": [len(rows), 2], "data": rows}
            body = json.dumps({"inputs": [tensor]}).encode()
            got = json.loads(runtime.send(Request("POST", V2, {}, body)).body)
            flat = [value for row in want for value in row]
            wrong.extend([got] if got["outputs"][0]["data"] != flat else [])

    bad = runtime.send(Request("POST", V1, {}, b'{"instances": [["no number", 1]]}'))
    callers = [threading.Thread(target=call, args=(number,)) for number in range(24)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(PATIENCE_S)
    assert not wrong
    assert bad.status == 400
    rows, runs = (
        metric(runtime, "modelport_batch_rows_sum"),
        metric(runtime, "modelport_batch_rows_count"),
    )
    assert rows == 5 * sum(1 + number % 3 for number in range(24))
    assert runs < 5 * 24
    assert metric(runtime, "modelport_requests_in_flight") == 0


def test_a_large_body_is_read_beside_the_loop_and_answers_alike(
    start: Callable[..., HttpRuntime],
) -> None:
    runtime = start(settings=BATCHED).ready()
    rows = [[float(number), -1.0] for number in range(10_000)]
    body = json.dumps({"instances": rows}).encode()
    answer = json.loads(runtime.send(Request("POST", V1, {}, body)).body)
    assert answer["predictions"] == [[2 * a, 2 * b] for a, b in rows]


def test_a_model_whose_rows_are_fixed_is_served_unbatched_and_says_why(
    start: Callable[..., HttpRuntime],
) -> None:
    runtime = start(body=bundles.COUNT, MODELPORT_MAX_BATCH_ROWS="8").ready()
    refusal = json.loads(runtime.wait_for("batching is refused"))["message"]
    assert "input 'n' is INT64 [1,3]: its first dimension is not free" in refusal
    body = json.dumps({"instances": [[1, 2, 3]]}).encode()
    assert runtime.send(Request("POST", V1, {}, body)).status == 200


def test_the_script_of_a_batched_version_runs_as_ever(start: Callable[..., HttpRuntime]) -> None:
    settings = ModelSettings(script="inference.py", batching=Batching(8, 5.0))
    runtime = start(OBEDIENT, settings=settings).ready()
    assert pid_of(runtime) != runtime.pid
    assert runtime.send(Request("POST", V1, {}, ROWS)).status == 200


def test_thirty_two_callers_keep_their_connections_over_two_workers(
    start: Callable[..., HttpRuntime],
) -> None:
    runtime = start(SAGEMAKER_MODEL_SERVER_WORKERS="2").ready()
    until(lambda: metric(runtime, "modelport_workers_ready") == 2, "the second never came")
    right: list[int] = []

    def call(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", runtime.port, timeout=PATIENCE_S)
        connection.connect()
        kept = connection.sock
        body = json.dumps({"instances": [[number, 1]]}).encode()
        for _ in range(10):
            connection.request("POST", V1, body)
            answer = json.loads(connection.getresponse().read())
            if answer == {"predictions": [[2.0 * number, 2.0]]} and connection.sock is kept:
                right.append(number)
        connection.close()

    callers = [threading.Thread(target=call, args=(number,)) for number in range(32)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(PATIENCE_S)
    assert len(right) == 320
    predicted = 'modelport_requests_total{model="demo",version="3",protocol="v1",verb="predict"'
    assert metric(runtime, predicted) == 320
    assert metric(runtime, "modelport_cold_requests_total") == 2
    assert runtime.stop() == 0


def test_scraping_is_no_traffic(start: Callable[..., HttpRuntime]) -> None:
    runtime = start().ready()
    assert runtime.send(Request("POST", V1, {}, ROWS, "one")).status == 200
    for _ in range(3):
        assert metric(runtime, "modelport_requests_total") == 1
    runtime.wait_for('"one"')
    assert [line["request_id"] for line in runtime.request_lines()] == ["one"]
    assert runtime.send(Request("POST", "/metrics", {}, b"")).status == 404


def test_it_accepts_at_once_while_every_thread_is_busy(start: Callable[..., HttpRuntime]) -> None:
    runtime = start(OBEDIENT).ready()
    worker = pid_of(runtime)
    hanging = [threading.Thread(target=try_to, args=(runtime, b"hang")) for _ in range(8)]
    for caller in hanging:
        caller.start()
    runtime.wait_for("hanging now")
    until(lambda: metric(runtime, "modelport_requests_in_flight") == 8, "some are not read")
    assert runtime.send(Request("GET", "/ping")).status == 200
    assert runtime.send(Request("GET", "/v1/models/demo")).status == 200
    os.kill(worker, signal.SIGKILL)
    for caller in hanging:
        caller.join(PATIENCE_S)

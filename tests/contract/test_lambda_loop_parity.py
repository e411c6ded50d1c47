"""Our loop's words held against awslambdaric's: the same handler, the same script of events.

What a client may choose is left out by `plainly`; everything else must be equal: calls and their
order, bodies, headers, log lines, exit statuses.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.support.recorded_runtime_api import Event, Said, Told, played

HANDLER = """
import logging, os, sys
print("importing")
def answer_about(context):
    client = context.client_context
    return {
        "id": context.aws_request_id,
        "arn": context.invoked_function_arn,
        "name": context.function_name,
        "version": context.function_version,
        "memory": context.memory_limit_in_mb,
        "log": [context.log_group_name, context.log_stream_name],
        "tenant": context.tenant_id,
        "identity": [
            context.identity.cognito_identity_id, context.identity.cognito_identity_pool_id
        ],
        "client": client and [
            client.custom, client.env, client.client and client.client.app_title
        ],
        "left": context.get_remaining_time_in_millis() > 60_000,
        "trace": os.environ.get("_X_AMZN_TRACE_ID"),
        "descriptor": os.environ.get("_LAMBDA_TELEMETRY_LOG_FD"),
    }
def handler(event, context):
    if event == "log":
        logging.getLogger("mine").warning("said %s", "this")
        logging.getLogger("mine").debug("not said")
        logging.getLogger("mine").info({"an": "object"}, extra={"more": 1})
        try:
            1 / 0
        except ZeroDivisionError:
            logging.exception("divided")
        print("printed", end="")
        print("to stderr", file=sys.stderr)
    if event == "fail":
        deeper()
    if event == "ask":
        return answer_about(context)
    if event == "exit":
        sys.exit(3)
    return {
        "set": {1}, "bytes": b"raw", "nan": float("nan"), "large": 2**70, "half": "\\ud800",
        "names": {1: 2, None: 3},
    }.get(event, event) if isinstance(event, str) else event
def deeper():
    raise LookupError("no\\nsuch thing")
"""
SNAPSHOT = """
from snapshot_restore_py import register_after_restore, register_before_snapshot
register_before_snapshot(print, "before, first")
register_before_snapshot(print, "before, second")
register_after_restore(print, "after, first")
register_after_restore(print, "after, second")
def handler(event, context):
    return event
"""
MODULES = {
    "mine": HANDLER,
    "snapshot": SNAPSHOT,
    "no_snapshot": SNAPSHOT + "register_before_snapshot(lambda: 1 / 0)\n",
    "no_restore": SNAPSHOT + "register_after_restore(lambda: 1 / 0)\n",
    "broken": "def x(:\n",
    "failing": "raise RuntimeError('not today')\n",
    "importing": "import nowhere_to_be_found\n",
    "exiting": "import sys\nsys.exit(7)\n",
}
OURS = ("-m", "functions.runtime")
THEIRS = ("-m", "awslambdaric")
LAMBDA = {
    "AWS_LAMBDA_FUNCTION_NAME": "f",
    "AWS_LAMBDA_FUNCTION_VERSION": "7",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
    "AWS_LAMBDA_LOG_GROUP_NAME": "group",
    "AWS_LAMBDA_LOG_STREAM_NAME": "stream",
}
JSON_LOG = {"AWS_LAMBDA_LOG_FORMAT": "JSON"}
#: A moment, as logs write it.
_MOMENT = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z")
#: What a process says that ends by an exception nobody caught: its own frames, and awslambdaric's
#: client in C a line before.
_LAST_WORDS = re.compile(rb"(\[ERROR\] \[\d+\] LAMBDA_RUNTIME [^\n]*\n)?Traceback \(most.*\Z", re.S)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The modules of all handlers."""
    made = tmp_path_factory.mktemp("handlers")
    for name, text in MODULES.items():
        (made / f"{name}.py").write_text(text)
    return made


def both(
    folder: Path,
    handler: str,
    events: Sequence[Event],
    environ: Mapping[str, str] | None = None,
    **how: Any,
) -> tuple[Told, Told]:
    """What our loop did and what awslambdaric did."""
    path = os.pathsep.join([str(folder), str(ROOT), str(ROOT / "layers" / "core" / "python")])
    base = {"PATH": os.environ["PATH"], "PYTHONPATH": path, **LAMBDA, **(environ or {})}
    ours, theirs = (played([*program, handler], base, events, **how) for program in (OURS, THEIRS))
    return ours, theirs


def plainly(call: Said) -> tuple[str, str, Any, Mapping[str, str]]:
    """A call without what a client may choose: its name, lengths, spaces in JSON."""
    try:
        body = json.loads(call.body) if call.body else None
    except ValueError:
        body = call.body
    headers: dict[str, Any] = {
        name: value
        for name, value in call.headers.items()
        if name.startswith("lambda-")
        or (name == "content-type" and not call.path.endswith("init/error"))
    }
    cause = "lambda-runtime-function-xray-error-cause"
    if cause in headers:
        headers[cause] = json.loads(headers[cause])
        headers[cause]["paths"].sort()
    return call.method, call.path, repr(body), headers


def printed(told: Told) -> bytes:
    return _MOMENT.sub(b"(then)", _LAST_WORDS.sub(b"", told.output))


def assert_equal(ours: Told, theirs: Told) -> None:
    assert [plainly(call) for call in ours.said] == [plainly(call) for call in theirs.said]
    assert printed(ours) == printed(theirs)
    assert ours.code == theirs.code


@pytest.mark.parametrize("log", [{}, JSON_LOG, {"AWS_LAMBDA_LOG_LEVEL": "DEBUG"}])
def test_answers_errors_and_log_lines_are_the_same(folder: Path, log: dict[str, str]) -> None:
    asked: list[Any] = [
        "text", "log", "fail", "ask", "set", "bytes", "nan", "large", "half", "names",
        {"nested": [1, 2.5, None, True]}, "é", [], None,
    ]  # fmt: skip
    events = [Event(json.dumps(value).encode()) for value in asked]
    odd = (b"no json", b'"\\ud800"', b"\xff", b"")
    ours, theirs = both(folder, "mine.handler", [*events, *map(Event, odd)], log)
    assert len(ours.posts) == len(asked) + len(odd)
    assert_equal(ours, theirs)


def test_the_context_says_the_same(folder: Path) -> None:
    client = {"client": {"app_title": "t"}, "custom": {"a": 1}, "env": None}
    identity = {"cognitoIdentityId": "i", "cognitoIdentityPoolId": "p"}
    headers = [
        {},
        {
            "Lambda-Runtime-Trace-Id": "Root=1-2-3",
            "Lambda-Runtime-Client-Context": json.dumps(client),
            "Lambda-Runtime-Cognito-Identity": json.dumps(identity),
            "Lambda-Runtime-Aws-Tenant-Id": "tenant",
            "Lambda-Runtime-Invocation-Id": "invocation",
        },
        {"lambda-runtime-client-context": '{"custom": {}}', "LAMBDA-RUNTIME-TRACE-ID": "Root=4"},
        {"Lambda-Runtime-Client-Context": "{"},
        {"Lambda-Runtime-Cognito-Identity": "["},
        {},
    ]
    events = [Event(b'"ask"', headers=extra) for extra in headers]
    ours, theirs = both(folder, "mine.handler", events)
    assert b"Root=1-2-3" in ours.posts[1].body
    assert_equal(ours, theirs)


@pytest.mark.parametrize(
    "events",
    [
        [Event(b'"a"', accepted=413), Event(b'"b"')],
        [Event(b'"fail"', accepted=500), Event(b'"b"')],
        [Event(b'"a"', status=500), Event(b'"b"')],
        [Event(b'"a"', status=403)],
        [Event(b'"exit"')],
    ],
)
def test_a_runtime_api_that_refuses_ends_the_process(folder: Path, events: list[Event]) -> None:
    ours, theirs = both(folder, "mine.handler", events)
    assert ours.code
    assert_equal(ours, theirs)


@pytest.mark.parametrize(
    "event",
    [
        Event(b'"' + b"x" * 300_000 + b'"'),
        Event(b'"' + b"x" * 300_000 + b'"', chunks=(300_002,)),
        Event(b'"' + b"x" * 300_000 + b'"', chunks=(1, 2, 100_000)),
        Event(b'"small"', chunks=(1, 1, 1)),
        Event(b'"a"', headers={"Content-Type": "text/plain"}),
        Event(b'"a"', headers={"Connection": "close"}, hangs_up=True),
    ],
)
def test_an_event_arrives_however_it_is_sent(folder: Path, event: Event) -> None:
    ours, theirs = both(folder, "mine.handler", [Event(b"1"), event, Event(b"2")])
    assert len(ours.posts) == 3
    assert_equal(ours, theirs)


def test_a_connection_that_was_closed_meanwhile_is_opened_again(folder: Path) -> None:
    # awslambdaric does so too, but not on every machine in time for its next call.
    path = os.pathsep.join([str(folder), str(ROOT), str(ROOT / "layers" / "core" / "python")])
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": path}
    events = [Event(b'"a"', hangs_up=True), Event(b'"b"', hangs_up=True)]
    told = played([*OURS, "mine.handler"], environ, events)
    assert [post.body for post in told.posts] == [b'"a"', b'"b"']


@pytest.mark.parametrize(
    "handler",
    [
        "nowhere.handler", "mine.nothing", "sys.handler", "broken.handler",
        "failing.handler", "importing.handler", "exiting.handler",
    ],
)  # fmt: skip
@pytest.mark.parametrize("log", [{}, JSON_LOG])
def test_a_handler_that_is_none_is_the_same_init_error(
    folder: Path, handler: str, log: dict[str, str]
) -> None:
    ours, theirs = both(folder, handler, [], log)
    assert ours.code == (7 if handler == "exiting.handler" else 1)
    assert_equal(ours, theirs)


@pytest.mark.parametrize(
    ("handler", "restore", "code"),
    [
        ("snapshot", 200, None),
        ("no_snapshot", 200, 64),
        ("snapshot", 500, 64),
        ("no_restore", 200, 65),
    ],
)
def test_a_snapshot_is_taken_and_restored_in_the_same_order(
    folder: Path, handler: str, restore: int, code: int | None
) -> None:
    environ = {"AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start"}
    ours, theirs = both(folder, f"{handler}.handler", [Event(b"1")], environ, restore=restore)
    assert code is None or ours.code == code
    if code is None:
        waited, asked = ours.said[0], ours.said[1]
        assert waited.connection != asked.connection, "a connection was open across the snapshot"
        assert ours.output.split(b"\n")[:4] == [
            b"before, second", b"before, first", b"after, first", b"after, second",
        ]  # fmt: skip
        assert_equal(ours, theirs)
        return
    # What called a hook, and the error where the restore is refused, are each runtime's own.
    assert [call.path for call in ours.said] == [call.path for call in theirs.said]
    assert ours.code == theirs.code
    kind = "lambda-runtime-function-error-type"
    assert ours.posts[-1].headers[kind] == theirs.posts[-1].headers[kind]
    reports = [json.loads(told.posts[-1].body) for told in (ours, theirs)]
    assert restore != 200 or reports[0]["errorMessage"] == reports[1]["errorMessage"]
    assert b"[ERROR]" in ours.output


@pytest.mark.parametrize("log", [{}, JSON_LOG, {"AWS_LAMBDA_LOG_LEVEL": "INFO"}])
def test_lines_are_framed_on_the_descriptor_that_lambda_gives(
    folder: Path, tmp_path: Path, log: dict[str, str]
) -> None:
    said = []
    for number, program in enumerate((OURS, THEIRS)):
        lines = tmp_path / f"lines-{number}"
        path = os.pathsep.join([str(folder), str(ROOT), str(ROOT / "layers/core/python")])
        with lines.open("wb") as written:
            told = played(
                [*program, "mine.handler"],
                {"PATH": os.environ["PATH"], "PYTHONPATH": path, **LAMBDA, **log}
                | {"_LAMBDA_TELEMETRY_LOG_FD": str(written.fileno())},
                [Event(b'"log"'), Event(b'"fail"'), Event(b'"ask"')],
                descriptor=written.fileno(),
            )
        said.append((frames(lines.read_bytes()), printed(told), told.posts[-1].body[-5:]))
    assert said[0][0]
    assert said[0][0] == said[1][0]
    assert said[0][1].startswith(b"importing\nprintedto stderr\n")


def frames(written: bytes) -> list[tuple[bytes, bytes]]:
    """Type and message of each frame."""
    found = []
    while written:
        size = int.from_bytes(written[4:8], "big")
        found.append((written[:4], _MOMENT.sub(b"(then)", written[16 : 16 + size])))
        written = written[16 + size :]
    return found

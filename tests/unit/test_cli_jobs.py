"""``modelport jobs``: what an operator sees of jobs, and what they can do about them."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from modelport.deployments import platform_stack
from modelport.envelope import Response
from modelport.errors import ModelFailedError, ThrottledError
from modelport.jobs.office import Office

from tests.support.cli_world import Terminal
from tests.support.jobs_world import INVISIBLE_S, JobsWorld

UNKNOWN = "0" * 32


@pytest.fixture
def jobs() -> JobsWorld:
    return JobsWorld()


@pytest.fixture
def terminal(tmp_path: Path, jobs: JobsWorld) -> Terminal:
    def sleep(seconds: float) -> None:
        jobs.clock.now += seconds
        jobs.settle()

    office = Office(jobs.board, jobs.payloads, jobs.queue, sleep)
    platform = {"PayloadsBucketName": "kept", "JobsQueueUrl": "https://queue"}
    return Terminal(tmp_path, office=office, stacks={platform_stack("dev"): platform})


def accepted(jobs: JobsWorld, body: bytes = b"row", **headers: str) -> str:
    id: str = json.loads(jobs.accept(body, "ada", **headers).body)["id"]
    return id


def listed(terminal: Terminal, *arguments: str) -> list[str]:
    return [job["id"] for job in terminal.ok("jobs", "list", "--json", *arguments).json["jobs"]]


def dead(jobs: JobsWorld) -> str:
    """A job that was given up."""

    def busy(request: Any) -> Response:
        raise ThrottledError("the version")

    before, jobs.model = jobs.model, busy
    id = accepted(jobs)
    jobs.settle()
    jobs.model = before
    return id


def test_jobs_are_listed_newest_first_and_by_what_they_are(
    terminal: Terminal, jobs: JobsWorld
) -> None:
    assert "no jobs" in terminal.ok("jobs", "list").out
    given_up = dead(jobs)
    done = accepted(jobs)
    jobs.settle()
    jobs.clock.now += 1
    waiting = accepted(jobs)
    assert listed(terminal) == [waiting, done, given_up]
    assert listed(terminal, "--state", "failed") == [given_up]
    assert listed(terminal, "--dead") == [given_up]
    assert listed(terminal, "--state", "queued", "--model", "magika") == [waiting]
    assert listed(terminal, "--model", "other") == []
    assert listed(terminal, "--limit", "1") == [waiting]
    out = terminal.ok("jobs", "list", "--limit", "2").out
    assert "1 more: --limit" in out
    assert done in out
    assert "none of 3 jobs" in terminal.ok("jobs", "list", "--model", "other").out
    assert "gave-up: the job was given up after 5 tries" in terminal.ok("jobs", "list").out
    assert terminal.buckets[-1] == "kept"


def test_what_is_no_state_or_name_is_said(terminal: Terminal) -> None:
    assert terminal("jobs", "list", "--state", "lost").code == 2
    assert terminal("jobs", "list", "--model", "No Name").code == 2


def test_a_job_is_shown_whole_but_for_its_headers(terminal: Terminal, jobs: JobsWorld) -> None:
    id = accepted(jobs, x_modelport_webhook="https://hooks.example/x")
    jobs.settle()
    document = terminal.ok("jobs", "show", id, "--json").json
    assert document["status"] == "succeeded"
    assert document["answer"] == {"status": 200, "content_type": "text/plain", "bytes": 6}
    assert (document["told"], document["bytes"], document["request_id"]) == (True, 3, "r-1")
    assert "headers" not in json.dumps(document)
    assert "succeeded" in terminal.ok("jobs", "show", id).out
    assert terminal("jobs", "show", UNKNOWN).code == 3
    assert terminal("jobs", "show", "../x").code == 3


def test_an_operator_cancels_what_is_not_over(terminal: Terminal, jobs: JobsWorld) -> None:
    id = accepted(jobs)
    assert terminal.ok("jobs", "cancel", id, "--json").json["status"] == "canceled"
    jobs.settle()
    assert jobs.runs == 0
    done = accepted(jobs)
    jobs.settle()
    refused = terminal("jobs", "cancel", done)
    assert (refused.code, "succeeded" in refused.err) == (4, True)


def test_what_was_given_up_is_run_once_more(terminal: Terminal, jobs: JobsWorld) -> None:
    id = dead(jobs)
    assert terminal.ok("jobs", "retry", id, "--json").json["status"] == "queued"
    assert terminal.ok("jobs", "wait", id).out.strip() == "rowrow"
    again = terminal("jobs", "retry", id)
    assert (again.code, "succeeded" in again.err) == (4, True)


def test_a_job_whose_message_is_lost_is_sent_once_more(terminal: Terminal, jobs: JobsWorld) -> None:
    id = accepted(jobs)
    jobs.queue.messages.clear()
    terminal.ok("jobs", "retry", id)
    jobs.settle()
    assert jobs.ask("answer", id).body == b"rowrow"
    assert jobs.runs == 1


def test_a_job_is_waited_for_and_its_answer_written(
    terminal: Terminal, jobs: JobsWorld, tmp_path: Path
) -> None:
    id = accepted(jobs)
    terminal.ok("jobs", "wait", id, "--output", "answer.txt")
    assert (tmp_path / "answer.txt").read_bytes() == b"rowrow"
    packed = {"content-type": "text/plain", "content-encoding": "gzip"}
    jobs.model = lambda request: Response(200, packed, gzip.compress(b"unpacked"))
    terminal.ok("jobs", "wait", accepted(jobs), "--output", "answer.txt")
    assert (tmp_path / "answer.txt").read_bytes() == b"unpacked"
    jobs.model = lambda request: Response(200, packed, b"torn")
    torn = terminal("jobs", "wait", accepted(jobs))
    assert (torn.code, "no gzip" in torn.err) == (5, True)
    late = accepted(jobs)
    office = terminal.office
    assert office is not None
    terminal.office = replace(office, sleep=lambda s: jobs._slept(INVISIBLE_S))
    refused = terminal("jobs", "wait", late, "--timeout", "5")
    assert (refused.code, "queued" in refused.err) == (4, True)


def test_a_job_that_failed_says_why(terminal: Terminal, jobs: JobsWorld) -> None:
    given_up = terminal("jobs", "wait", dead(jobs))
    assert (given_up.code, "jobs retry" in given_up.err) == (5, True)

    def crashing(request: Any) -> Response:
        raise ModelFailedError("magika", 1, "r-1")

    jobs.model = crashing
    failed = terminal("jobs", "wait", accepted(jobs))
    assert (failed.code, "r-1" in failed.err) == (5, True)
    jobs.model = lambda request: Response(400, {}, b'{"error":"no such input"}')
    refused = terminal("jobs", "wait", accepted(jobs))
    assert (refused.code, "no such input" in refused.err) == (2, True)


def test_a_platform_without_jobs_is_said(terminal: Terminal) -> None:
    terminal.stacks = {}
    missing = terminal("jobs", "list")
    assert (missing.code, "MODELPORT_PAYLOADS_BUCKET" in missing.err) == (2, True)
    terminal.environ["MODELPORT_PAYLOADS_BUCKET"] = "kept"
    missing = terminal("jobs", "list")
    assert (missing.code, "MODELPORT_JOBS_QUEUE_URL" in missing.err) == (2, True)
    terminal.environ["MODELPORT_JOBS_QUEUE_URL"] = "https://queue"
    terminal.ok("jobs", "list")

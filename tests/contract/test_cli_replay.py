"""Replaying requests against two versions over a real socket: what is sent, counted and told."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from modelport.goldens import Golden
from modelport.goldens.golden import Tensor
from modelport.manifest import ModelSettings
from modelport.registry.memory import MemoryRegistry
from modelport.routes import Guard, Rollout, Routes, Weighted, parse_weights

from tests.support.cli_world import ADA, Terminal, register
from tests.support.loopback import Answer, Exchange, serving
from tests.support.registry_world import make_draft

MODEL = "magika"
JSON = {"content-type": "application/json"}
Model = Callable[[bytes], Answer]


def told(document: Any, status: int = 200) -> Answer:
    return status, JSON, json.dumps(document).encode()


@dataclass
class Api:
    """An API in front of versions, which are functions of a body; keeps what it was asked."""

    versions: dict[int, Model] = field(default_factory=dict)
    asked: list[tuple[str, str, bytes]] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def api() -> Iterator[Api]:
    found = Api()

    class Service(Exchange):
        def do_POST(self) -> None:
            body = self.body()
            found.asked.append((self.path, self.headers["Content-Type"], body))
            version = int(self.path.partition("/versions/")[2].split(":")[0].split("/")[0])
            self.answer(found.versions[version](body))

    with serving(Service) as found.url:
        yield found


@pytest.fixture
def terminal(tmp_path: Path, api: Api) -> Terminal:
    (tmp_path / "deployments.toml").write_text('[environment]\nname = "dev"\nauth = "none"\n')
    terminal = Terminal(tmp_path)
    terminal.environ["MODELPORT_ENDPOINT"] = api.url
    terminal.running(MODEL, 3)
    change(terminal, lambda routes: routes.with_alias("stable", parse_weights("1")))
    return terminal


def change(terminal: Terminal, edit: Callable[[Routes], Routes]) -> None:
    terminal.registry.change(MODEL, edit, action="test", detail={}, who=ADA)


def scores(*rows: list[float]) -> Model:
    return lambda body: told({"predictions": list(rows)})


def lines(terminal: Terminal, *documents: Any) -> str:
    path = terminal.folder / "calls.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in documents))
    return path.name


ONE = {"body": {"instances": [[1, 2]]}}


def test_two_versions_are_asked_the_same_and_their_agreement_told(
    terminal: Terminal, api: Api
) -> None:
    api.versions = {1: scores([0.1, 0.9], [0.8, 0.2]), 3: scores([0.2, 0.8], [0.3, 0.7])}
    found = terminal.ok("replay", MODEL, "--requests", lines(terminal, ONE, ONE), "--json").json
    path = f"/v1/models/{MODEL}/versions/{{}}:predict"
    assert [asked[0] for asked in api.asked] == [path.format(1), path.format(3)] * 2
    assert {asked[2] for asked in api.asked} == {b'{"instances":[[1,2]]}'}
    assert (found["from"], found["to"]) == (1, 3)  # stable, and the highest that is another
    assert (found["requests"], found["compared"], found["agreed"]) == (2, 2, 0)
    assert (found["rows"], found["rows_agreed"], found["agreement"]) == (4, 2, 0.0)
    assert found["notable"][0] == {"request": "calls.jsonl line 1", "why": "row 1"}


def test_people_get_a_table(terminal: Terminal, api: Api) -> None:
    def moody(body: bytes) -> Answer:
        return told({"predictions": [[0.9, 0.1] if b"9" in body else [0.2, 0.8]]})

    api.versions = {1: scores([0.1, 0.9]), 2: moody}
    requests = lines(terminal, ONE, {"body": {"instances": [[9, 9]]}}, ONE, ONE)
    out = terminal.ok("replay", MODEL, "--requests", requests, "--to", "2").out
    assert "75.00% (3 of 4 requests)" in out
    assert "1 → 2" in out
    assert "calls.jsonl line 2" in out


def test_every_verb_and_body_can_be_recorded(terminal: Terminal, api: Api) -> None:
    api.versions = {1: scores([0.1, 0.9]), 3: scores([0.1, 0.9])}
    v2 = {"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [1]}]}
    raw = base64.b64encode(b"\xff\x00").decode()
    requests = lines(
        terminal,
        {"body": v2},
        {"verb": "classify", "body": {"examples": [{"x": 1}]}},
        {"body": "1,2\n", "content_type": "text/csv"},
        {"verb": "invocations", "body": raw, "base64": True, "content_type": "image/png"},
        {"body": {"dataframe_split": {"columns": ["a"], "data": [[1]]}}},
    )
    found = terminal.ok("replay", MODEL, "--requests", requests, "--json").json
    assert found["agreement"] == 1.0
    to_first = api.asked[::2]
    assert [path.rpartition("versions/1")[2] for path, _, _ in to_first] == [
        "/infer",
        ":classify",
        "/invocations",
        "/invocations",
        "/invocations",
    ]
    assert to_first[2][1:] == ("text/csv", b"1,2\n")
    assert to_first[3][1:] == ("image/png", b"\xff\x00")


def test_goldens_are_requests_too(terminal: Terminal, api: Api) -> None:
    draft = make_draft(terminal.folder / "golden", model=b"golden")
    golden = Golden("one", (Tensor("x", "FP32", (1, 4), (1.0, 2.0, 3.0, 4.0)),), ())
    draft = replace(draft, content=replace(draft.content, goldens=(golden,)))
    register(terminal.registry, terminal.registry.publish(MODEL, draft, who=ADA))
    api.versions = {1: scores([0.1, 0.9]), 4: scores([0.2, 0.8])}
    found = terminal.ok("replay", MODEL, "--goldens", "--to", "4", "--json").json
    assert (found["requests"], found["agreement"]) == (1, 1.0)
    refused = terminal("replay", MODEL, "--goldens", "--to", "3")
    assert refused.code == 2
    assert "has no goldens" in refused.err


def test_what_only_one_version_answers_is_told_apart(terminal: Terminal, api: Api) -> None:
    def by_body(answers: dict[bytes, Answer]) -> Model:
        return lambda body: next(answer for mark, answer in answers.items() if mark in body)

    good, bad = told({"predictions": [[0.1, 0.9]]}), told({"error": "no"}, 400)
    broken = told({"error": "no"}, 500)
    image: Answer = (200, {"content-type": "image/png"}, b"\x89")
    api.versions = {
        1: by_body({b"[1]": good, b"[2]": bad, b"[3]": good, b"[4]": good}),
        3: by_body({b"[1]": bad, b"[2]": good, b"[3]": broken, b"[4]": image}),
    }
    requests = lines(terminal, *({"body": {"instances": [n]}} for n in (1, 2, 3, 4)))
    found = terminal.ok("replay", MODEL, "--requests", requests, "--json").json
    assert (found["compared"], found["agreed"]) == (1, 0)
    assert (found["unanswered"], found["failed"], found["incomparable"]) == (1, 1, 1)
    assert len(found["notable"]) == 4
    told_to_people = terminal.ok("replay", MODEL, "--requests", requests).out
    assert "unanswered by 1" in told_to_people
    assert "failed by 3" in told_to_people


def test_a_caller_who_may_not_call_learns_so_at_once(terminal: Terminal, api: Api) -> None:
    api.versions = {1: lambda body: told({"message": "Forbidden"}, 403)}
    refused = terminal("replay", MODEL, "--requests", lines(terminal, ONE, ONE))
    assert refused.code != 0
    assert len(api.asked) == 1


def test_tolerances_and_the_limit_are_the_callers(terminal: Terminal, api: Api) -> None:
    api.versions = {1: scores([1.0]), 3: scores([1.05])}
    requests = lines(terminal, ONE, ONE, ONE)
    assert terminal.ok("replay", MODEL, "--requests", requests, "--json").json["agreement"] == 0.0
    found = terminal.ok(
        *("replay", MODEL, "--requests", requests, "--json"), *("--rtol", "0.1", "--limit", "2")
    ).json
    assert (found["agreement"], found["requests"]) == (1.0, 2)


def test_labels_make_scores_of_a_versions_numbers(terminal: Terminal, api: Api) -> None:
    draft = make_draft(terminal.folder / "labelled", model=b"labelled")
    content = replace(draft.content, settings=ModelSettings(labels="labels.txt"))
    manifest = terminal.registry.publish(MODEL, replace(draft, content=content), who=ADA)
    register(terminal.registry, manifest)
    api.versions = dict.fromkeys((3, 4), scores([3.0, 6.0])) | {1: scores([2.0, 4.0])}
    requests = lines(terminal, ONE)
    for version, agreement in ((3, 0.0), (4, 1.0)):
        found = terminal.ok(
            "replay", MODEL, "--requests", requests, "--to", str(version), "--json"
        ).json
        assert found["agreement"] == agreement


def test_a_rollout_says_which_two_versions_are_meant(terminal: Terminal, api: Api) -> None:
    api.versions = {1: scores([0.1, 0.9]), 2: scores([0.1, 0.9])}
    at = "2026-01-01T00:00:00+00:00"
    rollout = Rollout(
        alias="stable",
        candidate=2,
        stable=1,
        before=(Weighted(1),),
        steps=(5.0, 100.0),
        every_s=300.0,
        guards=(Guard("errors", "errors", 0.01),),
        alpha=0.05,
        min_samples=100,
        window_s=60,
        started=at,
        since=at,
        moved=(at,),
    )
    change(
        terminal,
        lambda routes: routes.with_moved("stable", parse_weights("1:95,2:5")).with_rollout(rollout),
    )
    found = terminal.ok("replay", MODEL, "--requests", lines(terminal, ONE), "--json").json
    assert (found["from"], found["to"]) == (1, 2)


def test_standard_input_is_a_file_too(terminal: Terminal, api: Api) -> None:
    api.versions = {1: scores([0.1, 0.9]), 3: scores([0.1, 0.9])}
    terminal.stdin = b"\n" + json.dumps(ONE).encode() + b"\n\n"
    assert terminal.ok("replay", MODEL, "--requests", "-", "--json").json["requests"] == 1


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"not json", "line 1: it is not JSON"),
        (b"[" * 100_000, "it is not JSON"),
        (b"[]", 'not an object with a "body"'),
        (b"{}", 'not an object with a "body"'),
        (b'{"body": {}, "path": "/v1"}', "it has path"),
        (b'{"body": {}, "verb": "status"}', "its verb is none of"),
        (b'{"body": {}, "verb": ["predict"]}', "its verb is none of"),
        (b'{"body": "***", "base64": true}', "not base64"),
        (b'{"body": [1], "base64": true}', "not base64"),
        (b'{"body": "\\ud800"}', "its body is no text"),
        (b'{"body": {}, "content_type": "a\\nb: c"}', "its content_type"),
        (b'{"body": {}, "content_type": 7}', "its content_type"),
        (b"", "there is no request to send"),
    ],
)
def test_a_line_that_is_no_request_is_refused_by_its_number(
    terminal: Terminal, line: bytes, said: str
) -> None:
    terminal.stdin = line
    refused = terminal("replay", MODEL, "--requests", "-")
    assert refused.code == 2
    assert said in refused.err


@pytest.mark.parametrize(
    ("arguments", "said", "code"),
    [
        ((), "--requests FILE or --goldens", 2),
        (("--goldens", "--requests", "x"), "--requests FILE or --goldens", 2),
        (("--requests", "missing.jsonl"), "missing.jsonl", 2),
        (("--goldens", "--to", "1"), "both are version 1", 2),
        (("--goldens", "--to", "9"), "version 9 of model magika is not deployed", 4),
        (("--goldens", "--from", "canary"), "no alias 'canary'", 3),
        (("--goldens", "--to", "split"), "split over versions 1, 2", 2),
    ],
)
def test_what_cannot_be_replayed_is_refused(
    terminal: Terminal, arguments: tuple[str, ...], said: str, code: int
) -> None:
    change(terminal, lambda routes: routes.with_alias("split", parse_weights("1:50,2:50")))
    refused = terminal("replay", MODEL, *arguments)
    assert (refused.code, said in refused.err) == (code, True), refused.err


def test_a_model_that_nobody_knows_is_not_found(tmp_path: Path) -> None:
    assert Terminal(tmp_path, MemoryRegistry())("replay", "nobody", "--goldens").code == 3

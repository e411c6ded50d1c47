"""Calls that are answered later, as callers see them: taking, asking, canceling, uploading."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from modelport.backends import CallableBackend
from modelport.envelope import REFERENCE, Request, Response
from modelport.errors import (
    ConcurrentChangeError,
    MalformedRequestError,
    ModelportError,
    ModelTimeoutError,
    PayloadTooLargeError,
    RegistryUnavailableError,
)
from modelport.grammar import Call
from modelport.jobs import keys
from modelport.jobs.errors import (
    JobEndedError,
    JobNotDoneError,
    JobNotFoundError,
    KeyReusedError,
    QueueUnavailableError,
    UploadNotFoundError,
    WebhookRefusedError,
)
from modelport.jobs.job import KEPT_S, Job
from modelport.jobs.webhooks import allowed
from modelport.references import Put
from modelport.registry.memory import MemoryStore
from modelport.routes import Deployment, Routes
from modelport.routes.policy import Shadow

from functions.router.caller import authenticated
from functions.router.statistics import Statistics
from functions.router.trace import Trace
from functions.router.uploads import Uploads
from functions.router.versions import Versions
from tests.support.api_events import http_v2
from tests.support.jobs_world import (
    MODEL,
    PATH,
    JobsWorld,
    KilledError,
    deployment,
    event,
    killed,
)
from tests.support.router_world import Answer, World, deployed

ADA = keys.owner_of("arn:aws:iam::1:user/ada")


def id_of(response: Response | Answer) -> str:
    id: str = json.loads(response.body)["id"]
    return id


# --- taking a call --------------------------------------------------------------------------------


def test_a_job_is_answered_with_where_it_is() -> None:
    world = JobsWorld()
    response = world.accept()
    told = json.loads(response.body)
    assert response.status == 202
    assert response.headers["location"] == f"../../../jobs/{told['id']}"
    assert response.headers["preference-applied"] == "respond-async"
    assert response.headers["retry-after"] == "1"
    assert (told["status"], told["model"], told["version"]) == ("queued", MODEL, "1")
    assert "headers" not in told
    assert ADA not in response.body.decode()


def test_the_location_is_right_below_any_stage_and_for_any_path() -> None:
    from urllib.parse import urljoin

    world = JobsWorld()
    for path in ("/v1/models/m:predict", "/v2/models/m/infer?a=b/c", "/endpoints/m/invocations"):
        request = Request("POST", path, {"prefer": "respond-async"}, b"x", "r-1")
        asked = Request("POST", path, {}, b"x", "r-1")
        call = Call("v1", "predict", MODEL)
        response = world.jobs.accept(call, deployment(), asked, request, None)
        for stage in ("", "/prod"):
            url = urljoin(f"https://api.example{stage}{path}", response.headers["location"])
            assert url == f"https://api.example{stage}/jobs/{id_of(response)}"


def test_a_caller_who_waits_a_little_gets_the_answer_at_once() -> None:
    world = JobsWorld()
    world.line.before[4] = lambda: world.deliver("m-1")  # the first look at it
    response = world.accept(prefer="respond-async, wait=5")
    assert (response.status, response.body) == (200, b"rowrow")
    assert response.headers["preference-applied"] == "respond-async, wait=5"


def test_a_wait_that_is_over_leaves_a_job() -> None:
    world = JobsWorld()
    before = world.clock()
    response = world.accept(prefer='wait="999999", respond-async')
    assert response.status == 202
    assert world.clock() - before <= 20.5


def test_a_call_that_outlived_the_gateway_becomes_a_job_only_where_that_helps() -> None:
    world = JobsWorld()
    request = Request("POST", PATH, {}, b"row", "r-1")
    late = ModelTimeoutError(MODEL, 1, 27.0)
    call = Call("v2", "infer", MODEL)

    def accept(of: Deployment) -> Response:
        return world.jobs.accept(call, of, request, request, event("ada"), late)

    for patient in (deployment(timeout_s=300), deployment(target="sagemaker")):
        response = accept(patient)
        assert response.status == 202
        assert "preference-applied" not in response.headers
    for hasty in (deployment(timeout_s=20), deployment(), deployment(timeout_s="300")):
        with pytest.raises(ModelTimeoutError):
            accept(hasty)


CALLS = ["store.create", "payloads.put", "store.create", "queue.send"]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("call", range(1, 5), ids=lambda n: CALLS[n - 1])
def test_a_router_that_dies_while_it_takes_a_call_leaves_one_job_per_key(
    call: int, after: bool
) -> None:
    world = JobsWorld()
    (world.line.after if after else world.line.before)[call] = killed
    with pytest.raises(KilledError):
        world.accept(idempotency_key="k-1")
    assert world.line.names == CALLS[:call]
    world.line.cut()
    id = id_of(world.accept(idempotency_key="k-1"))
    assert id_of(world.accept(idempotency_key="k-1")) == id
    world.settle()
    assert world.ask("answer", id).body == b"rowrow"
    assert world.runs == 1
    assert [job.id for job in world.board.jobs()] == [id]


def test_a_key_is_one_callers_and_one_requests() -> None:
    world = JobsWorld()
    id = id_of(world.accept(b"row", "ada", idempotency_key="k-1"))
    assert id_of(world.accept(b"row", "eve", idempotency_key="k-1")) != id
    with pytest.raises(KeyReusedError, match=id):
        world.accept(b"another row", "ada", idempotency_key="k-1")
    with pytest.raises(KeyReusedError):
        world.accept(b"row", "ada", idempotency_key="k-1", content_type="text/csv")
    world.clock.now += KEPT_S + 1
    assert id_of(world.accept(b"another row", "ada", idempotency_key="k-1")) != id


def test_a_store_that_says_of_a_key_both_yes_and_no_is_not_asked_for_ever() -> None:
    class Torn(MemoryStore):
        def create(self, key: str, body: bytes) -> bool:
            return False

    with pytest.raises(ConcurrentChangeError):
        JobsWorld(store=Torn()).accept(idempotency_key="k-1")


def test_a_key_that_an_unknown_caller_guessed_tells_no_job() -> None:
    world = JobsWorld()
    id = id_of(world.accept(b"row", "", idempotency_key="k-1"))
    with pytest.raises(KeyReusedError) as refused:
        world.accept(b"a guess", "", idempotency_key="k-1")
    assert id not in refused.value.message


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("inference_header_content_length", "2"),
        ("x_modelport_version", "2"),
        ("x_modelport_webhook", "https://hooks.example/other"),
        ("x_amzn_sagemaker_target_variant", "b"),
        ("x_amzn_sagemaker_custom_attributes", "tfs-method=classify"),
    ],
)
def test_whatever_changes_what_is_asked_makes_another_request_of_it(
    header: str, value: str
) -> None:
    world = JobsWorld()
    world.accept(idempotency_key="k-1")
    with pytest.raises(KeyReusedError):
        world.accept(b"row", "ada", idempotency_key="k-1", **{header: value})
    world.accept(idempotency_key="k-1", x_forwarded_for="10.0.0.9")


@pytest.mark.parametrize("key", ["", " ", "x" * 256, "naïve", "a b", "a\n"])
def test_a_key_that_is_none_is_refused(key: str) -> None:
    with pytest.raises(MalformedRequestError, match="idempotency-key"):
        JobsWorld().accept(idempotency_key=key)


def test_a_queue_that_is_away_is_told_and_leaves_no_job_that_waits_for_ever() -> None:
    def gone() -> None:
        raise QueueUnavailableError("gone")

    world = JobsWorld()
    world.line.before[3] = gone
    with pytest.raises(QueueUnavailableError):
        world.accept()
    assert [job.state for job in world.board.jobs()] == ["canceled"]


# --- webhooks -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example/x",
        "https://hooks.example.evil/x",
        "https://evil.example/?hooks.example",
        "https://hooks.example@evil.example/x",
        "https://user:pw@hooks.example/x",
        "https://hooks.example:8443/x",
        "https://hooks.example:x/",
        "https://other.example/x",
        "https:///x",
        "https://[::1/x",
        "file:///etc/passwd",
        "ftp://hooks.example/x",
        "https://hooks.example/x#y",
        "https://hooks.example/ x",
        "https://hooks.example\\@evil.example/",
        "https://hooks.exаmple/x",
        "https://169.254.169.254/latest",
        "https://hooks.example/" + "x" * 2000,
        " https://hooks.example/",
    ],
)
def test_only_the_hosts_that_are_allowed_are_told(url: str) -> None:
    world = JobsWorld()
    with pytest.raises(WebhookRefusedError):
        world.accept(x_modelport_webhook=url)
    assert not list(world.board.jobs())


@pytest.mark.parametrize(
    "url",
    ["https://hooks.example", "https://HOOKS.example:443/x?y", "https://other.example:8443/x"],
)
def test_allowed_hosts_are_told(url: str) -> None:
    assert JobsWorld().accept(x_modelport_webhook=url).status == 202


@pytest.mark.parametrize("hosts", ["a.example:443", " A.example , b.example:8443"])
def test_a_host_is_the_same_with_the_port_that_it_has_anyway(hosts: str) -> None:
    assert allowed("https://a.example/done", hosts) == "https://a.example/done"


@given(st.text(max_size=60))
def test_any_text_is_refused_in_words(text: str) -> None:
    with pytest.raises(WebhookRefusedError):
        allowed(text, "hooks.example")
    with pytest.raises(WebhookRefusedError):
        allowed(f"https://{text}", None)


# --- asking ---------------------------------------------------------------------------------------


def test_what_runs_has_no_answer_yet() -> None:
    world = JobsWorld()
    id = id_of(world.accept())
    with pytest.raises(JobNotDoneError, match="queued") as caught:
        world.ask("answer", id)
    assert caught.value.retry_after_s == 1
    world.clock.now += 100
    assert world.ask("status", id).headers["retry-after"] == "5"


def test_canceled_is_final_and_done_cannot_be_canceled() -> None:
    world = JobsWorld()
    id = id_of(world.accept())
    for _ in range(2):
        assert json.loads(world.ask("cancel", id).body)["status"] == "canceled"
    with pytest.raises(JobNotDoneError, match="canceled"):
        world.ask("answer", id)
    world.settle()
    assert world.runs == 0
    done = id_of(world.accept())
    world.settle()
    with pytest.raises(JobEndedError, match="succeeded"):
        world.ask("cancel", done)


@pytest.mark.parametrize("verb", ["status", "answer", "cancel"])
def test_nobody_else_sees_a_job(verb: str) -> None:
    world = JobsWorld()
    id = id_of(world.accept())
    for who in ("eve", ""):
        with pytest.raises(JobNotFoundError):
            world.ask(verb, id, who)
    # Where the gateway knows nobody, the id is the secret.
    unknown = id_of(world.accept(who=""))
    assert world.ask("status", unknown, "").status == 200
    with pytest.raises(JobNotFoundError):
        world.ask(verb, unknown, "eve")


@pytest.mark.parametrize("id", ["", "0" * 32, "../../keys/x", "%2e%2e", "0" * 31 + "G", "x" * 9999])
def test_ids_that_are_none_are_not_found(id: str) -> None:
    with pytest.raises(JobNotFoundError) as caught:
        JobsWorld().ask("status", id)
    assert len(caught.value.message) < 300


def test_a_job_is_gone_when_its_time_is_over() -> None:
    world = JobsWorld()
    id = id_of(world.accept())
    world.settle()
    world.clock.now += KEPT_S
    with pytest.raises(JobNotFoundError):
        world.ask("answer", id)
    assert not list(world.board.jobs())


@pytest.mark.parametrize(
    "said",
    [
        ("authorizer", "iam", "userArn"),
        ("authorizer", "jwt", "claims", "sub"),
        ("identity", "userArn"),
        ("identity", "apiKeyId"),
    ],
)
def test_whom_the_gateway_has_checked_is_the_owner(said: tuple[str, ...]) -> None:
    inner: Any = "ada"
    for name in reversed(said):
        inner = {name: inner}
    assert authenticated({"requestContext": inner}) == "ada"


def test_an_address_is_nobody_and_a_role_is_one_in_all_its_sessions() -> None:
    assert authenticated({"requestContext": {"http": {"sourceIp": "10.0.0.1"}}}) == ""
    assert authenticated(None) == ""
    role = "arn:aws:sts::1:assumed-role/trainer"
    for session in ("one", "two"):
        context = {"identity": {"userArn": f"{role}/{session}"}}
        assert authenticated({"requestContext": context}) == role


# --- uploading ------------------------------------------------------------------------------------


def test_an_upload_says_where_and_how_large() -> None:
    world = JobsWorld()
    told = json.loads(world.ask("upload", body=b'{"content_length": 5000000}').body)
    assert told["url"].startswith(f"memory://payloads/uploads/{ADA}/{told['upload']}")
    assert told["headers"] == {"content-length": "5000000"}
    assert (told["method"], told["limit"]) == ("PUT", 10_000_000)


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b"[]", b"x", b'{"content_length": 0}', b'{"content_length": -1}',
     b'{"content_length": "5"}', b'{"content_length": true}', b'{"content_length": 1.5}',
     b"[" * 10_000, b"\xff"],
)  # fmt: skip
def test_an_upload_that_is_asked_for_wrongly_is_refused(body: bytes) -> None:
    with pytest.raises(MalformedRequestError, match="content_length"):
        JobsWorld().ask("upload", body=body)


def test_an_upload_over_the_limit_is_refused_before_it_is_sent_and_after() -> None:
    world = JobsWorld()
    with pytest.raises(PayloadTooLargeError, match=r"10,000,001 bytes; the limit is 10,000,000"):
        world.ask("upload", body=b'{"content_length": 10000001}')
    id = json.loads(world.ask("upload", body=b'{"content_length": 5}').body)["upload"]
    world.payloads.put(keys.upload(ADA, id), b"x" * 10_000_001, {})
    with pytest.raises(PayloadTooLargeError, match=r"10,000,001 bytes; the limit is 10,000,000"):
        world.accept(b"", x_modelport_body=id)


def test_an_upload_is_its_callers_alone_and_must_be_there() -> None:
    world = JobsWorld()
    id = json.loads(world.ask("upload", body=b'{"content_length": 5}').body)["upload"]
    with pytest.raises(UploadNotFoundError, match="POST /uploads"):
        world.accept(b"", x_modelport_body=id)
    world.payloads.put(keys.upload(ADA, id), b"row", {})
    with pytest.raises(UploadNotFoundError):
        world.accept(b"", "eve", x_modelport_body=id)
    with pytest.raises(MalformedRequestError, match="has a body and names one"):
        world.accept(b"x", x_modelport_body=id)
    for other in (f"../{ADA}/{id}", "", "jobs", id.upper() + "/"):
        with pytest.raises(UploadNotFoundError):
            world.accept(b"", x_modelport_body=other)
    world.settle()
    done = id_of(world.accept(b"", x_modelport_body=id))
    world.settle()
    assert world.ask("answer", done).body == b"rowrow"


# --- through the whole router ---------------------------------------------------------------------


class Over:
    """A router with jobs, over an HTTP API."""

    def __init__(self, model: Any) -> None:
        self.jobs = JobsWorld()
        self.made = 0

        def make() -> Any:
            self.made += 1
            return self.jobs.jobs

        self.world = World(deployed(1), models={1: model}, jobs=make)

    def ask(self, taken: Answer) -> bytes:
        """The answer of the job that a call has become."""
        return self.jobs.ask("answer", id_of(taken), "").body


def test_a_call_that_wants_nothing_makes_no_jobs() -> None:
    over = Over(lambda request: Response(200, {}, b"{}"))
    assert over.world.post(f"/v1/models/{MODEL}:predict").status == 200
    assert over.made == 0


def test_a_large_body_reaches_the_version_as_a_reference_and_a_large_answer_the_caller() -> None:
    seen: list[Request] = []

    def model(request: Request) -> Response:
        seen.append(request)
        put = Put(200, {"content-type": "a/b", "inference-header-content-length": "7"}, 9_000_000)
        return put.response({"x-modelport-version": "1"})

    over = Over(model)
    told = over.world.post("/uploads", b'{"content_length": 5000000}').json()
    key = keys.upload(keys.ANYONE, told["upload"])
    over.jobs.payloads.put(key, b"x" * 5_000_000, {})
    path = f"/v2/models/{MODEL}/infer"
    answer = over.world.post(path, b"", content_type="a/c", x_modelport_body=told["upload"])
    assert answer.status == 303
    assert answer.headers["location"].startswith("memory://payloads/calls/")
    assert answer.headers["inference-header-content-length"] == "7"
    assert answer.headers["x-modelport-version"] == "1"
    sent = json.loads(seen[0].body)
    assert (sent["get"], sent["content_type"]) == (f"memory://payloads/{key}?get", "a/c")
    assert seen[0].headers["content-type"] == REFERENCE
    assert "x-modelport-body" not in seen[0].headers


def test_an_answer_that_turns_out_too_large_is_asked_for_once_more() -> None:
    seen: list[str] = []

    def model(request: Request) -> Response:
        seen.append(request.headers["content-type"])
        if len(seen) == 1:
            return Response(413, {"x-modelport-error": "answer-too-large"}, b'{"error":"x"}')
        return Put(200, {}, 7_000_000).response({})

    over = Over(model)
    assert over.world.post(f"/v1/models/{MODEL}:predict", b"{}").status == 303
    assert seen == ["application/json", REFERENCE]
    lying = list(over.jobs.payloads.bodies.values())
    assert lying == [b"{}"]


CARRIED = ["payloads.put", "payloads.get_url", "payloads.put_url", "payloads.get_url"]


@pytest.mark.parametrize("call", range(1, 5), ids=lambda n: f"{n}-{CARRIED[n - 1]}")
def test_a_bucket_that_is_away_is_said_whenever_it_is(call: int) -> None:
    def away() -> None:
        raise RegistryUnavailableError("s3://a-secret-name/calls: AccessDenied: arn:aws:iam::1:x")

    over = Over(lambda request: Put(200, {}, 7_000_000).response({}))
    over.jobs.line.before[call] = away
    path, wish = f"/v1/models/{MODEL}:predict", {"x_modelport_answer": "by-reference"}
    answer = over.world.post(path, b"{}", **wish)
    assert over.jobs.line.names == CARRIED[:call]
    assert (answer.status, answer.headers["x-modelport-error"]) == (503, "registry-unavailable")
    assert answer.headers["retry-after"] == "2"
    assert b"secret" not in answer.body
    assert over.world.post(path, b"{}", **wish).status == 303


@pytest.mark.parametrize("call", [1, 2], ids=["document", "body"])
def test_a_bucket_that_is_away_loses_no_answer_of_a_job(call: int) -> None:
    def away() -> None:
        raise RegistryUnavailableError("a-secret-name")

    over = Over(lambda request: Response(200, {}, b"{}"))
    path = f"/v1/models/{MODEL}:predict"
    taken = over.world.post(path, b"row", prefer="respond-async")
    over.jobs.settle()
    over.jobs.line.cut()
    over.jobs.line.before[call] = away
    assert over.world.get(f"/jobs/{id_of(taken)}/answer").status == 503
    assert over.jobs.line.names == ["store.get", "payloads.get"][:call]
    assert over.world.get(f"/jobs/{id_of(taken)}/answer").body == b"rowrow"


def test_what_says_no_keeps_its_status_wherever_its_words_lie() -> None:
    over = Over(lambda request: Put(422, {"content-type": "text/csv"}, 7_000_000).response({}))
    path = f"/v1/models/{MODEL}:predict"
    answer = over.world.post(path, b"{}", x_modelport_answer="by-reference")
    assert (answer.status, answer.headers["content-type"]) == (422, "application/json")
    assert answer.headers["location"].startswith("memory://payloads/calls/")
    assert "422" in answer.json()["error"]


def test_where_the_first_run_left_no_time_for_a_second_that_one_is_a_jobs() -> None:
    seen: list[str] = []

    def model(request: Request) -> Response:
        seen.append(request.headers["content-type"])
        over.world.clock.forward(20)
        return Response(413, {"x-modelport-error": "answer-too-large"}, b'{"error":"x"}')

    over = Over(model)
    answer = over.world.post(f"/v1/models/{MODEL}:predict", b"row")
    assert (answer.status, seen) == (202, ["application/json"])
    assert "preference-applied" not in answer.headers
    over.jobs.settle()
    assert over.ask(answer) == b"rowrow"


def test_a_version_that_takes_no_references_says_what_it_said_at_first() -> None:
    def model(request: Request) -> Response:
        if request.headers["content-type"] == REFERENCE:
            return Response(400, {}, b'{"error":"what is this"}')
        return Response(413, {"x-modelport-error": "answer-too-large"}, b'{"error":"too large"}')

    answer = Over(model).world.post(f"/v1/models/{MODEL}:predict", b"{}")
    assert (answer.status, answer.body) == (413, b'{"error":"too large"}')


def test_a_caller_who_knows_spares_the_model_the_first_run() -> None:
    seen: list[Request] = []

    def model(request: Request) -> Response:
        seen.append(request)
        return Put(200, {}, 7_000_000).response({})

    over = Over(model)
    path = f"/v1/models/{MODEL}:predict"
    assert over.world.post(path, b"{}", x_modelport_answer="by-reference").status == 303
    assert [each.headers["content-type"] for each in seen] == [REFERENCE]
    over.world.post(path, b"{}", x_modelport_answer="as-it-is")
    assert seen[1].headers["content-type"] == "application/json"


@pytest.mark.parametrize("kind", [REFERENCE, REFERENCE.upper(), f" {REFERENCE} ; a=b"])
def test_callers_cannot_say_what_only_the_router_says(kind: str) -> None:
    seen: list[Request] = []

    def model(request: Request) -> Response:
        seen.append(request)
        return Response(200, {}, b"{}")

    body = b'{"get":"http://169.254.169.254/","put":"","content_type":""}'
    for world in (Over(model).world, World(deployed(1), models={1: model})):
        answer = world.post(f"/v1/models/{MODEL}:predict", body, content_type=kind)
        assert answer.status == 415
    assert not seen


def test_a_router_without_jobs_refuses_what_needs_them() -> None:
    world = World(deployed(1))
    path = f"/v1/models/{MODEL}:predict"
    assert world.post("/uploads", b"").status == 501
    assert world.post(path, b"", x_modelport_body="0" * 32).status == 501
    assert world.post(path, b"{}", prefer="respond-async").status == 200  # a preference, no more


def test_a_job_through_the_gateway_from_first_to_last() -> None:
    over = Over(lambda request: Response(200, {}, b"{}"))
    path = f"/v1/models/{MODEL}:predict"
    taken = over.world.post(path, b"row", prefer="respond-async", content_type="text/plain")
    assert taken.status == 202
    assert taken.headers["x-modelport-version"] == "1"
    id = id_of(taken)
    assert over.world.get(f"/jobs/{id}").json()["status"] == "queued"
    waiting = over.world.get(f"/jobs/{id}/answer")
    assert (waiting.status, waiting.headers["x-modelport-error"]) == (409, "job-not-done")
    over.jobs.settle()
    answer = over.world.get(f"/jobs/{id}/answer")
    assert (answer.status, answer.body) == (200, b"rowrow")
    assert answer.headers["content-type"] == "text/plain"
    assert answer.headers["x-modelport-version"] == "1"
    assert answer.headers["x-modelport-job"] == id
    assert "server" not in answer.headers
    assert over.world.post(f"/jobs/{id}/cancel", b"").status == 409
    assert over.world.get("/jobs/x").status == 404


@pytest.mark.parametrize("wish", [{}, {"x_modelport_answer": "by-reference"}])
def test_what_goes_past_the_event_is_not_held_against_a_shadows_answer(
    wish: dict[str, str],
) -> None:
    offered: list[Request] = []

    class Shadows:
        def offer(
            self, routes: Routes, call: Call, asked: Request, by: Deployment, response: Response
        ) -> None:
            offered.append(asked)

    def model(request: Request) -> Response:
        if request.headers["content-type"] == REFERENCE:
            return Put(200, {}, 7_000_000).response({})
        return Response(413, {"x-modelport-error": "answer-too-large"}, b"{}")

    routes = deployed(1, 2)
    shadowed = replace(routes, policy=replace(routes.policy, shadows=(Shadow(2, 1.0),)))
    over = JobsWorld()
    versions = Versions(
        {"lambda": CallableBackend({1: model})},
        Statistics(),
        clock=over.clock,
        log=lambda record: None,
        shadows=Shadows(),
        jobs=lambda: over.jobs,
    )
    headers = {"content-type": "text/plain"} | {k.replace("_", "-"): v for k, v in wish.items()}
    request = Request("POST", f"/v1/models/{MODEL}:predict", headers, b"row", "r-1")
    call = Call("v1", "predict", MODEL, version=1)
    trace = Trace(call=call, routes=shadowed, deployment=shadowed.deployments[1])
    assert versions.answer(shadowed, call, request, None, None, trace).status == 303
    assert [(copy.headers["content-type"], copy.body) for copy in offered] == [(REFERENCE, b"")]


def test_a_call_that_outlives_the_gateway_is_answered_with_its_job() -> None:
    over = JobsWorld()

    def slow(request: Request) -> Response:
        raise ModelTimeoutError(MODEL, 1, 27.0)

    for target, status in (("sagemaker", 202), ("lambda", 504)):
        world = World(
            deployed(1, target=target),
            backends={target: CallableBackend({1: slow})},
            jobs=lambda: over.jobs,
        )
        answer = world.post(f"/v1/models/{MODEL}:predict", b"row")
        assert answer.status == status
        assert ("location" in answer.headers) == (status == 202)
    over.settle()
    (job,) = over.board.jobs()
    assert over.ask("answer", job.id, "").body == b"rowrow"


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("application/json", b'"' + b"x" * 6_000_000 + b'"', 200),
        ("application/json", b'["' + b'\\"' * 1_700_000 + b'"]', 303),
        ("application/octet-stream", b"\xff" * 4_600_000, 200),
        ("application/octet-stream", b"\xff" * 4_700_000, 303),
        ("text/plain", b"\x00" * 1_100_000, 303),
        ("text/plain", b"\xff" * 4_700_000, 303),
    ],
    ids=["text", "quotes", "binary", "more", "control", "no-text"],
)
def test_an_answer_that_came_and_that_no_event_takes_further_is_put_away(
    kind: str, body: bytes, status: int
) -> None:
    headers = {"content-type": kind, "inference-header-content-length": "7"}
    over = Over(lambda request: Response(200, headers, body))
    path = f"/v2/models/{MODEL}/infer"
    event = http_v2("POST", path, b"{}", {"content-type": "application/json"})
    raw = over.world.raw(event)
    assert raw["statusCode"] == status
    assert len(json.dumps(raw)) <= 6 * 1024 * 1024
    lying = over.jobs.payloads
    if status == 303:
        ((key, kept),) = lying.bodies.items()
        assert (kept, lying.headers[key]) == (body, {"content-type": kind})
        assert raw["headers"]["location"] == f"{lying.base}{key}?get"
        assert raw["headers"]["inference-header-content-length"] == "7"
    else:
        assert not lying.bodies
    # A job's answer goes the same way.
    taken = over.world.post(path, b"row", prefer="respond-async")
    over.jobs.model = lambda request: Response(200, {**headers, "content-encoding": "x"}, body)
    over.jobs.settle()
    answer = over.world.raw(http_v2("GET", f"/jobs/{id_of(taken)}/answer"))
    assert len(json.dumps(answer)) <= 6 * 1024 * 1024
    if answer["statusCode"] == 303:
        key = answer["headers"]["location"].removeprefix(lying.base).removesuffix("?get")
        assert lying.headers[key] == {"content-type": kind, "content-encoding": "x"}


HOSTILE = st.one_of(
    st.text(max_size=40),
    st.sampled_from(
        ["respond-async", "respond-async, wait=1e9", "wait=-1,respond-async", "respond-async;;;,=",
         "by-reference", "0" * 32, "https://hooks.example/", "https://hooks.example:99999/",
         "a" * 300, "../../jobs", "", '"', "\x00"]
    ),
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(
    headers=st.dictionaries(
        st.sampled_from(["prefer", "idempotency-key", "x-modelport-body", "x-modelport-answer",
                         "x-modelport-webhook", "content-type"]),
        HOSTILE,
        max_size=5,
    ),
    path=st.one_of(
        st.sampled_from([f"/v1/models/{MODEL}:predict", "/uploads", f"/jobs/{'0' * 32}/cancel"]),
        st.text("/jobsupla.%20", max_size=20).map(lambda text: f"/jobs/{text}"),
    ),
    body=st.binary(max_size=20),
)  # fmt: skip
def test_no_header_path_or_body_is_answered_with_a_crash(
    headers: dict[str, str], path: str, body: bytes
) -> None:
    over = Over(lambda request: Response(200, {}, b"{}"))
    answer = over.world.send(http_v2("POST", path, body, headers))
    assert answer.status < 500 or answer.status == 501, answer.body
    asked = over.world.send(http_v2("GET", path, b"", headers))
    assert asked.status < 500 or asked.status == 501, asked.body


def test_a_stream_is_no_job() -> None:
    over = Over(lambda request: Response(200, {}, b"data: {}"))
    path = f"/v2/models/{MODEL}/generate_stream"
    assert over.world.post(path, b"{}", prefer="respond-async").status == 200
    refused = over.world.post(path, b"{}", x_modelport_answer="by-reference")
    assert refused.status == 501


# --- documents ------------------------------------------------------------------------------------


def test_a_job_is_read_as_it_was_written_and_nothing_else_is() -> None:
    world = JobsWorld()
    job = world.job(id_of(world.accept(x_modelport_webhook="https://hooks.example/")))
    assert Job.from_bytes(job.to_bytes()) == job
    document = json.loads(job.to_bytes())
    for broken in (
        b"", b"[]", b"[" * 5000, b"{}",
        json.dumps({**document, "state": "lost"}).encode(),
        json.dumps({**document, "schema": 2}).encode(),
        json.dumps({**document, "asked": None}).encode(),
        json.dumps({**document, "more": 1}).encode(),
    ):  # fmt: skip
        with pytest.raises(ModelportError):
            Job.from_bytes(broken)


def test_uploads_need_no_event() -> None:
    world = JobsWorld()
    uploads = Uploads(world.payloads, 10, world.clock)
    assert uploads.found(Request("POST", "/"), keys.ANYONE) is None

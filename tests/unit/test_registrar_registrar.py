"""A version enters the routes only verified, and leaves them only unused."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from modelport.envelope import Request, Response
from modelport.goldens import Golden, Tensor
from modelport.manifest import Content, Draft, File, Manifest
from modelport.registry import Actor
from modelport.registry.memory import MemoryRegistry
from modelport.routes import Routes, parse_weights
from modelport.signature import Signature, TensorSpec

from functions.registrar.cloudformation import Event, Outcome
from functions.registrar.place import Failure, State
from functions.registrar.prober import Prober
from functions.registrar.registrar import Registrar
from functions.registrar.verified import LONGEST
from functions.runtime.codecs import Subject
from functions.runtime.data_plane import DataPlane
from functions.runtime.tensors import Array, Tensors

ME = Actor("tester")
X = TensorSpec("x", "FP32", (1,))
Y = TensorSpec("y", "FP32", (1,))
DOUBLE = Golden(
    "double", (Tensor("x", "FP32", (1,), (2.0,)),), (Tensor("y", "FP32", (1,), (4.0,)),)
)
RAW = Golden("text", content_type="text/plain", body=b"hello", answer={"label": "greeting"})


class Doubling:
    """A place that runs one version rightly, unless told otherwise."""

    target, noun = "lambda", "function"

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self.digest = manifest.digest
        self.factor = 2.0
        self.states: list[State | None] = [State("ready")]
        self.busy = 0
        self.failure: Failure | None = None
        self.answer: Callable[[Request], Response] = self.respond
        self.asked: list[Request] = []

    def state(self, resource: str) -> State | None:
        assert resource == "modelport-t-m-v1"
        return self.states.pop(0) if len(self.states) > 1 else self.states[0]

    def ask(self, resource: str, request: Request) -> Response | Failure | None:
        if self.busy:
            self.busy -= 1
            return None
        if self.failure:
            return self.failure
        self.asked.append(request)
        return self.answer(request)

    def log_group(self, resource: str) -> str:
        return f"/logs/of/{resource}"

    def respond(self, request: Request) -> Response:
        if request.headers.get("content-type") == "text/plain":
            response = Response(200, {}, b'{"label": "greeting"}')
        else:
            response = self.plane().handle(request)
        response.headers["x-modelport-digest"] = self.digest
        return response

    def plane(self) -> DataPlane:
        """The runtime's own, so that all forms are read and written as they will be."""
        signature = self.manifest.content.signature
        return DataPlane(Subject("m", 1, self.digest, signature), Multiply(self.factor))


@dataclass
class Multiply:
    """A model: y is so many times x."""

    factor: float

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str] = ()) -> Tensors:
        return {"y": inputs["x"] * np.float32(self.factor)}


class World:
    """A registry with one published version, its function, and a clock that only sleeping moves."""

    def __init__(self, folder: Path) -> None:
        model = folder / "model.onnx"
        model.write_bytes(b"not looked at here")
        digest = "sha256:" + hashlib.sha256(model.read_bytes()).hexdigest()
        file = File("model.onnx", digest, model.stat().st_size)
        self.content = Content((file,), Signature((X,), (Y,)))
        self.sources = {"model.onnx": model}
        self.now = 0.0
        self.republish([DOUBLE, RAW])

    def republish(self, goldens: Sequence[Golden]) -> None:
        """The version with these goldens, in a registry of its own."""
        self.registry = MemoryRegistry()
        draft = Draft(replace(self.content, goldens=tuple(goldens)), self.sources)
        self.manifest = self.registry.publish("m", draft, who=ME)
        self.functions = Doubling(self.manifest)

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def send(self, kind: str, **properties: Any) -> Outcome:
        wanted = {
            "ServiceToken": "arn",
            "Model": "m",
            "Version": "1",
            "Digest": self.manifest.digest,
            "Target": "lambda",
            "Resource": "modelport-t-m-v1",
            "MemoryMb": "1769",
            "TimeoutS": "30",
        }
        wanted = {k: v for k, v in (wanted | properties).items() if v is not None}
        physical_id = "" if kind == "Create" else "m:1"
        stack = "arn:aws:cloudformation:r:1:stack/modelport-t-m-v1/uuid"
        event = Event(kind, "https://x", stack, "r", "Registration", physical_id, wanted)
        return Registrar(self.registry, self.prober)(event, 10.0)

    def prober(self, target: str, budget: float) -> Prober:
        assert target == self.functions.target
        return Prober(self.functions, budget_s=budget, clock=lambda: self.now, sleep=self.sleep)

    @property
    def routes(self) -> Routes:
        snapshot = self.registry.routes("m")
        assert snapshot is not None
        return snapshot.routes


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.mark.parametrize("kind", ["Create", "Update"])
def test_a_version_that_answers_rightly_is_registered(world: World, kind: str) -> None:
    outcome = world.send(kind)
    assert outcome.reason == ""
    assert outcome.physical_id == "m:1"
    deployment = world.routes.deployments[1]
    assert deployment.resource == "modelport-t-m-v1"
    assert deployment.digest == world.manifest.digest
    assert deployment.settings == {"memory_mb": 1769, "timeout_s": 30}
    assert world.routes.change is not None
    assert world.routes.change.who == "cloudformation:modelport-t-m-v1"


def test_the_log_names_who_wanted_a_version_and_not_who_took_it_away(world: World) -> None:
    world.send("Create", By="ada", Why="smaller", Commit="4a1f")
    assert world.routes.change is not None
    change = world.routes.change
    assert (change.who, change.message, change.commit) == ("ada", "smaller", "4a1f")
    world.send("Delete", By="ada", Why="smaller", Commit="4a1f")
    gone = world.routes.change
    assert (gone.who, gone.message) == ("cloudformation:modelport-t-m-v1", "delete")


def test_every_golden_is_asked_in_every_form_that_carries_it(world: World) -> None:
    outcome = world.send("Create")
    asked = [(request.method, request.path) for request in world.functions.asked]
    assert asked[0] == ("GET", "/v2/models/m/versions/1/ready")
    assert asked[1:5] == [
        ("POST", "/v1/models/m/versions/1:predict"),
        ("POST", "/v1/models/m/versions/1:predict"),
        ("POST", "/v2/models/m/versions/1/infer"),
        ("POST", "/v2/models/m/versions/1/infer"),
    ]
    assert set(asked[5:]) == {("POST", "/endpoints/m/versions/1/invocations")}
    ids = [request.request_id for request in world.functions.asked]
    assert len(set(ids)) == len(ids)
    assert "deploy-m-1-double-v2-binary" in ids
    assert outcome.data is not None
    assert outcome.data["Verified"].startswith(f"{len(asked)} requests agree: ready 1, v1 ")


def test_what_was_asked_and_what_was_not_is_told_and_logged(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "functions.registrar")
    outcome = world.send("Create")
    assert outcome.data is not None
    told = outcome.data["Verified"]
    assert "agree: ready 1, v1 columns 1, v1 rows 1, v2 json 1, v2 binary 1" in told
    assert "not asked: text as v1, v2, sagemaker, mlflow: raw bytes" in told
    assert "raw 1" in told
    lines = [record.getMessage() for record in caplog.records]
    assert any("m:1: not asked: text as" in line for line in lines)
    entry = next(iter(world.registry.log("m")))
    assert entry.detail["verified"] == len(world.functions.asked)


def test_what_is_told_of_many_goldens_fits_into_the_answer(world: World) -> None:
    world.republish([replace(RAW, name=f"raw-{n}-{'x' * 30}") for n in range(100)])
    outcome = world.send("Create")
    assert outcome.reason == ""
    assert outcome.data is not None
    assert len(outcome.data["Verified"]) == LONGEST


def test_many_goldens_of_a_slow_model_end_with_the_time(world: World) -> None:
    world.republish([replace(DOUBLE, name=f"g{n}") for n in range(100)])

    def slow(request: Request) -> Response:
        world.now += 0.5
        return world.functions.respond(request)

    world.functions.answer = slow
    outcome = world.send("Create")
    assert "function modelport-t-m-v1 had 10 s for its goldens" in outcome.reason
    assert "answered 19 requests, rightly" in outcome.reason
    assert "more --memory" in outcome.reason
    assert world.routes.deployments == {}


def test_an_update_that_changes_nothing_writes_nothing(world: World) -> None:
    world.send("Create")
    revision = world.routes.revision
    assert not world.send("Update").failed
    assert world.routes.revision == revision


def test_an_update_registers_new_settings(world: World) -> None:
    world.send("Create")
    world.send("Update", MemoryMb="3008")
    assert world.routes.deployments[1].settings["memory_mb"] == 3008


def test_a_wrong_answer_is_refused_naming_golden_protocol_expected_and_got(world: World) -> None:
    world.functions.factor = 3.0
    outcome = world.send("Create")
    for part in ("golden-mismatch", "'double'", "v1 columns (predict)", "4.0", "6.0"):
        assert part in outcome.reason
    assert world.routes.deployments == {}


def test_a_refused_update_leaves_the_registration_as_it_was(world: World) -> None:
    world.send("Create")
    before = world.routes
    world.functions.factor = 3.0
    assert world.send("Update", MemoryMb="3008").failed
    assert world.routes == before


def test_another_versions_digest_is_refused(world: World) -> None:
    world.functions.digest = "sha256:" + "0" * 64
    outcome = world.send("Create")
    assert "another version answers" in outcome.reason
    assert world.manifest.digest in outcome.reason


def test_an_error_status_is_refused_with_what_the_model_said(world: World) -> None:
    world.functions.answer = lambda request: Response(500, {}, b'{"error": "no labels.txt"}')
    outcome = world.send("Create")
    assert "got 500" in outcome.reason
    assert "no labels.txt" in outcome.reason


def test_the_deployments_file_must_name_the_published_digest(world: World) -> None:
    outcome = world.send("Create", Digest="sha256:" + "1" * 64)
    assert "[integrity" in outcome.reason
    assert world.functions.asked == []


def test_a_version_that_was_never_published_is_refused(world: World) -> None:
    assert "[version-not-found]" in world.send("Create", Version="7").reason


def test_a_crashing_function_is_refused_without_its_traceback(world: World) -> None:
    world.functions.failure = Failure('{"errorMessage": "secret path"}')
    outcome = world.send("Create")
    assert "[model-failed]" in outcome.reason
    assert "secret path" not in outcome.reason


def test_a_crash_at_a_request_names_its_kind_the_log_and_the_request_only(world: World) -> None:
    world.functions.failure = Failure('{"errorMessage": "secret"}', kind="ValueError")
    reason = world.send("Create").reason
    assert "request id deploy-m-1-readiness-v2" in reason
    assert "(ValueError, its log group is /logs/of/modelport-t-m-v1)" in reason
    assert "secret" not in reason


def test_a_version_that_cannot_be_loaded_is_refused_with_the_runtimes_own_line(
    world: World,
) -> None:
    line = "InvalidBundleError: inference.py: it fails at load with ModuleNotFoundError"
    world.functions.failure = Failure("a traceback", startup=line + "!" * 400)
    reason = world.send("Create").reason
    assert f"function modelport-t-m-v1 did not become ready: {line}!" in reason
    assert "(its log group is /logs/of/modelport-t-m-v1)" in reason
    assert reason.count("!") == 300 - len(line)
    assert "traceback" not in reason


def test_a_golden_that_fails_in_the_model_names_the_log(world: World) -> None:
    world.functions.answer = lambda request: (
        world.functions.respond(request) if request.path.endswith("/ready") else Response(500)
    )
    assert "its log group is /logs/of/modelport-t-m-v1" in world.send("Create").reason


def test_a_function_that_times_out_is_refused_with_its_limit(world: World) -> None:
    world.functions.failure = Failure("Task timed out after 30.00 seconds", timed_out=True)
    outcome = world.send("Create")
    assert "did not answer within 30 s" in outcome.reason


def test_a_version_that_is_up_but_still_loading_is_asked_again(world: World) -> None:
    loading = iter([Response(503, {"retry-after": "1"}, b"loading"), Response(503)])
    world.functions.answer = lambda request: next(loading, world.functions.respond(request))
    assert not world.send("Create").failed
    assert world.now == 2.0


def test_a_version_that_never_loads_is_refused_with_what_it_said(world: World) -> None:
    world.functions.answer = lambda request: Response(503, {}, b"still loading weights")
    outcome = world.send("Create")
    assert "did not become ready: status 503: still loading weights" in outcome.reason


def test_it_waits_for_a_function_that_is_still_being_made(world: World) -> None:
    world.functions.states = [State("pending", "State Pending"), State("ready")]
    assert not world.send("Create").failed
    assert world.now == 1.0


def test_it_waits_no_longer_than_its_time(world: World) -> None:
    world.functions.states = [State("pending", "State Pending")]
    outcome = world.send("Create")
    assert "did not become ready: still State Pending" in outcome.reason
    assert world.now < 10.0


def test_a_function_that_failed_is_refused_with_lambdas_reason(world: World) -> None:
    world.functions.states = [State("failed", "the image does not exist")]
    assert "the image does not exist" in world.send("Create").reason


def test_a_function_that_is_not_there_is_refused(world: World) -> None:
    world.functions.states = [None]
    assert "[backend-gone]" in world.send("Create").reason


def test_a_busy_function_is_asked_again(world: World) -> None:
    world.functions.busy = 3
    assert not world.send("Create").failed


def test_a_function_that_stays_busy_is_refused(world: World) -> None:
    world.functions.busy = 1000
    assert "[throttled]" in world.send("Create").reason


ENDPOINT = {
    "Target": "sagemaker",
    "MemoryMb": None,
    "InstanceType": "ml.g5.xlarge",
    "Instances": "2",
    "TimeoutS": "60",
}


def test_an_endpoint_is_registered_with_its_instances(world: World) -> None:
    world.functions.target, world.functions.noun = "sagemaker", "endpoint"
    assert world.send("Create", **ENDPOINT).reason == ""
    deployment = world.routes.deployments[1]
    assert (deployment.target, deployment.resource) == ("sagemaker", "modelport-t-m-v1")
    assert deployment.settings == {
        "instance_type": "ml.g5.xlarge",
        "instances": 2,
        "timeout_s": 60,
    }


def test_errors_say_what_the_service_calls_it(world: World) -> None:
    world.functions.target, world.functions.noun = "sagemaker", "endpoint"
    world.functions.states = [State("failed", "the container did not answer ping")]
    reason = world.send("Create", **ENDPOINT).reason
    assert "endpoint modelport-t-m-v1 did not become ready: the container did not" in reason


def test_delete_unregisters(world: World) -> None:
    world.send("Create")
    assert not world.send("Delete").failed
    assert world.routes.deployments == {}
    assert not world.send("Delete").failed


def test_delete_of_a_version_in_use_is_refused_naming_the_aliases(world: World) -> None:
    world.send("Create")
    for alias in ("stable", "canary"):
        world.registry.change(
            "m",
            lambda routes, alias=alias: routes.with_alias(alias, parse_weights("1")),  # type: ignore[misc]
            action="route",
            detail={},
            who=ME,
        )
    outcome = world.send("Delete")
    assert "[version-in-use]" in outcome.reason
    assert "stable" in outcome.reason
    assert "canary" in outcome.reason
    assert 1 in world.routes.deployments


@pytest.mark.parametrize(
    "properties", [{}, {"Model": "unknown"}, {"Version": "7"}, {"Version": "x"}, {"Digest": None}]
)
def test_delete_after_a_failed_create_succeeds(world: World, properties: dict[str, Any]) -> None:
    world.functions.factor = 3.0
    assert world.send("Create", **properties).failed
    assert not world.send("Delete", **properties).failed


@pytest.mark.parametrize(
    ("properties", "named"),
    [
        ({"Version": "x"}, "Version"),
        ({"Digest": None}, "Digest"),
        ({"Model": "No/Name"}, "No/Name"),
        ({"Target": "mainframe"}, "lambda or sagemaker"),
        ({"Target": "sagemaker"}, "InstanceType"),
    ],
)
def test_a_bad_property_is_named(world: World, properties: dict[str, Any], named: str) -> None:
    assert named in world.send("Create", **properties).reason

"""The controller: what one look does, two of them at once, and dying anywhere in between."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from modelport.errors import IntegrityError, RegistryUnavailableError
from modelport.registry import Actor, keys
from modelport.registry.active import ActiveRollouts
from modelport.registry.bucket import BucketRegistry
from modelport.registry.memory import MemoryStore
from modelport.registry.store import Store
from modelport.rollouts import operations
from modelport.rollouts.controller import CONTROLLER, Controller, Outcome
from modelport.routes import Deployment, Rollout, Routes, Weighted

from tests.support.interleaving import Program
from tests.support.rollout_world import START, Recorded, deployed, rollout

MINUTE = timedelta(minutes=1)
OPERATOR = Actor("operator", "because")
STEPS = (10.0, 50.0, 100.0)


class World:
    """A store with model m, what is observed of it, and a clock."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.observations = Recorded()
        self.now = START
        self.registry = BucketRegistry(self.store)
        self.model("m")

    def model(self, name: str) -> None:
        """One more model, with versions 1 and 2."""
        routes = replace(deployed(1, 2, stable=1, canary=1), model=name)
        first = Routes(name).changed(routes, action="begin", detail={}, who="test", at="then")
        assert self.store.create(keys.routes(name), first.to_bytes())

    def start(self, model: str = "m", alias: str = "stable", store: Store | None = None) -> Routes:
        """Begin a rollout of version 2."""
        plan = replace(rollout(at=self.now, steps=STEPS), alias=alias)
        registry = BucketRegistry(store or self.store, sleep=lambda seconds: None)
        return registry.change(
            model,
            lambda routes: operations.start(routes, plan),
            action="rollout-start",
            detail={"alias": alias},
            who=OPERATOR,
        )

    def minutes(self, count: int = 7, **candidate: float) -> None:
        """Time in which both versions are called, and answer well unless said otherwise."""
        for _ in range(count):
            self.observations.write(1, self.now, requests=900, errors=9)
            self.observations.write(2, self.now, **{"requests": 100, "errors": 1, **candidate})
            self.now += MINUTE

    def controller(self, store: Store | None = None) -> Controller:
        registry = BucketRegistry(store or self.store, sleep=lambda seconds: None)
        return Controller(registry, self.observations, now=self.clock)

    def clock(self) -> datetime:
        """The time; it never stands still."""
        self.now += timedelta(milliseconds=1)
        return self.now

    def tick(self, store: Store | None = None) -> tuple[Outcome, ...]:
        return self.controller(store).tick()

    def routes(self, model: str = "m") -> Routes:
        found = self.registry.routes(model)
        assert found is not None
        return found.routes

    def rollout(self, alias: str = "stable") -> Rollout:
        return self.routes().rollouts[alias]

    def noted(self) -> set[str]:
        return set(ActiveRollouts(self.store).noted())


def test_a_rollout_goes_all_the_way_and_the_log_says_why() -> None:
    world = World()
    world.start()
    shares = [world.routes().aliases["stable"][-1].weight]
    while world.rollout().active:
        world.minutes()
        (outcome,) = world.tick()
        assert outcome.acted
        shares.append(world.routes().aliases["stable"][-1].weight)
    assert shares == [10, 50, 100, 100]
    assert (world.rollout().state, world.routes().aliases["stable"]) == (
        "succeeded",
        (Weighted(2),),
    )
    changes = list(world.registry.log("m"))
    actions = [change.action for change in changes]
    assert actions[:4] == ["rollout-succeed", "rollout-advance", "rollout-advance", "rollout-start"]
    assert changes[0].who == CONTROLLER
    assert changes[1].message == "step 50 % has passed: on to 100 %"
    assert changes[1].detail["evidence"][0]["candidate"]["of"] > 1000
    assert world.registry.verify_log("m") == 5
    assert world.tick() == ()
    assert world.noted() == set()


def test_after_success_a_rollback_gives_back_what_was_before_and_no_split() -> None:
    world = World()
    world.start()
    while world.rollout().active:
        world.minutes()
        world.tick()
    assert world.routes().rolled_back("stable").aliases["stable"] == (Weighted(1),)


def test_a_bad_candidate_is_turned_back_and_nothing_moves_after() -> None:
    world = World()
    world.start()
    world.minutes(errors=60)
    (outcome,) = world.tick()
    assert (outcome.decision.action, outcome.acted) == ("roll-back", True)
    assert world.routes().aliases["stable"] == (Weighted(1),)
    assert world.rollout().state == "rolled-back"
    assert "guard errors" in world.rollout().reason
    assert world.rollout().evidence[0]["alarmed"]
    world.minutes()
    before = world.routes()
    world.tick()
    assert world.routes() == before


def test_what_is_not_known_holds_and_writes_nothing() -> None:
    world = World()
    world.start()
    world.minutes()
    world.observations.away = True
    before = world.routes()
    (outcome,) = world.tick()
    assert (outcome.decision.action, outcome.acted, outcome.error) == ("hold", False, "")
    assert "the metrics cannot be read" in outcome.decision.reason
    assert world.routes() == before
    assert outcome.to_json()["reason"] == outcome.decision.reason


def test_two_aliases_may_have_a_rollout_each() -> None:
    world = World()
    world.start()
    world.start(alias="canary")
    world.minutes()
    assert {(each.alias, each.acted) for each in world.tick()} == {
        ("stable", True),
        ("canary", True),
    }
    assert {world.rollout(alias).step for alias in ("stable", "canary")} == {1}


def test_one_models_trouble_keeps_no_other_from_its_turn() -> None:
    world = World()
    for model in ("a", "z"):
        world.model(model)
        world.start(model)
    world.start("m")
    world.minutes()
    document = world.store.get(keys.routes("m"))
    assert document is not None
    assert world.store.replace(keys.routes("m"), b"{torn", document.etag)
    outcomes = world.tick()
    assert {(each.model, each.acted, each.error) for each in outcomes} == {
        ("a", True, ""),
        ("m", False, "integrity"),
        ("z", True, ""),
    }


def test_another_model_is_first_each_minute() -> None:
    world = World()
    for model in ("a", "z"):
        world.model(model)
        world.start(model)
    world.start("m")
    firsts = set()
    for _ in range(3):
        order = [outcome.model for outcome in world.tick()]
        assert sorted(order) == ["a", "m", "z"]
        firsts.add(order[0])
        world.now += MINUTE
    assert firsts == {"a", "m", "z"}


def test_a_fault_of_ours_is_contained_too() -> None:
    class Broken(Recorded):
        def windows(self, model: str, *arguments: Any) -> Any:
            if model == "a":
                raise ZeroDivisionError
            return super().windows(model, *arguments)

    world = World()
    world.observations = Broken()
    world.model("a")
    world.start("a")
    world.start("m")
    world.minutes()
    assert {(each.model, each.acted, each.error) for each in world.tick()} == {
        ("a", False, "unexpected"),
        ("m", True, ""),
    }


def test_a_look_costs_what_is_under_way_and_not_what_there_is() -> None:
    asked: list[str] = []

    class Counting(MemoryStore):
        def get(self, key: str, *, known: str | None = None) -> Any:
            asked.append(key)
            return super().get(key, known=known)

    world = World()
    world.store = Counting()
    world.registry = BucketRegistry(world.store)
    for number in range(50):
        world.model(f"m{number}")
    asked.clear()
    world.tick()
    assert asked == [keys.ACTIVE_ROLLOUTS]
    world.start("m7")
    asked.clear()
    world.tick()
    assert asked == [keys.ACTIVE_ROLLOUTS, keys.routes("m7")]


def test_a_clock_that_was_set_back_holds() -> None:
    world = World()
    world.start()
    world.minutes()
    world.tick()
    world.now -= timedelta(days=1)
    (outcome,) = world.tick()
    assert (outcome.decision.action, outcome.acted) == ("hold", False)
    assert "a clock is wrong" in outcome.decision.reason


def looks(world: World) -> Callable[[Store], object]:
    return lambda store: world.tick(store)


def starts(world: World) -> Callable[[Store], object]:
    return lambda store: world.start(store=store)


def due(world: World, *, bad: bool = False, last: bool = False) -> None:
    """A rollout for which something is to be done now."""
    world.start()
    for _ in range(2 if last else 0):
        world.minutes()
        world.tick()
    world.minutes(errors=60 if bad else 1)


@pytest.mark.parametrize("due_for", ["advance", "roll-back", "succeed"])
def test_two_controllers_at_once_act_once_however_their_requests_interleave(due_for: str) -> None:
    for first in range(9):
        for second in range(9):
            world = World()
            due(world, bad=due_for == "roll-back", last=due_for == "succeed")
            revision = world.routes().revision
            one, other = Program(world.store, looks(world)), Program(world.store, looks(world))
            for _ in range(first):
                one.step()
            for _ in range(second):
                other.step()
            one.run()
            other.run()
            assert (one.error, other.error) == (None, None)
            assert world.routes().revision == revision + 1
            (change, *_) = world.registry.log("m")
            assert change.action == f"rollout-{due_for}"
            world.registry.verify_log("m")


@pytest.mark.parametrize("due_for", ["advance", "roll-back", "succeed"])
def test_a_controller_may_die_before_any_request_and_the_next_one_goes_on(due_for: str) -> None:
    for alive in range(14):
        world = World()
        due(world, bad=due_for == "roll-back", last=due_for == "succeed")
        revision = world.routes().revision
        program = Program(world.store, looks(world))
        for _ in range(alive):
            program.step()
        program.kill()
        world.tick()
        assert world.routes().revision == revision + 1
        assert (world.rollout().state, world.rollout().step) == {
            "advance": ("running", 1),
            "roll-back": ("rolled-back", 0),
            "succeed": ("succeeded", 2),
        }[due_for]
        world.registry.verify_log("m")


def test_an_operator_who_is_faster_is_not_overruled() -> None:
    for alive in range(6):
        world = World()
        due(world)
        program = Program(world.store, looks(world))
        for _ in range(alive):
            program.step()
        world.registry.change(
            "m",
            lambda routes: operations.aborted(routes, "stable", "no"),
            action="rollout-abort",
            detail={"alias": "stable"},
            who=OPERATOR,
        )
        program.run()
        assert world.rollout().state == "aborted"
        assert world.routes().aliases["stable"] == (Weighted(1),)


# --- the list of what is under way ----------------------------------------------------------------


def ended(world: World) -> None:
    """A rollout that has ended and still stands in the list."""
    world.start()
    world.registry.change(
        "m",
        lambda routes: operations.aborted(routes, "stable", "no"),
        action="rollout-abort",
        detail={"alias": "stable"},
        who=OPERATOR,
    )
    assert world.noted() == {"m"}


def test_no_order_of_requests_loses_a_rollout_from_the_list() -> None:
    for first in range(10):
        for second in range(8):
            for starter_first in (True, False):
                world = World()
                ended(world)
                starter = Program(world.store, starts(world))
                looker = Program(world.store, looks(world))
                for _ in range(first):
                    starter.step()
                for _ in range(second):
                    looker.step()
                for program in (starter, looker) if starter_first else (looker, starter):
                    program.run()
                assert (starter.error, looker.error) == (None, None)
                assert world.rollout().active
                assert world.noted() == {"m"}


def test_a_start_that_dies_is_at_most_listed_in_vain() -> None:
    for alive in range(10):
        world = World()
        starter = Program(world.store, starts(world))
        for _ in range(alive):
            starter.step()
        starter.kill()
        assert "m" in world.noted() or not world.routes().active_rollouts
        if not world.routes().active_rollouts:
            world.tick()  # Somebody may still be about to write: it stays until the routes moved.
            world.registry.change(
                "m",
                lambda routes: routes.with_alias("canary", (Weighted(2),)),
                action="promote",
                detail={},
                who=OPERATOR,
            )
            world.tick()
            assert world.noted() == set()


def test_a_model_that_is_gone_is_forgotten() -> None:
    world = World()
    ActiveRollouts(world.store).note("never-was", 3)
    assert world.tick() == ()
    assert world.noted() == set()


def test_a_list_that_lost_a_model_does_not_keep_an_operator_from_looking() -> None:
    world = World()
    world.start()
    world.minutes()
    noted = world.store.get(keys.ACTIVE_ROLLOUTS)
    assert noted is not None
    world.store.replace(keys.ACTIVE_ROLLOUTS, b'{"schema": 1, "models": {}}', noted.etag)
    assert world.tick() == ()
    assert [each.acted for each in world.controller().tick(["m"])] == [True]


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"schema": 2, "models": {}}', b"\xff"])
def test_a_list_that_cannot_be_read_is_said_and_not_taken_for_empty(body: bytes) -> None:
    world = World()
    world.store.create(keys.ACTIVE_ROLLOUTS, body)
    with pytest.raises(IntegrityError, match=r"rollouts/active\.json"):
        world.tick()


def test_a_registry_that_is_away_fails_the_look() -> None:
    class Away(MemoryStore):
        def get(self, key: str, *, known: str | None = None) -> Any:
            raise RegistryUnavailableError("the test says so")

    world = World()
    with pytest.raises(RegistryUnavailableError):
        world.tick(Away())


def test_times_are_the_controllers_own() -> None:
    world = World()
    due(world)
    world.tick()
    began = datetime.fromisoformat(world.rollout().since)
    assert world.now - timedelta(milliseconds=5) < began <= world.now
    assert [*map(datetime.fromisoformat, world.rollout().moved)] == [START, began]


def test_a_version_that_is_deployed_anew_begins_its_rollouts_step_anew() -> None:
    later = (START + MINUTE).isoformat()
    routes = deployed(1, 2, 3, stable=1)
    routes = operations.start(routes, rollout())
    for version in (1, 2):
        anew = routes.with_deployment(Deployment(version, "lambda", "fn", "sha256:1"))
        written = routes.changed(anew, action="deploy", detail={}, who="a", at=later)
        assert written.rollouts["stable"] == routes.rollouts["stable"].with_(since=later)
    same = routes.with_deployment(routes.deployments[2])
    other = routes.with_deployment(Deployment(3, "lambda", "fn", "sha256:1"))
    ended = operations.aborted(routes, "stable", "")
    for after in (same, other, ended):
        written = routes.changed(after, action="deploy", detail={}, who="a", at=later)
        assert written.rollouts == after.rollouts

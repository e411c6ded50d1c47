"""Everything at once: operators, two controllers and the clock, one store request at a time.

Programs stop before each request to the store and go on, or die there, as the machine decides. What
is checked is every document of routes that was ever written, against the one before.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from modelport.errors import ModelportError
from modelport.registry import Actor, keys
from modelport.registry.active import ActiveRollouts
from modelport.registry.bucket import BucketRegistry
from modelport.registry.memory import MemoryStore
from modelport.registry.store import Store
from modelport.rollouts import operations
from modelport.rollouts.controller import CONTROLLER, Controller
from modelport.routes import Rollout, Routes, Weighted
from modelport.routes.rollout import ABORTED, ROLLED_BACK, SUCCEEDED

from tests.support.interleaving import Program
from tests.support.rollout_world import START, Recorded, deployed, rollout

MODEL, VERSIONS, ALIASES = "m", (1, 2, 3), ("stable", "canary")
MINUTE = timedelta(minutes=1)
SAMPLES = 50
GOOD = {"requests": 100.0, "errors": 1.0}
#: What a version may do in a minute.
LIVES: dict[str, dict[str, float]] = {
    "good": GOOD,
    "bad": {"requests": 100.0, "errors": 50.0},
    "dying": {"requests": 100.0, "errors": 4.0, "crashes": 4.0},
    "silent": {},
}

Edit = Callable[[Routes], Routes]
versions, aliases = st.sampled_from(VERSIONS), st.sampled_from(ALIASES)


class RememberingStore(MemoryStore):
    """A store that keeps every document of routes it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[Routes] = []

    def create(self, key: str, body: bytes) -> bool:
        return self._noted(key, body, super().create(key, body))

    def replace(self, key: str, body: bytes, etag: str) -> bool:
        return self._noted(key, body, super().replace(key, body, etag))

    def _noted(self, key: str, body: bytes, done: bool) -> bool:
        if done and key == keys.routes(MODEL):
            self.written.append(Routes.from_bytes(body))
        return done


def no_sleep(seconds: float) -> None:
    pass


class Rollouts(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.store = RememberingStore()
        self.observations = Recorded()
        self.now = START
        self.programs: list[Program] = []
        self.checked = 0
        first = Routes(MODEL).changed(
            deployed(*VERSIONS, stable=1, canary=1),
            action="begin",
            detail={},
            who="test",
            at=START.isoformat(),
        )
        assert self.store.create(keys.routes(MODEL), first.to_bytes())

    # --- what happens in the world --------------------------------------------------------------

    def some_minutes_pass(self, lives: tuple[str, str, str]) -> None:
        for _ in range(6):
            for version, life in zip(VERSIONS, lives, strict=True):
                self.observations.write(version, self.now, **LIVES[life])
            self.now += MINUTE

    @rule(times=st.integers(1, 3))
    def all_goes_well(self, times: int) -> None:
        for _ in range(times):
            self.some_minutes_pass(("good", "good", "good"))
            self.look(at_once=True)

    @rule(
        lives=st.tuples(*[st.sampled_from(["good", "good", *LIVES])] * 3),
        turns=st.lists(st.booleans(), min_size=6, max_size=20),
    )
    def all_is_due_and_two_controllers_look(
        self, lives: tuple[str, str, str], turns: list[bool]
    ) -> None:
        self.some_minutes_pass(lives)
        both = (Program(self.store, self.looking), Program(self.store, self.looking))
        for second in turns:
            both[second].step()
        for program in both:
            program.run()

    @rule(away=st.sampled_from([False, False, True]))
    def metrics_vanish_or_return(self, away: bool) -> None:
        self.observations.away = away

    # --- who acts: each a program of its own ------------------------------------------------------

    def begin(self, body: Callable[[Store], object]) -> None:
        if len(self.programs) < 3:
            self.programs.append(Program(self.store, body))

    def operate(self, action: str, alias: str, edit: Edit, at_once: bool) -> None:
        def body(store: Store) -> object:
            registry = BucketRegistry(store, sleep=no_sleep)
            return registry.change(
                MODEL, edit, action=action, detail={"alias": alias}, who=Actor("operator")
            )

        if at_once:
            Program(self.store, body).run()
        else:
            self.begin(body)

    @rule(at_once=st.booleans())
    def look(self, at_once: bool) -> None:
        if at_once:
            Program(self.store, self.looking).run()
        else:
            self.begin(self.looking)

    def looking(self, store: Store) -> object:
        registry = BucketRegistry(store, sleep=no_sleep)
        return Controller(registry, self.observations, now=self.clock).tick()

    def clock(self) -> datetime:
        self.now += timedelta(milliseconds=1)  # it never stands still
        return self.now

    @initialize(alias=aliases)
    def one_is_under_way(self, alias: str) -> None:
        self.start(alias, 2, True)

    @rule(alias=aliases, candidate=versions, at_once=st.booleans())
    def start(self, alias: str, candidate: int, at_once: bool) -> None:
        before = self.store.written[-1].aliases[alias]
        plan = rollout(at=self.now, steps=(10.0, 50.0, 100.0), min_samples=SAMPLES).with_(
            alias=alias, candidate=candidate, stable=before[0].version, before=before
        )
        self.operate("rollout-start", alias, lambda r: operations.start(r, plan), at_once)

    @rule(alias=aliases, at_once=st.booleans())
    def pause(self, alias: str, at_once: bool) -> None:
        self.operate("rollout-pause", alias, lambda r: operations.paused(r, alias, "?"), at_once)

    @rule(alias=aliases, at_once=st.booleans())
    def resume(self, alias: str, at_once: bool) -> None:
        at = self.now.isoformat()
        self.operate(
            "rollout-resume", alias, lambda r: operations.resumed(r, alias, at, "!"), at_once
        )

    @rule(alias=aliases, at_once=st.booleans())
    def abort(self, alias: str, at_once: bool) -> None:
        self.operate("rollout-abort", alias, lambda r: operations.aborted(r, alias, "no"), at_once)

    @rule(alias=aliases, version=versions, at_once=st.booleans())
    def promote(self, alias: str, version: int, at_once: bool) -> None:
        to = (Weighted(version),)
        self.operate("promote", alias, lambda r: r.with_alias(alias, to), at_once)

    @rule(alias=aliases, at_once=st.booleans())
    def roll_back(self, alias: str, at_once: bool) -> None:
        self.operate("rollback", alias, lambda r: r.rolled_back(alias), at_once)

    @rule(version=versions, at_once=st.booleans())
    def undeploy(self, version: int, at_once: bool) -> None:
        self.operate("undeploy", "", lambda r: r.without_deployment(version), at_once)

    @rule(version=versions)
    def deploy(self, version: int) -> None:
        deployment = deployed(version).deployments[version]
        self.operate("deploy", "", lambda r: r.with_deployment(deployment), True)

    # --- how far they come ----------------------------------------------------------------------

    @precondition(lambda self: self.programs)
    @rule(data=st.data(), requests=st.integers(1, 6))
    def one_goes_on(self, data: st.DataObject, requests: int) -> None:
        program = data.draw(st.sampled_from(self.programs))
        for _ in range(requests):
            program.step()

    @precondition(lambda self: self.programs)
    @rule(data=st.data())
    def one_dies(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from(self.programs)).kill()

    @precondition(lambda self: self.programs)
    @rule()
    def all_come_to_their_end(self) -> None:
        for program in self.programs:
            program.run()

    def teardown(self) -> None:
        for program in self.programs:
            program.kill()

    # --- what always holds ----------------------------------------------------------------------

    @invariant()
    def nobody_failed_otherwise_than_by_a_refusal(self) -> None:
        for program in [each for each in self.programs if each.finished]:
            assert (
                program.error is None
                or isinstance(program.error, ModelportError)
                or (type(program.error).__name__ == "Killed")
            ), program.error
            for outcome in program.result if isinstance(program.result, tuple) else ():
                assert outcome.error != "unexpected"
            self.programs.remove(program)

    @invariant()
    def every_document_follows_from_the_one_before(self) -> None:
        for index in range(max(1, self.checked), len(self.store.written)):
            check(self.store.written[index - 1], self.store.written[index])
        self.checked = len(self.store.written)

    @invariant()
    def a_rollout_under_way_is_never_missing_from_the_list(self) -> None:
        if self.store.written[-1].active_rollouts:
            assert MODEL in ActiveRollouts(self.store).noted()

    @invariant()
    def the_log_is_whole(self) -> None:
        BucketRegistry(self.store).verify_log(MODEL)


def check(before: Routes, after: Routes) -> None:
    """What one change may do to aliases and rollouts."""
    change = after.change
    assert change is not None
    for alias in ALIASES:
        old, new = before.rollouts.get(alias), after.rollouts.get(alias)
        if alias != change.detail.get("alias"):
            assert (old, before.aliases[alias]) == (new, after.aliases[alias])
        elif old is None or not old.active:
            check_free(before, after, change.action, old, new)
        else:
            assert new is not None
            check_held(after, change.action, change.who, old, new, change.detail)
            if change.action != "rollout-succeed":
                assert after.history == before.history
        if new is not None and new.active:
            assert after.aliases[alias] == operations.split(new, new.percent)
            assert {new.candidate, new.stable} <= set(after.deployments)


def check_free(
    before: Routes, after: Routes, action: str, old: Rollout | None, new: Rollout | None
) -> None:
    """No rollout held the alias: a start may begin one, and nothing else touches its record."""
    if action == "rollout-start":
        assert new is not None
        assert (new.active, new.step) == (True, 0)
        assert new.before == before.aliases[new.alias]
        assert after.history == before.history
    else:
        assert action in ("promote", "rollback")
        assert new == old


def check_held(
    after: Routes, action: str, who: str, old: Rollout, new: Rollout, detail: dict[str, Any]
) -> None:
    """A rollout held the alias: only what is a rollout's moves it."""
    alias = old.alias
    if action in ("rollout-pause", "rollout-resume"):
        assert (new.step, new.moved, new.evidence) == (old.step, old.moved, old.evidence)
    elif action == "rollout-abort":
        assert (new.state, after.aliases[alias]) == (ABORTED, old.before)
    elif action == "rollout-roll-back":
        assert (new.state, after.aliases[alias]) == (ROLLED_BACK, old.before)
        assert any(finding["alarmed"] for finding in detail["evidence"])
    else:
        assert (who, old.state) == (CONTROLLER, "running")
        (errors, crashes) = detail["evidence"]
        assert not errors["alarmed"]
        assert not crashes["alarmed"]
        assert errors["candidate"]["of"] >= SAMPLES
        assert errors["stable"]["of"] > 0
        if action == "rollout-advance":
            assert new.step == old.step + 1
        else:
            assert (action, new.state) == ("rollout-succeed", SUCCEEDED)
            assert old.step == len(old.steps) - 1
            assert after.aliases[alias] == (Weighted(old.candidate),)
            assert after.history[alias][-1] == old.before


TestRollouts = Rollouts.TestCase
TestRollouts.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)

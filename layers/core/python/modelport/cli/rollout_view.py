"""How a rollout reads, for people and machines. Decides nothing and reads nothing itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from modelport.cli.console import facts, table
from modelport.cli.traffic import alias_json, weights
from modelport.rollouts.decision import HOLD, ROLL_BACK, Decision
from modelport.routes import Rollout, Routes

_STYLES = {HOLD: "yellow", ROLL_BACK: "red"}


def describe(routes: Routes, rollout: Rollout, decision: Decision | None) -> dict[str, Any]:
    """A rollout as JSON; ``decision`` is what would be decided now, None of one that has ended."""
    evidence = decision.evidence if decision else rollout.evidence
    return {
        "model": routes.model,
        "alias": rollout.alias,
        "candidate": rollout.candidate,
        "stable": rollout.stable,
        "state": rollout.state,
        "steps": list(rollout.steps),
        "step": rollout.percent,
        "weights": alias_json(routes.aliases.get(rollout.alias)),
        "written": weights(routes.aliases.get(rollout.alias)),
        "started": rollout.started,
        "since": rollout.since,
        "every_s": rollout.every_s,
        "alpha": rollout.alpha,
        "min_samples": rollout.min_samples,
        "samples": _samples(decision),
        "guards": list(evidence),
        "decision": decision.action if decision else None,
        "reason": decision.reason if decision else rollout.reason,
        "revision": routes.revision,
    }


def draw(console: Console, shown: Sequence[dict[str, Any]]) -> None:
    """Rollouts for people."""
    if not shown:
        console.print("no rollout is under way")
    for number, each in enumerate(shown):
        if number:
            console.print()
        _draw(console, each)


def _draw(console: Console, each: dict[str, Any]) -> None:
    steps = " → ".join(
        f"[{step:g} %]" if step == each["step"] else f"{step:g} %" for step in each["steps"]
    )
    console.print(
        facts(
            [
                (f"{each['model']}@{each['alias']}", f"{each['stable']} → {each['candidate']}"),
                ("state", each["state"]),
                ("steps", steps),
                ("weights", each["written"]),
                ("samples", _of(each["samples"], each["min_samples"])),
            ]
        )
    )
    rows = [
        (
            guard["guard"],
            _count(guard["candidate"]),
            _count(guard.get("stable")),
            f"{guard['evidence']:g}",
            f"{guard['needed']:g}",
            "ALARM" if guard["alarmed"] else "ok",
        )
        for guard in each["guards"]
    ]
    if rows:
        headers = ("GUARD", "CANDIDATE", "PRESENT", "EVIDENCE", "NEEDED", "")
        console.print(table(headers, rows))
    decided = each["decision"] or each["state"]
    style = _STYLES.get(decided, "green")
    console.print(Text.assemble((decided, style), f": {each['reason']}" if each["reason"] else ""))


def _samples(decision: Decision | None) -> int | None:
    """The requests of the candidate in the present step, by the guard that has seen most."""
    counts = [finding.in_step for finding in decision.findings] if decision else []
    return max(counts) if counts else None


def _of(samples: int | None, needed: int) -> str:
    return "" if samples is None else f"{samples} of {needed} in this step"


def _count(count: dict[str, int] | None) -> str:
    return f"{count['bad']} of {count['of']}" if count else "-"

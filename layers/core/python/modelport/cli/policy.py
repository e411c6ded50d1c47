"""``modelport traffic``: who stays where in a split, rules, fallbacks and shadows of a model.

Each verb is one pure operation of `modelport.routes.Policy`, written as one revision of the routes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.console import Console

from modelport.cli.console import facts
from modelport.cli.failures import InvalidUsageError
from modelport.cli.session import AsJson, Bucket, Debug, Message, Session, version_ref
from modelport.cli.traffic import ModelName, weights
from modelport.errors import ModelNotFoundError
from modelport.refs import check_alias, check_name, check_version
from modelport.routes import STABLE, Policy, Routes, Rule, Shadow


class Allowed(StrEnum):
    """Who may name a version by header; `modelport.routes.policy.VERSION_HEADER`."""

    off = "off"
    routed = "routed"
    any = "any"


class RuleAction(StrEnum):
    """What ``traffic rule`` does."""

    add = "add"
    remove = "remove"


def show(
    context: typer.Context,
    name: ModelName,
    bucket: Bucket = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Show what a model's callers get: aliases, splits, rules, fallbacks and shadows."""
    session = Session.of(context, as_json, bucket)
    snapshot = session.registry.routes(check_name(name))
    if snapshot is None:
        raise ModelNotFoundError(name)
    routes = snapshot.routes
    aliases = {alias: weights(value) for alias, value in sorted(routes.aliases.items())}
    document = {
        "model": name,
        "revision": routes.revision,
        "aliases": aliases,
        "policy": routes.policy.to_json(),
    }

    def render(console: Console) -> None:
        policy = routes.policy
        console.print(
            facts(
                [
                    ("aliases", "\n".join(f"{alias} = {to}" for alias, to in aliases.items())),
                    ("sticky by", ", ".join(policy.sticky)),
                    ("version header", policy.version_header),
                    ("rules", "\n".join(f"{rule} → {rule.to}" for rule in policy.rules)),
                    ("fallbacks", "\n".join(f"{a} → {v}" for a, v in policy.fallbacks.items())),
                    ("shadows", "\n".join(map(_shown, policy.shadows))),
                    ("protected", ", ".join(policy.protected)),
                    ("revision", routes.revision),
                ]
            )
        )

    session.output.result(document, render)


def sticky(
    context: typer.Context,
    name: ModelName,
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE…",
            help="header:NAME, cookie:NAME or caller (who the gateway says it is, else its"
            " address); the first that says something counts.",
        ),
    ],
    message: Message = "",
    bucket: Bucket = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Say what keeps a caller on its side of a split.

    A call of which no source says anything gets a side by chance. Without this command:
    header:x-modelport-key, then caller. Changing it sends callers to other sides once.
    """
    session = Session.of(context, as_json, bucket)
    named = tuple(_lower(source) for source in sources)

    def edit(policy: Policy) -> Policy:
        return replace(policy, sticky=named)

    _change(session, name, edit, "sticky", message, {"by": list(named)})


def version_header(
    context: typer.Context,
    name: ModelName,
    allowed: Annotated[Allowed, typer.Argument(help="Which versions callers may name.")],
    message: Message = "",
    bucket: Bucket = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Say which versions callers may name by the header x-modelport-version.

    off: none. routed: those that an alias, a rollout or a shadow names. any: every deployed one.
    What a path selects needs no permission.
    """
    session = Session.of(context, as_json, bucket)

    def edit(policy: Policy) -> Policy:
        return replace(policy, version_header=allowed.value)

    _change(session, name, edit, "version-header", message, {"allowed": allowed.value})


def rule(
    context: typer.Context,
    action: Annotated[RuleAction, typer.Argument(help="Add a rule, or remove one.")],
    name: ModelName,
    condition: Annotated[
        str, typer.Argument(metavar="HEADER=VALUE", help="The header and its exact value.")
    ],
    to: Annotated[
        str | None,
        typer.Argument(
            metavar="TO", help="The version or alias these callers get.", show_default=False
        ),
    ] = None,
    message: Message = "",
    bucket: Bucket = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Send callers with a certain header to a version or an alias.

    For calls that select nothing by themselves; the first rule that fits decides. Adding a rule
    that is there changes where it leads.
    """
    session = Session.of(context, as_json, bucket)
    header, equals, value = condition.partition("=")
    header = header.strip().lower()
    if not equals:
        raise InvalidUsageError(f"{condition!r} is no condition", hint="write x-tenant=acme")
    if (to is None) == (action is RuleAction.add):
        raise InvalidUsageError(
            "adding a rule needs where it leads, removing one does not",
            hint="modelport traffic rule add magika x-tenant=acme canary",
        )

    def edit(policy: Policy) -> Policy:
        if to is None:
            return policy.without_rule(header, value)
        return policy.with_rule(Rule(header, value, to))

    detail = {"header": header, "value": value, "to": to}
    _change(session, name, edit, f"rule-{action.value}", message, detail)


def fallback(
    context: typer.Context,
    name: ModelName,
    assignment: Annotated[
        str,
        typer.Argument(
            metavar="ALIAS=V",
            help="An alias and the version that answers where the chosen one fails; nothing after"
            " the = removes it.",
        ),
    ],
    message: Message = "",
    bucket: Bucket = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Have another version answer where the one that an alias means fails.

    When it is gone, throttled, or fails by itself; not when it is too slow, and never for callers
    who name a version. Calls that name nothing count as stable's.
    """
    session = Session.of(context, as_json, bucket)
    alias, equals, version = assignment.partition("=")
    if not equals:
        raise InvalidUsageError(f"{assignment!r} assigns nothing", hint=f"write {STABLE}=3")
    check_alias(alias)
    spare = check_version(version) if version.strip() else None

    def edit(policy: Policy) -> Policy:
        if spare is None:
            return policy.without_fallback(alias)
        return policy.with_fallback(alias, spare)

    _change(session, name, edit, "fallback", message, {"alias": alias, "to": spare})


def shadow(
    context: typer.Context,
    ref: Annotated[str, typer.Argument(metavar="NAME:V", help="The version that gets copies.")],
    percent: Annotated[
        float, typer.Option("--percent", help="Percent of the calls that are copied.")
    ] = 100.0,
    of: Annotated[
        str | None,
        typer.Option("--of", help="Copy calls of this alias; else all that other versions answer."),
    ] = None,
    off: Annotated[bool, typer.Option("--off", help="Send it no copies any more.")] = False,
    message: Message = "",
    bucket: Bucket = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Send a version copies of what others answer; no caller waits for it or notices it.

    Its answers are compared with those that callers got, and counted.
    """
    session = Session.of(context, as_json, bucket)
    name, version = version_ref(ref)

    def edit(policy: Policy) -> Policy:
        if off:
            return policy.without_shadow(version)
        return policy.with_shadow(Shadow(version, percent, of))

    detail = {"version": version} if off else {"version": version, "percent": percent, "of": of}
    _change(session, name, edit, "shadow-off" if off else "shadow", message, detail)


def _change(
    session: Session,
    name: str,
    edit: Callable[[Policy], Policy],
    action: str,
    message: str,
    detail: dict[str, Any],
) -> None:
    """Change a model's policy by ``edit``, and say what it is now."""
    seen: dict[str, Policy] = {}

    def noted(routes: Routes) -> Routes:
        # Runs again when another writer was faster: what it saw last is what it changed.
        seen["before"], seen["after"] = routes.policy, edit(routes.policy)
        return routes.with_policy(seen["after"])

    who = session.actor(message)
    written = session.registry.change(
        check_name(name), noted, action=action, detail=detail, who=who
    )
    changed = seen["before"] != seen["after"]
    document = {
        "model": name,
        "policy": written.policy.to_json(),
        "changed": changed,
        "revision": written.revision,
        "who": who.who,
    }

    def render(console: Console) -> None:
        told = " ".join(f"{key}={_word(value)}" for key, value in detail.items())
        remark = "" if changed else "unchanged, "
        console.print(f"{name}: {action} {told}  ({remark}revision {written.revision})")

    session.output.result(document, render)


def _lower(source: str) -> str:
    """A source with its header's name as the router sees it; cookies keep their case."""
    return source.lower() if source.lower().startswith("header:") else source


def _word(value: object) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    return "-" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _shown(each: Shadow) -> str:
    source = f"alias {each.of}" if each.of else "what other versions answer"
    return f"{each.version} gets {each.percent:g} % of {source}"

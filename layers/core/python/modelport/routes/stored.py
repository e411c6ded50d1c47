"""A model's routes as they lie in the bucket: readable JSON, and every check of what is read.

Nothing that is torn, foreign or edited by hand becomes routes: the latest change has the digest of
all the rest of its document.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from modelport.errors import IntegrityError, InvalidInputError
from modelport.manifest import digest_of, readable
from modelport.refs import check_alias, check_name, check_version
from modelport.routes.change import Change
from modelport.routes.deployment import Deployment
from modelport.routes.policy import Policy
from modelport.routes.proposal import Proposal
from modelport.routes.removed import Numbers
from modelport.routes.rollout import Rollout
from modelport.routes.weights import alias_from

if TYPE_CHECKING:
    from modelport.routes.document import Routes

SCHEMA = 1
#: Buckets of ours keep earlier versions of what lies in them.
_REMEDY = (
    "bring back its last good version: aws s3api list-object-versions --bucket BUCKET"
    " --prefix models/NAME/routes.json, then copy-object that VersionId over it"
)
#: What reading a document of another shape can raise.
_MISSHAPEN = (
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    RecursionError,
    InvalidInputError,
)


def to_bytes(routes: Routes) -> bytes:
    """The document of ``routes``."""
    change = asdict(routes.change) if routes.change else None
    return readable({**_content(routes), "change": change})


def as_read(routes: Routes) -> Routes:
    """The same routes as they will be read back: no tuples in details, weights as fractions."""
    return _read(json.loads(json.dumps(_content(routes))), type(routes))


def content_digest(routes: Routes) -> str:
    """The digest of a document without its change, byte for byte."""
    return digest_of(readable(_content(routes)))


def from_bytes(body: bytes, document: type[Routes]) -> Routes:
    """Read a ``document`` and check it.

    Raises `IntegrityError` on a torn, foreign or hand-edited one.
    """
    try:
        data = json.loads(body)
        if data["schema"] != SCHEMA:
            raise ValueError(f"schema {data['schema']!r}")
        routes = _read(data, document)
        _check_change(routes, body)
        _check_names(routes)
        _check_versions(routes)
    except _MISSHAPEN as error:
        said = str(error) if isinstance(error, InvalidInputError) else repr(error)
        refusal = IntegrityError("routes", "a model's routes document", said[:500])
        refusal.hint = _REMEDY
        raise refusal from None
    return routes


def _content(routes: Routes) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "model": routes.model,
        "revision": routes.revision,
        "latest": routes.latest,
        "deployments": {str(v): asdict(d) for v, d in routes.deployments.items()},
        "aliases": {name: [asdict(p) for p in alias] for name, alias in routes.aliases.items()},
        "history": {
            name: [[asdict(p) for p in alias] for alias in values]
            for name, values in routes.history.items()
        },
        "policy": routes.policy.to_json(),
        "rollouts": {name: each.to_json() for name, each in routes.rollouts.items()},
        "proposals": {name: each.to_json() for name, each in routes.proposals.items()},
        **({"removed": str(routes.removed)} if routes.removed else {}),
    }


def _read(data: dict[str, Any], document: type[Routes]) -> Routes:
    deployments = {check_version(v): Deployment(**d) for v, d in data["deployments"].items()}
    return document(
        model=check_name(data["model"]),
        revision=_whole(data["revision"]),
        latest=_whole(data["latest"]),
        deployments=dict(sorted(deployments.items())),
        aliases={name: alias_from(parts) for name, parts in data["aliases"].items()},
        history={
            name: tuple(alias_from(parts) for parts in values)
            for name, values in data["history"].items()
        },
        # Documents from before these four are read as if they said nothing.
        policy=Policy.from_json(data["policy"]) if "policy" in data else Policy(),
        rollouts={name: Rollout.from_json(each) for name, each in data.get("rollouts", {}).items()},
        proposals={
            name: Proposal.from_json(each) for name, each in data.get("proposals", {}).items()
        },
        removed=Numbers.parse(data.get("removed", "")),
        change=Change(**data["change"]) if data.get("change") else None,
    )


def _whole(value: object) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r:.40} is no count")
    return value


def _check_change(routes: Routes, body: bytes) -> None:
    change = routes.change
    if change is None:
        if routes.revision:
            raise ValueError(f"revision {routes.revision} without the change that made it")
        return
    if change.revision != routes.revision or not change.intact:
        raise ValueError("the latest change does not match the document")
    if change.document and digest_of(_without_change(body)) != change.document:
        raise ValueError(
            f"it is not what the change of revision {change.revision} wrote: edited by hand"
        )


def _without_change(body: bytes) -> bytes:
    """A document as written, less its change: one key of those at the beginning of a line."""
    start = body.find(b'\n "change": ')
    return body[:start] + body[body.find(b'\n "', start + 1) :]


def _check_names(routes: Routes) -> None:
    for name in (*routes.aliases, *routes.history):
        check_alias(name)
    held = [(name, rollout.alias) for name, rollout in routes.rollouts.items()]
    held += [(name, proposal.alias) for name, proposal in routes.proposals.items()]
    for name, alias in held:
        if alias != name:
            raise ValueError(f"what is kept for alias {name} is about {alias!r:.40}")


def _check_versions(routes: Routes) -> None:
    for version, deployment in routes.deployments.items():
        if deployment.version != version:
            raise ValueError(f"deployment {version} says version {deployment.version}")
        if version in routes.removed:
            raise ValueError(f"deployment {version} is of a version that was removed")
    for name, alias in routes.aliases.items():
        for part in alias:
            if part.version not in routes.deployments:
                raise ValueError(f"alias {name} names version {part.version}, not deployed")
    for version in routes.policy.versions():
        if version not in routes.deployments:
            raise ValueError(f"the policy names version {version!r:.40}, not deployed")

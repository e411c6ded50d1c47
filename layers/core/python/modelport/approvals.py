"""Two people for a protected alias: one proposes a change, another one approves it.

Pure operations on routes; each is one change in the model's log. Somebody else is who the log would
name otherwise; what stops people from writing the bucket themselves is its permissions alone. A
rollback needs no approval (`Routes.rolled_back`): it only goes back to what was approved before.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from modelport.errors import AliasNotFoundError
from modelport.routes import Proposal, Rollout, Routes, Weighted
from modelport.routes.errors import NothingProposedError, OwnProposalError, StaleProposalError

#: Sessions of a role that a program has named by the time of day: another one each time.
_UNNAMED = re.compile(
    r"(:assumed-role/[^/]+)/"
    r"(?:(?:botocore-session|aws-go-sdk|aws-sdk-[a-z0-9]+)-[0-9]{9,}|[0-9]{13,})$"
)
#: Puts a rollout that was approved onto its way.
Start = Callable[[Routes, Rollout], Routes]


def protected(routes: Routes, alias: str) -> Routes:
    """From now on ``alias`` moves only with an approval; raises `AliasNotFoundError`.

    Where there is no stable, calls go to the highest version that runs: every deploy would move
    them, and nobody would be asked.
    """
    if alias not in routes.aliases:
        raise AliasNotFoundError(routes.model, alias, routes.aliases)
    if alias in routes.policy.protected:
        return routes
    policy = replace(routes.policy, protected=(*routes.policy.protected, alias))
    return routes.with_policy(policy)


def proposed(
    routes: Routes,
    alias: str,
    to: Sequence[Weighted],
    *,
    who: str,
    at: str,
    message: str = "",
    rollout: Rollout | None = None,
) -> Routes:
    """Note that ``who`` wants ``alias`` to mean ``to``; () lifts the protection.

    Replaces what was proposed for the alias before. Raises what the move itself would raise.
    """
    routes.check_free(alias)
    if to:
        routes.with_moved(alias, to)  # what could not be approved is not proposed
    before = routes.aliases.get(alias, ())
    proposal = Proposal(alias, before, tuple(to), who, at, message, rollout)
    return routes.with_proposal(alias, proposal)


def approved(routes: Routes, proposal: Proposal, *, who: str, start: Start) -> Routes:
    """Do what was proposed, on the word of ``who``, who must not have proposed it.

    ``proposal`` is what ``who`` has seen. Raises `NothingProposedError`, `OwnProposalError`,
    `StaleProposalError` when another one or another move came in between, and what the move may.
    """
    alias = proposal.alias
    if _person(proposal.who) == _person(who):
        raise OwnProposalError(who)
    unmoved = routes.aliases.get(alias, ()) == proposal.before
    if proposal_of(routes, alias) != proposal or not unmoved:
        raise StaleProposalError(routes.model, alias)
    routes.check_free(alias)
    rest = routes.with_proposal(alias, None)
    if proposal.rollout is not None:
        return start(rest, proposal.rollout)
    return rest.with_moved(alias, proposal.to) if proposal.to else rest.unprotected(alias)


def _person(who: str) -> str:
    """Who somebody is as far as the log's name says: of a session that nobody has named, its role.

    Otherwise whoever takes on a role by a profile would be somebody else with every command.
    """
    return _UNNAMED.sub(r"\1", who)


def rejected(routes: Routes, proposal: Proposal) -> Routes:
    """Drop ``proposal``, which somebody has seen; who proposed it may do so as well.

    Raises `NothingProposedError`, and `StaleProposalError` when another one came in between.
    """
    if proposal_of(routes, proposal.alias) != proposal:
        raise StaleProposalError(routes.model, proposal.alias)
    return routes.with_proposal(proposal.alias, None)


def proposal_of(routes: Routes, alias: str) -> Proposal:
    """What waits for an approval; raises `NothingProposedError`."""
    proposal = routes.proposals.get(alias)
    if proposal is None:
        raise NothingProposedError(routes.model, alias)
    return proposal

"""``modelport replay``: the same requests to two versions, and how far their answers agree.

What shadow versions show of live calls, for recorded ones: the comparison is the same
(`modelport.shadows.agreement`), and so are its tolerances.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from modelport.cli.calling import signer
from modelport.cli.console import facts, table
from modelport.cli.failures import InvalidUsageError
from modelport.cli.recorded import Recorded, first, from_goldens, from_lines
from modelport.cli.session import AsJson, Bucket, Debug, DeploymentsFile, Session
from modelport.errors import InvalidSettingError, NotDeployedError
from modelport.grammar import Call, canonical_path
from modelport.refs import check_alias, check_name, check_version
from modelport.routes import STABLE, Routes
from modelport.shadows.agreement import ATOL, RTOL, Agreement, Terms, compare
from modelport.shadows.message import Answered

if TYPE_CHECKING:
    from modelport.client import Client

ASKED, COMPARED = "What is asked", "What agrees"
#: Answers of the API are not larger, and are compared whole.
MOST_BYTES = 16 * 1024 * 1024
#: Requests that are named because they did not agree.
SHOWN = 20
_PATIENCE_S = 120.0


@dataclass
class Tally:
    """How the requests of a replay went; ``notable`` are those that did not agree, and why."""

    model: str
    live: int
    to: int
    requests: int = 0
    compared: int = 0
    agreed: int = 0
    rows: int = 0
    rows_agreed: int = 0
    incomparable: int = 0
    #: Requests that the version compared with did not answer: they say nothing about the other.
    unanswered: int = 0
    #: Requests that only the other failed on.
    failed: int = 0
    notable: list[tuple[str, str]] = field(default_factory=list)

    def add(self, request: Recorded, outcome: Agreement) -> None:
        """Count a request that both versions answered, or only the first."""
        if outcome.agrees is None:
            self.incomparable += 1
        else:
            self.compared += 1
            self.agreed += int(outcome.agrees)
            self.rows += outcome.rows
            self.rows_agreed += outcome.agreeing
        if not outcome.agrees:
            self.note(request, outcome.why)

    def note(self, request: Recorded, why: str) -> None:
        """Remember one that did not agree, as long as there are few."""
        if len(self.notable) < SHOWN:
            self.notable.append((request.name, why))

    @property
    def agreement(self) -> float | None:
        """The part of what was compared that agreed."""
        return self.agreed / self.compared if self.compared else None

    def to_json(self) -> dict[str, Any]:
        """As ``--json`` has it."""
        told = asdict(self)
        del told["live"], told["notable"]
        notable = [{"request": name, "why": why} for name, why in self.notable]
        return {**told, "from": self.live, "agreement": self.agreement, "notable": notable}


def replay(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The model.")],
    requests: Annotated[
        str | None,
        typer.Option(
            "--requests",
            metavar="FILE|-",
            help='JSON lines such as {"verb": "predict", "body": {"instances": [[1, 2]]}}.',
            rich_help_panel=ASKED,
            show_default=False,
        ),
    ] = None,
    goldens: Annotated[
        bool,
        typer.Option("--goldens", help="The goldens of --to.", rich_help_panel=ASKED),
    ] = False,
    live: Annotated[
        str,
        typer.Option("--from", metavar="V|ALIAS", help="The version that is right."),
    ] = STABLE,
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="V|ALIAS",
            help="The version that is held against it. Without it: a rollout's candidate, else the"
            " highest deployed one.",
            show_default=False,
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit",
            min=1,
            help="Send so many requests at most.",
            rich_help_panel=ASKED,
            show_default=False,
        ),
    ] = None,
    rtol: Annotated[
        float, typer.Option("--rtol", min=0, help="Relative tolerance.", rich_help_panel=COMPARED)
    ] = RTOL,
    atol: Annotated[
        float, typer.Option("--atol", min=0, help="Absolute tolerance.", rich_help_panel=COMPARED)
    ] = ATOL,
    bucket: Bucket = None,
    deployments: DeploymentsFile = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Send the same requests to two versions and tell how far their answers agree.

    Scores of classes (what lies between 0 and 1, or any of a bundle with labels) agree when their
    highest is at the same place; other numbers within the tolerances; whole numbers and text when
    they are equal. It is what the
    agreement guard of a rollout looks at, for requests that were recorded: a file of them, or the
    goldens of the version.

    Both versions are called through the API, as any caller does, and count these calls.
    """
    session = Session.of(context, as_json, bucket, deployments)
    if goldens == (requests is not None):
        raise InvalidUsageError("give --requests FILE or --goldens, one of them")
    found = session.registry.routes(check_name(name))
    assert found is not None  # only asked with an ETag does it say "as before"
    tally = Tally(name, *_versions(found.routes, live, to))
    with _asked(session, tally, requests) as recorded:
        _replay(
            session, tally, first(recorded, limit), Terms(rtol, atol, _labelled(session, tally))
        )
    if not tally.requests:
        raise InvalidUsageError("there is no request to send")
    session.output.result(tally.to_json(), lambda console: _show(console, tally))


def _versions(routes: Routes, live: str, to: str | None) -> tuple[int, int]:
    """The versions that are held against each other; both deployed, and two."""
    rollout = next((r for r in routes.active_rollouts if r.alias == live), None)
    ours = rollout.stable if rollout else _version(routes, live)
    if to is not None:
        theirs = _version(routes, to)
    else:
        others = [version for version in routes.deployments if version != ours]
        theirs = rollout.candidate if rollout else max(others, default=ours)
    for version in (ours, theirs):
        if version not in routes.deployments:
            raise NotDeployedError(routes.model, version, routes.deployments)
    if ours == theirs:
        raise InvalidUsageError(
            f"both are version {ours} of {routes.model}", hint="name another one: --to VERSION"
        )
    return ours, theirs


def _labelled(session: Session, tally: Tally) -> bool:
    """Whether what the versions give are scores of classes, as far as their bundles say."""
    manifests = (session.registry.manifest(tally.model, each) for each in (tally.live, tally.to))
    return any(manifest.content.settings.labels for manifest in manifests)


def _version(routes: Routes, text: str) -> int:
    if text.isdigit():
        return check_version(text)
    split = routes.meaning(None, check_alias(text))
    if len(split) > 1:
        listed = ", ".join(str(part.version) for part in split)
        raise InvalidUsageError(
            f"{text} of {routes.model} is split over versions {listed}", hint="name one of them"
        )
    return split[0].version


@contextmanager
def _asked(session: Session, tally: Tally, requests: str | None) -> Iterator[Iterable[Recorded]]:
    """The requests, as long as they are read."""
    if requests is None:
        manifest = session.registry.manifest(tally.model, tally.to)
        if not manifest.content.goldens:
            raise InvalidUsageError(
                f"{tally.model}:{tally.to} has no goldens", hint="give --requests FILE"
            )
        yield from_goldens(manifest)
    elif requests == "-":
        yield from_lines(session.world.stdin, "standard input")
    else:
        yield from _opened(session.world.folder / requests, requests)


def _opened(path: Path, name: str) -> Iterator[Iterable[Recorded]]:
    try:
        file = path.open("rb")
    except OSError as error:
        raise InvalidUsageError(f"--requests {name}: {error.strerror or error}") from None
    with file:
        yield from_lines(file, name)


def _replay(session: Session, tally: Tally, requests: Iterable[Recorded], terms: Terms) -> None:
    from modelport.client import Client, Retries  # loading it takes longer than other commands run

    if not session.endpoint:
        raise InvalidSettingError("MODELPORT_ENDPOINT", None, "nothing says where the API is")
    title = f"{tally.model}: the answers of version {tally.to} against those of {tally.live}"
    with session.world.http() as http, session.output.working(title) as tell:
        client = Client(
            session.endpoint,
            auth=signer(session),
            timeout=_PATIENCE_S,
            retries=Retries(),
            http=http,
        )
        for request in requests:
            _one(client, tally, request, terms)
            if tally.requests % 100 == 0:
                tell(f"{tally.requests:,} requests")


def _one(client: Client, tally: Tally, request: Recorded, terms: Terms) -> None:
    """Send a request to both versions, and count what came of it."""
    from modelport.client.errors import (  # loaded with the client
        AnswerError,
        CallerDeniedError,
        ServerFailedError,
        TooBusyError,
    )

    tally.requests += 1
    try:
        live = _answer(client, tally.model, tally.live, request)
    except CallerDeniedError:  # as everything else would be
        raise
    except AnswerError as error:
        tally.unanswered += 1
        tally.note(request, f"version {tally.live} answers {error.status}")
        return
    try:
        other = _answer(client, tally.model, tally.to, request)
    except (ServerFailedError, TooBusyError) as error:
        tally.failed += 1
        tally.note(request, f"version {tally.to} answers {error.status}")
    except AnswerError as error:  # it refuses what the other takes
        tally.add(request, Agreement(False, 1, 0, f"version {tally.to} answers {error.status}"))
    else:
        tally.add(request, compare(live, other, terms, MOST_BYTES))


def _answer(client: Client, model: str, version: int, request: Recorded) -> Answered:
    path = canonical_path(Call(request.protocol, request.verb, model), version)
    reply = client.post(path, request.body, request.headers)
    # The client has decompressed the body.
    headers = {name: text for name, text in reply.headers.items() if name != "content-encoding"}
    return Answered(headers, reply.body)


def _show(console: Console, tally: Tally) -> None:
    share = "nothing could be compared"
    if tally.agreement is not None:
        share = f"{tally.agreement:.2%} ({tally.agreed:,} of {tally.compared:,} requests)"
    rows = f"{tally.rows_agreed:,} of {tally.rows:,}" if tally.rows else None
    console.print(
        facts(
            (
                ("model", tally.model),
                ("versions", f"{tally.live} → {tally.to}"),
                ("agreement", share),
                ("rows", rows),
                ("incomparable", tally.incomparable or None),
                (f"unanswered by {tally.live}", tally.unanswered or None),
                (f"failed by {tally.to}", tally.failed or None),
            )
        )
    )
    if tally.notable:
        console.print(table(("request", "what differs"), tally.notable))

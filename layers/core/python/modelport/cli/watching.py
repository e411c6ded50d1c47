"""``modelport status --watch``: what runs and how it does, drawn anew until it is stopped.

A terminal is drawn over; anything else, and ``--json``, gets one JSON document a line. Decides
nothing and writes nothing.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial

from modelport.cli.activity import MOST_MODELS, Snapshot, look
from modelport.cli.activity_view import document, render
from modelport.cli.failures import InvalidUsageError
from modelport.cli.session import Session
from modelport.errors import ModelportError
from modelport.refs import check_name
from modelport.rollouts.planning import parse_duration

#: Metrics have no windows that are shorter, and questions are paid for.
SHORTEST_S = 1.0


def watch(
    session: Session,
    name: str | None,
    every: str,
    sleep: Callable[[float], None] = time.sleep,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> None:
    """Show what runs every so often, until Ctrl-C or until nobody reads: both are a good end.

    Raises what the first look raises; later ones that fail are told, and the next is waited for.
    """
    every_s = parse_duration(every)
    if every_s < SHORTEST_S:
        raise InvalidUsageError(f"--every {every} is too often", hint="give 1s or more")
    snapshots, output = _snapshots(session, name, now), session.output
    try:
        if output.as_json or not output.stdout.isatty():
            for snapshot in snapshots:
                output.line(document(snapshot))
                sleep(every_s)
        else:
            with output.redrawn() as draw:
                for snapshot in snapshots:
                    draw(partial(render, snapshot))
                    sleep(every_s)
    except KeyboardInterrupt:
        return
    except (
        BrokenPipeError
    ):  # whoever read has seen enough; what is still to be written goes nowhere
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, output.stdout.fileno())
        os.close(nowhere)


def _snapshots(
    session: Session, name: str | None, now: Callable[[], datetime]
) -> Iterator[Snapshot]:
    environment = session.deployments.environment.name
    last: Snapshot | None = None
    while True:
        at = now()
        try:
            names = _names(session, name)
            last = look(session.registry, session.observations, environment, names, at)
        except ModelportError as error:
            if last is None:
                raise
            yield Snapshot(environment, at, last.models, error.message, last.more)
        else:
            yield last


def _names(session: Session, name: str | None) -> Sequence[str]:
    """The models to look at, and one more where there are more."""
    if name is not None:
        return (check_name(name),)
    names = []
    for each in session.registry.models():
        names.append(each)
        if len(names) > MOST_MODELS:
            break
    return names

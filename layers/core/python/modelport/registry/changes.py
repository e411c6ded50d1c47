"""Changing a model's routes: compare and swap, and a log that no crash can tear.

Writing ``routes.json`` is the commit point; the document carries its own latest change. The log
entry is written behind it, and whoever changes next first writes what the last one left out: an
entry can be late, never lost. The entry is written last, so once it exists everything that belongs
to its change exists too.
"""

from __future__ import annotations

import json
import logging
import random
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from modelport.errors import ConcurrentChangeError, IntegrityError, RegistryUnavailableError
from modelport.registry import Actor, Snapshot, keys
from modelport.registry.store import Document, Store
from modelport.routes import GENESIS, Change, Routes
from modelport.routes.change import NOTE, PUBLISH

#: Enough for a crowd: of n writers at once the unluckiest loses n - 1 times.
ATTEMPTS = 100
_FIRST_PAUSE_S = 0.01
_LONGEST_PAUSE_S = 0.5

#: Returns the routes to write, or None when what was wanted is already there.
Edit = Callable[[Snapshot], Routes | None]

logger = logging.getLogger(__name__)


def now() -> str:
    """The present as the registry writes it."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


class Changes:
    """The routes documents and logs of a store."""

    def __init__(self, store: Store, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._store = store
        self._sleep = sleep

    def read(self, model: str) -> Snapshot:
        """The present routes; those of a model never heard of have revision 0 and no ETag."""
        document = self._store.get(keys.routes(model))
        return snapshot(model, document) if document else Snapshot(Routes(model), "")

    def apply(
        self, model: str, edit: Edit, *, action: str, detail: dict[str, Any], who: Actor
    ) -> Routes:
        """Commit ``edit``, trying again whenever somebody else was faster.

        ``edit`` may be called several times, each time with fresh routes.
        """
        # What is hashed must be what will be read back: no tuples, no integer keys.
        detail = json.loads(json.dumps(detail))
        for attempt in range(ATTEMPTS):
            before = self.read(model)
            after = edit(before)
            if after is None:
                return before.routes
            self.settle(before.routes)
            changed = before.routes.changed(
                after,
                action=action,
                detail=detail,
                who=who.who,
                at=now(),
                message=who.message,
                commit=who.commit,
            )
            if self._write(before, changed) or self._committed(changed):
                self._settle_behind(changed)
                return changed
            self._sleep(random.uniform(0, min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2**attempt)))
        raise ConcurrentChangeError(f"routes of model {model}", ATTEMPTS)

    def settle(self, routes: Routes) -> None:
        """Write what belongs to the latest change and is not there yet."""
        change = routes.change
        if change is None:
            return
        entry = keys.log_entry(routes.model, change.revision)
        if self._store.get(entry) is not None:
            return
        if change.action == PUBLISH:
            from modelport.registry import publication  # no function publishes

            version, digest = change.detail["version"], change.detail["digest"]
            publication.finish(self._store, routes.model, digest, version)
        elif change.action == NOTE:
            from modelport.registry import notes  # no function makes notes

            notes.settle(self._store, routes.model, change)
        self._store.create(entry, change.to_bytes())

    def entries(self, routes: Routes) -> Iterator[Change]:
        """Every change up to these routes, newest first, read one by one as they are asked for."""
        if routes.change is not None:
            yield routes.change
        for revision in range(routes.revision - 1, 0, -1):
            yield self._entry(routes.model, revision)

    def verify(self, routes: Routes) -> int:
        """Check the whole log up to these routes and return its length."""
        document = self._store.get(keys.log_entry(routes.model, routes.revision))
        if document and Change.from_bytes(document.body) != routes.change:
            raise IntegrityError(
                f"log entry {routes.revision} of model {routes.model}",
                "the change that its routes show",
                "another",
            )
        return verify_chain(routes.model, self.entries(routes))

    def _write(self, before: Snapshot, changed: Routes) -> bool:
        body = changed.to_bytes()
        Routes.from_bytes(body)  # Nothing is written that could not be read again.
        key = keys.routes(changed.model)
        if not before.etag:
            return self._store.create(key, body)
        return self._store.replace(key, body, before.etag)

    def _committed(self, changed: Routes) -> bool:
        """Whether a write that was refused had in truth gone through.

        A request whose answer got lost is sent again by the client library, and the second try
        finds the document changed: by the first.
        """
        ours = changed.change
        current = self.read(changed.model).routes.change
        if ours is None or current is None or current.revision < ours.revision:
            return False
        if current.revision == ours.revision:
            return current.hash == ours.hash
        return self._entry(changed.model, ours.revision).hash == ours.hash

    def _settle_behind(self, changed: Routes) -> None:
        try:
            self.settle(changed)
        except RegistryUnavailableError as error:
            # The change stands; the next one writes this entry first.
            logger.warning("log of model %s is behind: %s", changed.model, error)

    def _entry(self, model: str, revision: int) -> Change:
        document = self._store.get(keys.log_entry(model, revision))
        if document is None:
            raise IntegrityError(f"log of model {model}", f"entry {revision}", "none")
        return Change.from_bytes(document.body)


def snapshot(model: str, document: Document) -> Snapshot:
    """The routes in ``document``, which must be those of ``model``."""
    routes = Routes.from_bytes(document.body)
    if routes.model != model:
        raise IntegrityError(f"routes of model {model}", model, routes.model)
    return Snapshot(routes, document.etag)


def verify_chain(model: str, newest_first: Iterable[Change]) -> int:
    """Check a whole log and return its length; raises `IntegrityError` where it is broken."""
    length, newer = 0, None
    for change in newest_first:
        where = f"log entry {change.revision} of model {model}"
        if not change.intact:
            raise IntegrityError(where, change.hash, change.sealed().hash)
        if newer is not None:
            _check_link(model, newer, change.revision, change.hash)
        length, newer = length + 1, change
    if newer is not None:
        _check_link(model, newer, 0, GENESIS)
    return length


def _check_link(model: str, change: Change, revision: int, before: str) -> None:
    expected = f"a change on top of {revision} ({before})"
    got = f"one on top of {change.revision - 1} ({change.previous_hash})"
    if got != expected.replace("a change", "one", 1):
        raise IntegrityError(f"log entry {change.revision} of model {model}", expected, got)

"""Which models may have a rollout under way: one small document, so that nobody asks all models.

A model may stand in it too long, never too short. Each entry is the revision of the model's routes
on top of which somebody was about to begin a rollout, noted before the routes are written. It is
taken out only by who has seen a later revision without a rollout: by then that write, which only
that very revision allows, has either happened or can no longer happen; and a rollout begun since
has noted a later revision, which is then not what is taken out. No clock is involved.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Mapping

from modelport.errors import ConcurrentChangeError, IntegrityError
from modelport.manifest import readable
from modelport.registry import keys
from modelport.registry.store import Document, Store
from modelport.routes import Routes

SCHEMA = 1
_ATTEMPTS = 100
_LONGEST_PAUSE_S = 0.2


class ActiveRollouts:
    """The document in a store."""

    def __init__(self, store: Store, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._store = store
        self._sleep = sleep

    def noted(self) -> Mapping[str, int]:
        """Model → revision of its routes when it was noted; raises `IntegrityError`."""
        return _read(self._store.get(keys.ACTIVE_ROLLOUTS))

    def note(self, model: str, revision: int) -> None:
        """Note that a rollout is about to begin on top of ``revision`` of the routes."""

        def edit(models: dict[str, int]) -> dict[str, int]:
            return {**models, model: max(revision, models.get(model, 0))}

        for _ in range(_ATTEMPTS):
            if self._attempt(edit):
                return
            self._sleep(random.uniform(0, _LONGEST_PAUSE_S))
        raise ConcurrentChangeError("the list of rollouts", _ATTEMPTS)

    def note_beginnings(self, before: Routes, after: Routes) -> None:
        """Note the model if ``after``, about to be written over ``before``, begins a rollout."""
        held = {rollout.alias for rollout in before.active_rollouts}
        if any(rollout.alias not in held for rollout in after.active_rollouts):
            self.note(before.model, before.revision)

    def forget(self, model: str, revision: int) -> bool:
        """Take a model out that was noted at ``revision``, and at no other since.

        Only for who has seen a later revision of its routes without a rollout. False when somebody
        else was faster; then it stays, and the next one tries.
        """

        def edit(models: dict[str, int]) -> dict[str, int]:
            return {name: at for name, at in models.items() if (name, at) != (model, revision)}

        return self._attempt(edit)

    def _attempt(self, edit: Callable[[dict[str, int]], dict[str, int]]) -> bool:
        document = self._store.get(keys.ACTIVE_ROLLOUTS)
        before = _read(document)
        after = edit(dict(before))
        if after == before:
            return True
        body = readable({"schema": SCHEMA, "models": after})
        if document is None:
            return self._store.create(keys.ACTIVE_ROLLOUTS, body)
        return self._store.replace(keys.ACTIVE_ROLLOUTS, body, document.etag)


def _read(document: Document | None) -> Mapping[str, int]:
    if document is None:
        return {}
    try:
        data = json.loads(document.body)
        if data["schema"] != SCHEMA:
            raise ValueError(f"schema {data['schema']!r}")
        return {str(model): int(revision) for model, revision in data["models"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise IntegrityError(keys.ACTIVE_ROLLOUTS, "models and revisions", f"{error!r}") from None

"""Programs that run one store request at a time, in an order that a test decides.

Each program is a thread that stops before every request until it is told to go on, so what a test
does is decided by its own choices and by nothing else. A program may be killed where it stands.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from modelport.registry.store import Store

from tests.support.registry_world import AroundStore, Killed

_PATIENCE_S = 30.0


class GatedStore(AroundStore):
    """A store that asks its program's gate before each request."""

    def __init__(self, inner: Store, gate: Callable[[], None]) -> None:
        super().__init__(inner)
        self._gate = gate

    @contextmanager
    def call(self, operation: str, key: str) -> Iterator[None]:
        self._gate()
        yield


class Program:
    """``body`` over a store that lets one request through at a time."""

    def __init__(self, store: Store, body: Callable[[Store], object]) -> None:
        self._store = GatedStore(store, self._wait)
        self._body = body
        self._go, self._stopped = threading.Semaphore(0), threading.Semaphore(0)
        self._killed = False
        self.finished = False
        self.result: object = None
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._await()

    def step(self) -> None:
        """Let it make its next request and run to the one after that, or to its end."""
        if not self.finished:
            self._go.release()
            self._await()

    def run(self) -> None:
        """Let it run to its end."""
        while not self.finished:
            self.step()

    def kill(self) -> None:
        """End it before its next request."""
        self._killed = True
        self.run()
        self._thread.join(_PATIENCE_S)

    def _run(self) -> None:
        try:
            self.result = self._body(self._store)
        except BaseException as error:
            self.error = error
        self.finished = True
        self._stopped.release()

    def _wait(self) -> None:
        self._stopped.release()
        self._go.acquire()
        if self._killed:
            raise Killed

    def _await(self) -> None:
        assert self._stopped.acquire(timeout=_PATIENCE_S), "the program does not come to a request"

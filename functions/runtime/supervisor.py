"""The parent of the worker processes: starts them, replaces those that die, ends them in order.

The first worker loads alone, so that a version that cannot be loaded says so once and one that can
answers soonest; the others follow when it is ready. Whoever is orphaned in the container ends up
with process 1, so every child is reaped, known or not. It must not load a model or read the
environment.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass

from modelport.records import record

from functions.runtime.doorman import LOADING, Doorman

logger = logging.getLogger(__name__)

#: Exit status of a worker whose version cannot be loaded.
CANNOT_LOAD = 3
#: What a worker says over its socket once it takes connections.
READY = b"r"
#: What goes to a worker with each connection.
HERE = b"c"
#: Deaths in a row, none of them ready, after which the version counts as one that cannot load.
TRIES = 3
#: A worker that served this long died of something new, and is replaced at once.
SETTLED_S = 60.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 30.0
#: Before another try where the container has no process, memory or descriptor left for a worker.
_NO_ROOM_PAUSE_S = 1.0


@dataclass(slots=True, eq=False)
class Worker:
    """One started process, and our end of the socket it holds the other end of."""

    pid: int
    slot: int
    control: socket.socket
    ready_at: float | None = None


@record(frozen=True)
class Patience:
    """How long to wait for what, in seconds."""

    drain: float
    startup: float | None = None


class Supervisor:
    """Keeps ``count`` workers running until it is told to stop; `run` once."""

    def __init__(
        self,
        spawn: Callable[[int], Worker],
        count: int,
        doorman: Doorman,
        patience: Patience,
        *,
        ready: Callable[[], None] = lambda: None,
        vacated: Callable[[int], None] = lambda slot: None,
    ) -> None:
        """``ready`` is called once, when the first worker is ready; ``vacated`` when one ended."""
        self._spawn = spawn
        self._count = count
        self._doorman = doorman
        self._patience = patience
        self._on_ready = ready
        self._on_vacated = vacated
        self._workers: dict[int, Worker] = {}
        self._deaths = 0
        self._turn = 0
        self._served = False
        self._stopping = False
        self._status = 0
        self._done = asyncio.Event()

    async def run(self, first: Worker | None = None) -> int:
        """Supervise until SIGTERM or SIGINT, or until nothing can be served; the exit status."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGCHLD, self._reap)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        self._doorman.open(self._hand_over)
        self._watch(first or self._spawn(0))
        if self._patience.startup is not None:
            loop.call_later(self._patience.startup, self._too_late)
        self._reap()  # a child that ended before its handler stood
        await self._done.wait()
        await self._doorman.close()
        for number in (signal.SIGTERM, signal.SIGINT):  # told again, it ends no other way
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)
        return self._status

    def stop(self, status: int = 0) -> None:
        """Let the workers finish what they have, and end with ``status``."""
        if self._stopping:
            return
        self._stopping, self._status = True, status
        self._doorman.reason = "the server is shutting down"
        self._kill(signal.SIGTERM)
        asyncio.get_running_loop().call_later(self._patience.drain, self._kill, signal.SIGKILL)
        self._finish_if_empty()

    def _hand_over(self, connection: socket.socket) -> bool:
        """Give a connection to the next ready worker that has room for it."""
        if self._stopping:
            return False
        ready = [worker for worker in self._workers.values() if worker.ready_at is not None]
        for _ in ready:
            self._turn += 1
            worker = ready[self._turn % len(ready)]
            try:
                socket.send_fds(worker.control, [HERE], [connection.fileno()])
            except OSError:  # it ended, or takes nothing for now
                continue
            return True
        self._doorman.reason = "all workers are busy" if ready else LOADING
        return False

    def _start(self, slot: int) -> None:
        if self._stopping:
            return
        try:
            worker = self._spawn(slot)
        except OSError as error:
            logger.error("worker %d cannot be started, trying again: %s", slot, error.strerror)
            asyncio.get_running_loop().call_later(_NO_ROOM_PAUSE_S, self._start, slot)
            return
        self._watch(worker)

    def _watch(self, worker: Worker) -> None:
        self._workers[worker.pid] = worker
        worker.control.setblocking(False)
        asyncio.get_running_loop().add_reader(worker.control, self._told, worker)

    def _told(self, worker: Worker) -> None:
        try:
            said = worker.control.recv(1)
        except OSError:
            said = b""
        if said != READY:  # it is gone; that it ended comes with SIGCHLD
            asyncio.get_running_loop().remove_reader(worker.control)
            return
        worker.ready_at = asyncio.get_running_loop().time()
        if self._stopping:
            return
        if not self._served:
            self._served = True
            self._on_ready()
            for slot in range(1, self._count):
                self._start(slot)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            worker = self._workers.pop(pid, None)
            if worker is not None:
                self._ended(worker, os.waitstatus_to_exitcode(status))

    def _ended(self, worker: Worker, status: int) -> None:
        asyncio.get_running_loop().remove_reader(worker.control)
        worker.control.close()
        self._on_vacated(worker.slot)
        if self._stopping:
            self._finish_if_empty()
            return
        self._replace(worker, status)

    def _replace(self, worker: Worker, status: int) -> None:
        loop = asyncio.get_running_loop()
        lived = 0.0 if worker.ready_at is None else loop.time() - worker.ready_at
        self._deaths = 1 if lived > SETTLED_S else self._deaths + 1
        how = f"signal {-status}" if status < 0 else f"status {status}"
        if not self._served and (status == CANNOT_LOAD or self._deaths >= TRIES):
            if status != CANNOT_LOAD:
                logger.error(
                    "the version cannot be loaded: %d workers in a row ended while loading it,"
                    " the last with %s; 9 is mostly too little memory", self._deaths, how
                )  # fmt: skip
            self.stop(1)
            return
        pause = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2 ** (self._deaths - 1))
        logger.error("worker %d ended with %s; starting another", worker.slot, how)
        loop.call_later(pause, self._start, worker.slot)

    def _too_late(self) -> None:
        if not self._served and not self._stopping:
            logger.error(
                "the version is not loaded after %g s, the limit that SAGEMAKER_STARTUP_TIMEOUT"
                " sets; raise it or choose a larger instance",
                self._patience.startup,
            )
            self.stop(1)

    def _kill(self, number: signal.Signals) -> None:
        for pid in self._workers:
            os.kill(pid, number)

    def _finish_if_empty(self) -> None:
        if not self._workers:
            self._done.set()

"""All jobs of an environment: read, written on condition, listed. Knows no queue and no model."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator

from modelport.errors import ConcurrentChangeError
from modelport.jobs import keys
from modelport.jobs.errors import JobEndedError, JobNotFoundError
from modelport.jobs.job import Job
from modelport.registry.store import Document, Store

#: A job has few writers: its caller, its runs, an operator.
ATTEMPTS = 8


class Board:
    """Jobs in a `modelport.registry.store.Store`; ``clock`` is the time of day in seconds."""

    def __init__(
        self,
        store: Store,
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.store, self.clock, self._sleep = store, clock, sleep

    def create(self, job: Job) -> Job:
        """Write a new job; if its id is taken already, it is the job that has it."""
        if self.store.create(keys.record(job.id), job.to_bytes()):
            return job
        return self.get(job.id)

    def get(self, id: str) -> Job:
        """Read a job; raises `JobNotFoundError` also for one that has expired."""
        return self._read(id)[0]

    def change(self, id: str, step: Callable[[Job], Job | None]) -> Job | None:
        """Take a step, exactly once, whoever else writes; None when the job cannot take it.

        ``step`` is called again with the job as it is then whenever somebody else was faster.
        """
        for attempt in range(ATTEMPTS):
            job, document = self._read(id)
            after = step(job)
            if after is None or after == job:
                return after
            if self.store.replace(keys.record(id), after.to_bytes(), document.etag):
                return after
            self._sleep(random.uniform(0, 0.02 * 2**attempt))
        raise ConcurrentChangeError(f"job {id}", ATTEMPTS)

    def cancel(self, id: str) -> Job:
        """Cancel a job; raises `JobEndedError` for one that is over, `JobNotFoundError`."""
        canceled = self.change(id, lambda job: job.canceled(self.clock()))
        if canceled is None:
            raise JobEndedError(id, self.get(id).state, "canceled")
        return canceled

    def ids(self) -> Iterator[str]:
        """The ids of all jobs, also of some that have expired or were never quite taken."""
        return (name.rstrip("/") for name in self.store.children(keys.JOBS))

    def jobs(self, ids: Iterable[str] | None = None) -> Iterator[Job]:
        """These jobs, or all that there are; without those that have expired."""
        for id in self.ids() if ids is None else ids:
            try:
                yield self.get(id)
            except JobNotFoundError:
                continue

    def _read(self, id: str) -> tuple[Job, Document]:
        document = self.store.get(keys.record(id)) if keys.is_id(id) else None
        if document is None:
            raise JobNotFoundError(id)
        job = Job.from_bytes(document.body)
        if job.expires <= self.clock():
            raise JobNotFoundError(id)
        return job, document

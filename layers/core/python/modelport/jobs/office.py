"""Everything of an environment's jobs that is not a run: for whoever looks after them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from modelport.jobs.board import Board
from modelport.jobs.errors import JobEndedError
from modelport.jobs.job import Job
from modelport.jobs.payloads import Payloads
from modelport.jobs.queue import Queue, job_message


@dataclass(frozen=True)
class Office:
    """The documents, the bodies and the queue of an environment."""

    board: Board
    payloads: Payloads
    queue: Queue
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)

    def awaited(self, id: str, seconds: float, every_s: float = 1.0) -> Job:
        """The job once it is over, or as it is after so many seconds."""
        until = self.board.clock() + seconds
        while not (job := self.board.get(id)).over and self.board.clock() < until:
            self.sleep(every_s)
        return job

    def retry(self, id: str) -> Job:
        """Have a job run once more that ended without an answer, or whose message was lost.

        Raises `JobEndedError` for one that has an answer or was canceled, `JobNotFoundError`. A
        message more than needed does no harm.
        """
        job = self.board.change(id, lambda job: job if not job.over else job.revived())
        if job is None:
            raise JobEndedError(id, self.board.get(id).state, "run again")
        self.queue.send(job_message(id))
        return job

"""One endpoint: which fleet answers, and the states between two fleets.

Creating → InService or Failed. An update starts the new fleet beside the old one and moves
over once every container of it is healthy; when that fails, the old fleet has never stopped
answering, and the endpoint is InService with a failure reason, as after the service's own
rollback. Traffic moves at once, without a canary's steps and waits; the alarms of the
deployment are looked at once, when it has moved, and one that is raised moves it back.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from lambda_host.journal import Journal
from sagemaker_host import faults
from sagemaker_host.alarms import Raised
from sagemaker_host.catalog import Document, Record
from sagemaker_host.fleet import Fleet, StartError

log = logging.getLogger(__name__)
CREATING, UPDATING, ROLLING_BACK = "Creating", "Updating", "RollingBack"
IN_SERVICE, FAILED, DELETING = "InService", "Failed", "Deleting"
BUSY = (CREATING, UPDATING, ROLLING_BACK, DELETING)
UNEXPECTED = "Request to service failed. If failure persists after retry, contact customer support."


class Endpoint:
    """A stable name in front of changing fleets."""

    def __init__(self, name: str, arn: str, journal: Journal, raised: Raised) -> None:
        self.name = name
        self.arn = arn
        self.journal = journal
        self.status = CREATING
        self.failure = ""
        self.created = self.modified = time.time()
        self.fleet: Fleet | None = None
        self.pending: Record | None = None
        self.deployment: Document | None = None
        self._raised = raised
        self._work: asyncio.Task[None] | None = None
        self._running: set[Fleet] = set()

    @property
    def running(self) -> list[Fleet]:
        """Fleets that have processes now: during an update two."""
        return list(self._running)

    def serving(self) -> Fleet:
        """The fleet that answers; raises `ServiceError` unless the endpoint can be changed now."""
        if self.status in BUSY:
            raise faults.in_progress(self.arn)
        if self.status != IN_SERVICE or self.fleet is None:
            raise faults.invalid(f'Cannot update endpoint "{self.arn}": it is {self.status}.')
        return self.fleet

    def create(self, fleet: Fleet, deployment: Document | None) -> None:
        """Begin to serve."""
        self.deployment = deployment
        self.fleet = fleet
        self._begin(CREATING, self._create(fleet))

    def update(self, fleet: Fleet, deployment: Document | None) -> None:
        """Begin to move over to another fleet."""
        old = self.serving()
        self.deployment = deployment
        self.pending = fleet.config
        self._begin(UPDATING, self._update(old, fleet))

    def reweigh(self, changes: dict[str, tuple[float | None, int | None]]) -> None:
        """Begin to change weights and instance counts of variants, by name."""
        self._begin(UPDATING, self._reweigh(self.serving(), changes))

    def delete(self, gone: Callable[[], None]) -> None:
        """Begin to end; `gone` is called once nothing is left."""
        if self.status in BUSY:
            raise faults.in_progress(self.arn)
        self._begin(DELETING, self._delete(gone))

    async def settled(self) -> None:
        """Wait until the work in progress has ended."""
        if self._work is not None:
            await asyncio.wait([self._work])

    async def close(self, grace_s: float) -> None:
        """Stop whatever is being done and whatever runs: the host ends."""
        if self._work is not None:
            self._work.cancel()
            await asyncio.wait([self._work])
        await asyncio.gather(*(each.stop(grace_s) for each in self._running))

    def _begin(self, status: str, work: Coroutine[Any, Any, None]) -> None:
        self._become(status)
        self._work = asyncio.create_task(work)

    def _become(self, status: str, failure: str = "") -> None:
        self.status, self.failure, self.modified = status, failure, time.time()
        self.journal.line(f"endpoint {self.name} is {status}{': ' * bool(failure)}{failure}")

    async def _create(self, fleet: Fleet) -> None:
        failure = await self._attempt(lambda: self._start(fleet))
        self._become(FAILED if failure else IN_SERVICE, failure)

    async def _update(self, old: Fleet, fleet: Fleet) -> None:
        failure = await self._attempt(lambda: self._start(fleet))
        self.pending = None
        if failure:
            self._become(ROLLING_BACK, failure)
            self._become(IN_SERVICE, failure)
            return
        self.fleet = fleet
        if alarms := await self._raised(self.deployment):
            failure = f"The endpoint update was rolled back: alarm {', '.join(alarms)} is raised."
            self._become(ROLLING_BACK, failure)
            self.fleet, old = old, fleet
        await self._attempt(old.retire)
        self._running.discard(old)
        self._become(IN_SERVICE, failure)

    async def _start(self, fleet: Fleet) -> None:
        self._running.add(fleet)
        try:
            await fleet.start()
        except BaseException:
            self._running.discard(fleet)
            raise

    async def _reweigh(
        self, fleet: Fleet, changes: dict[str, tuple[float | None, int | None]]
    ) -> None:
        async def scale() -> None:
            for name, (_, count) in changes.items():
                if count is not None:
                    await fleet.variants[name].scale(count)

        if failure := await self._attempt(scale):
            self._become(ROLLING_BACK, failure)
            self._become(IN_SERVICE, failure)
            return
        for name, (weight, _) in changes.items():
            if weight is not None:
                fleet.variants[name].weight = weight
        self._become(IN_SERVICE)

    async def _delete(self, gone: Callable[[], None]) -> None:
        for fleet in self.running:
            await self._attempt(fleet.stop)
        self._running.clear()
        gone()

    async def _attempt(self, work: Callable[[], Awaitable[None]]) -> str:
        """Do it; why it failed, or nothing."""
        try:
            await work()
        except StartError as error:
            return str(error)
        except Exception:
            log.exception("endpoint %s", self.name)
            return UNEXPECTED
        return ""


def retained(fresh: Fleet, old: Fleet, excluded: set[str]) -> None:
    """Give the new fleet's variants the weights and counts their namesakes have now."""
    for name in fresh.variants.keys() & old.variants.keys():
        variant, before = fresh.variants[name], old.variants[name]
        if "DesiredWeight" not in excluded:
            variant.weight = before.weight
        if "DesiredInstanceCount" not in excluded:
            variant.count = before.count

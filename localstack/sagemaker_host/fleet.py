"""The running side of one endpoint configuration: variants, their instances, who gets what.

A fleet starts whole or not at all. Which fleet an endpoint uses is the endpoint's business.
"""

import asyncio
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lambda_host.journal import Journal
from sagemaker_host import faults
from sagemaker_host.catalog import Record
from sagemaker_host.container_http import ContainerHttp
from sagemaker_host.faults import BODY_LIMIT, SERVERLESS_BODY_LIMIT
from sagemaker_host.instance import Instance, Limits, NotHealthyError
from sagemaker_host.program import Container, Programs


@dataclass(frozen=True)
class Plan:
    """One variant as the endpoint configuration wants it."""

    name: str
    container: Container
    weight: float = 1.0
    count: int = 1
    startup_s: float | None = None
    least_outstanding: bool = False
    serverless: bool = False

    @property
    def body_limit(self) -> int:
        """Bytes a request may have."""
        return SERVERLESS_BODY_LIMIT if self.serverless else BODY_LIMIT


class StartError(Exception):
    """A variant did not become healthy; the message is the endpoint's failure reason."""


@dataclass(frozen=True)
class Workshop:
    """What instances are made with."""

    programs: Programs
    http: ContainerHttp
    limits: Limits
    most_instances: int = 2
    """Processes per variant, whatever instance count was asked for."""


class Variant:
    """The instances of one variant."""

    def __init__(self, plan: Plan, workshop: Workshop, journal: Journal) -> None:
        self.plan = plan
        self.weight = plan.weight
        self.count = plan.count
        self.instances: list[Instance] = []
        self._changing: list[Instance] = []
        self._workshop = workshop
        self._journal = journal

    @property
    def pids(self) -> list[int]:
        """Every process there is now, of instances that come and go too."""
        return [each.pid for each in (*self.instances, *self._changing) if each.pid]

    async def start(self) -> None:
        """Have the wanted instances healthy; raises `StartError`."""
        await self.scale(self.count)

    async def scale(self, count: int) -> None:
        """Start what is missing, end what is too much; raises `StartError` and changes nothing."""
        try:
            await self._scale(count)
        finally:
            self._changing = []

    async def _scale(self, count: int) -> None:
        wanted = min(count, self._workshop.most_instances)
        if wanted < count:
            self._journal.line(f"variant {self.plan.name}: {wanted} of {count} instances run here")
        fresh = [self._instance() for _ in range(wanted - len(self.instances))]
        self._changing = fresh
        limit_s = self.plan.startup_s or self._workshop.limits.startup_s
        results = await asyncio.gather(
            *(each.start(limit_s) for each in fresh), return_exceptions=True
        )
        if problem := next((each for each in results if isinstance(each, BaseException)), None):
            await asyncio.gather(*(each.stop(grace_s=0) for each in fresh))
            if isinstance(problem, NotHealthyError):
                raise StartError(faults.no_ping(self.plan.name)) from problem
            raise problem
        surplus = self.instances[wanted:] if wanted < len(self.instances) else []
        self.instances = [*self.instances[:wanted], *fresh]
        self.count = count
        self._changing = surplus
        await asyncio.gather(*(_retire(each) for each in surplus))

    def _instance(self) -> Instance:
        made = self._workshop
        return Instance(self.plan.container, made.programs, made.http, self._journal, made.limits)

    def pick(self, chance: random.Random) -> Instance | None:
        """A healthy instance, as the variant's routing strategy says; None when there is none."""
        healthy = [each for each in self.instances if each.healthy]
        if not healthy:
            return None
        if self.plan.least_outstanding:
            return min(healthy, key=lambda each: each.outstanding)
        return chance.choice(healthy)

    async def stop(self, grace_s: float | None = None) -> None:
        """End every instance at once, with what it is doing."""
        await asyncio.gather(*(each.stop(grace_s) for each in self.instances))

    async def retire(self) -> None:
        """End every instance once it has answered what it began."""
        await asyncio.gather(*(_retire(each) for each in self.instances))


async def _retire(instance: Instance) -> None:
    await instance.drain()
    await instance.stop()


class Fleet:
    """Every variant of one endpoint configuration."""

    def __init__(self, config: Record, variants: Iterable[Variant], shadows: Iterable[Variant]):
        self.config = config
        self.variants: Mapping[str, Variant] = {each.plan.name: each for each in variants}
        self.shadows = tuple(shadows)

    @property
    def all(self) -> list[Variant]:
        """Production and shadow variants."""
        return [*self.variants.values(), *self.shadows]

    async def start(self) -> None:
        """Start every variant; raises `StartError` and leaves nothing running."""
        starts = [asyncio.create_task(each.start()) for each in self.all]
        try:
            await asyncio.gather(*starts)
        except BaseException:
            for each in starts:
                each.cancel()
            await asyncio.gather(*starts, return_exceptions=True)
            await self.stop(grace_s=0)
            raise

    def choose(self, target: str | None, chance: random.Random) -> Variant | None:
        """The variant for one request: the one it names, else one by weight."""
        if target is not None:
            return self.variants.get(target)
        variants = list(self.variants.values())
        weights = [each.weight for each in variants]
        if not any(weights):
            return None
        return chance.choices(variants, weights)[0]

    def copies(self, variant: Variant, chance: random.Random) -> list[Variant]:
        """The shadow variants that get a copy of a request to this variant."""
        whole = variant.weight or 1.0
        return [each for each in self.shadows if chance.random() < each.weight / whole]

    async def stop(self, grace_s: float | None = None) -> None:
        """End everything at once."""
        await asyncio.gather(*(each.stop(grace_s) for each in self.all))

    async def retire(self) -> None:
        """End everything once it has answered what it began."""
        await asyncio.gather(*(each.retire() for each in self.all))

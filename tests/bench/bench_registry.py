"""Whether a registry slows down as it fills: `python -m tests.bench.bench_registry`.

Publishes to, and resolves in, registries of 10, 1,000 and 10,000 versions of one model, and of as
many models, over real HTTP against an S3 emulator in a process of its own, in turns, so that what
drifts drifts for all. Prints medians in ms and what the largest costs over the smallest. The
emulator finds objects in a dictionary; how it lists them is its own matter, and nothing measured
here lists.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from modelport.registry.s3 import S3Registry

from tests.support.large_registry import many_models, many_versions
from tests.support.registry_world import ADA, BUCKET, make_draft, s3_client, s3_process

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

SIZES = (10, 1_000, 10_000)
ROUNDS = 60
LIMIT = 1.2
VERSIONS, MODELS = "versions", "models"
_CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "bench",
    "AWS_SECRET_ACCESS_KEY": "bench",
    "AWS_DEFAULT_REGION": "us-east-1",
}


def fill(client: S3Client, prefix: str, documents: Iterator[tuple[str, bytes]]) -> None:
    """Put documents into the bucket, side by side."""

    def put(item: tuple[str, bytes]) -> None:
        client.put_object(Bucket=BUCKET, Key=f"{prefix}/{item[0]}", Body=item[1])

    with ThreadPoolExecutor(8) as pool:
        for _ in pool.map(put, documents):
            pass


def timed(act: Callable[[], object]) -> float:
    """Milliseconds that ``act`` takes."""
    started = time.perf_counter()
    act()
    return (time.perf_counter() - started) * 1e3


def measure(
    registries: dict[int, S3Registry], model: str, folder: Path
) -> dict[str, dict[int, float]]:
    """Median ms of each operation by size; the sizes take turns, each round in another order."""
    times: dict[str, dict[int, list[float]]] = {
        name: {size: [] for size in registries} for name in ("publish", "resolve", "manifest")
    }
    for number in range(ROUNDS):
        order = list(registries)
        order = order[number % len(order) :] + order[: number % len(order)]
        for size in order:
            registry = registries[size]
            draft = make_draft(folder / f"{size}-{number}", model=b"%d-%d" % (size, number))
            published = timed(lambda r=registry, d=draft: r.publish(model, d, who=ADA))  # type: ignore[misc]
            times["publish"][size].append(published)
            times["resolve"][size].append(timed(lambda r=registry: r.routes(model)))  # type: ignore[misc]
            times["manifest"][size].append(timed(lambda r=registry: r.manifest(model, 1)))  # type: ignore[misc]
    return {
        name: {size: statistics.median(found) for size, found in by_size.items()}
        for name, by_size in times.items()
    }


def main() -> int:
    """Fill, measure, print; 1 when the largest costs more than the limit."""
    os.environ.update({name: os.environ.get(name, value) for name, value in _CREDENTIALS.items()})
    results: dict[str, dict[str, dict[int, float]]] = {}
    with tempfile.TemporaryDirectory() as scratch, s3_process(Path(scratch)) as endpoint:
        client, folder = s3_client(endpoint), Path(scratch)
        client.create_bucket(Bucket=BUCKET)
        for what in (VERSIONS, MODELS):
            registries = {}
            for size in SIZES:
                prefix = f"{what}-{size}"
                made = (
                    many_versions("magika", size, folder)
                    if what == VERSIONS
                    else (many_models(size, folder))
                )
                fill(client, prefix, made)
                registries[size] = S3Registry(client, BUCKET, prefix=prefix)
                print(f"filled a registry of {size:,} {what}", file=sys.stderr)
            model = "magika" if what == VERSIONS else "model-00003"
            results[what] = measure(registries, model, folder / what)
    return report(results)


def report(results: dict[str, dict[str, dict[int, float]]]) -> int:
    """Print a table, and the same as JSON."""
    print(f"{'ms, median':24}" + "".join(f"{size:>10,}" for size in SIZES) + f"{'ratio':>8}")
    worst = 0.0
    for what, operations in results.items():
        for name, by_size in operations.items():
            ratio = by_size[SIZES[-1]] / by_size[SIZES[0]]
            worst = max(worst, ratio)
            row = "".join(f"{by_size[size]:>10.2f}" for size in SIZES)
            print(f"{f'{name}, {what}':24}{row}{ratio:>8.2f}")
    print(json.dumps({"limit": LIMIT, "worst_ratio": round(worst, 3), **results}))
    return int(worst > LIMIT)


if __name__ == "__main__":
    sys.exit(main())

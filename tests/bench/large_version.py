"""A version of a gigabyte on its way into the registry and out of it, beside plain boto3 transfer.

Ours does what `modelport publish` does from the files to the committed version, and what fetching a
version's files does: everything is hashed, checked by the server on its way in and by us on its way
out, and on disk when it is done. boto3 moves the same file with `upload_file` and `download_file`:
with its own settings, and with the ones that were fastest here; it hashes nothing for us and syncs
nothing. All go to `tests.bench.bucket_server`, for an emulator is slower than any client. It takes
plain HTTP, where boto3 hashes what it sends to sign it; ours does not, as neither does over HTTPS.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
from modelport.bundle import load_bundle
from modelport.cli.cloud import Aws
from modelport.registry import Actor

from tests.bench.figures import OURS, Figure, Target
from tests.bench.plan import Plan, in_turns
from tests.conftest import ROOT

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

LARGE, SMALL, SHORT = 1_000_000_000, 100_000_000, 16_000_000
BUCKET, MODEL, KEY, WEIGHTS = "registry", "large", "weights", "weights.bin"
PLAIN, TUNED = "boto3", "boto3, tuned"
#: The fastest of 8, 16, 32 and 64 MB parts and 2, 4, 8 and 10 threads.
TUNING: Any = {"multipart_chunksize": 32 << 20, "max_concurrency": 4}
ROOM = Path("/dev/shm")
NOTE = "of a file in the page cache; ours hashes it and has it synced, boto3 does neither"


# --- in a process of its own ----------------------------------------------------------------------


def ours_in(folder: Path) -> None:
    """Publish the folder as `modelport publish` does, short of running the model."""
    with tempfile.TemporaryDirectory() as work:
        draft = load_bundle(folder, work=Path(work))
        registry = Aws(os.environ).registry(BUCKET)
        assert registry.publish(MODEL, draft, who=Actor("bench", "")).version == 1


def ours_out(folder: Path) -> None:
    """Fetch every file of the version."""
    registry = Aws(os.environ).registry(BUCKET)
    for file in registry.manifest(MODEL, 1).files:
        registry.fetch(file, folder / file.path)


def transfer(settings: Mapping[str, int]) -> tuple[S3Client, Any]:
    """A client as boto3 makes it, and how it is to move files."""
    from boto3.s3.transfer import TransferConfig

    return boto3.client("s3"), TransferConfig(**settings)  # type: ignore[arg-type]


def boto_in(folder: Path, **settings: int) -> None:
    client, config = transfer(settings)
    client.upload_file(str(folder / WEIGHTS), BUCKET, KEY, Config=config)


def boto_out(folder: Path, **settings: int) -> None:
    client, config = transfer(settings)
    client.download_file(BUCKET, KEY, str(folder / WEIGHTS), Config=config)


WAYS: Mapping[str, tuple[Callable[[Path], None], Callable[[Path], None]]] = {
    OURS: (ours_in, ours_out),
    PLAIN: (boto_in, boto_out),
    TUNED: (partial(boto_in, **TUNING), partial(boto_out, **TUNING)),
}


def worker(contender: str, way: str, endpoint: str, folder: str) -> None:
    """Move the files once; seconds of the clock and of CPU, and the most memory held in MiB."""
    act = WAYS[contender][way == "out"]
    os.environ["AWS_ENDPOINT_URL"] = endpoint
    boto3.client("s3")  # everybody imports and reads the service's description before
    began = time.perf_counter(), time.process_time()
    act(Path(folder))
    took = time.perf_counter() - began[0]
    # What getrusage calls the most is at least what the process had that started this one.
    told = Path("/proc/self/status").read_text()
    peak = int(told.partition("VmHWM:")[2].split()[0]) / 1024
    print(json.dumps({"s": took, "cpu": time.process_time() - began[1], "MiB": peak}))


# --- around it ------------------------------------------------------------------------------------


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The endpoint of an empty bucket whose objects lie in ``folder``."""
    command = [sys.executable, "-m", "tests.bench.bucket_server", str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(server.stdout.readline())}"
        finally:
            server.kill()


def moved(contender: str, way: str, endpoint: str, folder: Path) -> dict[str, float]:
    """What a fresh process needs to move the files in ``folder`` in or out."""
    words = [sys.executable, "-m", "tests.bench.large_version", contender, way, endpoint]
    done = subprocess.run([*words, str(folder)], cwd=ROOT, check=True, stdout=subprocess.PIPE)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def round_trip(contender: str, bundle: Path, digest: str) -> Mapping[str, float]:
    """In and out of an empty bucket; MB/s of both ways, and memory."""
    size = (bundle / WEIGHTS).stat().st_size
    with room() as store, tempfile.TemporaryDirectory() as out, served(store) as endpoint:
        touch(size)
        digest_of(bundle / WEIGHTS)
        sent = moved(contender, "in", endpoint, bundle)
        touch(size)
        fetched = moved(contender, "out", endpoint, Path(out))
        if digest_of(Path(out) / WEIGHTS) != digest:
            raise ValueError(f"{contender}: other bytes came back than went in")
    print(f"{contender} {size:,}: in {sent}, out {fetched}", file=sys.stderr)
    return {
        "publish": size / 1e6 / sent["s"],
        "fetch": size / 1e6 / fetched["s"],
        "publish, memory": sent["MiB"],
        "fetch, memory": fetched["MiB"],
    }


def touch(size: int) -> None:
    """Use a bit more than ``size`` bytes of memory and give it back.

    A virtual machine gets memory from its host when it is first touched, at 400 MB/s here. Who
    comes after somebody else's files were removed would not pay, and who comes first would.
    """
    subprocess.run([sys.executable, "-c", f"b'1' * {size + size // 4}"], check=True)


@contextmanager
def room() -> Iterator[Path]:
    """A folder for the server's objects: in memory where there is such a place."""
    with tempfile.TemporaryDirectory(dir=ROOM if ROOM.is_dir() else None) as folder:
        yield Path(folder)


def digest_of(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def made(folder: Path, size: int) -> Path:
    """A bundle with ``size`` bytes of weights that nothing can make smaller."""
    from tests.support.runtime_bundles import DOUBLE  # loads onnx, which would count as memory

    folder.mkdir()
    (folder / "model.onnx").write_bytes(DOUBLE)
    with (folder / WEIGHTS).open("wb") as file:
        for start in range(0, size, 1 << 20):
            file.write(os.urandom(min(1 << 20, size - start)))
    return folder


def measure(plan: Plan) -> Iterator[Figure]:
    """Row 12: how fast ours and boto3 move a version, and what ours holds of memory."""
    sizes = (SHORT,) if plan.short else (LARGE, SMALL)
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for size in sizes:
            bundle = made(Path(folder) / str(size), size)
            digest = digest_of(bundle / WEIGHTS)
            contenders = {name: partial(round_trip, name, bundle, digest) for name in WAYS}
            found[size] = in_turns(contenders, plan.rounds)
    for way in ("publish", "fetch"):
        yield Figure(
            12,
            f"{way} {sizes[0] // 1_000_000:,} MB",
            "MB/s",
            found[sizes[0]][way],
            [Target((PLAIN,), at_least=0.8)],
            NOTE,
        )
        for size in sizes:
            what = f"memory of {way}, {size // 1_000_000:,} MB"
            yield Figure(12, what, "MiB", found[size][f"{way}, memory"])


if __name__ == "__main__":
    worker(*sys.argv[1:])

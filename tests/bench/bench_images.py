"""What a new version of a 90 MB model costs on its way into a registry, beside buildah.

    python -m tests.bench.bench_images [ROUNDS]

Each round makes new weights, then publishes, builds and pushes them in one fresh process, and has
buildah build and push the same files on the same layers; in turns, medians. Both have their base
at hand, both push to the same docker-registry on loopback. Publishing is into memory and without
its measuring: buildah has nothing like it. Not a test.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelport.images.auth import anonymous
from modelport.images.distribution import OCI_MANIFEST, Repository
from modelport.images.reference import Reference
from rich.console import Console
from rich.table import Table

from tests.conftest import ROOT
from tests.support.container_base import base_layout
from tests.support.container_base import push as push_layout
from tests.support.docker_registry import docker_registry

LAYERS, WIDTH = 22, 1024  # matrices of 4 MiB: 92 MB
ROUNDS = 5
TIME_TARGET, BYTES_TARGET, SIZE_TARGET_MB = 0.35, 1.01, 40


def main(rounds: int) -> None:
    """Measure and print a table."""
    console = Console(width=100)
    missing = [p for p in ("docker-registry", "mmdebstrap", "skopeo") if not shutil.which(p)]
    if missing:
        console.print(f"bench_images needs {', '.join(missing)}: apt-get install them")
        return
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        with docker_registry(home / "registry") as host:
            base = _base(host)
            ours = _Ours(host, base, home)
            first, _ = ours.version(home / "context", seed=0)
            theirs = _Buildah.ready(ours, first, home)
            console.print(_table(_rounds(ours, theirs, home, rounds), first))
            if theirs is None:
                console.print("buildah is not installed or does not run here: not compared")
            else:
                console.print(f"buildah keeps its images with {theirs.storage[-1]}")


@dataclass(frozen=True)
class _Cost:
    """Seconds on the clock, and seconds of all processors."""

    clock: float
    cpu: float


@contextmanager
def _measured() -> Iterator[list[_Cost]]:
    """What the processes that the block starts and ends cost."""
    found: list[_Cost] = []
    began, before = time.perf_counter(), _cpu()
    yield found
    found.append(_Cost(time.perf_counter() - began, _cpu() - before))


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@dataclass(frozen=True)
class _Round:
    ours: _Cost
    steps: Mapping[str, float]
    sent: float
    buildah: _Cost | None


def _rounds(ours: _Ours, theirs: _Buildah | None, home: Path, rounds: int) -> list[_Round]:
    found = []
    for seed in range(1, rounds + 1):
        context = home / "context"
        told, cost = ours.version(context, seed)
        other = theirs.version(context, seed) if theirs else None
        found.append(_Round(cost, told["steps"], told["sent"] / told["model"], other))
    return found


def _table(rounds: list[_Round], first: Mapping[str, Any]) -> Table:
    load = os.getloadavg()[0] / (os.cpu_count() or 1)
    title = f"A new version of a 92 MB model (load per processor {load:.1f})"
    table = Table("what", "measured", "target", title=title)
    steps = {name: _median(one.steps[name] for one in rounds) for name in rounds[0].steps}
    parts = ", ".join(f"{name} {seconds:.2f}" for name, seconds in steps.items())
    clock, cpu = _median(one.ours.clock for one in rounds), _median(one.ours.cpu for one in rounds)
    table.add_row("publish + build + push", f"{clock:.2f} s, CPU {cpu:.2f} s", "")
    table.add_row("  of which", parts, "")
    pairs = [(one.ours, one.buildah) for one in rounds if one.buildah is not None]
    if pairs:
        clock, cpu = _median(b.clock for _, b in pairs), _median(b.cpu for _, b in pairs)
        table.add_row("buildah build + push", f"{clock:.2f} s, CPU {cpu:.2f} s", "")
        clock = _median(us.clock / them.clock for us, them in pairs)
        cpu = _median(us.cpu / them.cpu for us, them in pairs)
        table.add_row("ratio", f"{clock:.2f}, CPU {cpu:.2f}", f"≤ {TIME_TARGET}")
    sent = max(one.sent for one in rounds)
    table.add_row("bytes sent ÷ model bytes", f"{sent:.4f}", f"≤ {BYTES_TARGET}")
    above = first["above_base"] / 1e6
    table.add_row("image above base, without model", f"{above:.1f} MB", f"≤ {SIZE_TARGET_MB} MB")
    return table


def _median(values: Iterable[float]) -> float:
    return statistics.median(values)


# --- ours -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Ours:
    host: str
    base: str
    home: Path

    def version(self, folder: Path, seed: int) -> tuple[dict[str, Any], _Cost]:
        """Make new weights in ``folder/bundle``; what a process of its own made of them."""
        _model(folder / "bundle" / "model.onnx", seed)
        arguments = [str(folder / "bundle"), self.host, self.base, str(self.home / "workspace")]
        with _measured() as cost:
            done = subprocess.run(
                [sys.executable, "-m", "tests.bench.new_version", *arguments],
                cwd=ROOT,
                check=True,
                stdout=subprocess.PIPE,
            )
        return json.loads(done.stdout), cost[0]


def _model(path: Path, seed: int) -> None:
    """A chain of matrices with new weights."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    random = np.random.default_rng(seed)
    weights = [
        numpy_helper.from_array(
            random.standard_normal((WIDTH, WIDTH), dtype=np.float32), f"w{number}"
        )
        for number in range(LAYERS)
    ]
    names = ["x", *(f"h{number}" for number in range(1, LAYERS)), "y"]
    nodes = [helper.make_node("MatMul", [names[n], f"w{n}"], [names[n + 1]]) for n in range(LAYERS)]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", WIDTH]) for name in ("x", "y")
    ]
    graph = helper.make_graph(nodes, "bench", ends[:1], ends[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString())


# --- buildah --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Buildah:
    host: str
    variables: Mapping[str, str]
    storage: tuple[str, ...]

    @classmethod
    def ready(cls, ours: _Ours, first: Mapping[str, Any], home: Path) -> _Buildah | None:
        """A buildah that has pulled what a version stands on; None where there is none."""
        if not shutil.which("buildah"):
            return None
        parent = _without_model(Reference.parse(first["pushed"]))
        for driver in ("overlay", "vfs"):
            storage = (
                *("--root", str(home / driver / "root"), "--runroot", str(home / driver / "run")),
                *("--storage-driver", driver),
            )
            found = cls(ours.host, dict(os.environ), storage)
            pulled = found._run("pull", "--tls-verify=false", parent, check=False)
            tagged = pulled and found._run("tag", parent, "parent", check=False)
            (home / "context/Containerfile").write_text("FROM parent\nCOPY bundle/ /opt/model/\n")
            if tagged:
                return found
        return None

    def version(self, context: Path, seed: int) -> _Cost:
        """What building and pushing the files took."""
        name = f"{self.host}/buildah:v{seed}"
        build = ("build", "--isolation", "chroot", "--pull-never", "--quiet", "--tag", name)
        with _measured() as cost:
            self._run(*build, "--file", str(context / "Containerfile"), str(context))
            self._run("push", "--quiet", "--tls-verify=false", name)
        return cost[0]

    def _run(self, *arguments: str, check: bool = True) -> bool:
        done = subprocess.run(
            ["buildah", *self.storage, *arguments],
            env=self.variables,
            check=False,
            capture_output=True,
            text=True,
        )
        if check and done.returncode:
            raise SystemExit(f"buildah {arguments[0]}: {done.stderr.strip()[-500:]}")
        return done.returncode == 0


def _without_model(image: Reference) -> str:
    """Have the image without its model layer in the registry too; its name."""
    with tempfile.TemporaryDirectory() as folder, Repository(image, anonymous) as repository:
        body, _ = repository.manifest_for(image.which, "linux/amd64")
        manifest = json.loads(body)
        repository.blob(manifest["config"]["digest"], Path(folder) / "config")
        config = json.loads((Path(folder) / "config").read_bytes())
        manifest["layers"].pop()
        config["rootfs"]["diff_ids"].pop()
        config.pop("history", None)
        (Path(folder) / "config").write_bytes(packed := json.dumps(config).encode())
        digest = f"sha256:{hashlib.sha256(packed).hexdigest()}"
        manifest["config"] |= {"digest": digest, "size": len(packed)}
        repository.put_blob(digest, len(packed), lambda: (Path(folder) / "config").open("rb"))
        told = repository.put_manifest(json.dumps(manifest).encode(), OCI_MANIFEST, None)
    return str(image.at(told))


def _base(host: str) -> str:
    return push_layout(base_layout(), f"{host}/base")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS)

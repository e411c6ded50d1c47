"""One version of `bench_images`, in a process that imports no more than it needs.

python -m tests.bench.new_version BUNDLE HOST BASE WORKSPACE
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path

from modelport.bundle import load_bundle
from modelport.images.auth import anonymous
from modelport.images.base import read as read_base
from modelport.images.build import build
from modelport.images.distribution import Repository
from modelport.images.push import push
from modelport.images.reference import Reference
from modelport.registry import Actor
from modelport.registry.memory import MemoryRegistry

ROOT = Path(__file__).resolve().parents[2]


def one(bundle: str, host: str, base: str, workspace: str) -> None:
    """One version: published, built, pushed; prints the figures."""
    steps: dict[str, float] = {"start": time.time() - _started()}
    with tempfile.TemporaryDirectory() as work:
        memory = MemoryRegistry()
        began = time.perf_counter()
        draft = load_bundle(Path(bundle), work=Path(work))
        manifest = memory.publish("bench", draft, who=Actor("bench"))
        steps["publish"] = time.perf_counter() - began
        began = time.perf_counter()
        reference = Reference.parse(base)
        with Repository(reference, anonymous) as source:
            found = read_base(source, reference, "amd64", Path(workspace))
            image = build(manifest, memory.read, found, ROOT, Path(workspace))
            steps["build"] = time.perf_counter() - began
            began = time.perf_counter()
            with Repository(Reference(host, "models"), anonymous) as target:
                pushed = push(image, target, base=source)
                steps["push"] = time.perf_counter() - began
    ours = [layer for layer in image.layers if layer.kind != "base"]
    document = {
        "steps": steps,
        "sent": target.sent,
        "model": manifest.content.size,
        "pushed": str(pushed),
        "above_base": sum(layer.size for layer in ours if layer.kind != "model"),
    }
    print(json.dumps(document))


def _started() -> float:
    """When this process began, as the kernel says."""
    ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    return time.time() - uptime + ticks / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    one(*sys.argv[1:])

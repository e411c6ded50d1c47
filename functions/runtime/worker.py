"""Composition root of one worker process of the HTTP server: load the version, then serve.

Started by `server`, as its copy or as a program, with two inherited file descriptors: a socket to
the parent (a byte says that this worker is ready, connections come back, its end means the parent
is gone) and the memory of the metrics. It gets nothing before it can answer; until then the parent
does.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from time import monotonic

from modelport.errors import ModelportError
from modelport.manifest import Batching
from modelport.settings import RuntimeSettings

from functions.runtime.lean_numpy import make_numpy_lean

make_numpy_lean(os.environ.get("MODELPORT_BUNDLE_DIR") or RuntimeSettings.bundle_dir)

from functions.runtime.batching import in_force, mixes_rows, sample_of, unbatchable  # noqa: E402
from functions.runtime.data_plane import DataPlane  # noqa: E402
from functions.runtime.kept_memory import keep_memory  # noqa: E402
from functions.runtime.loading import load, read_manifest  # noqa: E402
from functions.runtime.logs import RequestLog, configure  # noqa: E402
from functions.runtime.metrics import Metrics  # noqa: E402
from functions.runtime.server import ServerSettings, labels_of, runtime_settings  # noqa: E402
from functions.runtime.supervisor import CANNOT_LOAD, READY  # noqa: E402

logger = logging.getLogger("functions.runtime.worker")

_PR_SET_PDEATHSIG = 1


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Serve with these file descriptors (parent, metrics) and this slot."""
    parent_fd, metrics_fd, slot = map(int, arguments)
    parent = socket.socket(fileno=parent_fd)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)  # nothing to finish while it loads
    # A parent that is killed cannot end us, and a model that loads looks at no socket.
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if _is_gone(parent):  # it was before the line above
        return 0
    runtime, settings = runtime_settings(environ), ServerSettings.from_env(environ)
    lines = configure(runtime.log_level, sys.stdout)
    metrics = Metrics(metrics_fd, slot, labels_of(runtime))
    metrics.unready()  # what the last worker of this slot left behind
    started = monotonic()
    try:
        plane, batching = _load(runtime, settings.max_body, metrics, lines.request)
    except ModelportError as error:
        logger.error("the version cannot be loaded: %s", error.message)
        return CANNOT_LOAD
    # Whatever it is, SystemExit included: the parent must know that loading failed, not serving.
    except BaseException as error:
        logger.exception("the version cannot be loaded: %s: %s", type(error).__name__, error)
        return CANNOT_LOAD
    # Imported only now: the model loads no later for a web server that is not needed yet.
    from functions.runtime.service import Limits, Service

    # One CPU, and a model that keeps it: two requests at once would only take it from each other.
    alone = (runtime.threads or 1) == 1 and batching is None and plane.keeps_its_cpu
    threads = 1 if alone else Limits.threads
    limits = Limits(settings.max_body, settings.drain_s, settings.timeout_s, threads)
    service = Service(plane, limits, metrics, batching, flush=lines.flush, hung=_end_now)
    plane.ledger.hold()
    lines.hold(plane.ledger.settle)
    keep_memory()
    took = monotonic() - started

    def hello() -> None:
        parent.send(READY)
        metrics.loaded(took)

    # Until the loop has its own handlers.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: service.stop())
    return 1 if service.run(parent, hello) else 0


def _end_now() -> None:
    """The loop hangs and nothing else ends it: the parent starts another worker."""
    sys.stdout.flush()
    os._exit(1)


def _is_gone(parent: socket.socket) -> bool:
    try:
        return not parent.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False


def _load(
    runtime: RuntimeSettings, max_body: int, metrics: Metrics, log: RequestLog
) -> tuple[DataPlane, Batching | None]:
    gc.disable()  # collecting while everything is being built finds nothing
    try:
        statistics = metrics.statistics()
        plane = load(runtime, statistics=statistics, most_decompressed=max_body, log=log)
        plane.ledger.observe(metrics.requests)
        batching = _batching(plane, runtime)
    finally:
        gc.enable()
    gc.freeze()
    return plane, batching


def _batching(plane: DataPlane, runtime: RuntimeSettings) -> Batching | None:
    """What is in force: only what is asked for and does no harm to this model's answers."""
    manifest = read_manifest(runtime.bundle_dir)
    batching = in_force(manifest.settings.batching, runtime)
    if batching is None:
        return None
    signature = manifest.content.signature
    problem = unbatchable(signature) or mixes_rows(
        plane.model, signature, sample_of(manifest.content)
    )
    if problem:
        logger.warning("batching is refused, requests run one by one: %s", problem)
        return None
    rows, delay = batching.max_rows, batching.max_delay_ms
    logger.info("batching up to %d rows, waiting at most %g ms", rows, delay)
    return batching


if __name__ == "__main__":
    status = main(sys.argv[1:], os.environ)
    sys.stdout.flush()
    os._exit(status)  # not through atexit, which would wait for the thread of a model that hangs

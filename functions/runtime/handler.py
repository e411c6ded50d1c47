"""Composition root of the Lambda transport: ``functions.runtime.handler.handler``.

Importing this module loads the bundle that the environment names; that is Lambda's init phase, and
an error here is an init error with its reason. A request is rehearsed where nobody waits yet: for
provisioned concurrency and for snapshots. On demand somebody does, and comes first. Everything else
lives in modules that do nothing on import.

What init leaves behind may be snapshotted and restored many times (SnapStart): no socket or file is
open, no clock or deadline kept, nothing random drawn and no thread waits for anything but work. All
ids come with the requests; `tempfile` and `random`, should a script use them, are its own business.
"""

from __future__ import annotations

import gc
import os
import sys

# Collecting garbage while everything is being built finds none and costs 6-8 % of a cold start.
# Before the imports, because they build the most.
gc.disable()

from collections.abc import MutableMapping  # noqa: E402

from modelport.settings import RuntimeSettings  # noqa: E402

from functions.runtime.lean_numpy import make_numpy_lean  # noqa: E402

make_numpy_lean(os.environ.get("MODELPORT_BUNDLE_DIR") or RuntimeSettings.bundle_dir)

from functions.runtime.kept_memory import keep_memory  # noqa: E402
from functions.runtime.lambda_transport import (  # noqa: E402
    LambdaHandler,
    check_answer_size,
    lambda_handler,
)
from functions.runtime.loading import load  # noqa: E402
from functions.runtime.logs import configure  # noqa: E402


def start(environ: MutableMapping[str, str]) -> LambdaHandler:
    """Load the version and return the handler for its events."""
    # onnxruntime's Linux wheels report usage by default; a model function never calls home.
    environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        settings = RuntimeSettings.from_env(environ)
        lines = configure(settings.log_level, sys.stdout)
        keep_memory()
        somebody_waits = environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "on-demand"
        plane = load(settings, check_answer_size, log=lines.request, rehearse=not somebody_waits)
    finally:
        gc.enable()
    gc.freeze()
    # What runs several requests at once has its own loop, which sends no streams.
    streams = not environ.get("AWS_LAMBDA_MAX_CONCURRENCY")
    return lambda_handler(plane.handle, plane.stream if streams else None)


handler = start(os.environ)

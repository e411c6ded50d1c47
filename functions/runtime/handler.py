"""Composition root of the Lambda transport: ``functions.runtime.handler.handler``.

Importing this module loads the bundle that the environment names; that is Lambda's init phase, and
an error here is an init error with its reason. Everything else lives in modules that do nothing on
import.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import MutableMapping

from modelport.settings import RuntimeSettings

from functions.runtime.lambda_transport import LambdaHandler, check_answer_size, lambda_handler
from functions.runtime.loading import load
from functions.runtime.logs import configure


def start(environ: MutableMapping[str, str]) -> LambdaHandler:
    """Load the version and return the handler for its events."""
    # Collecting garbage while everything is being built finds none and costs 6-8 % of a cold start.
    gc.disable()
    # onnxruntime's Linux wheels report usage by default; a model function never calls home.
    environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        settings = RuntimeSettings.from_env(environ)
        configure(settings.log_level, sys.stdout)
        plane = load(settings, check_answer_size)
    finally:
        gc.enable()
    gc.freeze()
    return lambda_handler(plane.handle)


handler = start(os.environ)

"""Which loop asks Lambda for events: our own, and awslambdaric's where it runs several at once.

For several requests at once, on instances that Lambda manages, awslambdaric starts processes that
share the Runtime API: that is its own, and there are no streams.
"""

from __future__ import annotations

import gc
from collections.abc import MutableMapping
from functools import partial


def poll(name: str, environ: MutableMapping[str, str]) -> None:
    """Run the handler ``name`` until Lambda ends the process."""
    if environ.get("AWS_LAMBDA_MAX_CONCURRENCY") is not None:
        gc.enable()
        from awslambdaric.__main__ import main  # type: ignore[import-untyped]

        main(["awslambdaric", name])
        return
    from modelport.envelope import read
    from modelport.lambda_runtime.handlers import handler_named
    from modelport.lambda_runtime.loop import run

    run(partial(handler_named, name), environ, read)

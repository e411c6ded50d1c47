"""The entry point of every model image: one program, three homes.

``serve`` is SageMaker's way to start the HTTP server. A handler's name is the image's default
command: on Lambda, which says where its Runtime API is, that handler is polled for; anywhere else
(``docker run``, Kubernetes) it is the HTTP server too. No home imports what another needs.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import MutableMapping, Sequence

HANDLER = "functions.runtime.handler.handler"
USAGE = f"usage: python -m functions.runtime [serve | {HANDLER}]"


def main(arguments: Sequence[str], environ: MutableMapping[str, str]) -> int:
    """Run what the command line and the environment ask for; the exit status."""
    words = list(arguments)
    if len(words) > 1 or (words and words[0] != "serve" and "." not in words[0]):
        print(USAGE, file=sys.stderr)
        return 2
    if words != ["serve"] and environ.get("AWS_LAMBDA_RUNTIME_API"):
        from functions.runtime.lambda_loop import poll

        poll(words[0] if words else HANDLER, environ)
        return 0
    from functions.runtime.server import main as serve

    return serve(["serve"], environ)


if __name__ == "__main__":
    # Collecting garbage while everything is being built finds none and costs 6-8 % of a cold start.
    # Before the other imports, because they build the most; who has built all enables it again.
    gc.disable()
    sys.exit(main(sys.argv[1:], os.environ))

"""A version as a child process: ``python -m functions.runtime.pipe``, Lambda's events on a pipe.

Loads the bundle that the environment names, exactly as its Lambda function would, says so, and
answers one event per line of standard input with one line of standard output until there are no
more. What the model's script prints goes to standard error. For whoever has to ask a version before
it runs anywhere; it is no way to serve.
"""

from __future__ import annotations

import json
import os
import sys


class Context:
    """What the handler reads of Lambda's context."""

    aws_request_id = "pipe"


def main() -> None:
    """Serve the pipe; a version that cannot be loaded is a line that says why."""
    lines = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def say(document: object) -> None:
        lines.write(json.dumps(document) + "\n")
        lines.flush()

    try:
        from functions.runtime.handler import handler
    except ModuleNotFoundError as error:
        say({"missing": error.name or str(error)})
        return
    except Exception as error:
        cause = error.__cause__
        missing = cause.name if isinstance(cause, ModuleNotFoundError) else None
        say({"problem": getattr(error, "message", None) or repr(error), "script_lacks": missing})
        return
    say({"ready": True})
    for line in sys.stdin:
        say(handler(json.loads(line), Context()))


if __name__ == "__main__":
    main()

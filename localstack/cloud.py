"""Starts, stops and shows the local cloud: ``python localstack/cloud.py up | down | status``.

The command a person runs. It renders what the supervisor reports and holds no process itself
once `up` has returned. Exit status: 0 it runs (or is gone), 1 it failed, 2 bad usage.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import ports
from container_registry import ContainerRegistry
from containers import EXECUTORS, ContainerError, Containers, clear
from engine import DEFAULT_ENGINE, ENGINES
from rich.console import Console
from rich.markup import escape
from state import Cloud, Home

ROOT = Path(__file__).resolve().parent.parent
STOP_LIMIT_S = 20
START_LIMIT_S = 600


class Up:
    """One run of `up`."""

    def __init__(self, home: Home, console: Console) -> None:
        self._home = home
        self._console = console
        self._began: dict[str, tuple[str, float]] = {}

    def run(self, engine: str, port: int, executor: str) -> int:
        """Start the cloud, or say that it runs already."""
        if self._home.held:
            return self._already()
        clear(self._home.folder)
        if executor == "container" and (missing := self._missing()):
            self._failed(missing)
            return 1
        port = port or ports.free()
        if ports.taken(port):
            return self._port_taken(port)
        began = time.monotonic()
        process = self._supervise(engine, port, executor)
        try:
            ready = self._follow(process)
        except BaseException:
            process.communicate()  # closes the lifeline: everything it started goes
            raise
        if not ready:
            process.wait()
            return 1
        assert process.stdin is not None
        process.stdin.write("k")
        process.stdin.close()
        took = time.monotonic() - began
        self._console.print(f"[green]The local cloud is up[/] ({engine}, {took:.1f} s).")
        self._how_to_use()
        return 0

    def _missing(self) -> str:
        """What containers need and this machine lacks, and what to do about it."""
        self._home.create()
        try:
            Containers.require(self._home.folder)
            ContainerRegistry.command()
        except ContainerError as error:
            clear(self._home.folder)
            return f"{error}.\nNext: {error.hint}."
        return ""

    def _supervise(self, engine: str, port: int, executor: str) -> "subprocess.Popen[str]":
        self._home.create()
        options = ["--engine", engine, "--port", str(port), "--home", str(self._home.folder)]
        options += ["--executor", executor]
        with (self._home.logs / "supervisor.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("supervisor.py")), *options],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )

    def _follow(self, process: "subprocess.Popen[str]") -> bool:
        """Show each step as it happens; whether all of them worked."""
        assert process.stdout is not None
        with self._console.status("starting the local cloud") as status:
            for line in process.stdout:
                event = json.loads(line)
                if event.get("ready"):
                    return True
                if failed := event.get("failed"):
                    self._failed(failed)
                    return False
                self._show(event, status.update)
        self._failed(f"the supervisor ended; see {self._home.logs / 'supervisor.log'}")
        return False

    def _show(self, event: dict[str, str], update: Callable[[str], None]) -> None:
        step = event["step"]
        if title := event.get("title"):
            self._began[step] = (title, time.monotonic())
        title, began = self._began[step]
        if event.get("done"):
            took = time.monotonic() - began
            self._console.print(f"  [green]✓[/] {escape(title)} [dim]{took:.1f} s[/]")
        else:
            update(f"{escape(title)} [dim]{escape(event.get('detail', ''))}[/]")

    def _failed(self, problem: str) -> None:
        self._console.print(f"[red]The local cloud did not start.[/] {escape(problem)}")
        self._console.print(f"Logs: {self._home.logs}", soft_wrap=True)

    def _already(self) -> int:
        deadline = time.monotonic() + START_LIMIT_S
        while self._home.held and time.monotonic() < deadline:
            cloud = self._home.read()
            if cloud is not None and cloud.ready:
                where = f"{cloud.engine}, {cloud.endpoint}"
                self._console.print(f"The local cloud is already up ({where}).")
                self._how_to_use()
                return 0
            time.sleep(0.2)
        self._console.print("[red]Another `up` was starting the local cloud and did not finish.[/]")
        return 1

    def _port_taken(self, port: int) -> int:
        who = ports.holder(port)
        self._console.print(
            f"[red]Port {port} is taken[/]{escape(f' by {who}') if who else ''}.", soft_wrap=True
        )
        self._console.print(f"Stop that, or use another port: make up PORT={port + 1}")
        return 1

    def _how_to_use(self) -> None:
        self._console.print(f"  source {_short(self._home.env)}", soft_wrap=True, highlight=False)
        if (cloud := self._home.read()) and cloud.images:
            self._console.print(f"  images go to {cloud.images}", soft_wrap=True)


def down(home: Home, console: Console) -> int:
    """Stop the cloud and whatever is left of one; fine when there is none."""
    cloud = home.read()
    if cloud is None:
        if home.held:
            console.print("[red]A local cloud is starting; try again in a moment.[/]")
            return 1
        clear(home.folder)
        home.clear()
        console.print("The local cloud is not up.")
        return 0
    if pid := cloud.alive("supervisor"):
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_LIMIT_S
        while cloud.alive("supervisor") and time.monotonic() < deadline:
            time.sleep(0.02)
    left = cloud.kill_leftovers()
    clear(home.folder)
    home.clear()
    what = f" (killed what was left: {', '.join(left)})" if left else ""
    console.print(f"The local cloud is down{what}. Logs stay in {_short(home.logs)}.")
    return 0


def status(home: Home, console: Console) -> int:
    """Say what runs; 1 when the cloud is not usable."""
    cloud = home.read() if home.held else None
    if cloud is None:
        console.print("The local cloud is not up.")
        return 1
    console.print(f"{'up' if cloud.ready else 'starting'}: {cloud.engine}, {cloud.endpoint}")
    if cloud.images:
        console.print(f"  {'images':18} {cloud.images}")
    for role in cloud.processes:
        console.print(f"  {role:18} {_process(cloud, role)}")
    return 0 if cloud.ready else 1


def _process(cloud: Cloud, role: str) -> str:
    pid = cloud.alive(role)
    return f"pid {pid}" if pid else "gone"


def _short(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="localstack/cloud.py", description=__doc__)
    parser.add_argument("--home", type=Path, default=ROOT / ".local", help="default: .local")
    commands = parser.add_subparsers(dest="command", required=True)
    start = commands.add_parser("up", help="start it, deploy the platform, write .local/env")
    start.add_argument("--engine", choices=ENGINES, default=DEFAULT_ENGINE)
    start.add_argument("--port", type=int, default=4566, help="0: any that is free")
    how = "container: run the real images with podman or docker"
    start.add_argument("--executor", choices=EXECUTORS, default=EXECUTORS[0], help=how)
    commands.add_parser("down", help="stop it")
    commands.add_parser("status", help="say what runs")
    return parser.parse_args(argv)


def main() -> int:
    """Entry point."""
    options = arguments()
    console = Console(highlight=False)
    home = Home(options.home.resolve())
    if options.command == "up":
        return Up(home, console).run(options.engine, options.port, options.executor)
    return down(home, console) if options.command == "down" else status(home, console)


if __name__ == "__main__":
    sys.exit(main())

"""Loopback ports: whether one can be had, and who has it."""

import socket
from pathlib import Path

LISTENING = "0A"


def taken(port: int) -> bool:
    """Whether something listens on the port, on loopback or on every address."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def free() -> int:
    """A loopback port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def holder(port: int) -> str:
    """The process that listens on the port, as far as this user may know; else ''."""
    inodes = {f"socket:[{inode}]" for inode in _listening(port)}
    for link in Path("/proc").glob("[0-9]*/fd/*") if inodes else ():
        try:
            if str(link.readlink()) in inodes:
                pid = link.parts[2]
                command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                return f"pid {pid}: {b' '.join(command).decode(errors='replace').strip()[:120]}"
        except OSError:
            continue  # gone meanwhile, or somebody else's
    return ""


def _listening(port: int) -> set[str]:
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        path = Path(table)
        for line in path.read_text().splitlines()[1:] if path.exists() else ():
            fields = line.split()
            if fields[3] == LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(fields[9])
    return inodes

"""Runs one surface under the fuzzer: ``python -m tests.fuzz SURFACE [libFuzzer's arguments]``.

The fuzzer's own package comes from an environment of its own (`tests/clients/fuzz.txt`), put on the
path by whoever starts this; ``packages`` in place of a surface says where that is. A finding ends
the program with its traceback and status 77; slow and fat inputs end it by libFuzzer's own limits.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
from pathlib import Path

from tests.support.client_environments import client_environment

SURFACES = ("runtime", "grpc", "router", "client", "envelopes")
_LIMITS = ("-timeout=5", "-rss_limit_mb=1500", "-max_len=8192", "-print_final_stats=1")


def packages() -> Path:
    """Where the fuzzer's own package is, made where it is missing."""
    return next(client_environment("fuzz").python.parents[1].glob("lib/python*/site-packages"))


def main(surface: str, *arguments: str) -> None:
    """Fuzz ``surface`` from its seeds; directories among the arguments keep what is found."""
    import atheris

    with atheris.instrument_imports(include=["functions", "modelport"]):
        target = importlib.import_module(f"tests.fuzz.{surface}")
    tokens = Path(__file__).with_name("tokens.dict")
    with tempfile.TemporaryDirectory(prefix="modelport-seeds-") as folder:
        for at, seed in enumerate(target.SEEDS):
            (Path(folder) / f"{at:03}").write_bytes(seed)
            target.one(seed)
        own = [argument for argument in arguments if not argument.startswith("-")]
        flags = [argument for argument in arguments if argument.startswith("-")]
        atheris.Setup([sys.argv[0], *_LIMITS, f"-dict={tokens}", *flags, *own, folder], target.one)
        atheris.Fuzz()


if __name__ == "__main__":
    if sys.argv[1:] == ["packages"]:
        print(packages())
        sys.exit()
    if len(sys.argv) < 2 or sys.argv[1] not in SURFACES:
        sys.exit(f"usage: python -m tests.fuzz {{{','.join(SURFACES)}}} [libFuzzer's arguments]")
    main(*sys.argv[1:])

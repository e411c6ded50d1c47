"""What the zip functions are deployed with: locked, hashed, and the versions the tests ran with."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

DEPS = Path("layers") / "deps" / "requirements.txt"
PIN = re.compile(r"^([a-z0-9][a-z0-9._-]*)==([^\s;\\]+)", re.MULTILINE)


def pins(path: Path) -> dict[str, str]:
    return dict(PIN.findall(path.read_text()))


def test_the_layer_is_locked_to_what_the_tests_run_with(root: Path) -> None:
    tested = pins(root / "requirements.lock")
    layer = pins(root / DEPS)
    assert {"fastapi", "mangum", "boto3"} <= set(layer)
    assert layer == {name: tested.get(name) for name in layer}


def test_every_pin_of_the_layer_has_hashes_and_no_index_is_named(root: Path) -> None:
    text = (root / DEPS).read_text()
    blocks = re.split(r"^(?=[a-z])", text, flags=re.MULTILINE)[1:]
    assert len(blocks) == len(pins(root / DEPS))
    assert all("--hash=sha256:" in block for block in blocks)
    assert "://" not in text
    assert "index" not in text


def test_the_layer_has_every_package_the_zip_functions_import(root: Path) -> None:
    ours = {"functions", "modelport", *sys.stdlib_module_names}
    imported = {
        name.partition(".")[0]
        for folder in ("router", "registrar")
        for path in (root / "functions" / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert imported - ours <= set(pins(root / DEPS))

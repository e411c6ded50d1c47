"""Who may import whom, what ships, and the house rules that a machine can check."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from modelport.images.sources import NOT_SHIPPED

from tests.conftest import ROOT

CORE = ROOT / "layers" / "core" / "python" / "modelport"
SOURCES = ("layers/core", "functions", "infra", "localstack", "tests")


def modules(*folders: str) -> list[Path]:
    return sorted(
        path
        for folder in folders
        for path in (ROOT / folder).rglob("*.py")
        if not {"node_modules", "cdk.out", "__pycache__"} & set(path.parts)
    )


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def tops(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imports(path)}


def shipped_core() -> list[Path]:
    return [p for p in modules("layers/core") if p.relative_to(CORE).parts[0] not in NOT_SHIPPED]


@pytest.mark.parametrize("name", ["controller", "registrar", "router", "runtime", "worker"])
def test_functions_never_import_each_other(name: str) -> None:
    others = {"controller", "registrar", "router", "runtime", "worker"} - {name}
    for path in modules(f"functions/{name}"):
        for imported in imports(path):
            assert not any(imported.startswith(f"functions.{other}") for other in others), path


def test_only_infra_imports_the_cdk() -> None:
    for path in modules("layers/core", "functions", "localstack"):
        assert not tops(path) & {"aws_cdk", "constructs", "infra"}, path


def test_only_the_router_imports_fastapi_and_mangum() -> None:
    for path in modules("layers/core", "functions", "infra", "localstack"):
        if (ROOT / "functions" / "router") not in path.parents:
            assert not tops(path) & {"fastapi", "mangum", "starlette"}, path


def test_the_runtime_answers_without_aws() -> None:
    for path in modules("functions/runtime"):
        assert not tops(path) & {"boto3", "botocore", "pydantic", "fastapi"}, path


def test_infra_names_functions_by_path_only() -> None:
    for path in modules("infra"):
        assert "functions" not in tops(path), path


def test_nothing_imports_the_local_cloud() -> None:
    assert not (ROOT / "localstack" / "__init__.py").exists()
    for path in modules("layers/core", "functions", "infra"):
        assert "localstack" not in tops(path), path


def test_the_core_imports_neither_functions_nor_infra() -> None:
    for path in modules("layers/core"):
        assert not tops(path) & {"functions", "infra", "tests"}, path


def test_what_ships_does_not_import_what_does_not() -> None:
    names = {part.removesuffix(".py") for part in NOT_SHIPPED}
    for path in shipped_core():
        used = {i.split(".")[1] for i in imports(path) if i.startswith("modelport.")}
        assert not used & names, path
        assert not tops(path) & {"typer", "rich", "httpx", "pydantic", "tomlkit"}, path


def test_every_module_says_what_it_is_for() -> None:
    for path in modules(*SOURCES):
        if path.read_text().strip():
            assert ast.get_docstring(ast.parse(path.read_text())), f"{path} has no docstring"


def test_collaborators_are_passed_in_not_patched() -> None:
    banned = re.compile(r"mock\.patch|mocker\.|monkeypatch\.setattr|unittest\.mock")
    for path in modules(*SOURCES):
        if path != Path(__file__):
            assert not banned.search(path.read_text()), path


def test_no_module_is_a_drawer() -> None:
    for path in modules("layers/core", "functions", "infra", "localstack"):
        assert path.stem not in {"utils", "util", "common", "helpers", "helper", "manager", "misc"}


def test_only_composition_roots_read_the_environment() -> None:
    roots = {"handler.py", "server.py", "worker.py", "__main__.py", "app.py", "streamer.py"}
    # jsii must know its Node.js before anything can import it, so the package says so itself.
    roots_of_infra = {ROOT / "infra" / "__init__.py"}
    # What a user's own program makes: nobody above it could pass the environment in.
    made_by_users = {CORE / "client" / "sync.py", CORE / "client" / "asynchronous.py"}
    made_by_users.add(CORE / "mlflow_plugin.py")
    for path in modules("layers/core", "functions", "infra"):
        if (
            path in roots_of_infra | made_by_users
            or path.name in roots
            or (CORE / "cli") in path.parents
        ):
            continue
        reads = [
            node
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Attribute)
            and node.attr in {"environ", "getenv"}
            and isinstance(node.value, ast.Name)
            and node.value.id == "os"
        ]
        assert not reads, path

"""The Dockerfile makes what the builder makes: same sources, lock, environment and entry."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from modelport.images import image, sources

Lines = list[tuple[str, str]]


@pytest.fixture
def stages(root: Path) -> dict[str, Lines]:
    """Instructions of each stage, by the stage's name; the last stage has none."""
    text = (root / "functions/runtime/Dockerfile").read_text()
    text = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    found: dict[str, Lines] = {"": []}
    here = found[""]
    for line in filter(None, map(str.strip, text.splitlines())):
        word, _, rest = line.partition(" ")
        if word == "FROM":
            here = found.setdefault(rest.partition(" AS ")[2], [])
            here.clear()
        here.append((word, " ".join(rest.split())))
    return found


def said(stage: Lines, word: str) -> list[str]:
    return [rest for found, rest in stage if found == word]


def pairs(text: str) -> dict[str, str]:
    return dict(part.partition("=")[::2] for part in text.split())


def test_both_stages_stand_on_the_same_base(stages: dict[str, Lines]) -> None:
    assert said(stages["made"], "FROM") == ["${BASE} AS made"]
    assert said(stages[""], "FROM") == ["${BASE}"]


def test_the_environment_is_the_builders(stages: dict[str, Lines]) -> None:
    version = {f"MODELPORT_{name}": f"${{{name}}}" for name in ("MODEL", "VERSION", "DIGEST")}
    (environment,) = said(stages[""], "ENV")
    assert pairs(environment) == image.ENVIRONMENT | version


def test_the_entry_user_and_folder_are_the_builders(stages: dict[str, Lines]) -> None:
    final = stages[""]
    (entry,) = said(final, "ENTRYPOINT")
    interpreter, *module = json.loads(entry)
    assert re.fullmatch(r"/.*/python3\.\d+", interpreter)
    assert tuple(module) == image.MODULE
    assert [tuple(json.loads(command)) for command in said(final, "CMD")] == [image.COMMAND]
    assert said(final, "USER") == [image.USER]
    assert said(final, "WORKDIR") == [image.WORKDIR]
    assert said(final, "EXPOSE") == [image.PORT]
    assert said(final, "STOPSIGNAL") == [image.STOP_SIGNAL]


def test_the_labels_are_the_builders(stages: dict[str, Lines]) -> None:
    (labels,) = said(stages[""], "LABEL")
    names = ("title", "version", "base.name", "base.digest", "revision")
    assert set(pairs(labels)) == {image.LABELS + name for name in names}


def test_the_same_sources_are_copied(stages: dict[str, Lines], root: Path) -> None:
    copies = [copy.split() for copy in said(stages["made"], "COPY") if "--from" not in copy]
    ours = {source: target for source, target in copies if not source.startswith("layers/deps")}
    assert ours == {name: f"/made/{name}" for name in (sources.CORE, *sources.RUNTIME)}
    for source in ours:
        assert (root / source).exists()


def test_the_same_lock_is_installed_by_hash_trimmed_and_compiled(
    stages: dict[str, Lines], root: Path
) -> None:
    made = stages["made"]
    assert "LOCK=runtime.txt" in said(made, "ARG")
    assert "layers/deps/${LOCK} /made/requirements.txt" in said(made, "COPY")
    assert sources.LOCKS["cpu"] == "layers/deps/runtime.txt"
    deps, code, user = said(made, "RUN")
    assert "--require-hashes --only-binary=:all:" in deps
    assert "-m modelport.images.trim /deps/opt/python" in deps
    assert "-m modelport.images.sources /made /code" in code
    for run, folder in ((deps, "/deps"), (code, "/code"), (user, "/user")):
        assert run.endswith(f"-m modelport.images.bytecode {folder} /")


def test_the_layers_come_in_the_builders_order(stages: dict[str, Lines]) -> None:
    copied = [copy.split()[1:] for copy in said(stages[""], "COPY")]
    assert copied == [["/deps/", "/"], ["/code/", "/"], ["/user/", "/"]]
    assert "--from=bundle / /user/opt/model/" in said(stages["made"], "COPY")


def test_every_file_the_dockerfile_copies_reaches_docker(root: Path) -> None:
    ignored = (root / "functions/runtime/Dockerfile.dockerignore").read_text().splitlines()
    allowed = [line.removeprefix("!") for line in ignored if line.startswith("!")]
    for path in (*sources.RUNTIME, sources.CORE, *sources.LOCKS.values()):
        assert path.split("/")[0] in allowed

"""Building, pushing and looking at images from the command line, against a registry of our own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from modelport.deployments import Deployments, with_entry
from modelport.images.distribution import OCI_INDEX
from modelport.images.layout import read as read_layout
from modelport.manifest import digest_of

from tests.contract.test_cli_deploy import RegistrarRegistry, entries, failing, text
from tests.support.cli_world import Result, Terminal, calls, fake_cdk, repository
from tests.support.images_world import USUAL, MemoryRepository, push_base
from tests.support.oci_registry import Door, OciRegistry, Told, oci_registry, refused

FILE = """# kept
[environment]
name = "dev"
auth = "none"
"""


@dataclass
class Workshop:
    """A terminal in a checkout, and a registry with a base image."""

    terminal: Terminal
    registry: OciRegistry
    base: str

    def __call__(self, *arguments: str) -> Result:
        return self.terminal(*arguments)

    def json(self, *arguments: str) -> Any:
        return self.terminal.ok(*arguments, "--json").json

    def error(self, *arguments: str) -> tuple[int, dict[str, str]]:
        result = self.terminal(*arguments, "--json")
        return result.code, result.json["error"]

    def settings(self, **environment: str) -> None:
        lines = "".join(f'{name} = "{value}"\n' for name, value in environment.items())
        (self.terminal.folder / "deployments.toml").write_text(FILE + lines)

    def pinned(self, version: int = 1) -> str:
        image = entries(self.terminal)["magika", version].image
        assert image is not None
        return image

    def stored(self, name: str) -> set[str]:
        return set(self.registry.manifests.get(name, {}))


def checkout(folder: Path) -> Path:
    """A checkout with little in it: no wheels, a runtime of one line."""
    files = {
        "functions/__init__.py": "",
        "functions/runtime/__init__.py": '"""The runtime."""\n',
        "layers/core/python/modelport/__init__.py": '"""The core."""\n',
        "layers/deps/runtime.txt": "",
        "layers/deps/runtime-cuda.txt": "",
    }
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return repository(folder)


def stock(registry: OciRegistry, name: str = "bases/python", architecture: str = "amd64") -> str:
    """Have a base image in the registry, tagged 3.11; its digest."""
    memory = MemoryRepository()
    digest = push_base(memory, architecture=architecture).digest or ""
    for body in memory.blobs.values():
        registry.put(name, body)
    registry.put_manifest(name, memory.manifests[digest], tag="3.11")
    return digest


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def workshop(tmp_path: Path, cache: Path) -> Iterator[Workshop]:
    folder = checkout(tmp_path / "checkout")
    terminal = Terminal(folder, registry=RegistrarRegistry(folder))
    terminal.published(versions=2)
    terminal.environ["MODELPORT_CDK"] = str(fake_cdk(folder, ""))
    terminal.environ["MODELPORT_CACHE"] = str(cache)
    terminal.stacks["modelport-dev-platform"] = {}
    with oci_registry() as registry:
        base = f"{registry.host}/bases/python@{stock(registry)}"
        found = Workshop(terminal, registry, base)
        found.settings(base_image=base, image_repository=f"{registry.host}/models")
        yield found


# --- build ----------------------------------------------------------------------------------------


def test_build_pushes_to_the_environments_repository(workshop: Workshop) -> None:
    told = workshop.json("build", "magika:1")
    assert workshop.stored("models") == {told["digest"]}
    assert told["pushed"] == f"{workshop.registry.host}/models@{told['digest']}"
    assert [layer["kind"] for layer in told["layers"]] == ["base", "deps", "code", "model"]
    assert told["sent_bytes"] > 0
    assert told["above_base_bytes"] < told["bytes"]
    assert told["platform"] == "linux/amd64"


def test_the_same_version_again_sends_nothing(workshop: Workshop) -> None:
    first = workshop.json("build", "magika:1")
    second = workshop.json("build", "magika:1")
    assert (second["digest"], second["sent_bytes"]) == (first["digest"], 0)


def test_a_new_version_sends_its_model_layer_only(workshop: Workshop) -> None:
    workshop.json("build", "magika:1")
    told = workshop.json("build", "magika:2")
    model = next(layer for layer in told["layers"] if layer["kind"] == "model")
    config = told["sent_bytes"] - model["bytes"]
    assert 0 < config < 5000


def test_the_base_is_mounted_from_the_same_registry(workshop: Workshop) -> None:
    workshop.json("build", "magika:1")
    assert any(
        "mount=" in line and "from=bases/python" in line for line in workshop.registry.lines()
    )


def test_build_can_go_elsewhere_and_be_tagged(workshop: Workshop) -> None:
    with oci_registry() as elsewhere:
        told = workshop.json("build", "magika:1", "--to", f"{elsewhere.host}/mine/magika:v1")
        assert set(elsewhere.manifests["mine/magika"]) == {told["digest"], "v1"}
    assert workshop.stored("models") == set()


def test_a_layout_is_written_and_nothing_pushed(workshop: Workshop) -> None:
    told = workshop.json("build", "magika:1", "--layout", "image")
    image = read_layout(workshop.terminal.folder / "image")
    assert image.digest == told["digest"]
    assert (told["pushed"], told["layout"]) == (None, str(workshop.terminal.folder / "image"))
    assert workshop.stored("models") == set()
    shown = workshop.json("image", "show", "image")
    assert {key: shown[key] for key in ("digest", "layers")} == {
        key: told[key] for key in ("digest", "layers")
    }
    said = workshop.terminal.ok("build", "magika:1", "--layout", "image").out
    assert "next: modelport image show image\n" in said


@pytest.mark.parametrize("named", ["file", "file/image", "full"])
def test_a_layout_that_cannot_be_written_is_said(workshop: Workshop, named: str) -> None:
    (workshop.terminal.folder / "file").write_text("")
    (workshop.terminal.folder / "full").mkdir()
    (workshop.terminal.folder / "full/mine").write_text("")
    code, error = workshop.error("build", "magika:1", "--layout", named)
    assert (code, error["code"]) == (2, "invalid-input")
    assert "new folder" in error["hint"]


def test_a_layout_that_is_none_is_said(workshop: Workshop) -> None:
    (workshop.terminal.folder / "image").mkdir()
    (workshop.terminal.folder / "image/oci-layout").write_text("{}")
    code, error = workshop.error("image", "show", "image")
    assert (code, error["code"]) == (2, "invalid-input")


def test_people_are_told_what_to_do_next(workshop: Workshop) -> None:
    out = workshop.terminal.ok("build", "magika:1").out
    assert "built magika:1 for linux/amd64" in out
    assert f"next: modelport image show {workshop.registry.host}/models@sha256:" in out


def test_the_platforms_repository_is_used_when_nothing_else_is_said(workshop: Workshop) -> None:
    workshop.settings(base_image=workshop.base)
    uri = f"{workshop.registry.host}/platform-images"
    workshop.terminal.stacks["modelport-dev-platform"] = {"ImageRepositoryUri": uri}
    assert workshop.json("build", "magika:1")["pushed"].startswith(f"{uri}@sha256:")


def test_without_a_base_the_next_step_is_named(workshop: Workshop) -> None:
    workshop.settings(image_repository=f"{workshop.registry.host}/models")
    for verb in ("build", "deploy"):
        code, error = workshop.error(verb, "magika:1")
        assert (code, error["code"]) == (2, "no-base-image")
        assert "modelport image base public.ecr.aws/lambda/python:3.12" in error["hint"]
    assert entries(workshop.terminal) == {}


def test_without_a_repository_the_next_step_is_named(workshop: Workshop) -> None:
    workshop.settings(base_image=workshop.base)
    code, error = workshop.error("build", "magika:1")
    assert (code, error["code"]) == (2, "no-image-repository")
    assert "--to" in error["hint"]


def test_a_base_by_tag_is_pinned_for_the_build(workshop: Workshop) -> None:
    result = workshop("build", "magika:1", "--base", f"{workshop.registry.host}/bases/python:3.11")
    assert result.code == 0, result.err
    assert "building on that" in result.err
    assert workshop.base.partition("@")[2] in result.err


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        (("--to", "Not/A Name"), 2, "invalid-image"),
        (("--to", f"r.io/a@sha256:{'a' * 64}"), 2, "usage"),
        (("--to", "r.io/a", "--layout", "x"), 2, "usage"),
        (("--budget", "much"), 2, "usage"),
        (("--budget", "1kB"), 2, "image-too-large"),
        (("--base", "127.0.0.1:{port}/bases/none:1"), 3, "image-not-found"),
        (("--platform", "linux/arm64"), 2, "base-image"),
        (("--accelerator", "cuda"), 2, "no-base-image"),
    ],
)
def test_what_cannot_be_built_is_said_and_nothing_is_sent(
    workshop: Workshop, arguments: tuple[str, ...], code: int, error: str
) -> None:
    port = workshop.registry.host.rpartition(":")[2]
    filled = [argument.replace("{port}", port) for argument in arguments]
    got, told = workshop.error("build", "magika:1", *filled)
    assert (got, told["code"]) == (code, error), told
    assert workshop.registry.lines("PUT") == []


def test_an_unknown_version_is_not_found(workshop: Workshop) -> None:
    workshop.settings()  # and nothing else is asked for before that
    assert workshop.error("build", "magika:9")[1]["code"] == "version-not-found"
    assert workshop.error("build", "nope:1")[1]["code"] == "model-not-found"


def test_logins_of_docker_are_used(workshop: Workshop) -> None:
    workshop.registry.door = Door("bearer", {"ada": "secret-password"})
    docker = workshop.terminal.folder / "docker"
    docker.mkdir()
    entry = {"username": "ada", "password": "secret-password"}
    config = {"auths": {workshop.registry.host: entry}}
    code, error = workshop.error("build", "magika:1")
    assert (code, error["code"]) == (5, "image-registry")
    (docker / "config.json").write_text(json.dumps(config))
    workshop.terminal.environ["DOCKER_CONFIG"] = str(docker)
    assert workshop.json("build", "magika:1")["pushed"]


def test_the_login_aws_gives_comes_first(workshop: Workshop) -> None:
    workshop.registry.door = Door("basic", {"AWS": "for-twelve-hours"})
    asked: list[str] = []

    def login(registry: str) -> tuple[str, str] | None:
        asked.append(registry)
        return "AWS", "for-twelve-hours"

    workshop.terminal.container_login = login
    assert workshop.json("build", "magika:1")["pushed"]
    assert set(asked) == {workshop.registry.host}


# --- image show and base --------------------------------------------------------------------------


def test_an_image_in_a_registry_is_shown_by_layer_and_part(workshop: Workshop) -> None:
    pushed = workshop.json("build", "magika:1")
    shown = workshop.json("image", "show", pushed["pushed"])
    assert shown["digest"] == pushed["digest"]
    for mine, theirs in zip(shown["layers"], pushed["layers"], strict=True):
        assert mine["digest"] == theirs["digest"]
        assert (mine["kind"], mine["bytes"]) == (theirs["kind"], theirs["bytes"])
        assert mine["unpacked_bytes"] == theirs["unpacked_bytes"]
    model = shown["layers"][-1]
    assert {part["name"] for part in model["parts"]} >= {"model.bin", "manifest.json"}


def test_people_see_shares_and_sums(workshop: Workshop) -> None:
    out = workshop.terminal.ok("image", "show", "magika:1").out
    for word in ("compressed", "unpacked", "model.bin", "above the base", "█", "%"):
        assert word in out
    assert workshop.stored("models") == set()


def test_a_version_is_shown_as_it_is_deployed(workshop: Workshop) -> None:
    workshop.terminal.ok("deploy", "magika:1")
    assert workshop.json("image", "show", "magika:1")["image"] == workshop.pinned()


def test_an_image_that_is_not_there_is_not_found(workshop: Workshop) -> None:
    reference = f"{workshop.registry.host}/models@sha256:{'0' * 64}"
    assert workshop.error("image", "show", reference)[0] == 3


def test_a_base_is_chosen_by_its_digest_of_today(workshop: Workshop) -> None:
    workshop.settings()
    told = workshop.json("image", "base", f"{workshop.registry.host}/bases/python:3.11")
    assert told["base_image"] == workshop.base
    loaded = Deployments.load(workshop.terminal.folder / "deployments.toml")
    assert loaded.environment.base_image == workshop.base
    assert text(workshop.terminal).startswith("# kept\n")


def test_a_base_for_several_platforms_serves_each_of_them(workshop: Workshop) -> None:
    digests = {
        f"linux/{name}": stock(workshop.registry, architecture=name) for name in ("amd64", "arm64")
    }
    listed = [
        {"digest": digest, "platform": {"os": "linux", "architecture": name.partition("/")[2]}}
        for name, digest in digests.items()
    ]
    index = json.dumps({"schemaVersion": 2, "manifests": listed}).encode()
    workshop.registry.put_manifest("bases/python", index, OCI_INDEX, "all")
    told = workshop.json("image", "base", f"{workshop.registry.host}/bases/python:all")
    assert told["base_image"].endswith(f"@{digest_of(index)}")
    assert told["platforms"] == digests
    for platform in digests:
        built = workshop.json("build", "magika:1", "--platform", platform)
        assert built["platform"] == platform
    deployed = workshop.json("deploy", "magika:1")["image"]
    assert workshop.json("image", "show", deployed)["platform"] == "linux/amd64"
    said = workshop.terminal.ok("image", "base", f"{workshop.registry.host}/bases/python:all").out
    assert "deployments.toml now says base_image" in said


@pytest.mark.parametrize("architecture", ["amd64", "arm64"])
def test_a_base_that_cannot_be_built_on_is_not_chosen(
    workshop: Workshop, architecture: str
) -> None:
    memory = MemoryRepository()
    old = {key: value for key, value in USUAL.items() if "python" not in key}
    digest = push_base(memory, [old], architecture=architecture).digest or ""
    for body in memory.blobs.values():
        workshop.registry.put("bases/old", body)
    workshop.registry.put_manifest("bases/old", memory.manifests[digest], tag="1")
    before = text(workshop.terminal)
    code, error = workshop.error("image", "base", f"{workshop.registry.host}/bases/old:1")
    assert (code, error["code"]) == (2, "base-image")
    assert "has no Python 3.11 or newer" in error["message"]
    assert text(workshop.terminal) == before


def test_a_base_that_is_not_there_is_told_with_the_next_step(workshop: Workshop) -> None:
    place = f"{workshop.registry.host}/bases/python"
    workshop.settings(base_image=f"{place}@sha256:{'0' * 64}", image_repository="r.io/a")
    for arguments in (("build", "magika:1"), ("image", "base", f"{place}:9")):
        code, error = workshop.error(*arguments)
        assert (code, error["code"]) == (3, "image-not-found")
        assert f"modelport image base {place}:TAG" in error["hint"]


# --- deploy ---------------------------------------------------------------------------------------


def test_deploy_builds_pushes_and_pins_by_digest(workshop: Workshop) -> None:
    told = workshop.json("deploy", "magika:1")
    assert told["image"] == workshop.pinned()
    assert workshop.pinned().partition("@")[2] in workshop.stored("models")
    assert len(calls(workshop.terminal.folder)) == 1


def test_deploying_again_keeps_the_pinned_image_and_builds_nothing(workshop: Workshop) -> None:
    workshop.terminal.ok("deploy", "magika:1")
    before = workshop.pinned()
    sources = workshop.terminal.folder / "functions/runtime/__init__.py"
    sources.write_text('"""The runtime, changed since."""\n')
    workshop.registry.seen.clear()
    workshop.terminal.ok("deploy", "magika:1", "--memory", "512")
    assert workshop.pinned() == before
    assert workshop.registry.lines() == [f"HEAD /v2/models/manifests/{before.partition('@')[2]}"]


def test_an_image_that_is_gone_is_built_again(workshop: Workshop) -> None:
    workshop.terminal.ok("deploy", "magika:1")
    before = workshop.pinned()
    workshop.registry.manifests.pop("models")
    result = workshop.terminal.ok("deploy", "magika:1")
    assert "gone from its registry" in result.err
    assert workshop.pinned() == before
    assert before.partition("@")[2] in workshop.stored("models")


def test_an_image_that_was_named_is_not_replaced(workshop: Workshop) -> None:
    named = f"{workshop.registry.host}/models@sha256:{'0' * 64}"
    code, error = workshop.error("deploy", "magika:1", "--image", named)
    assert (code, error["code"]) == (3, "image-not-found")
    assert "--image" in error["hint"]
    assert entries(workshop.terminal) == {}


def test_an_image_for_another_platform_is_refused(workshop: Workshop) -> None:
    """Only its first start would tell, minutes later and in other words."""
    stock(workshop.registry, architecture="arm64")
    base = f"{workshop.registry.host}/bases/python:3.11"
    arm = workshop.json("build", "magika:1", "--platform", "linux/arm64", "--base", base)
    code, error = workshop.error("deploy", "magika:1", "--image", arm["pushed"])
    assert (code, error["code"]) == (2, "usage")
    assert "is for linux/arm64" in error["message"]
    amd = workshop.json("build", "magika:1")
    listed = [{"digest": amd["digest"], "platform": {"os": "linux", "architecture": "amd64"}}]
    index = json.dumps({"schemaVersion": 2, "manifests": listed}).encode()
    workshop.registry.put_manifest("models", index, OCI_INDEX)
    several = f"{workshop.registry.host}/models@{digest_of(index)}"
    code, error = workshop.error("deploy", "magika:1", "--image", several)
    assert (code, error["code"]) == (2, "usage")
    assert amd["pushed"] in error["hint"]
    assert entries(workshop.terminal) == {}
    workshop.terminal.ok("deploy", "magika:1", "--image", amd["pushed"])
    assert workshop.pinned() == amd["pushed"]


def test_a_registry_that_may_not_be_asked_stops_no_deploy(workshop: Workshop) -> None:
    workshop.terminal.ok("deploy", "magika:1")
    workshop.registry.faults.always = [refused("HEAD", 403, "DENIED")]
    assert "not asked for the image" in workshop.terminal.ok("deploy", "magika:1").err


def test_a_push_that_fails_leaves_the_file_and_the_stack_alone(workshop: Workshop) -> None:
    workshop.registry.faults.always = [Told("PUT /v2/models", 507)]
    code, error = workshop.error("deploy", "magika:1")
    assert (code, error["code"]) == (5, "image-registry")
    assert "is full" in error["message"]
    assert entries(workshop.terminal) == {}
    assert calls(workshop.terminal.folder) == []


def test_a_deploy_that_fails_after_the_push_pins_nothing(workshop: Workshop) -> None:
    failing(workshop.terminal, "sys.exit(1)")
    assert workshop("deploy", "magika:1").code == 5
    assert entries(workshop.terminal) == {}
    assert len(workshop.stored("models")) == 1


def test_code_that_changed_makes_a_new_image_where_no_tag_is_in_its_way(
    workshop: Workshop,
) -> None:
    """ECR's tags never move, so what is built anew must not need one."""
    first = workshop.json("build", "magika:1")
    sources = workshop.terminal.folder / "functions/runtime/__init__.py"
    sources.write_text('"""The runtime, changed since."""\n')
    second = workshop.json("build", "magika:1")
    assert workshop.stored("models") == {first["digest"], second["digest"]}
    assert first["digest"] != second["digest"]


def test_a_tag_that_never_moves_is_said_with_the_way_out(workshop: Workshop) -> None:
    workshop.registry.faults.always = [
        refused("PUT /v2/models/manifests/v1", 400, "TAG_INVALID", "The image tag 'v1' is there")
    ]
    to = f"{workshop.registry.host}/models:v1"
    code, error = workshop.error("build", "magika:1", "--to", to)
    assert (code, error["code"]) == (5, "image-registry")
    assert "refuses the tag" in error["message"]
    assert "under none" in error["hint"]


CPU = ("--target", "sagemaker", "--instance-type", "ml.c6i.large")
GPU = ("--target", "sagemaker", "--instance-type", "ml.g5.xlarge")


def with_cuda(workshop: Workshop) -> str:
    """Have a base with CUDA chosen; its reference."""
    cuda = stock(workshop.registry, "bases/cuda")
    told = workshop.json(
        *("image", "base", f"{workshop.registry.host}/bases/cuda:3.11", "--accelerator", "cuda")
    )
    assert told["cuda_base_image"] == f"{workshop.registry.host}/bases/cuda@{cuda}"
    return str(told["cuda_base_image"])


def test_a_gpu_has_a_base_of_its_own(workshop: Workshop) -> None:
    code, error = workshop.error("deploy", "magika:1", *GPU)
    assert (code, error["code"]) == (2, "no-base-image")
    assert "image base REF --accelerator cuda" in error["hint"]
    assert entries(workshop.terminal) == {}
    cuda = with_cuda(workshop)
    environment = Deployments.load(workshop.terminal.folder / "deployments.toml").environment
    assert (environment.base_image, environment.cuda_base_image) == (workshop.base, cuda)
    workshop.registry.seen.clear()
    workshop.json("deploy", "magika:1", *GPU)
    assert any("/bases/cuda/manifests/" in line for line in workshop.registry.lines())
    assert not any("/bases/python/manifests/" in line for line in workshop.registry.lines())


def test_a_version_that_moves_to_a_gpu_gets_an_image_for_it(workshop: Workshop) -> None:
    with_cuda(workshop)
    workshop.terminal.ok("deploy", "magika:1", *CPU)
    before = workshop.pinned()
    said = workshop.terminal.ok("deploy", "magika:1", *GPU).err
    assert "was for cpu: building one for cuda" in said
    assert workshop.pinned() != before
    moved = workshop.pinned()
    workshop.terminal.ok("deploy", "magika:1", "--instances", "2")
    assert workshop.pinned() == moved
    kept = workshop.terminal.ok("deploy", "magika:1", *CPU, "--image", moved)
    assert "building" not in kept.err
    assert workshop.pinned() == moved


def test_where_the_cloud_ignores_images_none_is_built(workshop: Workshop) -> None:
    workshop.settings(image="placeholder", image_repository=f"{workshop.registry.host}/models")
    workshop.terminal.ok("deploy", "magika:1")
    assert workshop.registry.seen == []
    assert entries(workshop.terminal)["magika", 1].image is None


def test_an_endpoint_is_deployed_with_its_instances(workshop: Workshop) -> None:
    sagemaker = ("--target", "sagemaker", "--instance-type", "ml.c6i.large", "--instances", "2")
    workshop.terminal.ok("deploy", "magika:1", *sagemaker)
    entry = entries(workshop.terminal)["magika", 1]
    assert entry.target == "sagemaker"
    assert (entry.sagemaker.instance_type, entry.sagemaker.instances) == ("ml.c6i.large", 2)
    workshop.terminal.ok("deploy", "magika:1", "--instances", "3")
    entry = entries(workshop.terminal)["magika", 1]
    assert (entry.target, entry.sagemaker.instance_type) == ("sagemaker", "ml.c6i.large")
    assert entry.sagemaker.instances == 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--instances", "2"), "is for endpoints"),
        (("--target", "sagemaker", "--instance-type", "ml.g5.tiny"), "ml.g5."),
        (("--target", "sagemaker", "--instances", "0"), "sagemaker.instances"),
    ],
)
def test_what_is_no_endpoint_is_said(
    workshop: Workshop, arguments: tuple[str, ...], said: str
) -> None:
    code, error = workshop.error("deploy", "magika:1", *arguments)
    assert code == 2
    assert said in error["message"]
    assert entries(workshop.terminal) == {}
    assert workshop.registry.lines("PUT") == []


def test_settings_of_an_endpoint_in_the_file_survive(workshop: Workshop) -> None:
    sagemaker = ("--target", "sagemaker", "--instance-type", "ml.c6i.large")
    workshop.terminal.ok("deploy", "magika:1", *sagemaker)
    path = workshop.terminal.folder / "deployments.toml"
    entry = entries(workshop.terminal)["magika", 1]
    changed = entry.sagemaker.model_copy(update={"startup_timeout_s": 900})
    with_entry(path, entry.model_copy(update={"sagemaker": changed}))
    workshop.terminal.ok("deploy", "magika:1", "--instances", "2")
    assert entries(workshop.terminal)["magika", 1].sagemaker.startup_timeout_s == 900

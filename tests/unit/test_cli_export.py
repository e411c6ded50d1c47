"""A version as Kubernetes objects: valid for every Kubernetes we know the schema of, and safe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml  # type: ignore[import-untyped]
from hypothesis import given, settings
from hypothesis import strategies as st
from modelport.cli.kubernetes import GRACE_S, PAUSE_S, Document, Workload, documents
from modelport.deployments import DeploymentEntry, with_entry
from modelport.refs import MODEL_NAME

from functions.runtime.front import METRICS
from functions.runtime.server import DRAIN_S, ServerSettings
from tests.support.cli_world import Terminal

IMAGE = "registry.example.com/models/magika@sha256:" + "a" * 64
#: The schemas that the package brings: its newest, and the oldest that knows a pause before a stop.
NEWEST, OLDER = kubernetes_validate.latest_version(), "1.30"


def valid(found: list[Document], version: str = NEWEST) -> None:
    for one in found:
        kubernetes_validate.validate(one, version, strict=True)


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    terminal = Terminal(tmp_path)
    terminal.published("magika")
    return terminal


def by_kind(text: str) -> dict[str, Any]:
    return {one["kind"]: one for one in yaml.safe_load_all(text)}


def export(terminal: Terminal, *options: str) -> dict[str, Any]:
    return by_kind(terminal.ok("export", "kubernetes", "magika:1", "--image", IMAGE, *options).out)


def test_it_passes_the_schema_of_kubernetes(terminal: Terminal) -> None:
    found = export(terminal, "--namespace", "models", "--gpu", "1")
    assert list(found) == ["Deployment", "Service", "HorizontalPodAutoscaler"]
    for version in (NEWEST, OLDER):
        valid(list(found.values()), version)
    assert {one["metadata"]["namespace"] for one in found.values()} == {"models"}


def test_the_schema_refuses_what_is_wrong(terminal: Terminal) -> None:
    found = export(terminal)
    found["Deployment"]["spec"]["template"]["spec"]["runAsNonRoot"] = True
    with pytest.raises(kubernetes_validate.ValidationError):
        valid([found["Deployment"]])


def test_its_service_offers_grpc_on_the_containers_only_port(terminal: Terminal) -> None:
    http, grpc = export(terminal)["Service"]["spec"]["ports"]
    assert (grpc["name"], grpc["port"]) == ("grpc", 8001)
    assert grpc["appProtocol"] == "kubernetes.io/h2c"
    assert grpc["targetPort"] == http["targetPort"]


@settings(max_examples=20, deadline=None)
@given(
    name=st.from_regex(MODEL_NAME, fullmatch=True).map(str.strip),
    version=st.integers(1, 2**31 - 1),
    size=st.integers(0, 10 * 2**30),
    namespace=st.none() | st.just("models"),
    replicas=st.integers(1, 1000),
    gpus=st.integers(0, 16),
)
def test_every_version_makes_valid_objects(
    name: str, version: int, size: int, namespace: str | None, replicas: int, gpus: int
) -> None:
    workload = Workload(name, version, "sha256:0", IMAGE, size, namespace, replicas, gpus)
    valid(documents(workload))
    assert len(workload.name) <= 63
    assert workload.name[0].isalpha()


def test_the_pod_has_no_rights_it_does_not_need(terminal: Terminal) -> None:
    pod = export(terminal)["Deployment"]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 65_532
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["volumes"] == [{"name": "tmp", "emptyDir": {}}]
    assert container["volumeMounts"] == [{"name": "tmp", "mountPath": "/tmp"}]
    assert container["image"] == IMAGE


def test_it_fits_the_server_in_the_image(terminal: Terminal) -> None:
    template = export(terminal)["Deployment"]["spec"]["template"]
    (container,) = template["spec"]["containers"]
    assert container["ports"][0]["containerPort"] == ServerSettings().port
    assert template["metadata"]["annotations"]["prometheus.io/path"] == METRICS
    assert template["metadata"]["annotations"]["prometheus.io/port"] == str(ServerSettings().port)
    assert DRAIN_S + PAUSE_S < GRACE_S == template["spec"]["terminationGracePeriodSeconds"]
    assert container["readinessProbe"]["httpGet"]["path"] == "/v2/health/ready"
    assert container["livenessProbe"]["httpGet"]["path"] == "/v2/health/live"


def test_the_objects_belong_together(terminal: Terminal) -> None:
    found = export(terminal, "--replicas", "3")
    deployment, service = found["Deployment"], found["Service"]
    scaler = found["HorizontalPodAutoscaler"]["spec"]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    for selector in (deployment["spec"]["selector"]["matchLabels"], service["spec"]["selector"]):
        assert selector.items() <= labels.items()
    assert scaler["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (3, 12)
    assert "replicas" not in deployment["spec"]


def test_gpus_are_asked_for_and_their_nodes_tolerated(terminal: Terminal) -> None:
    plain, gpu = export(terminal), export(terminal, "--gpu", "2")
    pod = gpu["Deployment"]["spec"]["template"]["spec"]
    assert pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 2
    assert pod["tolerations"][0]["key"] == "nvidia.com/gpu"
    assert "tolerations" not in plain["Deployment"]["spec"]["template"]["spec"]


def test_memory_follows_the_size_of_the_weights() -> None:
    def limit(size: int) -> str:
        (container,) = documents(Workload("m", 1, "sha256:0", IMAGE, size))[0]["spec"]["template"][
            "spec"
        ]["containers"]
        return str(container["resources"]["limits"]["memory"])

    assert limit(0) == "384Mi"
    assert limit(90 * 2**20) == "564Mi"
    assert limit(90 * 2**20 + 1) == "566Mi"


def test_the_pinned_image_is_the_default(terminal: Terminal) -> None:
    refused = terminal("export", "kubernetes", "magika:1")
    assert refused.code == 2
    assert "modelport build magika:1" in refused.err
    entry = DeploymentEntry(model="magika", version=1, digest="sha256:0", image=IMAGE)
    with_entry(terminal.folder / "deployments.toml", entry)
    assert IMAGE in terminal.ok("export", "kubernetes", "magika:1").out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--image", "registry.example.com/m:3"), "has no digest"),
        (("--image", "not an image"), "names no image"),
        (("--image", IMAGE, "--namespace", "No_Such"), "namespace 'No_Such'"),
        (("--image", IMAGE, "--replicas", "0"), "--replicas"),
    ],
)
def test_what_cannot_be_exported_is_refused(
    terminal: Terminal, options: tuple[str, ...], words: str
) -> None:
    refused = terminal("export", "kubernetes", "magika:1", *options)
    assert refused.code == 2
    assert words in " ".join(refused.err.split())


def test_a_version_that_is_not_there_is_not_found(terminal: Terminal) -> None:
    assert terminal("export", "kubernetes", "magika:9", "--image", IMAGE).code == 3


def test_it_goes_to_a_file_or_out_as_json(terminal: Terminal) -> None:
    told = terminal.ok("export", "kubernetes", "magika:1", "--image", IMAGE, "--output", "k.yaml")
    assert told.out == ""
    assert "kubectl apply -f k.yaml" in told.err
    written = list(yaml.safe_load_all((terminal.folder / "k.yaml").read_text()))
    arguments = ("export", "kubernetes", "magika:1", "--image", IMAGE, "--json")
    listed = terminal.ok(*arguments).json
    assert (listed["kind"], listed["items"]) == ("List", written)
    assert "&id" not in (terminal.folder / "k.yaml").read_text()


@pytest.mark.parametrize("output", ["nowhere/magika.yaml", "."])
def test_a_file_that_cannot_be_written_is_said(terminal: Terminal, output: str) -> None:
    options = ("--image", IMAGE, "--output", output, "--json")
    refused = terminal("export", "kubernetes", "magika:1", *options)
    assert refused.code == 2
    assert refused.json["error"]["message"].startswith(f"cannot write to {output}: ")

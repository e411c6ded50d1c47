"""A version's image as Kubernetes objects: Deployment, Service and autoscaler, as plain data.

What the image expects of any home (health paths, port, user, read-only root, seconds to drain) is
written down for Kubernetes here and nowhere else. Talks to no cluster and reads no registry.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

PORT = 8080
#: Where Triton's clients look for gRPC; the container's own port answers there.
GRPC_PORT = 8001
USER = 65_532
#: A pod is killed after this; the server drains 25 s, and the pause lets load balancers forget it.
GRACE_S, PAUSE_S = 30, 4
#: Replicas an autoscaler may add, as a multiple of those that always run.
GROWTH = 4
CPU_TARGET_PERCENT = 70
MIB = 2**20
#: Interpreter, numpy, onnxruntime and buffers; weights may be kept twice, once packed.
BASE_MIB, COPIES = 384, 2

Document = dict[str, Any]


@dataclass(frozen=True)
class Workload:
    """What of a version becomes Kubernetes objects."""

    model: str
    version: int
    digest: str
    image: str
    model_bytes: int
    namespace: str | None = None
    replicas: int = 2
    gpus: int = 0

    @property
    def name(self) -> str:
        """One name for all objects; begins with a letter, as a Service's must."""
        return f"modelport-{self.model}-v{self.version}"


def documents(workload: Workload) -> list[Document]:
    """The objects, in the order they are applied."""
    return [_deployment(workload), _service(workload), _autoscaler(workload)]


def _deployment(workload: Workload) -> Document:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": _metadata(workload),
        # No replicas here: the autoscaler sets them, and applying this again must not.
        "spec": {
            "revisionHistoryLimit": 3,
            "selector": {"matchLabels": _selector(workload)},
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1},
            },
            "template": {
                "metadata": {
                    "labels": _labels(workload),
                    "annotations": {
                        "prometheus.io/scrape": "true",
                        "prometheus.io/port": str(PORT),
                        "prometheus.io/path": "/metrics",
                    },
                },
                "spec": _pod(workload),
            },
        },
    }


def _pod(workload: Workload) -> Document:
    pod: Document = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": GRACE_S,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(workload)],
        "volumes": [{"name": "tmp", "emptyDir": {}}],
    }
    if workload.gpus:
        pod["tolerations"] = [
            {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
        ]
    return pod


def _container(workload: Workload) -> Document:
    return {
        "name": "model",
        "image": workload.image,
        "args": ["serve"],
        "ports": [{"name": "http", "containerPort": PORT}],
        "resources": _resources(workload),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "lifecycle": {"preStop": {"sleep": {"seconds": PAUSE_S}}},
        # Ten minutes to load; live, which never waits for the model, counts only after that.
        "startupProbe": _probe("/v2/health/ready", period=5, failures=120),
        "readinessProbe": _probe("/v2/health/ready", period=5, failures=2),
        "livenessProbe": _probe("/v2/health/live", period=10, failures=3),
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    }


def _resources(workload: Workload) -> Document:
    memory = f"{BASE_MIB + COPIES * -(-workload.model_bytes // MIB)}Mi"
    limits: Document = {"memory": memory}
    if workload.gpus:
        limits["nvidia.com/gpu"] = workload.gpus
    # No limit of CPU: it would stall requests while the node has time to spare.
    return {"requests": {"cpu": "1", "memory": memory}, "limits": limits}


def _probe(path: str, *, period: int, failures: int) -> Document:
    return {
        "httpGet": {"path": path, "port": "http"},
        "periodSeconds": period,
        "timeoutSeconds": 2,
        "failureThreshold": failures,
    }


def _service(workload: Workload) -> Document:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(workload),
        "spec": {
            "selector": _selector(workload),
            # One port of the container speaks both; only what stands before it must be told.
            "ports": [
                {"name": "http", "port": 80, "targetPort": "http"},
                {
                    "name": "grpc",
                    "port": GRPC_PORT,
                    "targetPort": "http",
                    "appProtocol": "kubernetes.io/h2c",
                },
            ],
        },
    }


def _autoscaler(workload: Workload) -> Document:
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": _metadata(workload),
        "spec": {
            "scaleTargetRef": {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "name": workload.name,
            },
            "minReplicas": workload.replicas,
            "maxReplicas": workload.replicas * GROWTH,
            "metrics": [
                {
                    "type": "Resource",
                    "resource": {
                        "name": "cpu",
                        "target": {
                            "type": "Utilization",
                            "averageUtilization": CPU_TARGET_PERCENT,
                        },
                    },
                }
            ],
        },
    }


def _metadata(workload: Workload) -> Document:
    metadata: Document = {
        "name": workload.name,
        "labels": _labels(workload),
        "annotations": {"modelport/digest": workload.digest},
    }
    if workload.namespace:
        metadata["namespace"] = workload.namespace
    return metadata


def _selector(workload: Workload) -> Document:
    return {"app.kubernetes.io/instance": workload.name}


def _labels(workload: Workload) -> Document:
    return {
        **_selector(workload),
        "app.kubernetes.io/name": workload.model,
        "app.kubernetes.io/version": str(workload.version),
        "app.kubernetes.io/managed-by": "modelport",
    }

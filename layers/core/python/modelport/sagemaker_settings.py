"""How a version runs as a SageMaker endpoint: every setting, each with its limits and default.

The table ``[deployment.sagemaker]`` of ``deployments.toml``. Limits are those of SageMaker's API:
a wrong value is refused here, in words, and not by a deploy that rolls back after minutes.
Knows no AWS client and no CDK. Not shipped to functions.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from modelport.errors import InvalidSettingError

__all__ = ["Autoscaling", "DataCapture", "Rollout", "SageMaker", "Shadow", "Vpc", "check_variables"]

_STRICT = ConfigDict(extra="forbid", frozen=True)

_SIZES_5 = "large xlarge 2xlarge 4xlarge 12xlarge 24xlarge"
_SIZES_6I = "large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge 32xlarge"
_SIZES_7I = "large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge 48xlarge"
_SIZES_G = "xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge 48xlarge"


@dataclass(frozen=True, slots=True)
class Family:
    """What all instance types of one family have in common."""

    sizes: str
    gpu: bool = False
    #: Disks of its own, which the instance encrypts itself; SageMaker refuses a key for them.
    local_storage: bool = False


#: The x86_64 families SageMaker hosts models on, without those for chips that onnxruntime's CPU and
#: CUDA providers cannot use: Inferentia, Trainium, Gaudi, and GPUs too old for CUDA 13 (p2, p3).
FAMILIES: Mapping[str, Family] = {
    "t2": Family("medium large xlarge 2xlarge"),
    "m4": Family("xlarge 2xlarge 4xlarge 10xlarge 16xlarge"),
    "m5": Family(_SIZES_5),
    "m5d": Family(_SIZES_5, local_storage=True),
    "m6i": Family(_SIZES_6I),
    "m7i": Family(_SIZES_7I),
    "c4": Family("large xlarge 2xlarge 4xlarge 8xlarge"),
    "c5": Family("large xlarge 2xlarge 4xlarge 9xlarge 18xlarge"),
    "c5d": Family("large xlarge 2xlarge 4xlarge 9xlarge 18xlarge", local_storage=True),
    "c6i": Family(_SIZES_6I),
    "c6in": Family(_SIZES_6I),
    "c7i": Family(_SIZES_7I),
    "r5": Family(_SIZES_5),
    "r5d": Family(_SIZES_5, local_storage=True),
    "r6i": Family(_SIZES_6I),
    "r7i": Family(_SIZES_7I),
    "g4dn": Family(
        "xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge", gpu=True, local_storage=True
    ),
    "g5": Family(_SIZES_G, gpu=True, local_storage=True),
    "g6": Family(_SIZES_G, gpu=True, local_storage=True),
    "g6e": Family(_SIZES_G, gpu=True, local_storage=True),
    "p4d": Family("24xlarge", gpu=True, local_storage=True),
    "p4de": Family("24xlarge", gpu=True, local_storage=True),
    "p5": Family("4xlarge 48xlarge", gpu=True, local_storage=True),
    "p5e": Family("48xlarge", gpu=True, local_storage=True),
    "p5en": Family("48xlarge", gpu=True, local_storage=True),
}
INSTANCE_TYPES = tuple(
    f"ml.{family}.{size}" for family, known in FAMILIES.items() for size in known.sizes.split()
)

#: Driver 580, CUDA 13: what the locked onnxruntime-gpu needs. SageMaker's own default on older
#: families is driver 470, under which it would silently run on the CPU.
GPU_AMI = "al2023-ami-sagemaker-inference-gpu-4-1"

MAX_VARIABLES = 100
MAX_VARIABLE = 1_024
MAX_VARIABLES_TOTAL = 32_768


class Autoscaling(BaseModel):
    """Between ``instances`` and ``max_instances``, by requests per minute and instance.

    SageMaker refuses to change the instance type of an endpoint that scales: deploy without this
    table first, then with the new type and this table again.
    """

    model_config = _STRICT

    max_instances: Annotated[int, Field(ge=2, le=1_000)]
    #: What one instance shall be given per minute; measure it, keep a reserve.
    invocations_per_instance: Annotated[float, Field(gt=0)]
    scale_in_cooldown_s: Annotated[int, Field(ge=0, le=3_600)] = 300
    scale_out_cooldown_s: Annotated[int, Field(ge=0, le=3_600)] = 60


class DataCapture(BaseModel):
    """Keeps requests and answers, whole, in the environment's bucket below ``captures/``."""

    model_config = _STRICT

    percent: Annotated[int, Field(ge=1, le=100)]
    what: Annotated[tuple[Literal["input", "output"], ...], Field(min_length=1)] = (
        "input",
        "output",
    )


class Shadow(BaseModel):
    """Another version that is asked the same and whose answers nobody sees."""

    model_config = _STRICT

    #: A version of the same model, with an entry of its own in the file; its target may be any. It
    #: runs from the image pinned there: one with CUDA only if that entry is for a GPU.
    version: Annotated[int, Field(gt=0)]
    #: How many requests of a hundred it is asked.
    percent: Annotated[int, Field(ge=1, le=100)] = 100
    instances: Annotated[int, Field(ge=1, le=100)] = 1


class Vpc(BaseModel):
    """The subnets and security groups that instances have a network interface in."""

    model_config = _STRICT

    subnets: Annotated[
        tuple[Annotated[str, Field(pattern=r"^subnet-([0-9a-f]{8}|[0-9a-f]{17})$")], ...],
        Field(min_length=1, max_length=16),
    ]
    security_groups: Annotated[
        tuple[Annotated[str, Field(pattern=r"^sg-([0-9a-f]{8}|[0-9a-f]{17})$")], ...],
        Field(min_length=1, max_length=5),
    ]


class Rollout(BaseModel):
    """How a change reaches a running endpoint: beside the old instances, and back on an alarm."""

    model_config = _STRICT

    kind: Literal["all-at-once", "canary", "linear"] = "all-at-once"
    #: The first share (canary) or every share (linear) that moves, percent of the instances.
    step_percent: Annotated[int, Field(ge=5, le=50)] = 10
    #: How long alarms are watched after each share.
    wait_s: Annotated[int, Field(ge=0, le=3_600)] = 300
    #: How long the old instances are kept after the last share.
    keep_old_s: Annotated[int, Field(ge=0, le=3_600)] = 300
    limit_s: Annotated[int, Field(ge=600, le=28_800)] = 3_600

    @model_validator(mode="after")
    def _consistent(self) -> Rollout:
        if self.kind == "linear" and self.step_percent < 10:
            raise ValueError("step_percent of a linear rollout is 10 to 50")
        # SageMaker takes a linear rollout whose waits outlast its limit, and gives it up half-way.
        waits = -(-100 // self.step_percent) if self.kind == "linear" else 1
        if waits * self.wait_s + self.keep_old_s >= self.limit_s:
            each = f" ({waits} times)" if waits > 1 else ""
            raise ValueError(f"wait_s{each} and keep_old_s together must be less than limit_s")
        return self


class SageMaker(BaseModel):
    """How a version runs as a SageMaker endpoint; only read when that is its target."""

    model_config = _STRICT

    #: GPU families: g4dn, g5, g6, g6e, p4d, p4de, p5, p5e, p5en. CPU: c, m, r and t2.
    instance_type: str = "ml.g5.xlarge"
    instances: Annotated[int, Field(ge=1, le=100)] = 1
    #: Disk in GB; types with disks of their own have no other. Not said = what SageMaker gives.
    volume_gb: Annotated[int, Field(ge=1, le=512)] | None = None
    #: Driver and CUDA of GPU instances; not said = those that the image's onnxruntime needs.
    inference_ami: (
        Literal[
            "al2-ami-sagemaker-inference-gpu-2",
            "al2-ami-sagemaker-inference-gpu-2-1",
            "al2-ami-sagemaker-inference-gpu-3-1",
            "al2023-ami-sagemaker-inference-gpu-4-1",
        ]
        | None
    ) = None
    #: How long an instance may take until its first good answer to a health check.
    startup_timeout_s: Annotated[int, Field(ge=60, le=3_600)] = 600
    #: How long an instance may take to fetch what it runs.
    download_timeout_s: Annotated[int, Field(ge=60, le=3_600)] = 600
    #: An alarm rings when the disk or GPU memory of an instance is fuller than this.
    alarm_utilization_percent: Annotated[int, Field(ge=1, le=100)] | None = None
    #: Let the container reach the network, without which it fetches no body over SageMaker's limit
    #: and puts no answer away; in a VPC it needs a way to S3.
    large_bodies: bool = False
    autoscaling: Autoscaling | None = None
    data_capture: DataCapture | None = None
    shadow: Shadow | None = None
    vpc: Vpc | None = None
    rollout: Rollout = Rollout()

    @field_validator("instance_type")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in INSTANCE_TYPES:
            near = difflib.get_close_matches(value, INSTANCE_TYPES, n=4, cutoff=0.5)
            gpus = ", ".join(name for name, family in FAMILIES.items() if family.gpu)
            others = ", ".join(name for name, family in FAMILIES.items() if not family.gpu)
            raise ValueError(
                f"not an instance type for endpoints; near it: {', '.join(near) or 'none'};"
                f" families with GPU: {gpus}; without: {others}"
            )
        return value

    @model_validator(mode="after")
    def _consistent(self) -> SageMaker:
        if self.volume_gb is not None and self.local_storage:
            raise ValueError(f"volume_gb: {self.instance_type} has disks of its own and no other")
        if self.inference_ami is not None and not self.gpu:
            raise ValueError(f"inference_ami: {self.instance_type} has no GPU")
        if self.autoscaling is not None and self.autoscaling.max_instances <= self.instances:
            raise ValueError("autoscaling.max_instances must be more than instances")
        return self

    @property
    def gpu(self) -> bool:
        """Whether its instances have one."""
        return self._family.gpu

    @property
    def ami(self) -> str | None:
        """The machine image that instances with a GPU start from."""
        return self.inference_ami or (GPU_AMI if self.gpu else None)

    @property
    def local_storage(self) -> bool:
        """Whether its instances have disks of their own, which take no key."""
        return self._family.local_storage

    @property
    def _family(self) -> Family:
        return FAMILIES[self.instance_type.split(".")[1]]


def check_variables(variables: Mapping[str, str]) -> None:
    """Refuse an environment that SageMaker would refuse; raises `InvalidSettingError`."""
    if len(variables) > MAX_VARIABLES:
        problem = f"SageMaker takes {MAX_VARIABLES} variables, these are {len(variables)}"
        raise InvalidSettingError("function_environment", "…", problem)
    sizes = {name: (len(name.encode()), len(text.encode())) for name, text in variables.items()}
    for name, size in sizes.items():
        if max(size) > MAX_VARIABLE:
            problem = (
                f"SageMaker takes {MAX_VARIABLE:,} bytes for a name or value, not {max(size):,}"
            )
            raise InvalidSettingError(name, "…", problem)
    total = sum(sum(size) for size in sizes.values())
    if total > MAX_VARIABLES_TOTAL:
        problem = f"SageMaker takes {MAX_VARIABLES_TOTAL:,} bytes of variables, these are {total:,}"
        raise InvalidSettingError("function_environment", "…", problem)

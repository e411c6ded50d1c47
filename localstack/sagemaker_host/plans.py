"""The rules between members of a model or an endpoint configuration, and what they mean to run.

Names, sizes and enums are checked before, against the service model. What this host cannot do
is refused here with words, when it is created and not when it is called.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from sagemaker_host.catalog import Document, Shelf
from sagemaker_host.faults import ServiceError, invalid
from sagemaker_host.fleet import Plan
from sagemaker_host.program import Container

VALUE_LIMIT, ENVIRONMENT_LIMIT = 1024, 32 * 1024
_NOT_HERE = "The SageMaker host of the local cloud"


def container_of(model: Document) -> Document:
    """The one container of a model; raises `ServiceError`."""
    containers: list[Document] = model.get("Containers") or []
    primary: Document | None = model.get("PrimaryContainer")
    if primary is not None and containers:
        raise invalid("PrimaryContainer and Containers cannot be specified together.")
    if primary is None:
        if not containers:
            raise invalid("Either PrimaryContainer or Containers must be specified.")
        if len(containers) > 1:
            raise invalid(f"{_NOT_HERE} runs models of one container, not of {len(containers)}.")
        primary = containers[0]
    return primary


def check_model(model: Document) -> None:
    """Raise unless this host can run the model."""
    container = container_of(model)
    if not container.get("Image"):
        raise invalid("Container image must be specified: a model package is not supported here.")
    for member in ("ModelDataUrl", "ModelDataSource", "AdditionalModelDataSources"):
        if container.get(member):
            raise invalid(f"{_NOT_HERE} runs images that hold their model, without {member}.")
    if container.get("Mode", "SingleModel") != "SingleModel":
        raise invalid(f"{_NOT_HERE} runs SingleModel containers only.")
    _check_environment(container.get("Environment") or {})


def _check_environment(variables: Mapping[str, str]) -> None:
    for name, value in variables.items():
        if max(len(name), len(value)) > VALUE_LIMIT:
            raise invalid(f"Environment variable {name[:64]} is longer than {VALUE_LIMIT} bytes.")
    total = sum(len(name) + len(value) for name, value in variables.items())
    if total > ENVIRONMENT_LIMIT:
        raise invalid(f"The environment has {total} bytes; {ENVIRONMENT_LIMIT} are allowed.")


def check_config(config: Document, models: Shelf) -> None:
    """Raise unless an endpoint can be made of the configuration."""
    variants, shadows = config["ProductionVariants"], config.get("ShadowProductionVariants") or []
    names = [each["VariantName"] for each in (*variants, *shadows)]
    if repeated := next((each for each in names if names.count(each) > 1), None):
        raise invalid(f"Variant names must be unique: {repeated} is used more than once.")
    if shadows and (len(variants), len(shadows)) != (1, 1):
        raise invalid("A shadow variant needs exactly one production variant beside it.")
    for member in ("AsyncInferenceConfig", "ExplainerConfig"):
        if config.get(member):
            raise invalid(f"{_NOT_HERE} does not support {member}.")
    for variant in (*variants, *shadows):
        _check_variant(variant)
        models.find(variant["ModelName"])


def _check_variant(variant: Document) -> None:
    name = variant["VariantName"]
    if not variant.get("ModelName"):
        raise invalid(f"{_NOT_HERE} needs a ModelName in variant {name}.")
    serverless = variant.get("ServerlessConfig")
    if serverless is None:
        if not (variant.get("InstanceType") and variant.get("InitialInstanceCount")):
            raise invalid(
                f"Variant {name} needs InstanceType and InitialInstanceCount, or ServerlessConfig."
            )
        return
    if variant.get("InstanceType") or variant.get("InitialInstanceCount"):
        raise invalid(f"Variant {name} cannot have ServerlessConfig and an instance type.")
    if serverless["MemorySizeInMB"] % 1024:
        raise invalid("MemorySizeInMB must be one of 1024, 2048, 3072, 4096, 5120, 6144.")
    provisioned = serverless.get("ProvisionedConcurrency", 0)
    if provisioned > serverless["MaxConcurrency"]:
        raise invalid("ProvisionedConcurrency cannot be greater than MaxConcurrency.")


def plans(config: Document, models: Shelf, member: str) -> Iterator[Plan]:
    """The variants under a member of the configuration; raises `ServiceError`."""
    for variant in config.get(member) or []:
        yield _plan(variant, models.find(variant["ModelName"]).document)


def _plan(variant: Document, model: Document) -> Plan:
    container = container_of(model)
    weight = variant.get("InitialVariantWeight")
    routing: Mapping[str, Any] = variant.get("RoutingConfig") or {}
    return Plan(
        name=variant["VariantName"],
        container=Container(
            image=container["Image"],
            environment=container.get("Environment") or {},
            isolated=bool(model.get("EnableNetworkIsolation")),
        ),
        weight=1.0 if weight is None else float(weight),
        count=variant.get("InitialInstanceCount") or 1,
        startup_s=variant.get("ContainerStartupHealthCheckTimeoutInSeconds"),
        least_outstanding=routing.get("RoutingStrategy") == "LEAST_OUTSTANDING_REQUESTS",
        serverless=variant.get("ServerlessConfig") is not None,
    )


def changes(
    wanted: list[Document], known: Mapping[str, object]
) -> dict[str, tuple[float | None, int | None]]:
    """Weights and counts by variant, of UpdateEndpointWeightsAndCapacities."""
    result = {}
    for each in wanted:
        name = each["VariantName"]
        if name not in known:
            raise ServiceError("ValidationException", f'Could not find variant "{name}".')
        result[name] = (each.get("DesiredWeight"), each.get("DesiredInstanceCount"))
    return result

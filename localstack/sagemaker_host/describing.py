"""What Describe and List answer: created things and endpoints, as the service's documents."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sagemaker_host.catalog import Document, Record
from sagemaker_host.endpoint import Endpoint
from sagemaker_host.faults import invalid
from sagemaker_host.fleet import Variant

PAGE = 10
REASON_LIMIT = 1024
Summary = dict[str, Any]


def record(found: Record) -> Summary:
    """A model or endpoint configuration as it was created."""
    kept = {name: value for name, value in found.document.items() if name != "Tags"}
    return {**kept, f"{found.kind}Arn": found.arn, "CreationTime": found.created}


def endpoint(found: Endpoint) -> Summary:
    """An endpoint with its variants."""
    document = _summary(found)
    if found.failure:
        document["FailureReason"] = found.failure[:REASON_LIMIT]
    if found.deployment:
        document["LastDeploymentConfig"] = found.deployment
    if found.pending is not None:
        document["PendingDeploymentSummary"] = {"EndpointConfigName": found.pending.name}
    if found.fleet is None:
        return document
    config = found.fleet.config
    document["EndpointConfigName"] = config.name
    document["ProductionVariants"] = _variants(found.fleet.variants.values(), config)
    if found.fleet.shadows:
        document["ShadowProductionVariants"] = _variants(found.fleet.shadows, config)
    if capture := config.document.get("DataCaptureConfig"):
        document["DataCaptureConfig"] = _capture(capture)
    return document


def _capture(config: Document) -> Summary:
    """The wish as it was made; nothing is captured here, and so it says."""
    return {
        "EnableCapture": bool(config.get("EnableCapture")),
        "CaptureStatus": "Stopped",
        "CurrentSamplingPercentage": config["InitialSamplingPercentage"],
        "DestinationS3Uri": config["DestinationS3Uri"],
        "KmsKeyId": config.get("KmsKeyId", ""),
    }


def _variants(variants: Iterable[Variant], config: Record) -> list[Summary]:
    return [_variant(each, config) for each in variants]


def _variant(variant: Variant, config: Record) -> Summary:
    image = variant.plan.container.image
    document: Summary = {
        "VariantName": variant.plan.name,
        "DeployedImages": [
            {"SpecifiedImage": image, "ResolvedImage": image, "ResolutionTime": config.created}
        ],
        "CurrentWeight": variant.weight,
        "DesiredWeight": variant.weight,
    }
    if not variant.plan.serverless:
        document["CurrentInstanceCount"] = sum(each.healthy for each in variant.instances)
        document["DesiredInstanceCount"] = variant.count
    return document


def _summary(found: Endpoint) -> Summary:
    return {
        "EndpointName": found.name,
        "EndpointArn": found.arn,
        "EndpointStatus": found.status,
        "CreationTime": found.created,
        "LastModifiedTime": found.modified,
    }


def summary(found: Record | Endpoint) -> Summary:
    """One line of a list."""
    if isinstance(found, Endpoint):
        return _summary(found)
    named = {f"{found.kind}Name": found.name, f"{found.kind}Arn": found.arn}
    return {**named, "CreationTime": found.created}


def page(items: Sequence[Record | Endpoint], request: Document) -> tuple[list[Summary], str | None]:
    """One page of a list as the request wants it, and the token of the next."""
    kept = [each for each in items if _matches(each, request)]
    kept.sort(
        key=_KEYS[request.get("SortBy", "CreationTime")],
        reverse=request.get("SortOrder", "Descending") == "Descending",
    )
    token = request.get("NextToken", "0")
    if not token.isdecimal():
        raise invalid("Invalid NextToken.")
    begin, size = int(token), request.get("MaxResults", PAGE)
    more = begin + size < len(kept)
    shown = [summary(each) for each in kept[begin : begin + size]]
    return shown, str(begin + size) if more else None


_KEYS: Mapping[str, Callable[[Record | Endpoint], Any]] = {
    "Name": lambda each: each.name,
    "CreationTime": lambda each: each.created,
    "Status": lambda each: getattr(each, "status", ""),
}


def _matches(item: Record | Endpoint, request: Document) -> bool:
    if request.get("NameContains", "").lower() not in item.name.lower():
        return False
    wanted = request.get("StatusEquals")
    return wanted is None or getattr(item, "status", None) == wanted

"""OpenAPI 3.1 of a version and of a server, from the operations of each protocol."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from modelport.openapi import invocations, server, v1, v2
from modelport.openapi.about import About, Place
from modelport.openapi.operation import Operation, shared
from modelport.openapi.schemas import Schema

OPENAPI = "3.1.0"
SIGV4 = "sigv4"
#: With more tensors than this a document says objects of them all: gateways carry a few megabytes.
MAX_TENSORS = 256
_BY_TENSOR = ("V1PredictRequest", "V1PredictResponse", "V2InferRequest", "V2InferResponse")


def model_document(about: About, place: Place) -> dict[str, Any]:
    """Every operation of every protocol of this version, as asked for at ``place``."""
    told = [f"Version {about.version} of {about.model}; what was published is `{about.digest}`."]
    if place.selector and not place.selector.isdigit():
        told.append(f"This is what the alias {place.selector} means now.")
    elif not place.selector and place.router:
        told.append("Callers who name no version may be given another one.")
    if about.golden is None:
        told.append("Its example requests are too large to be shown here.")
    info = {
        "title": about.model,
        "version": str(about.version),
        "description": " ".join(told),
        "x-modelport-digest": about.digest,
    } | ({"summary": about.description} if about.description else {})
    components = v1.components(about) | v2.components(about) | invocations.components(about)
    if len(about.signature.inputs) + len(about.signature.outputs) > MAX_TENSORS:
        components |= {name: {"type": "object"} for name in _BY_TENSOR}
    operations = [
        *v1.operations(about, place),
        *v2.operations(about, place),
        *invocations.operations(about, place),
    ]
    signature = {"x-modelport-signature": about.signature.to_json()}
    return _document(info, place, operations, components) | signature


def server_document(place: Place) -> dict[str, Any]:
    """What can be asked of the server, and of any model by its name."""
    info = {
        "title": "modelport",
        "version": "2",
        "description": "Every model has a document of its own, with its schemas and examples:"
        " `/v2/models/{model}/openapi.json`.",
    }
    return _document(info, place, list(server.operations(place)), server.components())


def _document(
    info: dict[str, Any], place: Place, operations: list[Operation], schemas: Schema
) -> dict[str, Any]:
    iam = place.auth == "iam"
    refusals = {code for operation in operations for code in operation.refusals}
    components = shared(refusals | ({403} if iam else set()))
    components["schemas"] |= schemas
    document: dict[str, Any] = {
        "openapi": OPENAPI,
        "info": info,
        "servers": [{"url": place.root or "/", "description": "Where this document came from."}],
        "tags": [{"name": tag} for tag in dict.fromkeys(each.tag for each in operations)],
        "paths": _paths(operations, iam=iam),
        "components": components,
    }
    if iam:
        components["securitySchemes"] = {SIGV4: _SIGV4}
        document["security"] = [{SIGV4: []}]
    return document


def _paths(operations: Iterable[Operation], *, iam: bool) -> dict[str, Any]:
    paths: dict[str, Any] = {}
    for operation in operations:
        item = paths.setdefault(operation.path, {})
        item[operation.method.lower()] = operation.to_json(iam=iam)
    return paths


_SIGV4 = {
    "type": "apiKey",
    "name": "Authorization",
    "in": "header",
    "x-amazon-apigateway-authtype": "awsSigv4",
    "description": "AWS Signature Version 4 for the service `execute-api`: sign each request with"
    " credentials that may call `execute-api:Invoke` on this API.",
}

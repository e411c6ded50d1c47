"""The operations of the server itself, and those of any model with its name as a parameter."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from modelport.openapi import jobs, v1, v2
from modelport.openapi.about import Place
from modelport.openapi.invocations import TAG as INVOCATIONS
from modelport.openapi.operation import (
    JSON,
    OCTETS,
    PREDICTION,
    QUESTION,
    Operation,
    json_body,
    ref,
)
from modelport.openapi.schemas import Schema

TAG = "The server"
DOCS = "Documentation"
_TEXT: Schema = {"type": "string"}
_LIVE: Schema = {
    "type": "object",
    "properties": {"live": {"type": "boolean"}, "ready": {"type": "boolean"}},
}
#: As `modelport.refs` has it.
_MODEL = {
    "name": "model",
    "in": "path",
    "required": True,
    "description": "The model's name.",
    "schema": {"type": "string", "pattern": "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$", "maxLength": 40},
}


def operations(place: Place) -> Iterator[Operation]:
    """Everything that can be asked without knowing a model, and of any."""
    yield from _about_server(place)
    yield from _of_any_model(place)
    if place.router:
        yield from jobs.operations()


def components() -> Schema:
    """The schemas those operations refer to."""
    return v1.fixed_components() | v2.fixed_components() | jobs.components()


def _about_server(place: Place) -> Iterator[Operation]:
    for path, name, summary, schema in (
        ("/", "alive", "Whether anybody is there", {"type": "object"}),
        ("/v1/models", "v1List", "The models there are", _listed("models")),
        ("/v2", "v2Server", "Who answers, and which extensions it speaks", _SERVER),
        ("/v2/health/live", "v2Live", "Whether the server lives", _LIVE),
        ("/v2/health/ready", "v2ServerReady", "Whether the server can answer", _LIVE),
    ):
        yield _ask(path, TAG, name, summary, {JSON: json_body(schema)})
    counted = {JSON: json_body(ref("V2Statistics"))}
    yield _ask("/v2/models/stats", TAG, "v2ServerStats", "Requests to each version", counted)
    yield _repository(place)
    yield _ask("/ping", TAG, "ping", "SageMaker's and MLflow's question for health", {})
    yield _ask("/health", TAG, "health", "MLflow's other question for health", {})
    # A bare number, which MLflow's own server labels as JSON though it is none: no media type here.
    yield _ask("/version", TAG, "version", "The release of modelport that answers, bare", {})
    yield _ask("/openapi.json", DOCS, "openapi", "This document", {JSON: json_body(_OPENAPI)})
    yield _ask("/docs", DOCS, "docs", "The models, as a page", {"text/html": {"schema": _TEXT}})


def _repository(place: Place) -> Operation:
    ready: Schema = {"type": "object", "properties": {"ready": {"type": "boolean"}}}
    entry: Schema = {"type": "object", "required": ["name", "state", "reason"]}
    return Operation(
        "POST",
        "/v2/repository/index",
        TAG,
        "v2RepositoryIndex",
        "The versions of all models, and which of them answer",
        "`ready` leaves out those that do not answer. Versions are loaded by deploying them, so"
        " the protocol's load and unload are refused.",
        # A runtime has one version, which is ready when it answers: it need not read the body.
        request={JSON: json_body(ready, ("all", {}), ("ready", {"ready": True}))}
        if place.router
        else {},
        answer={JSON: json_body({"type": "array", "items": entry})},
        refusals=(*QUESTION, 413, 415, 501),
        identified=False,
        body_needed=False,
    )


def _of_any_model(place: Place) -> Iterator[Operation]:
    v1_path, v2_path = "/v1/models/{model}", "/v2/models/{model}"
    html = {"text/html": {"schema": _TEXT}}
    anything = {"type": "object"}
    octets = {OCTETS: {"schema": {"type": "string", "format": "binary"}}}
    page = json_body(_OPENAPI)
    for path, tag, name, summary, answer in (
        (v1_path, v1.TAG, "v1Status", "Which versions run", {JSON: json_body(ref("V1Status"))}),
        (f"{v1_path}/metadata", v1.TAG, "v1Metadata", "Inputs and outputs, as V1 spells them",
         {JSON: json_body(ref("V1Metadata"))}),
        (v2_path, v2.TAG, "v2Metadata", "Inputs and outputs, as V2 spells them",
         {JSON: json_body(ref("V2Metadata"))}),
        (f"{v2_path}/ready", v2.TAG, "v2Ready", "Whether it is ready",
         {JSON: json_body(ref("V2Ready"))}),
        (f"{v2_path}/openapi.json", DOCS, "modelOpenapi", "All of a model's operations",
         {JSON: page}),
        (f"{v2_path}/docs", DOCS, "modelDocs", "The same as a page", html),
    ):  # fmt: skip
        yield _ask(path, tag, name, summary, answer, model=True)
    invocations = "/endpoints/{model}/invocations"
    for path, tag, name, media in (
        (f"{v1_path}:predict", v1.TAG, "v1Predict", {}),
        (f"{v2_path}/infer", v2.TAG, "v2Infer", octets),
        (invocations, INVOCATIONS, "invocations", octets),
    ):
        yield Operation(
            "POST", path, tag, name, "Predict; the model's own document has the schemas",
            jobs.ABOUT if place.router else "",
            parameters=(_MODEL,),
            request={JSON: json_body(anything), **media},
            answer={JSON: json_body(anything), **media},
            refusals=PREDICTION,
            also=_OTHERWISE if place.router else {},
        )  # fmt: skip


_OTHERWISE = {
    202: "The call has become a job, at `Location`.",
    303: "The answer lies at `Location`, for an hour.",
}


def _ask(
    path: str, tag: str, name: str, summary: str, answer: dict[str, Any], *, model: bool = False
) -> Operation:
    return Operation(
        "GET", path, tag, name, summary,
        parameters=(_MODEL,) if model else (),
        answer=answer, refusals=QUESTION if model else (500, 503), identified=model,
    )  # fmt: skip


def _listed(key: str) -> Schema:
    texts = {"type": "array", "items": _TEXT}
    return {"type": "object", "required": [key], "properties": {key: texts}}


_OPENAPI: Schema = {"type": "object", "required": ["openapi", "info", "paths"]}
_SERVER: Schema = {
    "type": "object",
    "required": ["name", "version", "extensions"],
    "properties": {
        "name": _TEXT,
        "version": _TEXT,
        "extensions": {"type": "array", "items": _TEXT},
    },
}

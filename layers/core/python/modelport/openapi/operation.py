"""One operation: a method, a path, what goes in, what comes out, and how it can go wrong.

The protocols say theirs as `Operation`s; here these become OpenAPI, with the headers, errors and
security that all have alike. It knows no protocol.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

JSON = "application/json"
OCTETS = "application/octet-stream"

#: What a question may be refused with, wherever it is asked.
QUESTION = (400, 404, 500, 503)
#: And a prediction; 502 and 429 come from between router and model.
PREDICTION = (400, 404, 413, 415, 429, 500, 501, 502, 503, 504)

REASONS: Mapping[int, tuple[str, str]] = {
    400: (
        "BadRequest",
        "The request cannot be read, or does not fit the model; the text says how.",
    ),
    401: ("Unauthenticated", "The caller is not known."),
    403: (
        "Forbidden",
        "The door's answer, before any model: the signature is missing or not valid.",
    ),
    404: ("NotFound", "There is no such model, version or alias here, or nothing of it runs."),
    405: ("MethodNotAllowed", "The path takes another method; `Allow` says which."),
    409: ("Conflict", "The present state does not allow it."),
    413: (
        "TooLarge",
        "The body is over a limit; the text has the size, the limit and the way out.",
    ),
    415: ("UnsupportedMediaType", "The media type or content coding cannot be read here."),
    429: ("Throttled", "Too many requests at once; `Retry-After` says when to come again."),
    500: ("Failed", "The model failed; its log has the details under the request id."),
    501: ("NotSupported", "The protocol has this, and this version or server does not."),
    502: ("BadGateway", "What runs the model did not answer as it should."),
    503: ("Unavailable", "The model is loading, or what is needed to reach it is away."),
    504: ("TimedOut", "The model did not answer in time."),
}


@dataclass(frozen=True, slots=True)
class Operation:
    """``request`` and ``answer`` are by media type: a media type object of OpenAPI each."""

    method: str
    path: str
    tag: str
    name: str
    summary: str
    description: str = ""
    parameters: tuple[Mapping[str, Any], ...] = ()
    request: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    answer: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    answered: str = "The answer."
    refusals: tuple[int, ...] = QUESTION
    identified: bool = True
    body_needed: bool = True
    #: Other answers that are no refusals, by status: what they mean.
    also: Mapping[int, str] = field(default_factory=dict)

    def to_json(self, *, iam: bool) -> dict[str, Any]:
        """The operation object."""
        good: dict[str, Any] = {"description": self.answered}
        if self.identified:
            good["headers"] = {name: {"$ref": _header(name)} for name in IDENTITY}
        if self.answer:
            good["content"] = dict(self.answer)
        refused = sorted({*self.refusals, *((403,) if iam else ())})
        responses = {str(code): {"$ref": _response(code)} for code in refused}
        operation: dict[str, Any] = {
            "operationId": self.name,
            "tags": [self.tag],
            "summary": self.summary,
            "responses": {
                "200": good,
                **{str(code): {"description": text} for code, text in self.also.items()},
                **responses,
            },
        }
        if self.description:
            operation["description"] = self.description
        if self.parameters:
            operation["parameters"] = list(self.parameters)
        if self.request:
            operation["requestBody"] = {"required": self.body_needed, "content": dict(self.request)}
        return operation


def json_body(schema: Mapping[str, Any], *examples: tuple[str, Any]) -> dict[str, Any]:
    """A media type object, with the examples that there are (None is none)."""
    shown = {name: {"value": value} for name, value in examples if value is not None}
    return {"schema": dict(schema)} | ({"examples": shown} if shown else {})


def ref(name: str) -> dict[str, str]:
    """A schema among the components."""
    return {"$ref": f"#/components/schemas/{name}"}


#: Headers of every answer about a model.
IDENTITY: Mapping[str, str] = {
    "x-modelport-model": "The model that answered.",
    "x-modelport-version": "Its version.",
    "x-modelport-digest": "The digest of exactly what was published as this version.",
    "x-modelport-request-id": "The id under which logs speak of this request.",
}
_ON_ERRORS = {
    "x-modelport-error": "What went wrong, as a stable code.",
    "retry-after": "Seconds after which it makes sense to try again.",
}


def shared(refusals: set[int]) -> dict[str, Any]:
    """The components that operations with these refusals refer to."""
    headers = {
        name: {"description": text, "schema": {"type": "string"}}
        for name, text in {**IDENTITY, **_ON_ERRORS}.items()
    }
    return {
        "headers": headers,
        "responses": {REASONS[code][0]: _refusal(code) for code in sorted(refusals)},
        "schemas": {
            "Error": {
                "type": "object",
                "required": ["error"],
                "properties": {
                    "error": {
                        "type": "string",
                        "description": "What was wrong, what is allowed, what to do.",
                    },
                    "error_code": {"type": "string", "description": "MLflow's word for it."},
                    "message": {"type": "string", "description": "As `error`, for MLflow."},
                },
            },
        },
    }


def _refusal(code: int) -> dict[str, Any]:
    schema = ref("Error")
    if code == 403:  # API Gateway's own words
        return {
            "description": REASONS[code][1],
            "content": {JSON: {"schema": {"type": "object"}}},
        }
    return {
        "description": REASONS[code][1],
        "headers": {
            name: {"$ref": _header(name)} for name in ("x-modelport-request-id", *_ON_ERRORS)
        },
        "content": {JSON: {"schema": schema}},
    }


def _header(name: str) -> str:
    return f"#/components/headers/{name}"


def _response(code: int) -> str:
    return f"#/components/responses/{REASONS[code][0]}"

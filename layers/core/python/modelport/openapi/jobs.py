"""The operations around a call: uploads before it, jobs in place of waiting for it.

Only the router has them, so only its documents of the server say them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from modelport.openapi.operation import JSON, OCTETS, Operation, json_body, ref
from modelport.openapi.schemas import Schema

TAG = "Large and long calls"
#: What every prediction understands beside its body.
ABOUT = (
    "A body that is too large for the API is uploaded first (`POST /uploads`) and named by the"
    " header `x-modelport-body`; an answer that is too large comes as 303 with where it lies. With"
    " `Prefer: respond-async`, or when the version takes longer than the API waits, the answer is"
    " 202 and a job: `GET /jobs/{job}`. `Idempotency-Key` makes repeated requests one job,"
    " `x-modelport-webhook` has a host told that the environment allows."
)
_TEXT: Schema = {"type": "string"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_ID: Schema = {"type": "string", "pattern": "^[0-9a-f]{32}$"}
_MOMENT: Schema = {"type": ["string", "null"], "format": "date-time"}
_JOB = {
    "name": "job",
    "in": "path",
    "required": True,
    "description": "The job's id.",
    "schema": _ID,
}


def operations() -> Iterator[Operation]:
    """Uploads and jobs."""
    length: Schema = {
        "type": "object",
        "properties": {"content_length": {"type": "integer", "minimum": 1}},
        "required": ["content_length"],
    }
    yield _operation(
        "POST",
        "/uploads",
        "upload",
        "A place to upload a body to",
        "PUT the body to `url` with `headers`, then send the request without a body and with the"
        " header `x-modelport-body`. The place takes exactly `content_length` bytes.",
        answer={JSON: json_body(ref("Upload"))},
        request={JSON: json_body(length, ("of 5 MB", {"content_length": 5_000_000}))},
        refusals=(400, 413),
    )
    job = {JSON: json_body(ref("Job"))}
    yield _operation(
        "GET", "/jobs/{job}", "job", "How far a job is",
        "Kept for a day after it was taken. `Retry-After` says when to ask again.",
        answer=job, refusals=(404,),
    )  # fmt: skip
    yield _operation(
        "GET", "/jobs/{job}/answer", "jobAnswer", "The model's answer, as it would have come",
        "In the protocol and with the status of the call. 303 where it is large.",
        answer={JSON: json_body({}), OCTETS: {"schema": {"type": "string", "format": "binary"}}},
        refusals=(400, 404, 409, 413, 415, 429, 502, 504),
        also={303: "The answer lies at `Location`, for an hour."},
    )  # fmt: skip
    yield _operation(
        "POST", "/jobs/{job}/cancel", "jobCancel", "Give a job up",
        "A model that runs for it is not stopped; its answer is dropped.",
        answer=job, refusals=(404, 409),
    )  # fmt: skip


def components() -> Schema:
    """The schemas those operations refer to."""
    return {
        "Upload": {
            "type": "object",
            "required": ["upload", "method", "url", "headers", "expires", "limit"],
            "properties": {
                "upload": _ID,
                "method": {"const": "PUT"},
                "url": _TEXT,
                "headers": {"type": "object", "additionalProperties": _TEXT},
                "expires": _MOMENT,
                "limit": _COUNT,
                "use": _TEXT,
            },
        },
        "Job": {
            "type": "object",
            "required": ["id", "status", "model", "version", "created", "expires", "attempts"],
            "properties": {
                "id": _ID,
                "status": {"enum": ["queued", "running", "succeeded", "failed", "canceled"]},
                "model": _TEXT,
                "version": _TEXT,
                **dict.fromkeys(("created", "started", "ended", "expires"), _MOMENT),
                "attempts": _COUNT,
                "answer": _of(status=_COUNT, content_type=_TEXT, bytes=_COUNT),
                "error": _of(code=_TEXT, message=_TEXT),
            },
        },
    }


def _operation(
    method: str,
    path: str,
    name: str,
    summary: str,
    description: str,
    *,
    refusals: tuple[int, ...],
    **more: Any,
) -> Operation:
    return Operation(
        method, path, TAG, name, summary, description,
        parameters=(_JOB,) if "{job}" in path else (),
        refusals=(*refusals, 500, 501, 503),
        identified=False,
        body_needed=False,
        **more,
    )  # fmt: skip


def _of(**properties: Schema) -> Schema:
    return {"type": "object", "required": list(properties), "properties": properties}

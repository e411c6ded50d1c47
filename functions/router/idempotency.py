"""One job per idempotency key, however often its request comes.

What a key stands for is written before the job is: a request that comes again finds the id, and
makes the job itself if the first one never did. Keys are each caller's own and last as long as
jobs. (IETF draft "The Idempotency-Key HTTP Header Field".) It must not make jobs.
"""

from __future__ import annotations

import hashlib
import json
import re

from modelport.envelope import Request
from modelport.errors import ConcurrentChangeError, IntegrityError, MalformedRequestError
from modelport.jobs import keys
from modelport.jobs.board import ATTEMPTS, Board
from modelport.jobs.errors import JobNotFoundError, KeyReusedError
from modelport.jobs.job import KEPT_S, Job
from modelport.jobs.webhooks import HEADER as WEBHOOK_HEADER
from modelport.sagemaker_envelope import VARIANT_HEADER

KEY_HEADER = "idempotency-key"
_KEY = re.compile(r"[\x21-\x7e]{1,255}")


def id_for(board: Board, request: Request, owner: str) -> tuple[str, Job | None]:
    """The id of the job to make, and the job if its request came before.

    Raises `KeyReusedError` for a key that came with another request, `MalformedRequestError` for
    one that is none, `ConcurrentChangeError` for one that others change all the time.
    """
    id, key = keys.new_id(), request.headers.get(KEY_HEADER)
    if key is None:
        return id, None
    if not _KEY.fullmatch(key):
        raise MalformedRequestError(f"{KEY_HEADER} is 1 to 255 printable ASCII characters")
    place, digest = keys.idempotency(owner, key), _digest(request)
    expires = board.clock() + KEPT_S
    body = json.dumps({"job": id, "request": digest, "expires": expires}).encode()
    for _ in range(ATTEMPTS):
        if board.store.create(place, body):
            return id, None
        document = board.store.get(place)
        if document is None:  # it has just been deleted
            continue
        job, before, until = _read(document.body)
        if until > board.clock():
            if before != digest:
                raise KeyReusedError("" if owner == keys.ANYONE else job)
            return job, _existing(board, job)
        if board.store.replace(place, body, document.etag):
            return id, None
    raise ConcurrentChangeError("the idempotency key", ATTEMPTS)


def _existing(board: Board, id: str) -> Job | None:
    """The job; None where whoever was to write it died before."""
    try:
        return board.get(id)
    except JobNotFoundError:
        return None


def _digest(request: Request) -> str:
    """What makes two requests the same one."""
    said = [request.headers.get(name, "") for name in _MEANT]
    head = "\n".join((request.method, request.path, *said, ""))
    return hashlib.sha256(head.encode() + request.body).hexdigest()


#: The headers that change what is asked.
_MEANT = (
    "content-type",
    "content-encoding",
    "accept",
    "inference-header-content-length",
    VARIANT_HEADER,
    "x-amzn-sagemaker-custom-attributes",
    "x-modelport-body",
    "x-modelport-version",
    WEBHOOK_HEADER,
)


def _read(body: bytes) -> tuple[str, str, float]:
    """What a key stands for: job, request, and until when."""
    try:
        found = json.loads(body)
        return str(found["job"]), str(found["request"]), float(found["expires"])
    except (ValueError, KeyError, TypeError) as error:
        raise IntegrityError("an idempotency key's document", "a job", repr(error)) from None

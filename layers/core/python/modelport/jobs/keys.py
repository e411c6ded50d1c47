"""Where everything lies in the payloads bucket, and the ids in those names.

An id is 128 random bits, which nobody can guess. What belongs to a caller whom the gateway knows
lies below that caller, so an id alone opens nothing of anybody else. Text only; nothing is read.
"""

from __future__ import annotations

import hashlib
import re
import secrets

JOBS = "jobs/"
UPLOADS, CALLS, IDEMPOTENCY = "uploads/", "calls/", "keys/"
RECORD = "job.json"
#: Owner of what callers leave whom the gateway does not know: whoever has the id.
ANYONE = "anyone"
_ID = re.compile(r"[0-9a-f]{32}")


def new_id() -> str:
    """A new id: 32 hexadecimal digits."""
    return secrets.token_hex(16)


def is_id(text: str) -> bool:
    """Whether ``text`` could be an id."""
    return _ID.fullmatch(text) is not None


def owner_of(identity: str) -> str:
    """The name under which a caller's things lie; "" is a caller nobody knows."""
    return hashlib.sha256(identity.encode()).hexdigest()[:32] if identity else ANYONE


def record(id: str) -> str:
    """The job's document."""
    return f"{JOBS}{id}/{RECORD}"


def request(id: str) -> str:
    """The body of the job's request."""
    return f"{JOBS}{id}/request"


def answer(id: str, run: str) -> str:
    """The answer of one run of the job: each has its own, so late ones overwrite nothing."""
    return f"{JOBS}{id}/answers/{run}"


def upload(owner: str, id: str) -> str:
    """A body that a caller uploads."""
    return f"{UPLOADS}{owner}/{id}"


def call(id: str, part: str) -> str:
    """The ``request`` or ``answer`` of a call that is no job."""
    return f"{CALLS}{id}/{part}"


def idempotency(owner: str, key: str) -> str:
    """What a caller's idempotency key stands for."""
    return f"{IDEMPOTENCY}{hashlib.sha256(f'{owner}/{key}'.encode()).hexdigest()}.json"

"""What a registry's refusal means, in our words: which error, and what to do about it.

Pure functions over status, headers and body; sends nothing. What a registry says is quoted short,
in one line, with our own secrets already out of it.
"""

from __future__ import annotations

import email.utils
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx

from modelport.errors import IntegrityError, ModelportError
from modelport.images.auth import login_hint
from modelport.images.errors import ImageNotFoundError, ImageRegistryError
from modelport.images.reference import Reference

#: Answers that may well be different in a moment.
RETRYABLE = frozenset({408, 425, 429, 500, 502, 503, 504})
_MAX_WORDS = 300
_FULL = re.compile(
    r"no space left|enospc|disk (?:is )?full|disk quota|insufficient storage"
    r"|quota.{0,20}exceeded|exceeded.{0,20}quota|storage.{0,20}(?:full|limit)",
    re.IGNORECASE,
)
#: The registry's own words for bytes that are not what their digest says.
_WRONG_BYTES = {"DIGEST_INVALID", "SIZE_INVALID", "MANIFEST_BLOB_UNKNOWN", "BLOB_UPLOAD_INVALID"}
#: What ECR says where tags never move and this one is another image's.
_TAKEN_TAG = "TAG_INVALID"


@dataclass(frozen=True, slots=True)
class Answer:
    """One whole answer of a registry."""

    status: int
    headers: httpx.Headers
    body: bytes = b""


def codes(answer: Answer) -> set[str]:
    """The error codes in an answer's body, as the distribution specification has them."""
    return {str(error.get("code", "")) for error in _errors(answer.body)}


def words(body: bytes) -> str:
    """What a body says, short and in one line; nothing of what is no text."""
    told = [f"{e.get('code', '')} {e.get('message') or ''}".strip() for e in _errors(body)]
    text = "; ".join(told)
    if not told and not body.lstrip().startswith(b"<"):
        text = body.decode("utf-8", "replace")
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line[:_MAX_WORDS] + "…" if len(line) > _MAX_WORDS else line


def is_full(answer: Answer) -> bool:
    """Whether the registry has no room left; trying again does not help."""
    if answer.status == 507:
        return True
    return answer.status >= 400 and _FULL.search(answer.body.decode("utf-8", "replace")) is not None


def retry_after(headers: httpx.Headers, now: Callable[[], float] = time.time) -> float | None:
    """The seconds a registry asks us to wait: a number or a date."""
    said = headers.get("Retry-After", "").strip()
    if said.isascii() and said.isdigit():
        return float(said)
    try:
        return max(email.utils.parsedate_to_datetime(said).timestamp() - now(), 0.0)
    except (ValueError, TypeError):
        return None


def refusal(
    reference: Reference,
    doing: str,
    answer: Answer,
    *,
    has_login: bool,
    has_unasked_login: Callable[[], bool] = bool,
    scrub: Callable[[str], str] = str,
) -> ModelportError:
    """The error for an answer that is none of those the request hoped for."""
    said = scrub(words(answer.body))
    told = f" ({answer.status}: {said})" if said else f" ({answer.status})"
    registry = reference.registry
    if is_full(answer):
        hint = "make room in it, or push to another: environment.image_repository"
        return ImageRegistryError(registry, f"is full while {doing}{told}", hint)
    if answer.status == 413:
        hint = "raise the limit of the registry or of the proxy before it (client_max_body_size)"
        return ImageRegistryError(registry, f"takes no body this large while {doing}{told}", hint)
    if answer.status == 403 and not has_login and has_unasked_login():
        hint = f"is {reference.name} in it, and is nothing in between, such as a firewall?"
        hint += f" else {login_hint(reference)}"
        return ImageRegistryError(
            registry, f"refuses us without asking for our login {doing}{told}", hint
        )
    if answer.status in (401, 403):
        whom = "our login" if has_login else "us without a login"
        hint = _permission_hint(reference) if has_login else login_hint(reference)
        return ImageRegistryError(registry, f"refuses {whom} {doing}{told}", hint)
    if codes(answer) & _WRONG_BYTES:
        return IntegrityError(f"{registry} while {doing}", "the bytes of the digest", said)
    if _TAKEN_TAG in codes(answer):
        hint = "push it under another tag, or under none: the digest is enough to deploy it"
        return ImageRegistryError(registry, f"refuses the tag while {doing}{told}", hint)
    if answer.status == 404:
        return ImageNotFoundError(str(reference), _missing_hint(reference, answer))
    return ImageRegistryError(registry, f"answers {answer.status} while {doing}{told}")


def _permission_hint(reference: Reference) -> str:
    if reference.ecr_region:
        return (
            "allow ecr:BatchCheckLayerAvailability, InitiateLayerUpload, UploadLayerPart,"
            " CompleteLayerUpload, PutImage, BatchGetImage and GetDownloadUrlForLayer to this role"
            f" or in the policy of repository {reference.name}; {login_hint(reference)}"
        )
    return f"may this user read and write {reference.name}? {login_hint(reference)}"


def _missing_hint(reference: Reference, answer: Answer) -> str:
    if "NAME_UNKNOWN" not in codes(answer):
        return f"look what is in it: skopeo list-tags docker://{reference.repository}"
    if region := reference.ecr_region:
        return (
            "create its repository: aws ecr create-repository"
            f" --repository-name {reference.name} --region {region}"
        )
    return f"create the repository {reference.name} in {reference.registry}, or correct its name"


def _errors(body: bytes) -> list[dict[str, Any]]:
    try:
        found = json.loads(body).get("errors")
    except (ValueError, AttributeError):
        return []
    if not isinstance(found, list):
        return []
    return [error for error in found if isinstance(error, dict)]

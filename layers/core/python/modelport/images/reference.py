"""Names of images: which registry, which repository in it, which tag or digest.

    HOST[:PORT]/NAME[:TAG][@sha256:HEX]

A name without a host is one of Docker Hub's, as everywhere. Pure text; asks no registry.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from modelport.errors import InvalidInputError

DOCKER_HUB = "docker.io"
#: Docker Hub answers the distribution API under another name than the one images carry.
_DOCKER_HUB_API = "registry-1.docker.io"
_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")

_HOST = re.compile(
    r"(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*|\[[0-9a-f:]+\])"
    r"(?::[0-9]{1,5})?",
    re.IGNORECASE,
)
_PART = r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*"
_NAME = re.compile(rf"{_PART}(?:/{_PART})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_ECR = re.compile(r"[0-9]{12}\.dkr\.ecr(?:-fips)?\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(?:\.cn)?")
_MAX_NAME = 255


class InvalidReferenceError(InvalidInputError):
    """Text that names no image."""

    code = "invalid-image"

    def __init__(self, text: str, problem: str) -> None:
        super().__init__(
            f"{text!r} names no image: {problem}",
            hint="write HOST/NAME:TAG or HOST/NAME@sha256:…, such as"
            " public.ecr.aws/lambda/python:3.12",
        )


@dataclass(frozen=True, slots=True)
class Reference:
    """An image, or with neither tag nor digest a repository."""

    registry: str
    name: str
    tag: str | None = None
    digest: str | None = None

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Read a reference; raises `InvalidReferenceError`."""
        rest, at, digest = text.strip().partition("@")
        if at and not _DIGEST.fullmatch(digest):
            raise InvalidReferenceError(text, "after @ comes sha256: and 64 hexadecimal digits")
        registry, rest = _split_registry(rest)
        name, colon, tag = rest.partition(":")
        if colon and not _TAG.fullmatch(tag):
            raise InvalidReferenceError(text, f"{tag!r} is no tag")
        if registry == DOCKER_HUB and "/" not in name:
            name = f"library/{name}"
        if not _HOST.fullmatch(registry) or not _port_fits(registry):
            raise InvalidReferenceError(text, f"{registry!r} is no host")
        if not _NAME.fullmatch(name) or len(name) > _MAX_NAME:
            raise InvalidReferenceError(
                text, f"{name!r} is no repository: lower-case words, digits, and . _ - / between"
            )
        return cls(registry.lower(), name, tag or None, digest or None)

    @property
    def which(self) -> str:
        """What to ask the repository for: the digest, else the tag, else ``latest``."""
        return self.digest or self.tag or "latest"

    @property
    def repository(self) -> Reference:
        """The repository alone."""
        return Reference(self.registry, self.name)

    def at(self, digest: str) -> Reference:
        """The image of this digest in the same repository; a tag would only say it twice."""
        return replace(self, tag=None, digest=digest)

    @property
    def is_loopback(self) -> bool:
        """Whether the registry is on this machine: the only place plain HTTP is spoken to."""
        return self.registry.rpartition(":")[0] in _LOOPBACK or self.registry in _LOOPBACK

    @property
    def ecr_region(self) -> str | None:
        """The region of a private registry in ECR; None for every other registry."""
        found = _ECR.fullmatch(self.registry)
        return found["region"] if found else None

    @property
    def api(self) -> str:
        """The base URL of the registry's API."""
        host = _DOCKER_HUB_API if self.registry == DOCKER_HUB else self.registry
        return f"{'http' if self.is_loopback else 'https'}://{host}"

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.registry}/{self.name}{tag}{digest}"


def _port_fits(registry: str) -> bool:
    port = registry.rpartition("]")[2].partition(":")[2]
    return not port or 0 < int(port) <= 65535


def _split_registry(text: str) -> tuple[str, str]:
    """Registry and the rest; a first part is a host when it could be no part of a name."""
    first, slash, rest = text.partition("/")
    if slash and (set(".:[") & set(first) or first == "localhost"):
        registry = DOCKER_HUB if first in ("index.docker.io", _DOCKER_HUB_API) else first
        return registry, rest
    return DOCKER_HUB, text

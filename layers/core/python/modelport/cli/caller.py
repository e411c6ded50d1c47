"""Calls a model over HTTP, in any of its protocols, signed with SigV4 when the API wants it.

Knows paths, signing and what an answer's headers say; prints nothing and decides no exit code.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import httpx

from modelport.cli.failures import EndpointUnavailableError
from modelport.errors import InvalidSettingError
from modelport.refs import ModelRef

if TYPE_CHECKING:
    from botocore.credentials import Credentials

Protocol = Literal["v1", "v2", "raw"]

KEY_HEADER = "x-modelport-key"
_REGION_IN_HOST = re.compile(r"\.execute-api\.([a-z0-9-]+)\.amazonaws\.")
_SIGNATURE_HEADERS = ("Authorization", "X-Amz-Date", "X-Amz-Security-Token")


@dataclass(frozen=True)
class Signer:
    """Signs requests for API Gateway (service ``execute-api``)."""

    credentials: Credentials
    region: str

    def headers(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes
    ) -> Mapping[str, str]:
        """The headers that sign exactly this request."""
        # Imported here: only a signed call pays the 0.1 s that botocore's signing takes to load.
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest

        request = AWSRequest(method=method, url=url, data=body, headers=dict(headers))
        in_host = _REGION_IN_HOST.search(url)
        region = in_host.group(1) if in_host else self.region
        SigV4Auth(self.credentials, "execute-api", region).add_auth(request)
        return {
            name: request.headers[name] for name in _SIGNATURE_HEADERS if name in request.headers
        }


@dataclass(frozen=True)
class Answer:
    """What came back: status, headers, body, and how long it took."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    duration_ms: float

    @property
    def ok(self) -> bool:
        return self.status < 400

    @property
    def served_by(self) -> dict[str, str]:
        """Model, version, digest and route that answered, as far as the answer says."""
        names = ("model", "version", "digest", "route")
        found = {name: self.headers.get(f"x-modelport-{name}") for name in names}
        return {name: value for name, value in found.items() if value}

    @property
    def problem(self) -> str:
        """The message of an error answer, in whichever shape it came."""
        try:
            document = json.loads(self.body)
        except ValueError:
            return self.body.decode(errors="replace").strip()[:500] or "no message"
        if isinstance(document, dict):
            said = document.get("error", document.get("message", document.get("Message")))
            if isinstance(said, dict):
                said = said.get("message")
            if isinstance(said, str):
                return said
        return json.dumps(document)[:500]


@dataclass(frozen=True)
class Caller:
    """An API's base URL and how to reach it; `signer` is None for an open API."""

    endpoint: str
    client: httpx.Client
    signer: Signer | None = None

    def post(self, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Send one request; raises `EndpointUnavailableError` when no answer comes."""
        try:
            request = self.client.build_request(
                "POST", self.endpoint.rstrip("/") + path, content=body, headers=dict(headers)
            )
        except httpx.InvalidURL as error:
            raise InvalidSettingError("MODELPORT_ENDPOINT", self.endpoint, str(error)) from None
        if self.signer is not None:
            request.headers.update(self.signer.headers("POST", str(request.url), headers, body))
        started = time.perf_counter()
        try:
            response = self.client.send(request)
        except httpx.TransportError as error:
            raise EndpointUnavailableError(self.endpoint, str(error) or repr(error)) from error
        elapsed = (time.perf_counter() - started) * 1000
        return Answer(response.status_code, response.headers, response.content, elapsed)


def path_of(ref: ModelRef, protocol: Protocol) -> str:
    """The path that calls a model in a protocol.

    >>> path_of(ModelRef("magika", version=3), "v1")
    '/v1/models/magika/versions/3:predict'
    """
    selector = str(ref.version or ref.alias or "")
    if protocol == "v1":
        kind = "versions" if ref.version else "labels"
        return f"/v1/models/{ref.name}{f'/{kind}/{selector}' if selector else ''}:predict"
    selected = f"/versions/{selector}" if selector else ""
    if protocol == "v2":
        return f"/v2/models/{ref.name}{selected}/infer"
    return f"/endpoints/{ref.name}{selected}/invocations"


def protocol_of(content_type: str, body: bytes) -> Protocol:
    """The protocol a body is written in: V1 and V2 are JSON with their own keys, else raw."""
    if content_type.partition(";")[0].strip().lower() != "application/json":
        return "raw"
    try:
        document: Any = json.loads(body)
    except ValueError:
        return "raw"
    if not isinstance(document, dict):
        return "raw"
    inputs = document.get("inputs")
    if isinstance(inputs, list) and any(isinstance(i, dict) and "datatype" in i for i in inputs):
        return "v2"
    return "v1" if "instances" in document or inputs is not None else "raw"

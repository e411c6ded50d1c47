"""InvokeEndpoint: what SageMaker lets through, to whom, and what it makes of the answer.

Headers that the API does not name are stripped in both directions, sizes and time are limited,
a variant is chosen by weight or by name, and an error of the container becomes a `ModelError`.
Bodies are passed on untouched and never logged.
"""

import asyncio
import logging
import random
import time
from collections.abc import Mapping
from urllib.parse import unquote

from lambda_host.journal import Journal
from lambda_host.wire import Answer, Request
from sagemaker_host import faults
from sagemaker_host.catalog import Account, request_id
from sagemaker_host.constraints import check, input_shape
from sagemaker_host.container_http import Answered, SilentError, TooLargeError, TooLongError
from sagemaker_host.endpoint import CREATING, DELETING, FAILED, Endpoint
from sagemaker_host.faults import BODY_LIMIT, NO_STATUS, ServiceError
from sagemaker_host.fleet import Fleet, Variant

log = logging.getLogger(__name__)
ATTRIBUTES = "x-amzn-sagemaker-custom-attributes"
ATTRIBUTES_LIMIT = 1024
VARIANT = "x-Amzn-Invoked-Production-Variant"
OCTETS = "application/octet-stream"
EXCERPT = 1024
_SHAPE = input_shape("sagemaker-runtime", "InvokeEndpoint")
_HEADERS = {
    member.serialization["name"].lower(): name
    for name, member in _SHAPE.members.items()
    if member.serialization.get("location") == "header"
}
"""The headers of the API by their name on the wire: no other reaches a container."""
_BACK = (ATTRIBUTES, "x-amzn-sagemaker-new-session-id", "x-amzn-sagemaker-closed-session-id")
"""The container's headers that reach the caller, beside its content type."""


class DataPlane:
    """Answers invocations of the endpoints there are."""

    def __init__(
        self, account: Account, endpoints: Mapping[str, Endpoint], chance: random.Random
    ) -> None:
        self._account = account
        self._endpoints = endpoints
        self._chance = chance
        self._copies: set[asyncio.Task[None]] = set()

    async def handle(self, request: Request) -> Answer:
        """Answer ``POST /endpoints/NAME/invocations``."""
        identifier = request_id()
        try:
            name = _endpoint_name(request)
            answer = await self._invoke(name, request, identifier)
        except ServiceError as error:
            answer = error.answer()
        headers = {**answer.headers, "x-amzn-RequestId": identifier}
        return Answer(answer.status, answer.body, headers, answer.content_type)

    async def _invoke(self, name: str, request: Request, identifier: str) -> Answer:
        headers = {key: value for key, value in request.headers.items() if key in _HEADERS}
        named: dict[str, str] = {_HEADERS[key]: value for key, value in headers.items()}
        check(_SHAPE, {"EndpointName": name, "Body": b"", **named}, "ValidationError")
        if len(request.body) > BODY_LIMIT:
            raise faults.body_too_large(BODY_LIMIT)
        endpoint = self._endpoint(name)
        fleet = _fleet(endpoint)
        variant = fleet.choose(named.get("TargetVariant"), self._chance)
        if variant is None:
            wanted = named.get("TargetVariant", "of any weight")
            raise faults.not_invocable(f"Variant {wanted} not found for Request")
        if len(request.body) > variant.plan.body_limit:
            raise faults.body_too_large(variant.plan.body_limit)
        headers.setdefault("content-type", OCTETS)
        for shadow in fleet.copies(variant, self._chance):
            self._copy(shadow, headers, request.body, endpoint.journal)
        return await self._answer(endpoint, variant, headers, request.body, identifier)

    def _endpoint(self, name: str) -> Endpoint:
        endpoint = self._endpoints.get(name.lower())
        if endpoint is None or endpoint.name != name or endpoint.status == DELETING:
            known = f"Endpoint {name} of account {self._account.id}"
            raise faults.not_invocable(f"{known} not found.")
        return endpoint

    async def _answer(
        self,
        endpoint: Endpoint,
        variant: Variant,
        headers: Mapping[str, str],
        body: bytes,
        identifier: str,
    ) -> Answer:
        began, outcome = time.monotonic(), "no answer"
        try:
            answered = await self._ask(endpoint, variant, headers, body)
            outcome = str(answered.status)
        except ServiceError as error:
            outcome = f"{error.code} {error.fields.get('OriginalStatusCode', '')}".strip()
            raise
        finally:
            took = (time.monotonic() - began) * 1000
            endpoint.journal.line(
                f"INVOKE RequestId: {identifier} Variant: {variant.plan.name} "
                f"Status: {outcome} Duration: {took:.2f} ms"
            )
        back = {key: answered.headers[key] for key in _BACK if key in answered.headers}
        content_type = answered.headers.get("content-type", OCTETS)
        named = {**back, VARIANT: variant.plan.name}
        return Answer(200, answered.body, named, content_type)

    async def _ask(
        self, endpoint: Endpoint, variant: Variant, headers: Mapping[str, str], body: bytes
    ) -> Answered:
        """A good answer of the variant; everything else is raised as `ServiceError`."""
        instance = variant.pick(self._chance)
        if instance is None:
            raise faults.unavailable(f"No instance of variant {variant.plan.name} is healthy.")
        stream = f"{variant.plan.name}/{instance.id}"
        try:
            answered = await instance.invoke(headers, body)
        except TooLongError:
            raise self._failed(endpoint, stream, NO_STATUS, faults.timed_out()) from None
        except TooLargeError:
            said = f"The answer of container primary is larger than {BODY_LIMIT} bytes."
            raise self._failed(endpoint, stream, NO_STATUS, said) from None
        except SilentError as problem:
            said = f"Container primary gave no answer: {problem}"
            raise self._failed(endpoint, stream, NO_STATUS, said) from None
        if not 200 <= answered.status < 300:
            said = answered.body[:EXCERPT].decode("utf-8", "replace")
            raise self._failed(endpoint, stream, answered.status, said)
        if len(answered.headers.get(ATTRIBUTES, "")) > ATTRIBUTES_LIMIT:
            said = f"Container primary answered with more than {ATTRIBUTES_LIMIT} characters of "
            raise self._failed(endpoint, stream, NO_STATUS, f"{said}custom attributes.")
        return answered

    def _failed(self, endpoint: Endpoint, stream: str, status: int, said: str) -> ServiceError:
        group = f"/aws/sagemaker/Endpoints/{endpoint.name}"
        arn = f"arn:aws:logs:{self._account.region}:{self._account.id}:log-group:{group}"
        where = f"{group} in account {self._account.id}"
        return faults.model_error(status, said, f"{arn}:log-stream:{stream}", where)

    def _copy(
        self, shadow: Variant, headers: Mapping[str, str], body: bytes, journal: Journal
    ) -> None:
        """Send a copy whose answer nobody waits for."""

        async def send() -> None:
            outcome: object = "no healthy instance"
            if instance := shadow.pick(self._chance):
                try:
                    outcome = (await instance.invoke(headers, body)).status
                except (TooLongError, TooLargeError, SilentError) as problem:
                    outcome = type(problem).__name__
            journal.line(f"SHADOW Variant: {shadow.plan.name} Status: {outcome}")

        task = asyncio.create_task(send())
        self._copies.add(task)
        task.add_done_callback(self._copies.discard)


def _endpoint_name(request: Request) -> str:
    match request.path.partition("?")[0].split("/"):
        case ["", "endpoints", name, "invocations"] if name:
            return unquote(name)
        case ["", "endpoints", _, ("async-invocations" | "invocations-response-stream") as kind]:
            raise faults.not_invocable(f"{kind} is not supported by this SageMaker host.")
    raise ServiceError("UnknownOperationException", f"no operation at {request.path}", 404)


def _fleet(endpoint: Endpoint) -> Fleet:
    if endpoint.status == CREATING:
        raise faults.not_ready(f"Endpoint {endpoint.name} is still being created.")
    if endpoint.status == FAILED or endpoint.fleet is None:
        raise faults.not_invocable(f"Endpoint {endpoint.name} is not in service.")
    return endpoint.fleet

"""SageMaker's control plane as far as endpoints go: one method per operation.

A request is checked against the service model, then against the rules between its members;
what begins here goes on in the endpoint. Nothing here speaks HTTP to a container.
"""

import json
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from botocore.model import OperationNotFoundError
from lambda_host.wire import Answer, Request
from sagemaker_host import describing, faults
from sagemaker_host.catalog import Account, Document, Shelf, Tags, request_id
from sagemaker_host.constraints import check, input_shape, service_model
from sagemaker_host.endpoint import Endpoint, retained
from sagemaker_host.faults import ServiceError
from sagemaker_host.fleet import Fleet, Variant
from sagemaker_host.plans import changes, check_config, check_model, plans

TARGET = "SageMaker."
CONTENT_TYPE = "application/x-amz-json-1.1"
Reply = Mapping[str, Any]
NewEndpoint = Callable[[str, str], Endpoint]
NewVariant = Callable[[Any, Endpoint], Variant]


class ControlPlane:
    """Everything that has been created, and the operations on it."""

    def __init__(self, account: Account, new_endpoint: NewEndpoint, new_variant: NewVariant):
        self.account = account
        self.models = Shelf("Model", account)
        self.configs = Shelf("EndpointConfig", account)
        self.endpoints: dict[str, Endpoint] = {}
        """By name in small letters: only an invocation minds the case."""
        self._tags = Tags()
        self._new_endpoint = new_endpoint
        self._new_variant = new_variant

    async def handle(self, request: Request) -> Answer:
        """Answer one AWS JSON 1.1 request."""
        try:
            reply = self._operate(request)
        except ServiceError as error:
            return _json(error.answer())
        return _json(Answer(200, json.dumps(reply).encode()))

    def _operate(self, request: Request) -> Reply:
        name = request.headers.get("x-amz-target", "").removeprefix(TARGET)
        try:
            model = service_model("sagemaker").operation_model(name)
        except OperationNotFoundError:
            raise ServiceError("UnknownOperationException", f"no operation {name}") from None
        operation = getattr(self, _snake(name), None)
        if operation is None:
            problem = f"{name} is not supported by the SageMaker host of the local cloud"
            raise ServiceError("UnknownOperationException", problem)
        try:
            document = json.loads(request.body or b"{}")
        except ValueError:
            raise ServiceError("SerializationException", "the request is not JSON") from None
        check(input_shape("sagemaker", model.name), document)
        reply: Reply = operation(document)
        return reply

    def create_model(self, asked: Document) -> Reply:
        """Keep a model."""
        self.models.check_free(asked["ModelName"])
        check_model(asked)
        return {"ModelArn": self._keep(self.models, asked)}

    def create_endpoint_config(self, asked: Document) -> Reply:
        """Keep an endpoint configuration."""
        self.configs.check_free(asked["EndpointConfigName"])
        check_config(asked, self.models)
        return {"EndpointConfigArn": self._keep(self.configs, asked)}

    def _keep(self, shelf: Shelf, asked: Document) -> str:
        record = shelf.add(asked[f"{shelf.kind}Name"], asked)
        self._tags.add(record.arn, asked.get("Tags") or ())
        return record.arn

    def describe_model(self, asked: Document) -> Reply:
        """A model."""
        return describing.record(self.models.find(asked["ModelName"]))

    def describe_endpoint_config(self, asked: Document) -> Reply:
        """An endpoint configuration."""
        return describing.record(self.configs.find(asked["EndpointConfigName"]))

    def delete_model(self, asked: Document) -> Reply:
        """Forget a model; endpoints that run it go on."""
        self._tags.forget(self.models.remove(asked["ModelName"]).arn)
        return {}

    def delete_endpoint_config(self, asked: Document) -> Reply:
        """Forget an endpoint configuration; an endpoint that uses it goes on."""
        self._tags.forget(self.configs.remove(asked["EndpointConfigName"]).arn)
        return {}

    def list_models(self, asked: Document) -> Reply:
        """Models, a page at a time."""
        return _page("Models", *describing.page(list(self.models), asked))

    def list_endpoint_configs(self, asked: Document) -> Reply:
        """Endpoint configurations, a page at a time."""
        return _page("EndpointConfigs", *describing.page(list(self.configs), asked))

    def list_endpoints(self, asked: Document) -> Reply:
        """Endpoints, a page at a time."""
        return _page("Endpoints", *describing.page(list(self.endpoints.values()), asked))

    def create_endpoint(self, asked: Document) -> Reply:
        """Begin an endpoint."""
        name = asked["EndpointName"]
        arn = self.account.arn("Endpoint", name)
        if name.lower() in self.endpoints:
            raise faults.already_there("endpoint", arn)
        endpoint = self._new_endpoint(name, arn)
        fleet = self._fleet(asked["EndpointConfigName"], endpoint)
        self.endpoints[name.lower()] = endpoint
        self._tags.add(arn, asked.get("Tags") or ())
        endpoint.create(fleet, asked.get("DeploymentConfig"))
        return {"EndpointArn": arn}

    def update_endpoint(self, asked: Document) -> Reply:
        """Begin to move an endpoint to another configuration."""
        endpoint = self.find(asked["EndpointName"])
        old = endpoint.serving()
        fleet = self._fleet(asked["EndpointConfigName"], endpoint)
        if asked.get("RetainAllVariantProperties"):
            excluded = asked.get("ExcludeRetainedVariantProperties") or ()
            kinds = {each["VariantPropertyType"] for each in excluded}
            retained(fleet, old, kinds)
        kept = endpoint.deployment if asked.get("RetainDeploymentConfig") else None
        endpoint.update(fleet, asked.get("DeploymentConfig") or kept)
        return {"EndpointArn": endpoint.arn}

    def update_endpoint_weights_and_capacities(self, asked: Document) -> Reply:
        """Begin to change weights and instance counts."""
        endpoint = self.find(asked["EndpointName"])
        fleet = endpoint.serving()
        endpoint.reweigh(changes(asked["DesiredWeightsAndCapacities"], fleet.variants))
        return {"EndpointArn": endpoint.arn}

    def describe_endpoint(self, asked: Document) -> Reply:
        """An endpoint as it is now."""
        return describing.endpoint(self.find(asked["EndpointName"]))

    def delete_endpoint(self, asked: Document) -> Reply:
        """Begin to end an endpoint."""
        endpoint = self.find(asked["EndpointName"])
        endpoint.delete(partial(self._forget, endpoint))
        return {}

    def _forget(self, endpoint: Endpoint) -> None:
        del self.endpoints[endpoint.name.lower()]
        self._tags.forget(endpoint.arn)

    def add_tags(self, asked: Document) -> Reply:
        """Set tags of anything."""
        return {"Tags": self._tags.add(self._known(asked), asked["Tags"])}

    def list_tags(self, asked: Document) -> Reply:
        """The tags of anything."""
        return {"Tags": self._tags.of(self._known(asked))}

    def delete_tags(self, asked: Document) -> Reply:
        """Take tags off."""
        self._tags.remove(self._known(asked), asked["TagKeys"])
        return {}

    def _known(self, asked: Document) -> str:
        arn = str(asked["ResourceArn"])
        known = [each.arn for each in (*self.models, *self.configs, *self.endpoints.values())]
        if arn not in known:
            raise faults.invalid(f"No resource found with arn: {arn}")
        return arn

    def find(self, name: str) -> Endpoint:
        """The endpoint of that name; raises `ServiceError`."""
        if name.lower() not in self.endpoints:
            raise faults.not_found("endpoint", self.account.arn("Endpoint", name))
        return self.endpoints[name.lower()]

    def _fleet(self, config_name: str, endpoint: Endpoint) -> Fleet:
        config = self.configs.find(config_name)

        def made(member: str) -> list[Variant]:
            found = plans(config.document, self.models, member)
            return [self._new_variant(plan, endpoint) for plan in found]

        return Fleet(config, made("ProductionVariants"), made("ShadowProductionVariants"))


def _page(member: str, shown: list[describing.Summary], token: str | None) -> Reply:
    return {member: shown, **({"NextToken": token} if token else {})}


def _snake(operation: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", operation).lower()


def _json(answer: Answer) -> Answer:
    headers = {**answer.headers, "x-amzn-RequestId": request_id()}
    return Answer(answer.status, answer.body, headers, CONTENT_TYPE)

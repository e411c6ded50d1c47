"""Application Auto Scaling as far as endpoints go: targets and policies are kept and listed.

Nothing is scaled here: an instance count is what the endpoint configuration or a caller says.
Requests are checked against the service model, and a target must be a variant that exists.
"""

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from botocore.model import OperationNotFoundError
from lambda_host.wire import Answer, Request
from sagemaker_host.catalog import Account, Document, request_id
from sagemaker_host.constraints import check, input_shape, service_model
from sagemaker_host.control_plane import CONTENT_TYPE
from sagemaker_host.endpoint import Endpoint
from sagemaker_host.faults import ServiceError, invalid

TARGET = "AnyScaleFrontendService."
SERVICE = "application-autoscaling"
Reply = Mapping[str, Any]
Key = tuple[str, str, str]


class Scaling:
    """What has been registered, by service, resource and dimension."""

    def __init__(self, account: Account, endpoints: Mapping[str, Endpoint]) -> None:
        self._account = account
        self._endpoints = endpoints
        self._targets: dict[Key, dict[str, Any]] = {}
        self._policies: dict[tuple[Key, str], dict[str, Any]] = {}
        self._operations: Mapping[str, Callable[[Document], Reply]] = {
            "RegisterScalableTarget": self._register,
            "DeregisterScalableTarget": self._deregister,
            "DescribeScalableTargets": self._describe_targets,
            "PutScalingPolicy": self._put_policy,
            "DeleteScalingPolicy": self._delete_policy,
            "DescribeScalingPolicies": self._describe_policies,
        }

    async def handle(self, request: Request) -> Answer:
        """Answer one AWS JSON 1.1 request."""
        try:
            answer = Answer(200, json.dumps(self._operate(request)).encode())
        except ServiceError as error:
            answer = error.answer()
        headers = {**answer.headers, "x-amzn-RequestId": request_id()}
        return Answer(answer.status, answer.body, headers, CONTENT_TYPE)

    def _operate(self, request: Request) -> Reply:
        name = request.headers["x-amz-target"].removeprefix(TARGET)
        try:
            service_model(SERVICE).operation_model(name)
            operation = self._operations[name]
        except (OperationNotFoundError, KeyError):
            problem = f"{name} is not supported by the SageMaker host of the local cloud"
            raise ServiceError("UnknownOperationException", problem) from None
        document = json.loads(request.body or b"{}")
        check(input_shape(SERVICE, name), document)
        return operation(document)

    def _register(self, asked: Document) -> Reply:
        key = _key(asked)
        self._check_resource(asked)
        known = self._targets.get(key, {})
        if not known and not {"MinCapacity", "MaxCapacity"} <= asked.keys():
            raise invalid("MinCapacity and MaxCapacity are needed to register a scalable target.")
        target = {"CreationTime": time.time(), "RoleARN": _ROLE, **known, **asked}
        target["ScalableTargetARN"] = self._arn("scalable-target", key)
        self._targets[key] = target
        return {"ScalableTargetARN": target["ScalableTargetARN"]}

    def _check_resource(self, asked: Document) -> None:
        match asked["ResourceId"].split("/"):
            case ["endpoint", name, "variant", variant]:
                endpoint = self._endpoints.get(name.lower())
                if endpoint and endpoint.fleet and variant in endpoint.fleet.variants:
                    return
        raise invalid(f"No endpoint variant found for resource ID: {asked['ResourceId']}")

    def _deregister(self, asked: Document) -> Reply:
        key = _key(asked)
        self._known(key)
        del self._targets[key]
        self._policies = {each: kept for each, kept in self._policies.items() if each[0] != key}
        return {}

    def _known(self, key: Key) -> None:
        if key not in self._targets:
            problem = f"No scalable target found for service namespace: {key[0]}, resource ID: "
            raise ServiceError(
                "ObjectNotFoundException", f"{problem}{key[1]}, scalable dimension: {key[2]}"
            )

    def _describe_targets(self, asked: Document) -> Reply:
        wanted = asked.get("ResourceIds")
        shown = [
            target
            for key, target in self._targets.items()
            if key[0] == asked["ServiceNamespace"] and (wanted is None or key[1] in wanted)
        ]
        return {"ScalableTargets": shown}

    def _put_policy(self, asked: Document) -> Reply:
        key = _key(asked)
        self._known(key)
        policy = {"CreationTime": time.time(), "Alarms": [], **asked}
        policy["PolicyARN"] = f"{self._arn('scalingPolicy', key)}:policyName/{asked['PolicyName']}"
        self._policies[key, asked["PolicyName"]] = policy
        return {"PolicyARN": policy["PolicyARN"], "Alarms": []}

    def _delete_policy(self, asked: Document) -> Reply:
        key = (_key(asked), asked["PolicyName"])
        if key not in self._policies:
            raise ServiceError("ObjectNotFoundException", f"No scaling policy {key[1]} found.")
        del self._policies[key]
        return {}

    def _describe_policies(self, asked: Document) -> Reply:
        wanted = asked.get("ResourceId")
        shown = [
            policy
            for (key, _), policy in self._policies.items()
            if key[0] == asked["ServiceNamespace"] and wanted in (None, key[1])
        ]
        return {"ScalingPolicies": shown}

    def _arn(self, kind: str, key: Key) -> str:
        service = f"arn:aws:{SERVICE}:{self._account.region}:{self._account.id}"
        return f"{service}:{kind}/resource/{key[0]}/{key[1]}"


_ROLE = (
    "arn:aws:iam::000000000000:role/aws-service-role/"
    "sagemaker.application-autoscaling.amazonaws.com/"
    "AWSServiceRoleForApplicationAutoScaling_SageMakerEndpoint"
)


def _key(asked: Document) -> Key:
    return asked["ServiceNamespace"], asked["ResourceId"], asked["ScalableDimension"]

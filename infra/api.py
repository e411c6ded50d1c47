"""The public door: an HTTP API by default, a REST API by setting; the router gets everything.

Paths, methods and bodies are the router's business: one catch-all route, bodies unvalidated and, on
a REST API, every media type binary. Both doors authorise with IAM unless the environment says none,
throttle, and log each access.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from aws_cdk import Duration, Stack
from aws_cdk import aws_apigateway as rest
from aws_cdk import aws_apigatewayv2 as http
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk.aws_apigatewayv2_authorizers import HttpIamAuthorizer
from aws_cdk.aws_apigatewayv2_integrations import HttpLambdaIntegration
from modelport.deployments import Environment

from infra import review

#: What is logged of an access: who, what, how it ended; never a payload.
_ACCESS_FIELDS = {
    "request_id": "$context.requestId",
    "source_ip": "$context.identity.sourceIp",
    "caller": "$context.identity.caller",
    "method": "$context.httpMethod",
    "path": "$context.path",
    "protocol": "$context.protocol",
    "status": "$context.status",
    "response_bytes": "$context.responseLength",
    "latency_ms": "$context.responseLatency",
    "at": "$context.requestTime",
}
#: One stage; it stands in the path of a REST API.
REST_STAGE = "live"
#: How long a stream may last: API Gateway's limit, and Lambda's.
STREAM_LIMIT = Duration.minutes(15)


@dataclass(frozen=True, slots=True)
class Door:
    """What the rest of the platform needs to know about the API."""

    id: str
    endpoint: str
    requests: list[cloudwatch.IMetric]
    failures: cloudwatch.Metric


def open_door(
    stack: Stack,
    environment: Environment,
    router: lambda_.IFunction,
    access_log: logs.LogGroup,
    streamer: lambda_.IFunction | None,
) -> Door:
    """Create the API that the environment asks for; ``streamer`` for a REST API that streams."""
    if environment.api == "rest":
        return _rest_api(stack, environment, router, access_log, streamer)
    return _http_api(stack, environment, router, access_log)


def _http_api(
    stack: Stack, environment: Environment, router: lambda_.IFunction, access_log: logs.LogGroup
) -> Door:
    api = http.HttpApi(
        stack,
        "HttpApi",
        api_name=f"modelport-{environment.name}",
        create_default_stage=False,
        default_integration=HttpLambdaIntegration("Router", router),
        default_authorizer=HttpIamAuthorizer() if environment.auth == "iam" else None,
    )
    stage = http.HttpStage(
        stack,
        "HttpStage",
        http_api=api,
        stage_name="$default",
        auto_deploy=True,
        throttle=http.ThrottleSettings(
            rate_limit=environment.throttle_rate, burst_limit=environment.throttle_burst
        ),
    )
    resource = stage.node.default_child
    assert isinstance(resource, http.CfnStage)
    resource.access_log_settings = http.CfnStage.AccessLogSettingsProperty(
        destination_arn=access_log.log_group_arn, format=json.dumps(_ACCESS_FIELDS)
    )
    if environment.auth == "none":
        review.accept_open_http_api(api)
    return Door(
        id=api.api_id,
        endpoint=api.api_endpoint,
        requests=[stage.metric_count(), stage.metric_client_error(), stage.metric_server_error()],
        failures=stage.metric_server_error(),
    )


def _rest_api(
    stack: Stack,
    environment: Environment,
    router: lambda_.IFunction,
    access_log: logs.LogGroup,
    streamer: lambda_.IFunction | None,
) -> Door:
    iam = environment.auth == "iam"
    api = rest.LambdaRestApi(
        stack,
        "RestApi",
        rest_api_name=f"modelport-{environment.name}",
        handler=router,
        proxy=False,
        integration_options=rest.LambdaIntegrationOptions(allow_test_invoke=False),
        binary_media_types=["*/*"],
        endpoint_types=[rest.EndpointType.REGIONAL],
        default_method_options=rest.MethodOptions(
            authorization_type=rest.AuthorizationType.IAM if iam else rest.AuthorizationType.NONE
        ),
        cloud_watch_role=True,
        deploy_options=rest.StageOptions(
            stage_name=REST_STAGE,
            throttling_rate_limit=environment.throttle_rate,
            throttling_burst_limit=environment.throttle_burst,
            access_log_destination=rest.LogGroupLogDestination(access_log),
            access_log_format=rest.AccessLogFormat.custom(json.dumps(_ACCESS_FIELDS)),
            logging_level=rest.MethodLoggingLevel.ERROR,
            data_trace_enabled=False,
            metrics_enabled=True,
        ),
    )
    api.root.add_proxy()
    if streamer is not None:
        _stream(api, streamer)
    # The construct's own output; ApiEndpoint says the same for both kinds of API.
    api.node.try_remove_child("Endpoint")
    review.accept_rest_api(api, open=not iam)
    return Door(
        id=api.rest_api_id,
        endpoint=(
            f"https://{api.rest_api_id}.execute-api.{stack.region}.{stack.url_suffix}/{REST_STAGE}"
        ),
        requests=[api.metric_count(), api.metric_client_error(), api.metric_server_error()],
        failures=api.metric_server_error(),
    )


def _stream(api: rest.RestApi, streamer: lambda_.IFunction) -> None:
    """Give generate_stream, of a model and of its versions, to ``streamer``.

    A path that leads to it has a method of its own at every step and catches what goes on
    elsewhere: whether a gateway goes back to the first catch-all from there is not written down.
    """
    v2 = api.root.add_resource("v2")
    models = v2.add_resource("models")
    model = models.add_resource("{model}")
    versions = model.add_resource("versions")
    version = versions.add_resource("{version}")
    for resource in (v2, models, model, versions, version):
        resource.add_method("ANY")
    for resource in (v2, model, version):
        resource.add_proxy()
    streaming = rest.LambdaIntegration(
        streamer,
        allow_test_invoke=False,
        response_transfer_mode=rest.ResponseTransferMode.STREAM,
        timeout=STREAM_LIMIT,
    )
    for resource in (model, version):
        resource.add_resource("generate_stream").add_method("ANY", streaming)

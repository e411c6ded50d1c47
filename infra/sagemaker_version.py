"""A version as a SageMaker endpoint: model, configuration, endpoint, its log, alarms and scaling.

Models and configurations cannot be changed, so their names carry a digest of what is in them and a
change makes new ones. The endpoint keeps its name and moves from one configuration to the next by
blue/green: beside the old instances, back on an alarm.
"""

from __future__ import annotations

from typing import Any

from aws_cdk import Fn, Stack
from aws_cdk import aws_applicationautoscaling as scaling
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_logs as logs
from aws_cdk import aws_sagemaker as sagemaker
from modelport.sagemaker_envelope import TIME_LIMIT_S
from modelport.sagemaker_settings import Rollout, SageMaker, check_variables

from infra import alarms, endpoint_permissions, naming, permissions, review
from infra.deployed_version import DeployedVersion, Running, fingerprint
from infra.function_logs import endpoint_logs
from infra.payloads import payloads_url

VARIANT = "primary"
SHADOW_VARIANT = "shadow"
#: Where captured requests and answers go in the environment's bucket, beside the registry's keys.
CAPTURES = "captures"
_MAX_NAME = 63
_Tracking = scaling.CfnScalingPolicy.TargetTrackingScalingPolicyConfigurationProperty


def sagemaker_version(
    stack: Stack, version: DeployedVersion, shadow: DeployedVersion | None
) -> Running:
    """Put the version's endpoint into its stack."""
    settings = version.entry.sagemaker
    key_arn = Fn.import_value(naming.export(version.environment.name, naming.KEY_ARN))
    key = kms.Key.from_key_arn(stack, "Key", key_arn)
    group, log = endpoint_logs(stack, "EndpointLogs", version.name, version.environment, key)
    role = _role(stack, version, shadow, key, group)
    models = [_model(stack, "Model", version, role, settings)]
    if shadow is not None:
        models.append(_model(stack, "ShadowModel", shadow, role, settings, beside=version))
    config = _config(stack, version, key, [str(model.model_name) for model in models])
    for model in models:
        config.add_dependency(model)
    watch = alarms.EndpointAlarms(
        stack,
        "EndpointAlarms",
        endpoint=version.name,
        variant=VARIANT,
        settings=settings,
        topic=version.environment.alarm_topic,
    )
    endpoint = _endpoint(stack, version, config, watch)
    endpoint.node.add_dependency(log)
    needs = (endpoint, watch, *_scaling(stack, version, endpoint))
    return Running(
        resource=version.name,
        settings={
            "InstanceType": settings.instance_type,
            "Instances": settings.instances,
            "TimeoutS": int(TIME_LIMIT_S),
        },
        needs=needs,
        fingerprint=fingerprint(str(config.endpoint_config_name)),
    )


def _role(
    stack: Stack,
    version: DeployedVersion,
    shadow: DeployedVersion | None,
    key: kms.IKey,
    group: logs.ILogGroup,
) -> iam.Role:
    settings = version.entry.sagemaker
    images = [each.image for each in (version, shadow) if each is not None]
    statements = [permissions.write_logs(group, "logs:DescribeLogStreams")]
    statements += endpoint_permissions.pull_images(stack, images)
    statements.append(endpoint_permissions.measure_instances())
    if not settings.local_storage:
        statements += endpoint_permissions.encrypt_volume(key)
    if settings.vpc is not None:
        statements += endpoint_permissions.join_network(stack, settings.vpc)
    if settings.data_capture is not None:
        bucket = Fn.import_value(naming.export(version.environment.name, naming.BUCKET_NAME))
        where = f"{CAPTURES}/{version.name}"
        statements += endpoint_permissions.write_captures(stack, bucket, where, key)
    role = permissions.endpoint_role(stack, "EndpointRole", statements)
    review.accept_scoped_wildcards(role, statements)
    return role


def _model(
    stack: Stack,
    id: str,
    version: DeployedVersion,
    role: iam.Role,
    settings: SageMaker,
    *,
    beside: DeployedVersion | None = None,
) -> sagemaker.CfnModel:
    """The model of a version; a shadow's is this stack's own, so the two come and go freely."""
    fetches = settings.large_bodies
    url = payloads_url(stack, version.environment) if fetches else None
    variables = version.variables(url)
    check_variables(variables)
    known = version.known_variables if fetches else variables
    network = settings.vpc
    plain_network = network.model_dump(mode="json") if network else None
    facts = (version.image, known, plain_network)
    return sagemaker.CfnModel(
        stack,
        id,
        model_name=_hashed((beside or version).name, id, *facts),
        execution_role_arn=role.role_arn,
        enable_network_isolation=not fetches,
        primary_container=sagemaker.CfnModel.ContainerDefinitionProperty(
            image=version.image, environment=variables
        ),
        vpc_config=None
        if network is None
        else sagemaker.CfnModel.VpcConfigProperty(
            subnets=list(network.subnets), security_group_ids=list(network.security_groups)
        ),
    )


def _config(
    stack: Stack, version: DeployedVersion, key: kms.IKey, models: list[str]
) -> sagemaker.CfnEndpointConfig:
    settings = version.entry.sagemaker
    production = _variant(settings, VARIANT, models[0], settings.instances, weight=1.0)
    shadows = []
    if settings.shadow is not None:
        # Its share is its weight relative to that of the production variant.
        weight = settings.shadow.percent / 100
        instances = settings.shadow.instances
        shadows = [_variant(settings, SHADOW_VARIANT, models[1], instances, weight=weight)]
    capture = settings.data_capture
    facts = (production, shadows, capture.model_dump(mode="json") if capture else None)
    return sagemaker.CfnEndpointConfig(
        stack,
        "EndpointConfig",
        endpoint_config_name=_hashed(version.name, *facts),
        production_variants=[sagemaker.CfnEndpointConfig.ProductionVariantProperty(**production)],
        shadow_production_variants=[
            sagemaker.CfnEndpointConfig.ProductionVariantProperty(**each) for each in shadows
        ]
        or None,
        # Disks of the instance's own are encrypted by the instance, and SageMaker refuses a key.
        kms_key_id=None if settings.local_storage else key.key_arn,
        data_capture_config=_capture(version, key),
    )


def _variant(
    settings: SageMaker, name: str, model: str, instances: int, *, weight: float
) -> dict[str, Any]:
    return {
        "variant_name": name,
        "model_name": model,
        "instance_type": settings.instance_type,
        "initial_instance_count": instances,
        "initial_variant_weight": weight,
        "inference_ami_version": settings.ami,
        "volume_size_in_gb": settings.volume_gb,
        "container_startup_health_check_timeout_in_seconds": settings.startup_timeout_s,
        "model_data_download_timeout_in_seconds": settings.download_timeout_s,
    }


def _capture(
    version: DeployedVersion, key: kms.IKey
) -> sagemaker.CfnEndpointConfig.DataCaptureConfigProperty | None:
    capture = version.entry.sagemaker.data_capture
    if capture is None:
        return None
    bucket = Fn.import_value(naming.export(version.environment.name, naming.BUCKET_NAME))
    return sagemaker.CfnEndpointConfig.DataCaptureConfigProperty(
        enable_capture=True,
        initial_sampling_percentage=capture.percent,
        destination_s3_uri=f"s3://{bucket}/{CAPTURES}/{version.name}",
        kms_key_id=key.key_arn,
        capture_options=[
            sagemaker.CfnEndpointConfig.CaptureOptionProperty(capture_mode=what.capitalize())
            for what in capture.what
        ],
    )


def _endpoint(
    stack: Stack,
    version: DeployedVersion,
    config: sagemaker.CfnEndpointConfig,
    watch: alarms.EndpointAlarms,
) -> sagemaker.CfnEndpoint:
    settings = version.entry.sagemaker
    endpoint = sagemaker.CfnEndpoint(
        stack,
        "Endpoint",
        endpoint_name=version.name,
        endpoint_config_name=str(config.endpoint_config_name),
        deployment_config=_rollout(settings.rollout, watch.roll_back),
        # What scaling has reached is kept by a change of the configuration, and nothing else is:
        # kept too, weights and capture would stay as they first were.
        retain_all_variant_properties=True if settings.autoscaling else None,
        exclude_retained_variant_properties=[
            sagemaker.CfnEndpoint.VariantPropertyProperty(variant_property_type=kind)
            for kind in ("DataCaptureConfig", "DesiredWeight")
        ]
        if settings.autoscaling
        else None,
    )
    endpoint.add_dependency(config)
    endpoint.node.add_dependency(watch)
    return endpoint


def _rollout(
    rollout: Rollout, roll_back: list[str]
) -> sagemaker.CfnEndpoint.DeploymentConfigProperty:
    kind = rollout.kind.upper().replace("-", "_")
    step = sagemaker.CfnEndpoint.CapacitySizeProperty(
        type="CAPACITY_PERCENT", value=rollout.step_percent
    )
    return sagemaker.CfnEndpoint.DeploymentConfigProperty(
        auto_rollback_configuration=sagemaker.CfnEndpoint.AutoRollbackConfigProperty(
            alarms=[sagemaker.CfnEndpoint.AlarmProperty(alarm_name=name) for name in roll_back]
        ),
        blue_green_update_policy=sagemaker.CfnEndpoint.BlueGreenUpdatePolicyProperty(
            maximum_execution_timeout_in_seconds=rollout.limit_s,
            termination_wait_in_seconds=rollout.keep_old_s,
            traffic_routing_configuration=sagemaker.CfnEndpoint.TrafficRoutingConfigProperty(
                type=kind,
                wait_interval_in_seconds=rollout.wait_s,
                canary_size=step if rollout.kind == "canary" else None,
                linear_step_size=step if rollout.kind == "linear" else None,
            ),
        ),
    )


def _scaling(
    stack: Stack, version: DeployedVersion, endpoint: sagemaker.CfnEndpoint
) -> tuple[scaling.CfnScalingPolicy, ...]:
    wanted = version.entry.sagemaker.autoscaling
    if wanted is None:
        return ()
    dimension = "sagemaker:variant:DesiredInstanceCount"
    target = scaling.CfnScalableTarget(
        stack,
        "ScalableTarget",
        service_namespace="sagemaker",
        scalable_dimension=dimension,
        resource_id=f"endpoint/{version.name}/variant/{VARIANT}",
        min_capacity=version.entry.sagemaker.instances,
        max_capacity=wanted.max_instances,
    )
    target.add_dependency(endpoint)
    metric = scaling.CfnScalingPolicy.PredefinedMetricSpecificationProperty(
        predefined_metric_type="SageMakerVariantInvocationsPerInstance"
    )
    policy = scaling.CfnScalingPolicy(
        stack,
        "ScalingPolicy",
        policy_name=f"{version.name}-invocations",
        policy_type="TargetTrackingScaling",
        scaling_target_id=target.ref,
        target_tracking_scaling_policy_configuration=_Tracking(
            predefined_metric_specification=metric,
            target_value=wanted.invocations_per_instance,
            scale_in_cooldown=wanted.scale_in_cooldown_s,
            scale_out_cooldown=wanted.scale_out_cooldown_s,
        ),
    )
    return (policy,)


def _hashed(name: str, *facts: object) -> str:
    mark = fingerprint(*facts)
    return f"{name[: _MAX_NAME - len(mark) - 1].rstrip('-')}-{mark}"

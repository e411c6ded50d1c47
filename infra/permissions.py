"""Who may do what: one role per function, each statement with the narrowest resource it can have.

Policies are written out rather than granted by constructs, so that a reader finds every right of
a function in one place and no construct adds to it. No AWS managed policy is used.
"""

from __future__ import annotations

from aws_cdk import ArnFormat, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_logs as logs
from aws_cdk import aws_s3 as s3
from constructs import Construct

from infra import naming


def function_role(
    scope: Construct, id: str, log_group: logs.ILogGroup, *more: iam.PolicyStatement
) -> iam.Role:
    """A role for one function: its own log group, and what else is passed in."""
    return _role(scope, id, "lambda", "function", [write_logs(log_group), *more])


def endpoint_role(scope: Construct, id: str, statements: list[iam.PolicyStatement]) -> iam.Role:
    """A role for one endpoint, with what is passed in."""
    return _role(scope, id, "sagemaker", "endpoint", statements)


def _role(
    scope: Construct, id: str, service: str, policy: str, statements: list[iam.PolicyStatement]
) -> iam.Role:
    return iam.Role(
        scope,
        id,
        assumed_by=iam.ServicePrincipal(f"{service}.amazonaws.com"),
        inline_policies={policy: iam.PolicyDocument(statements=statements)},
    )


def write_logs(log_group: logs.ILogGroup, *more: str) -> iam.PolicyStatement:
    """Write streams into one log group."""
    return iam.PolicyStatement(
        sid="OwnLogs",
        actions=["logs:CreateLogStream", "logs:PutLogEvents", *more],
        resources=[log_group.log_group_arn],
    )


def invoke_models(stack: Stack, environment: str) -> list[iam.PolicyStatement]:
    """Call the model functions and endpoints of this environment, and no others."""
    return [
        iam.PolicyStatement(
            sid="InvokeModels",
            actions=["lambda:InvokeFunction"],
            resources=[functions_arn(stack, environment)],
        ),
        iam.PolicyStatement(
            sid="InvokeEndpoints",
            actions=["sagemaker:InvokeEndpoint"],
            resources=[endpoints_arn(stack, environment)],
        ),
    ]


def stream_models(stack: Stack, environment: str) -> list[iam.PolicyStatement]:
    """Call them, and take their answers in pieces.

    Lambda asks the same right for both, SageMaker one more.
    """
    return [
        *invoke_models(stack, environment),
        iam.PolicyStatement(
            sid="StreamEndpoints",
            actions=["sagemaker:InvokeEndpointWithResponseStream"],
            resources=[endpoints_arn(stack, environment)],
        ),
    ]


def watch_models(stack: Stack, environment: str) -> list[iam.PolicyStatement]:
    """See whether a model function or endpoint is ready."""
    return [
        iam.PolicyStatement(
            sid="WatchModels",
            actions=["lambda:GetFunctionConfiguration"],
            resources=[functions_arn(stack, environment)],
        ),
        iam.PolicyStatement(
            sid="WatchEndpoints",
            actions=["sagemaker:DescribeEndpoint"],
            resources=[endpoints_arn(stack, environment)],
        ),
    ]


def keep_endpoint_logs(stack: Stack, environment: str) -> iam.PolicyStatement:
    """Make the log groups of this environment's endpoints; never delete or read one."""
    return iam.PolicyStatement(
        sid="KeepEndpointLogs",
        actions=["logs:AssociateKmsKey", "logs:CreateLogGroup", "logs:PutRetentionPolicy"],
        resources=[
            stack.format_arn(
                service="logs",
                resource="log-group",
                resource_name=f"/aws/sagemaker/Endpoints/{naming.model_versions(environment)}",
                arn_format=ArnFormat.COLON_RESOURCE_NAME,
            )
        ],
    )


def functions_arn(stack: Stack, environment: str) -> str:
    """The ARN pattern of this environment's model functions and their published versions."""
    return stack.format_arn(
        service="lambda",
        resource="function",
        resource_name=naming.model_versions(environment),
        arn_format=ArnFormat.COLON_RESOURCE_NAME,
    )


def endpoints_arn(stack: Stack, environment: str) -> str:
    """The ARN pattern of this environment's endpoints."""
    return stack.format_arn(
        service="sagemaker",
        resource="endpoint",
        resource_name=naming.model_versions(environment),
    )


def read_registry(bucket: s3.Bucket, key: kms.Key) -> list[iam.PolicyStatement]:
    """Read manifests and routes; never the models' bytes.

    Listing is needed for more than lists: without it S3 answers 403, not 404, for an unknown
    model. It shows keys, which are names and digests.
    """
    return [
        iam.PolicyStatement(
            sid="ReadRecords",
            actions=["s3:GetObject"],
            resources=[bucket.arn_for_objects("models/*")],
        ),
        iam.PolicyStatement(
            sid="KnowWhatIsMissing", actions=["s3:ListBucket"], resources=[bucket.bucket_arn]
        ),
        iam.PolicyStatement(sid="DecryptRecords", actions=["kms:Decrypt"], resources=[key.key_arn]),
    ]


def change_routes(bucket: s3.Bucket, key: kms.Key) -> list[iam.PolicyStatement]:
    """Write routes and their log, and nothing else of the registry.

    Whoever changes routes first finishes what the change before left out, so a publication or a
    note that broke off is in reach too.
    """
    return [
        iam.PolicyStatement(
            sid="WriteRoutes",
            actions=["s3:PutObject"],
            resources=[
                bucket.arn_for_objects("models/*/routes.json"),
                bucket.arn_for_objects("models/*/log/*"),
                bucket.arn_for_objects("models/*/publications/*"),
                bucket.arn_for_objects("models/*/notes/*"),
            ],
        ),
        iam.PolicyStatement(
            sid="EncryptRoutes", actions=["kms:GenerateDataKey"], resources=[key.key_arn]
        ),
    ]


def encrypt_logs(stack: Stack, environment: str) -> iam.PolicyStatement:
    """For the key's policy: CloudWatch Logs may use it for this environment's log groups only."""
    groups = [
        stack.format_arn(
            service="logs",
            resource="log-group",
            resource_name=f"{prefix}modelport-{environment}-*",
            arn_format=ArnFormat.COLON_RESOURCE_NAME,
        )
        # No prefix: names of CloudFormation's making, which begin with the stack's.
        for prefix in ("/aws/lambda/", "/aws/sagemaker/Endpoints/", "/aws/vendedlogs/", "")
    ]
    return iam.PolicyStatement(
        sid="EncryptLogs",
        principals=[iam.ServicePrincipal(f"logs.{stack.region}.amazonaws.com")],
        actions=["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*"],
        resources=["*"],
        conditions={"ArnLike": {"kms:EncryptionContext:aws:logs:arn": groups}},
    )

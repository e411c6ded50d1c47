"""What an environment shares: key, registry, payloads and queues, router, API, registrar, worker,
controller, alarms, dashboard.

Version stacks import the key and the registrar from here, so CloudFormation itself refuses to
delete the platform under a deployed version. Nothing in this stack depends on which versions run.

What it costs a month when nobody calls, at list prices without free tiers (us-east-1): key 1 $.
Alarms 0.10 $ each, twelve of them 1.20 $. Dashboard 3 $ (the account's first three are free). The
controller's 43,200 looks of a tenth of a second each 0.04 $, and as many reads of one small object
0.02 $; metrics it reads only while there is a rollout. Lambda asks the three queues for work all
the time, about 650,000 times each: 0.78 $, less the first million, which is free. Bucket, queues,
functions and API cost nothing idle.
"""

from __future__ import annotations

from aws_cdk import CfnOutput, Duration, Stack
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_s3 as s3
from constructs import Construct
from modelport.deployments import Environment, platform_stack
from modelport.settings import ControllerSettings, RegistrarSettings, RouterSettings, WorkerSettings

from infra import alarms, naming, permissions, review, work_permissions
from infra.api import STREAM_LIMIT, Door, open_door
from infra.assets import Assets
from infra.controller import controller
from infra.dashboard import dashboard
from infra.function_logs import log_group, removal
from infra.image_repository import image_repository
from infra.payloads import payloads_bucket
from infra.queues import Queues, queues
from infra.worker import worker
from infra.zip_functions import ZipFunctions

#: Just under what an HTTP API waits for, so that the router's own answer gets out.
_ROUTER_TIMEOUT = Duration.seconds(29)
_ROUTER_SLOW = Duration.seconds(10)
#: A stream may take its time, but not nearly all there is.
_STREAM_SLOW = Duration.minutes(12)


class PlatformStack(Stack):
    """One per environment."""

    def __init__(self, scope: Construct, *, environment: Environment, assets: Assets) -> None:
        super().__init__(
            scope,
            platform_stack(environment.name),
            description=f"modelport {environment.name}: registry, router and API",
        )
        self._environment = environment
        self._removal = removal(environment)
        self._assets = assets
        key = self._key()
        self._functions = ZipFunctions(self, environment, assets, key)
        bucket = self._bucket(key)
        payloads = payloads_bucket(self, environment, key)
        queued = queues(self, environment, key)
        router = self._router(bucket, payloads, queued, key)
        registrar = self._registrar(bucket, key)
        self._worker(bucket, payloads, queued, key)
        self._controller(bucket, key)
        access_log = log_group(
            self,
            "AccessLog",
            f"/aws/vendedlogs/modelport-{environment.name}-api",
            environment,
            key,
        )
        streamer = self._streamer(bucket, key) if environment.streams else None
        door = open_door(self, environment, router, access_log, streamer)
        self._watch(door, queued)
        outputs = self._outputs(door, bucket, registrar, key)
        # What `modelport jobs` finds jobs by.
        outputs["PayloadsBucketName"] = ("payloads-bucket-name", payloads.bucket_name)
        outputs["JobsQueueUrl"] = ("jobs-queue-url", queued.jobs.queue_url)
        if (images := image_repository(self, environment, key)) is not None:
            outputs["ImageRepositoryUri"] = ("image-repository-uri", images.repository_uri)
        outputs["PayloadsBucketName"] = ("payloads-bucket-name", payloads.bucket_name)
        outputs["JobsQueueUrl"] = ("jobs-queue-url", queued.jobs.queue_url)
        for id, (what, value) in outputs.items():
            CfnOutput(self, id, value=value, export_name=naming.export(environment.name, what))

    def _key(self) -> kms.Key:
        key = kms.Key(
            self,
            "Key",
            description=f"modelport {self._environment.name}: registry and logs",
            enable_key_rotation=True,
            removal_policy=self._removal,
        )
        key.add_to_resource_policy(permissions.encrypt_logs(self, self._environment.name))
        return key

    def _bucket(self, key: kms.Key) -> s3.Bucket:
        bucket = s3.Bucket(
            self,
            "Registry",
            bucket_name=naming.registry(self._environment.name, self.account, self.region),
            encryption=s3.BucketEncryption.KMS,
            encryption_key=key,
            bucket_key_enabled=True,
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
            enforce_ssl=True,
            minimum_tls_version=1.2,
            versioned=True,
            removal_policy=self._removal,
            lifecycle_rules=[
                s3.LifecycleRule(abort_incomplete_multipart_upload_after=Duration.days(7))
            ],
        )
        review.accept_registry_without_access_log(bucket)
        return bucket

    def _router(
        self, bucket: s3.Bucket, payloads: s3.Bucket, queued: Queues, key: kms.Key
    ) -> lambda_.Alias:
        environment = self._environment
        settings = RouterSettings(
            bucket.bucket_name,
            environment.name,
            auth=environment.auth,
            payloads_bucket=payloads.bucket_name,
            jobs_queue_url=queued.jobs.queue_url,
            shadow_queue_url=queued.shadows.queue_url,
            webhook_hosts=",".join(environment.webhook_hosts) or None,
        )
        function = self._functions.make(
            "Router",
            naming.router(environment.name),
            "functions.router.handler.handler",
            self._assets.router,
            [
                *permissions.read_registry(bucket, key),
                *permissions.invoke_models(self, environment.name),
                *work_permissions.hand_work_on(queued, payloads, key),
            ],
            settings=settings.to_env(),
            memory_mb=1024,
            timeout=_ROUTER_TIMEOUT,
            snapstart=environment.uses_snapstart,
        )
        alarms.FunctionAlarms(
            self,
            "RouterAlarms",
            function=naming.router(environment.name),
            slow=_ROUTER_SLOW,
            topic=environment.alarm_topic,
        )
        return lambda_.Alias(self, "Live", alias_name="live", version=function.current_version)

    def _streamer(self, bucket: s3.Bucket, key: kms.Key) -> lambda_.Function:
        """The router's code once more, for what a REST API streams."""
        environment = self._environment
        name = naming.streamer(environment.name)
        settings = RouterSettings(bucket.bucket_name, environment.name, auth=environment.auth)
        function = self._functions.make(
            "Streamer",
            name,
            "functions.router.streamer.main",
            self._assets.router,
            [
                *permissions.read_registry(bucket, key),
                *permissions.stream_models(self, environment.name),
            ],
            # Lambda's own loop for Python does not stream: this starts another in its place.
            settings={
                **settings.to_env(),
                "AWS_LAMBDA_EXEC_WRAPPER": "/var/task/functions/router/stream",
            },
            memory_mb=512,
            timeout=STREAM_LIMIT,
        )
        alarms.FunctionAlarms(
            self,
            "StreamerAlarms",
            function=name,
            slow=_STREAM_SLOW,
            topic=environment.alarm_topic,
        )
        return function

    def _registrar(self, bucket: s3.Bucket, key: kms.Key) -> lambda_.Function:
        name = naming.registrar(self._environment.name)
        return self._functions.make(
            "Registrar",
            name,
            "functions.registrar.handler.handler",
            self._assets.registrar,
            [
                *permissions.read_registry(bucket, key),
                *permissions.change_routes(bucket, key),
                *permissions.invoke_models(self, self._environment.name),
                *permissions.watch_models(self, self._environment.name),
                permissions.keep_endpoint_logs(self, self._environment.name),
            ],
            settings=RegistrarSettings(bucket.bucket_name, self._environment.name).to_env(),
            memory_mb=512,
            timeout=Duration.minutes(15),
        )

    def _worker(self, bucket: s3.Bucket, payloads: s3.Bucket, queued: Queues, key: kms.Key) -> None:
        environment = self._environment
        settings = WorkerSettings(
            bucket.bucket_name,
            environment.name,
            payloads_bucket=payloads.bucket_name,
            jobs_queue_url=queued.jobs.queue_url,
            jobs_dead_arn=queued.dead.queue_arn,
        )
        rights = [
            *permissions.read_registry(bucket, key),
            *permissions.invoke_models(self, environment.name),
            *work_permissions.do_work(queued, payloads, key),
        ]
        worker(self, environment, self._functions, self._assets, queued, settings, rights)

    def _controller(self, bucket: s3.Bucket, key: kms.Key) -> None:
        environment = self._environment
        settings = ControllerSettings(bucket.bucket_name, environment.name)
        rights = [
            *permissions.read_registry(bucket, key),
            *permissions.change_routes(bucket, key),
            work_permissions.find_rollouts(bucket),
            work_permissions.read_metrics(),
        ]
        controller(self, environment, self._functions, self._assets, settings, rights)

    def _watch(self, door: Door, queued: Queues) -> None:
        alarm = cloudwatch.Alarm(
            self,
            "ApiFailures",
            alarm_name=f"modelport-{self._environment.name}-api-failures",
            alarm_description="callers get 5xx answers",
            metric=door.failures,
            threshold=1,
            evaluation_periods=1,
            comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
            treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
        )
        alarms.notify(self._environment.alarm_topic, alarm)
        dashboard(self, self._environment.name, door.requests, queued.measured)

    def _outputs(
        self, door: Door, bucket: s3.Bucket, registrar: lambda_.Function, key: kms.Key
    ) -> dict[str, tuple[str, str]]:
        """Output → name of its export, value."""
        return {
            "ApiEndpoint": ("api-endpoint", door.endpoint),
            "ApiId": ("api-id", door.id),
            "BucketName": (naming.BUCKET_NAME, bucket.bucket_name),
            "RegistrarArn": (naming.REGISTRAR_ARN, registrar.function_arn),
            "KeyArn": (naming.KEY_ARN, key.key_arn),
        }

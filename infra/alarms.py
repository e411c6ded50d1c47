"""Alarms: what tells people that something is wrong before callers do.

Alarms notify the topic of the environment's settings; without one they only show. Missing data is
silence, not trouble: nothing here runs when nobody calls.
"""

from __future__ import annotations

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_sns as sns
from constructs import Construct
from modelport.errors import ROUTER_LIMIT_S
from modelport.sagemaker_settings import SageMaker

PERIOD = Duration.minutes(5)
#: Endpoints are measured by the minute, and a rollout watches its alarms for a few of them only.
_ENDPOINT_PERIOD = Duration.minutes(1)
#: Where SageMaker measures the instances themselves.
INSTANCE_METRICS = "/aws/sagemaker/Endpoints"
#: An alarm on latency wants three bad periods of five: one cold start is not an incident.
_SLOW_PERIODS, _SLOW_OF = 3, 5
#: Share of what callers wait for at which an endpoint's p99 is alarming.
_SLOW = 0.8
#: SageMaker adds milliseconds to a call; a second is trouble of its own.
_OVERHEAD_S = 1.0
#: The latencies of SageMaker are in these.
_MICROSECONDS = 1_000_000
#: Refused calls in a period: a caller's mistake now and then is none of ours.
_MANY_REFUSED = 10


class FunctionAlarms(Construct):
    """Errors, throttles and p99 duration of one function."""

    def __init__(
        self, scope: Construct, id: str, *, function: str, slow: Duration, topic: str | None
    ) -> None:
        super().__init__(scope, id)
        alarms = [
            _alarm(self, metric, function, description, lambda_metric(metric, function, "Sum"), 1)
            for metric, description in (
                ("Errors", f"{function} crashed or timed out"),
                ("Throttles", f"{function} is out of concurrency"),
            )
        ]
        alarms.append(
            _alarm(
                self,
                "Duration",
                function,
                f"{function}: p99 is close to what callers wait for",
                lambda_metric("Duration", function, "p99"),
                slow.to_milliseconds(),
                slowly=True,
            )
        )
        notify(topic, *alarms)


class EndpointAlarms(Construct):
    """Failed calls, p99 latency of model and of SageMaker, and what is full, of one endpoint."""

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        endpoint: str,
        variant: str,
        settings: SageMaker,
        topic: str | None,
    ) -> None:
        super().__init__(scope, id)
        self._endpoint, self._variant = endpoint, variant
        failed = self._calls("Invocation5XXErrors", f"{endpoint} crashed or timed out", "Sum", 1)
        refused = self._calls(
            "Invocation4XXErrors", f"{endpoint} refuses calls", "Sum", _MANY_REFUSED
        )
        slow = self._calls(
            "ModelLatency",
            f"{endpoint}: p99 is close to what callers wait for",
            "p99",
            ROUTER_LIMIT_S * _SLOW * _MICROSECONDS,
        )
        overhead = self._calls(
            "OverheadLatency",
            f"{endpoint}: SageMaker itself is slow",
            "p99",
            _OVERHEAD_S * _MICROSECONDS,
        )
        notify(topic, failed, refused, slow, overhead, *self._full(settings))
        #: Names of those that take a change back; callers' own mistakes do not.
        self.roll_back = [each.alarm_name for each in (failed, slow, overhead)]

    def _full(self, settings: SageMaker) -> list[cloudwatch.Alarm]:
        limit = settings.alarm_utilization_percent
        if limit is None:
            return []
        watched = {"DiskUtilization": "a disk"}
        if settings.gpu:
            watched["GPUMemoryUtilization"] = "the memory of a GPU"
        return [
            self._of(
                INSTANCE_METRICS,
                metric,
                f"{self._endpoint}: {what} is filling up",
                "Maximum",
                limit,
            )
            for metric, what in watched.items()
        ]

    def _calls(
        self, metric: str, description: str, statistic: str, threshold: float
    ) -> cloudwatch.Alarm:
        return self._of("AWS/SageMaker", metric, description, statistic, threshold)

    def _of(
        self, namespace: str, metric: str, description: str, statistic: str, threshold: float
    ) -> cloudwatch.Alarm:
        measured = cloudwatch.Metric(
            namespace=namespace,
            metric_name=metric,
            dimensions_map={"EndpointName": self._endpoint, "VariantName": self._variant},
            statistic=statistic,
            period=_ENDPOINT_PERIOD,
        )
        slowly = statistic == "p99"
        return _alarm(self, metric, self._endpoint, description, measured, threshold, slowly=slowly)


class QueueAlarms(Construct):
    """Jobs that wait too long, and jobs that were given up."""

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        queue: str,
        age: cloudwatch.Metric,
        old: Duration,
        given_up: cloudwatch.Metric,
        topic: str | None,
    ) -> None:
        super().__init__(scope, id)
        notify(
            topic,
            _alarm(self, "Old", queue, "the oldest job waits too long", age, old.to_seconds()),
            _alarm(
                self, "Dead", queue, "jobs were given up: modelport jobs list --dead", given_up, 1
            ),
        )


def _alarm(
    scope: Construct,
    id: str,
    of: str,
    description: str,
    metric: cloudwatch.Metric,
    threshold: float,
    *,
    slowly: bool = False,
) -> cloudwatch.Alarm:
    return cloudwatch.Alarm(
        scope,
        id,
        alarm_name=f"{of}-{id.lower()}",
        alarm_description=description,
        metric=metric,
        threshold=threshold,
        datapoints_to_alarm=_SLOW_PERIODS if slowly else 1,
        evaluation_periods=_SLOW_OF if slowly else 1,
        comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
        treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
    )


def notify(topic: str | None, *alarms: cloudwatch.Alarm) -> None:
    """Send the alarms to the topic, if the environment has one."""
    if topic is None:
        return
    for alarm in alarms:
        found = sns.Topic.from_topic_arn(alarm, "Topic", topic)
        alarm.add_alarm_action(actions.SnsAction(found))


def lambda_metric(metric: str, function: str, statistic: str) -> cloudwatch.Metric:
    """A Lambda metric of one function, by name."""
    return cloudwatch.Metric(
        namespace="AWS/Lambda",
        metric_name=metric,
        dimensions_map={"FunctionName": function},
        statistic=statistic,
        period=PERIOD,
    )

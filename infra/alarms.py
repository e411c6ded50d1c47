"""Alarms and the dashboard: what tells people that something is wrong before callers do.

Alarms notify the topic of the environment's settings; without one they only show. Missing data is
silence, not trouble: nothing here runs when nobody calls.
"""

from __future__ import annotations

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_sns as sns
from constructs import Construct

from infra import naming

_PERIOD = Duration.minutes(5)
#: An alarm on latency wants three bad periods of five: one cold start is not an incident.
_SLOW_PERIODS, _SLOW_OF = 3, 5


class FunctionAlarms(Construct):
    """Errors, throttles and p99 duration of one function."""

    def __init__(
        self, scope: Construct, id: str, *, function: str, slow: Duration, topic: str | None
    ) -> None:
        super().__init__(scope, id)
        errors = self._alarm(
            "Errors", function, f"{function} crashed or timed out", statistic="Sum", threshold=1
        )
        throttles = self._alarm(
            "Throttles", function, f"{function} is out of concurrency", statistic="Sum", threshold=1
        )
        duration = self._alarm(
            "Duration",
            function,
            f"{function}: p99 is close to what callers wait for",
            statistic="p99",
            threshold=slow.to_milliseconds(),
            periods=_SLOW_PERIODS,
            of=_SLOW_OF,
        )
        notify(topic, errors, throttles, duration)

    def _alarm(
        self,
        metric: str,
        function: str,
        description: str,
        *,
        statistic: str,
        threshold: float,
        periods: int = 1,
        of: int = 1,
    ) -> cloudwatch.Alarm:
        return cloudwatch.Alarm(
            self,
            metric,
            alarm_name=f"{function}-{metric.lower()}",
            alarm_description=description,
            metric=lambda_metric(metric, function, statistic),
            threshold=threshold,
            datapoints_to_alarm=periods,
            evaluation_periods=of,
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
        period=_PERIOD,
    )


def dashboard(scope: Construct, environment: str, requests: list[cloudwatch.IMetric]) -> None:
    """One page: what callers see, the router, and every version by search, old ones and new."""
    router = naming.router(environment)
    board = cloudwatch.Dashboard(scope, "Dashboard", dashboard_name=f"modelport-{environment}")
    board.add_widgets(
        _graph("API", requests),
        _graph(
            "Router",
            [lambda_metric(name, router, "Sum") for name in ("Invocations", "Errors", "Throttles")],
        ),
        _graph(
            "Router duration",
            [lambda_metric("Duration", router, stat) for stat in ("p50", "p99")],
        ),
    )
    board.add_widgets(
        _graph("Versions: calls", [_every_version(environment, "Invocations", "Sum")]),
        _graph("Versions: errors", [_every_version(environment, "Errors", "Sum")]),
        _graph("Versions: p99", [_every_version(environment, "Duration", "p99")]),
    )


def _every_version(environment: str, metric: str, statistic: str) -> cloudwatch.MathExpression:
    wanted = f'{{AWS/Lambda,FunctionName}} MetricName="{metric}" "modelport-{environment}-"'
    return cloudwatch.MathExpression(
        expression=f"SEARCH('{wanted}', '{statistic}', {_PERIOD.to_seconds():.0f})",
        using_metrics={},
        label="",
        period=_PERIOD,
    )


def _graph(title: str, metrics: list[cloudwatch.IMetric]) -> cloudwatch.GraphWidget:
    return cloudwatch.GraphWidget(title=title, left=metrics, width=8)

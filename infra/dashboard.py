"""The dashboard: one page of what callers see, the platform's functions, and every version.

Versions are found by search, old ones and new, so nothing here changes with a deploy. It alarms
nobody; that is `infra.alarms`' business.
"""

from __future__ import annotations

from collections.abc import Sequence

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from constructs import Construct
from modelport import telemetry

from infra import naming
from infra.alarms import lambda_metric

_PERIOD = Duration.minutes(5)


def dashboard(
    scope: Construct,
    environment: str,
    requests: list[cloudwatch.IMetric],
    queued: Sequence[cloudwatch.IMetric],
) -> None:
    """Make it; ``requests`` are the API's metrics, ``queued`` those of what waits for a worker."""
    router = naming.router(environment)
    board = cloudwatch.Dashboard(scope, "Dashboard", dashboard_name=f"modelport-{environment}")
    board.add_widgets(
        _graph("API", *requests),
        _graph(
            "Router",
            *(
                lambda_metric(name, router, "Sum")
                for name in ("Invocations", "Errors", "Throttles")
            ),
        ),
        _graph(
            "Router duration",
            *(lambda_metric("Duration", router, stat) for stat in ("p50", "p99")),
        ),
    )
    board.add_widgets(
        _graph("Versions: predictions", _counted(environment, telemetry.REQUESTS)),
        _graph(
            "Versions: failed",
            *(
                _counted(environment, metric)
                for metric in (telemetry.ERRORS, telemetry.THROTTLES, telemetry.FALLBACKS)
            ),
        ),
        _graph(
            "Versions: p99 in ms",
            *(
                _counted(environment, metric, "p99")
                for metric in (telemetry.BACKEND_MS, telemetry.MODEL_MS)
            ),
        ),
    )
    board.add_widgets(
        _graph("Versions: cold starts", _counted(environment, telemetry.COLD_STARTS)),
        _graph(
            "Shadows: compared, disagreed, lost",
            *(
                _counted(environment, metric)
                for metric in (telemetry.COMPARED, telemetry.DISAGREED, telemetry.SHADOWS_LOST)
            ),
        ),
        _graph("Jobs: waiting, oldest in s, given up", *queued),
    )
    board.add_widgets(
        _graph("Functions: calls", _every_function(environment, "Invocations", "Sum")),
        _graph("Functions: errors", _every_function(environment, "Errors", "Sum")),
        _graph("Functions: p99 in ms", _every_function(environment, "Duration", "p99")),
    )
    board.add_widgets(
        _graph("Endpoints: calls", _every_endpoint(environment, "Invocations", "Sum")),
        _graph("Endpoints: errors", _every_endpoint(environment, "Invocation5XXErrors", "Sum")),
        _graph("Endpoints: p99 in µs", _every_endpoint(environment, "ModelLatency", "p99")),
    )


def _counted(environment: str, metric: str, statistic: str = "Sum") -> cloudwatch.MathExpression:
    """A metric of every version, as the router and the worker write it."""
    dimensions = ",".join(telemetry.DIMENSIONS)
    return _search(
        f'{{{telemetry.NAMESPACE},{dimensions}}} MetricName="{metric}" environment="{environment}"',
        statistic,
    )


def _every_function(environment: str, metric: str, statistic: str) -> cloudwatch.MathExpression:
    return _search(_named("AWS/Lambda,FunctionName", environment, metric), statistic)


def _every_endpoint(environment: str, metric: str, statistic: str) -> cloudwatch.MathExpression:
    return _search(_named("AWS/SageMaker,EndpointName,VariantName", environment, metric), statistic)


def _named(metrics: str, environment: str, metric: str) -> str:
    return f'{{{metrics}}} MetricName="{metric}" "modelport-{environment}-"'


def _search(wanted: str, statistic: str) -> cloudwatch.MathExpression:
    return cloudwatch.MathExpression(
        expression=f"SEARCH('{wanted}', '{statistic}', {_PERIOD.to_seconds():.0f})",
        using_metrics={},
        label="",
        period=_PERIOD,
    )


def _graph(title: str, *metrics: cloudwatch.IMetric) -> cloudwatch.GraphWidget:
    return cloudwatch.GraphWidget(title=title, left=list(metrics), width=8)

"""What the router has of our own loaded once it can answer: a list, because imports are time.

Every cold start pays for every module here. What few requests need is imported where it is needed.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys

from tests.conftest import ROOT

_PROGRAM = """
import sys
import functions.router.handler
ours = ("functions", "modelport")
heavy = ("fastapi", "starlette", "pydantic", "mangum", "anyio", "asyncio", "boto3", "botocore")
print([name for name in sys.modules if name.split(".")[0] in ours or name in heavy])
"""
_BUDGET = {
    "functions",
    "functions.router",
    "modelport.aws",
    "modelport.aws.answers",
    "modelport.aws.caller",
    "modelport.aws.clients",
    "modelport.aws.credentials",
    "modelport.aws.documents",
    "modelport.aws.endpoints",
    "modelport.aws.errors",
    "modelport.aws.pool",
    "modelport.aws.services",
    "modelport.aws.signing",
    "modelport.backends",
    "modelport.backends.backend",
    "modelport.backends.connection",
    "modelport.backends.lambda_backend",
    "modelport.backends.sagemaker_backend",
    "functions.router.caller",
    "functions.router.choice",
    "functions.router.clients",
    "functions.router.counts",
    "functions.router.carriage",
    "functions.router.crossing",
    "functions.router.dispatch",
    "functions.router.exchange",
    "functions.router.gateway",
    "functions.router.handler",
    "functions.router.router",
    "functions.router.straight",
    "functions.router.lines",
    "functions.router.routes_cache",
    "functions.router.shadowing",
    "functions.router.statistics",
    "functions.router.trace",
    "functions.router.versions",
    "modelport",
    "modelport.embedded_metrics",
    "modelport.envelope",
    "modelport.errors",
    "modelport.fast_json",
    "modelport.goldens",
    "modelport.goldens.golden",
    "modelport.grammar",
    "modelport.manifest",
    "modelport.metadata",
    "modelport.records",
    "modelport.refs",
    "modelport.refusals",
    "modelport.registry",
    "modelport.registry.bucket",
    "modelport.registry.changes",
    "modelport.registry.keys",
    "modelport.registry.s3_reading",
    "modelport.registry.s3_refusals",
    "modelport.registry.store",
    "modelport.registry.tombstone",
    "modelport.routes",
    "modelport.routes.change",
    "modelport.routes.deployment",
    "modelport.routes.document",
    "modelport.routes.errors",
    "modelport.routes.policy",
    "modelport.routes.proposal",
    "modelport.routes.removed",
    "modelport.routes.rollout",
    "modelport.routes.stored",
    "modelport.routes.weights",
    "modelport.sagemaker_envelope",
    "modelport.settings",
    "modelport.signature",
    "modelport.telemetry",
}


def test_the_router_loads_what_is_listed_and_nothing_else() -> None:
    path = os.pathsep.join([str(ROOT), str(ROOT / "layers" / "core" / "python")])
    clean = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    clean.pop("AWS_LAMBDA_FUNCTION_NAME", None)
    said = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        env={**clean, "PYTHONPATH": path},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert set(ast.literal_eval(said)) - _BUDGET == set()

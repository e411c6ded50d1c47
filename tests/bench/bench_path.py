"""What a warm call costs on the way to the model: API Gateway, router, Lambda, runtime, model.

    python -m tests.bench.bench_path

Starts a local cloud, deploys magika and calls it one request after the other. Absolute times are
the emulator's and this machine's; the shares say where a request spends them. Not a test.
"""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import boto3
from modelport.envelope import Request
from rich.console import Console
from rich.table import Table

from tests.conftest import ROOT
from tests.support.local_cloud import LocalCloud, local_cloud

CALLS = 300
WARM_UP = 30
BODY = b"import os\n" * 20


def median_ms(call: Callable[[], object]) -> float:
    """Median milliseconds of one call after the next, the first ones left out."""
    times = []
    for number in range(WARM_UP + CALLS):
        began = time.perf_counter()
        call()
        if number >= WARM_UP:
            times.append(time.perf_counter() - began)
    return statistics.median(times) * 1000


def logged(cloud: LocalCloud, pattern: str) -> float:
    """Median of a figure in the last lines of the model function's log."""
    log = (cloud.home / "logs/functions/modelport-local-magika-v1.log").read_text()
    return statistics.median(float(value) for value in re.findall(pattern, log)[-CALLS:])


def main() -> None:
    """Measure and print a table."""
    with tempfile.TemporaryDirectory() as folder:
        bundles = Path(folder) / "bundles"
        script = ROOT / "localstack/demo/magika_bundles.py"
        subprocess.run([sys.executable, str(script), str(bundles)], check=True)
        with local_cloud(Path(folder) / "home", "ministack") as cloud:
            cloud.modelport("publish", str(bundles / "v1"), "--name", "magika")
            cloud.modelport("deploy", "magika:1")
            path = "/endpoints/magika/versions/1/invocations"
            whole = median_ms(lambda: cloud.post(path, BODY).raise_for_status())
            event = Request("POST", path, {"content-type": "application/octet-stream"}, BODY)
            endpoint = cloud.environment["AWS_ENDPOINT_URL"]
            with closing(boto3.client("lambda", endpoint_url=endpoint)) as client:
                name, payload = "modelport-local-magika-v1", event.to_event()
                direct = median_ms(lambda: client.invoke(FunctionName=name, Payload=payload))
            function = logged(cloud, r"\tDuration: ([\d.]+) ms")
            model = logged(cloud, r'"model_ms":([\d.]+)')
    rows = {
        "API Gateway and router": whole - direct,
        "Lambda Invoke (emulator, host)": direct - function,
        "runtime around the model": function - model,
        "model with its pre- and post-processing": model,
        "whole": whole,
    }
    table = Table("stage", "ms, median", "of the model's own time")
    for stage, spent in rows.items():
        table.add_row(stage, f"{spent:.2f}", f"{spent / model:.2f}x")
    Console().print(table)
    print(json.dumps(rows))


if __name__ == "__main__":
    main()

"""A model served on this machine for MLflow's run-local: a process, a call, a clean end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from modelport.client import Client
from modelport.errors import NotSupportedError
from modelport.mlflow_local import serve
from modelport.mlflow_models import Settings, Source

from tests.conftest import ROOT
from tests.support import runtime_bundles as bundles
from tests.support.loopback import Exchange, serving

PROGRAM = """
import os, sys
from pathlib import Path
from modelport.mlflow_local import serve
from modelport.mlflow_models import Settings, Source
source = Source(Path(sys.argv[1]), {"mlflow": {"run_id": "abc"}}, "of run abc")
sys.exit(serve("digits", source, Settings(port=int(sys.argv[2])), os.environ, print))
"""


def free_port() -> int:
    with serving(Exchange) as url:
        return int(url.rpartition(":")[2])


def test_a_model_is_served_until_it_is_stopped(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(bundles.DOUBLE)
    port = free_port()
    path = os.pathsep.join([str(ROOT), str(ROOT / "layers" / "core" / "python")])
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "model.onnx"), str(port)],
        env={**os.environ, "PYTHONPATH": path, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        with Client(f"http://127.0.0.1:{port}") as client:
            model = client.model("digits")
            deadline = time.monotonic() + 30
            while not reached(model.ready):
                assert process.poll() is None
                assert time.monotonic() < deadline
            outputs = model.predict({"x": np.array([[1, 2]], np.float32)})
        assert outputs["y"].tolist() == [[2, 4]]
        assert outputs.answered_by.version == "1"
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.communicate()
    assert list(tmp_path.iterdir()) == [tmp_path / "model.onnx"]


def reached(ready: object) -> bool:
    from modelport.client import EndpointUnavailableError

    try:
        return bool(ready())  # type: ignore[operator]
    except EndpointUnavailableError:
        time.sleep(0.05)
        return False


def test_without_a_checkout_it_says_what_to_do(tmp_path: Path) -> None:
    source = Source(tmp_path / "model.onnx")
    with pytest.raises(NotSupportedError, match="repository") as caught:
        serve("digits", source, Settings(), {}, print, checkout=tmp_path)
    assert "checkout" in caught.value.hint

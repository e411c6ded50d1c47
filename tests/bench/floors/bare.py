"""The floor under a start: numpy, onnxruntime, a session, one answer; then it waits to be measured.

`python bare.py MODEL INPUT COUNT`: runs MODEL on a row of COUNT ones for INPUT, prints the answer,
ends when stdin does. It serves nothing.
"""

from __future__ import annotations

import sys

import numpy as np
import onnxruntime


def main(model: str, name: str, count: str) -> None:
    """Answer once, then wait."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, ["CPUExecutionProvider"])
    (answer,) = session.run(None, {name: np.ones((1, int(count)), np.float32)})
    print(*answer.ravel().tolist(), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])

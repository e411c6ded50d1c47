"""A client of models for Python: arrays in, arrays out, in the fastest form the API speaks.

    import modelport.client

    with modelport.client.Client() as client:           # MODELPORT_ENDPOINT
        model = client.model("magika@stable")
        outputs = model.predict({"x": array})            # {"y": array}
        outputs.answered_by.version                      # "3"
        job = model.predict_later({"x": array})          # for runs of minutes
        job.result(timeout=900)                          # or later: client.job(job.id)

`AsyncClient` is the same with ``await``. Tensors travel raw, as Open Inference V2's binary
extension has them; `Model.invoke` sends any other body to a bundle's ``inference.py``. Bodies and
answers too large for the API go past it by themselves. Needs the extra ``client`` (httpx and
numpy). Never part of a function or an image.
"""

from __future__ import annotations

try:
    import httpx as _httpx  # noqa: F401
    import numpy as _numpy  # noqa: F401
except ImportError as missing:
    raise ImportError(f"{missing}; pip install 'modelport[client]'") from missing

from modelport.client.arrays import bfloat16
from modelport.client.asynchronous import AsyncClient, AsyncJob, AsyncModel
from modelport.client.conversation import AnsweredBy, Reply
from modelport.client.errors import (
    AnswerError,
    CallerDeniedError,
    CallRefusedError,
    DeadlineError,
    EndpointUnavailableError,
    InvalidValueError,
    JobPendingError,
    NothingThereError,
    ServerFailedError,
    StateForbidsError,
    TooBusyError,
    UnreadableAnswerError,
)
from modelport.client.jobs import JobStatus
from modelport.client.messages import Outputs
from modelport.client.retries import Retries
from modelport.client.signing import Signer
from modelport.client.sync import Client, Job, Model

__all__ = [
    "AnswerError",
    "AnsweredBy",
    "AsyncClient",
    "AsyncJob",
    "AsyncModel",
    "CallRefusedError",
    "CallerDeniedError",
    "Client",
    "DeadlineError",
    "EndpointUnavailableError",
    "InvalidValueError",
    "Job",
    "JobPendingError",
    "JobStatus",
    "Model",
    "NothingThereError",
    "Outputs",
    "Reply",
    "Retries",
    "ServerFailedError",
    "Signer",
    "StateForbidsError",
    "TooBusyError",
    "UnreadableAnswerError",
    "bfloat16",
]

"""Where a deployment is asked: one method (`Backend`), one class per kind of place."""

from modelport.backends.backend import Backend, CallableBackend
from modelport.backends.lambda_backend import (
    LAMBDA_PAYLOAD_LIMIT,
    LambdaBackend,
    StreamingLambdaBackend,
)
from modelport.backends.sagemaker_backend import (
    SageMakerBackend,
    StreamingSageMakerBackend,
)

__all__ = [
    "LAMBDA_PAYLOAD_LIMIT",
    "Backend",
    "CallableBackend",
    "LambdaBackend",
    "SageMakerBackend",
    "StreamingLambdaBackend",
    "StreamingSageMakerBackend",
]

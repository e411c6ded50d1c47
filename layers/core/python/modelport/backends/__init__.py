"""Where a deployment is asked: one method (`Backend`), one class per kind of place.

The classes whose answers come in pieces are in modules of their own, `lambda_stream_backend` and
`sagemaker_stream_backend`: they need boto3, which nobody else should have to load.
"""

from modelport.backends.backend import Backend, CallableBackend
from modelport.backends.lambda_backend import LAMBDA_PAYLOAD_LIMIT, LambdaBackend
from modelport.backends.sagemaker_backend import SageMakerBackend

__all__ = [
    "LAMBDA_PAYLOAD_LIMIT",
    "Backend",
    "CallableBackend",
    "LambdaBackend",
    "SageMakerBackend",
]

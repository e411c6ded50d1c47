"""AWS without its SDK, for the calls that are made for every request.

Three calls: Lambda's Invoke, SageMaker's InvokeEndpoint, S3's GetObject; signed, over connections
that are kept. Whatever is not asked for every request is asked through boto3, elsewhere.
"""

from modelport.aws.clients import Clients
from modelport.aws.errors import CallError, HungUpError, RefusedError, SilentError
from modelport.aws.pool import Timeouts
from modelport.aws.services import (
    Documents,
    Endpoints,
    Found,
    Functions,
    Inference,
    Invocation,
)

__all__ = [
    "CallError",
    "Clients",
    "Documents",
    "Endpoints",
    "Found",
    "Functions",
    "HungUpError",
    "Inference",
    "Invocation",
    "RefusedError",
    "SilentError",
    "Timeouts",
]

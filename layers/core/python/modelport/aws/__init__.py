"""AWS without its SDK, for the calls that are made for every request.

Lambda's Invoke, SageMaker's InvokeEndpoint, S3's GetObject and ListObjectsV2; signed, over
connections that are kept. Whatever requests do not wait for is asked through boto3, elsewhere.
"""

from modelport.aws.clients import Clients
from modelport.aws.documents import Documents, Found
from modelport.aws.errors import CallError, HungUpError, RefusedError, SilentError
from modelport.aws.pool import Timeouts
from modelport.aws.services import Endpoints, Functions, Inference, Invocation

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

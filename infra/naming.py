"""Names of what the platform shares with its versions: stable, so that stacks need no lookups.

Names of stacks and model functions are `modelport.deployments`'; nothing is created here.
"""

from __future__ import annotations


def router(environment: str) -> str:
    """The router function."""
    return f"modelport-{environment}-router"


def streamer(environment: str) -> str:
    """The function that streams for a REST API."""
    return f"modelport-{environment}-streamer"


def registrar(environment: str) -> str:
    """The registrar function."""
    return f"modelport-{environment}-registrar"


def worker(environment: str) -> str:
    """The function that runs jobs and asks shadow versions."""
    return f"modelport-{environment}-worker"


def controller(environment: str) -> str:
    """The function that decides about rollouts."""
    return f"modelport-{environment}-controller"


def registry(environment: str, account: str, region: str) -> str:
    """The bucket of models and routes; buckets of all accounts share one space of names."""
    return f"modelport-{environment}-registry-{account}-{region}"


def payloads(environment: str, account: str, region: str) -> str:
    """The bucket of large bodies and of jobs."""
    return f"modelport-{environment}-payloads-{account}-{region}"


def queue(environment: str, what: str) -> str:
    """A queue of an environment."""
    return f"modelport-{environment}-{what}"


def model_versions(environment: str) -> str:
    """A pattern of all model functions and endpoints of an environment, and of nothing else.

    The platform's own functions do not end in ``-v<number>``; no environment's name has a hyphen.
    """
    return f"modelport-{environment}-*-v*"


def image_repository(environment: str) -> str:
    """The ECR repository of the images of an environment."""
    return f"modelport-{environment}"


def export(environment: str, what: str) -> str:
    """A CloudFormation export of the platform stack."""
    return f"modelport-{environment}-{what}"


#: Exports that version stacks import.
BUCKET_NAME = "bucket-name"
KEY_ARN = "key-arn"
REGISTRAR_ARN = "registrar-arn"

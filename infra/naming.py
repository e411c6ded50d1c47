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


def model_versions(environment: str) -> str:
    """A pattern of all model functions and endpoints of an environment, and of nothing else.

    Router and registrar do not end in ``-v<number>``, and no environment's name has a hyphen.
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

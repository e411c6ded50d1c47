"""Names of what the platform shares with its versions: stable, so that stacks need no lookups.

Names of stacks and model functions are `modelport.deployments`'; nothing is created here.
"""

from __future__ import annotations


def router(environment: str) -> str:
    """The router function."""
    return f"modelport-{environment}-router"


def registrar(environment: str) -> str:
    """The registrar function."""
    return f"modelport-{environment}-registrar"


def model_functions(environment: str) -> str:
    """A pattern of all model functions of an environment, and of no other function.

    Router and registrar do not end in ``-v<number>``, and no environment's name has a hyphen.
    """
    return f"modelport-{environment}-*-v*"


def export(environment: str, what: str) -> str:
    """A CloudFormation export of the platform stack."""
    return f"modelport-{environment}-{what}"


#: Exports that version stacks import.
KEY_ARN = "key-arn"
REGISTRAR_ARN = "registrar-arn"

"""What can go wrong only at a terminal, and the exit code of everything that can go wrong.

The library's own errors live in `modelport.errors`; nothing outside `modelport.cli` raises or
catches the ones here.

    0  ok                  3  not found
    1  unexpected failure  4  conflict
    2  invalid input       5  a backend or the registry failed or is away
                           6  stored bytes are not what they should be
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from modelport.errors import (
    BackendError,
    ConflictError,
    IntegrityError,
    InvalidInputError,
    ModelportError,
    NotFoundError,
)

OK, UNEXPECTED, INVALID, NOT_FOUND, CONFLICT, UNAVAILABLE, INTEGRITY = range(7)
INTERRUPTED = 130

EXIT_CODES: Mapping[type[ModelportError], int] = {
    InvalidInputError: INVALID,
    NotFoundError: NOT_FOUND,
    ConflictError: CONFLICT,
    BackendError: UNAVAILABLE,
    IntegrityError: INTEGRITY,
    ModelportError: UNEXPECTED,
}


def exit_code(error: BaseException) -> int:
    """The exit code of an error: that of its nearest class in `EXIT_CODES`."""
    for kind in type(error).__mro__:
        if kind in EXIT_CODES:
            return EXIT_CODES[kind]
    return UNEXPECTED


class InvalidUsageError(InvalidInputError):
    """Arguments that do not fit the command."""

    code = "usage"


class InterruptedRunError(ModelportError):
    """Somebody stopped the command; what it had changed was put back where it could be."""

    code = "interrupted"

    def __init__(self) -> None:
        super().__init__("stopped", hint="see where things stand: modelport status")


class AwsUnavailableError(BackendError):
    """An AWS service the command needs did not answer, or there are no credentials for it."""

    code = "aws-unavailable"

    def __init__(self, service: str, problem: str) -> None:
        super().__init__(
            f"{service} cannot be used: {problem}",
            hint="check AWS_PROFILE, AWS_REGION and AWS_ENDPOINT_URL",
        )


class CdkMissingError(ModelportError):
    """There is no cdk command, or no CDK app to run it on."""

    code = "cdk-missing"

    def __init__(self, problem: str, hint: str) -> None:
        super().__init__(problem, hint=hint)


class CdkFailedError(BackendError):
    """The cdk command ended with an error; the reasons are lines of its own output."""

    code = "deploy-failed"

    def __init__(self, verb: str, stack: str, reasons: Sequence[str], log: object) -> None:
        self.reasons = tuple(reasons)
        because = "".join(f"\n  {reason}" for reason in reasons)
        super().__init__(f"cdk {verb} of {stack} failed{because}", hint=f"all of its output: {log}")


class PlatformMissingError(NotFoundError):
    """The environment's platform stack, which every version needs, is not deployed."""

    code = "platform-missing"

    def __init__(self, stack: str) -> None:
        super().__init__(
            f"there is no stack {stack}: deploy the platform first",
            hint=f"cd infra && npx cdk deploy {stack}; locally: make up",
        )


class ShadowInUseError(ConflictError):
    """A version that an endpoint has as its shadow cannot leave the file."""

    code = "version-in-use"

    def __init__(self, name: str, version: int, by: Sequence[int]) -> None:
        listed = ", ".join(f"{name}:{each}" for each in by)
        super().__init__(
            f"version {version} of model {name} is the shadow of {listed}",
            hint=f"take [deployment.sagemaker.shadow] of {listed} out of deployments.toml and"
            " deploy that first",
        )

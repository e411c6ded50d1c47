"""Everything that can go wrong, once, in one tree; no HTTP in here.

Constructors take facts and write the message, so the same fault always reads the same. Each
class has a stable ``code`` for machines and may carry a ``hint``: what to do next. Which HTTP
status a class becomes is decided at the HTTP edges, never here.

    ModelportError
    ├── InvalidInputError
    │   ├── InvalidNameError
    │   ├── InvalidRefError
    │   ├── InvalidBundleError
    │   │   └── InvalidOnnxError
    │   ├── InvalidWeightsError
    │   ├── InvalidSettingError
    │   ├── MalformedRequestError
    │   ├── TensorError
    │   ├── UnsupportedMediaTypeError
    │   ├── PayloadTooLargeError
    │   │   └── AnswerTooLargeError
    │   ├── NotEncodableError
    │   └── NotSupportedError
    ├── NotFoundError
    │   ├── ModelNotFoundError
    │   ├── VersionNotFoundError
    │   ├── AliasNotFoundError
    │   ├── BlobNotFoundError
    │   ├── NoVersionDeployedError
    │   └── RouteNotFoundError
    ├── ConflictError
    │   ├── NotDeployedError
    │   ├── VersionInUseError
    │   ├── NothingToRollBackError
    │   └── ConcurrentChangeError
    ├── IntegrityError
    └── BackendError
        ├── ModelFailedError
        ├── ModelTimeoutError
        ├── ThrottledError
        ├── BackendGoneError
        ├── RegistryUnavailableError
        └── GoldenMismatchError
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar


class ModelportError(Exception):
    """The root: a message for people, a stable ``code`` for machines, a ``hint`` to go on."""

    code: ClassVar[str] = "modelport-error"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


def _listed(values: Iterable[object]) -> str:
    return ", ".join(str(value) for value in values) or "none"


# --- the caller's input ---------------------------------------------------------------------------


class InvalidInputError(ModelportError):
    """The caller sent something that cannot be used."""

    code = "invalid-input"


class InvalidNameError(InvalidInputError):
    """A model, alias or environment name outside its grammar."""

    code = "invalid-name"

    def __init__(self, kind: str, value: str, allowed: str) -> None:
        super().__init__(f"{kind} {value!r} is not valid: {allowed}")


class InvalidRefError(InvalidInputError):
    """A model reference that is not NAME, NAME:VERSION or NAME@ALIAS."""

    code = "invalid-ref"

    def __init__(self, text: str) -> None:
        super().__init__(
            f"{text!r} does not name a model version",
            hint="write NAME, NAME:VERSION (magika:3) or NAME@ALIAS (magika@stable)",
        )


class InvalidBundleError(InvalidInputError):
    """A bundle that cannot be published."""

    code = "invalid-bundle"

    def __init__(self, path: object, problem: str, hint: str = "") -> None:
        super().__init__(f"{path}: {problem}", hint=hint)


class InvalidOnnxError(InvalidBundleError):
    """A file that is not an ONNX model this product can serve."""

    code = "invalid-onnx"


class InvalidWeightsError(InvalidInputError):
    """Traffic weights that do not describe a split."""

    code = "invalid-weights"

    def __init__(self, text: str, problem: str) -> None:
        super().__init__(
            f"weights {text!r}: {problem}",
            hint="write one version (3) or versions with positive weights (3:90,4:10)",
        )


class InvalidSettingError(InvalidInputError):
    """A setting, environment variable or configuration value that cannot be used."""

    code = "invalid-setting"

    def __init__(self, name: str, value: object, problem: str) -> None:
        shown = "is not set" if value is None else f"= {value!r}"
        super().__init__(f"setting {name} {shown}: {problem}")


class MalformedRequestError(InvalidInputError):
    """A request whose body or headers cannot be read."""

    code = "malformed-request"

    def __init__(self, problem: str, *, hint: str = "") -> None:
        super().__init__(problem, hint=hint)


class TensorError(InvalidInputError):
    """An input tensor with the wrong name, dtype or shape."""

    code = "invalid-tensor"

    def __init__(self, name: str, expected: str, got: str) -> None:
        super().__init__(f"input {name!r}: expected {expected}, got {got}")


class UnsupportedMediaTypeError(InvalidInputError):
    """A content type, or a coding of it, that the model cannot read."""

    code = "unsupported-media-type"

    def __init__(self, got: str, allowed: Iterable[str], what: str = "content type") -> None:
        super().__init__(f"{what} {got!r} is not supported here; allowed: {_listed(allowed)}")


class PayloadTooLargeError(InvalidInputError):
    """A body over a platform limit; says the size, the limit, where it applies and the way out.

    The size is None where a platform refuses a body without saying how large it was.
    """

    code = "payload-too-large"

    def __init__(self, size: int | None, limit: int, where: str, hint: str = "") -> None:
        found = "too large" if size is None else f"{size:,} bytes"
        super().__init__(
            f"{where} is {found}; the limit is {limit:,} bytes" + (f"; {hint}" if hint else ""),
            hint=hint,
        )


class AnswerTooLargeError(PayloadTooLargeError):
    """An answer over the limit of what carries it: it may go another way."""

    code = "answer-too-large"


class NotEncodableError(InvalidInputError):
    """An answer that the caller's protocol has no form for."""

    code = "not-encodable"

    def __init__(self, output: str, problem: str) -> None:
        super().__init__(f"output {output!r} cannot be encoded: {problem}")


class NotSupportedError(InvalidInputError):
    """Something the caller's protocol has and this server, or this version, does not."""

    code = "not-supported"

    def __init__(self, what: str, reason: str, *, hint: str = "") -> None:
        super().__init__(f"{what} is not supported: {reason}", hint=hint)


# --- things that are not there --------------------------------------------------------------------


class NotFoundError(ModelportError):
    """Something named does not exist."""

    code = "not-found"


class ModelNotFoundError(NotFoundError):
    """No version of this model was ever published."""

    code = "model-not-found"

    def __init__(self, name: str) -> None:
        super().__init__(f"Could not find any versions of model {name}")


class VersionNotFoundError(NotFoundError):
    """The model exists, this version of it does not."""

    code = "version-not-found"

    def __init__(self, name: str, version: int) -> None:
        super().__init__(f"Could not find version {version} of model {name}")


class AliasNotFoundError(NotFoundError):
    """The model has no such alias."""

    code = "alias-not-found"

    def __init__(self, name: str, alias: str, known: Iterable[str]) -> None:
        super().__init__(f"model {name} has no alias {alias!r}; aliases: {_listed(sorted(known))}")


class BlobNotFoundError(NotFoundError):
    """A blob named by a manifest is missing from the registry."""

    code = "blob-not-found"

    def __init__(self, digest: str) -> None:
        super().__init__(
            f"blob {digest} is not in the registry", hint="publish the bundle again to restore it"
        )


class NoVersionDeployedError(NotFoundError):
    """The model is published, but nothing of it is deployed."""

    code = "no-version-deployed"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"no version of model {name} is deployed", hint=f"modelport deploy {name}:VERSION"
        )


class RouteNotFoundError(NotFoundError):
    """No protocol has this method and path."""

    code = "route-not-found"

    def __init__(self, method: str, path: str) -> None:
        super().__init__(
            f"Malformed request: {method} {path}",
            hint="paths: /v1/models/M:predict, /v2/models/M/infer, /endpoints/M/invocations",
        )


# --- things that stand in the way -----------------------------------------------------------------


class ConflictError(ModelportError):
    """The request is fine, the present state does not allow it."""

    code = "conflict"


class NotDeployedError(ConflictError):
    """An alias or a call names a version that is not deployed."""

    code = "not-deployed"

    def __init__(self, name: str, version: int, deployed: Iterable[int]) -> None:
        super().__init__(
            f"version {version} of model {name} is not deployed;"
            f" deployed: {_listed(sorted(deployed))}",
            hint=f"modelport deploy {name}:{version}",
        )


class VersionInUseError(ConflictError):
    """A version that routes still need cannot go."""

    code = "version-in-use"

    def __init__(self, name: str, version: int, users: Iterable[str]) -> None:
        super().__init__(
            f"version {version} of model {name} is needed by {_listed(sorted(users))}",
            hint=f"end that first: modelport route {name} ALIAS=OTHER_VERSION moves an alias,"
            f" modelport rollout abort {name} ends a rollout,"
            f" modelport traffic show {name} has the rest",
        )


class NothingToRollBackError(ConflictError):
    """The alias has no earlier value."""

    code = "nothing-to-roll-back"

    def __init__(self, name: str, alias: str) -> None:
        super().__init__(f"alias {alias!r} of model {name} has no earlier value to roll back to")


class ConcurrentChangeError(ConflictError):
    """Other writers won every attempt; nothing was written."""

    code = "concurrent-change"

    def __init__(self, what: str, attempts: int) -> None:
        super().__init__(
            f"{what} was changed by others in each of {attempts} attempts; nothing was written",
            hint="try again",
        )


# --- things that lie, and things that fail --------------------------------------------------------


class IntegrityError(ModelportError):
    """Stored bytes are not what their digest, schema or chain says."""

    code = "integrity"

    def __init__(self, what: str, expected: str, got: str) -> None:
        super().__init__(f"{what}: expected {expected}, got {got}")


class BackendError(ModelportError):
    """Something behind the request failed."""

    code = "backend"


class ModelFailedError(BackendError):
    """The model raised; the details stand in its own log under the request id."""

    code = "model-failed"

    def __init__(self, model: str, version: int, request_id: str) -> None:
        super().__init__(
            f"model {model} version {version} failed on this request;"
            f" its log has the details under request id {request_id}"
        )


#: The router gives up on a model after this long, whatever the model's own --timeout.
ROUTER_LIMIT_S = 27.0


class ModelTimeoutError(BackendError):
    """The model did not answer within its limit."""

    code = "model-timeout"

    def __init__(self, model: str, version: int, limit_s: float) -> None:
        hint = "deploy it with a longer --timeout or more --memory"
        if limit_s >= ROUTER_LIMIT_S:
            hint = (
                "deploy it with more --memory, which is more CPU;"
                f" callers get no answer after {ROUTER_LIMIT_S:g} s, however long its --timeout"
            )
        super().__init__(
            f"model {model} version {version} did not answer within {limit_s:g} s", hint=hint
        )


class ThrottledError(BackendError):
    """A backend has no capacity left for now."""

    code = "throttled"

    def __init__(self, what: str, retry_after_s: int = 1) -> None:
        super().__init__(f"{what} is at its concurrency limit; try again in {retry_after_s} s")
        self.retry_after_s = retry_after_s


class BackendGoneError(BackendError):
    """The routes name a backend that does not answer or no longer exists."""

    code = "backend-gone"

    def __init__(self, model: str, version: int, target: str) -> None:
        super().__init__(
            f"the {target} backend of model {model} version {version} is gone",
            hint=f"deploy it again: modelport deploy {model}:{version}",
        )


class RegistryUnavailableError(BackendError):
    """The registry's bucket cannot be reached."""

    code = "registry-unavailable"
    what: ClassVar[str] = "the registry"

    def __init__(self, problem: str, retry_after_s: int = 2) -> None:
        super().__init__(f"{self.what} cannot be reached: {problem}")
        self.retry_after_s = retry_after_s


class GoldenMismatchError(BackendError):
    """A version answered a golden request wrongly."""

    code = "golden-mismatch"

    def __init__(self, name: str, version: int, golden: str, problem: str) -> None:
        super().__init__(f"{name}:{version} answers golden {golden!r} wrongly: {problem}")

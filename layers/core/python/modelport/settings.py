"""What each deployable is told through its environment: one frozen class each.

Infrastructure writes the variables with the class the function reads them with (`to_env`,
`from_env`), so names cannot drift. Nothing here reads ``os.environ``: composition roots pass it in.
AWS endpoints come only from the AWS SDK's own variables.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Self

from modelport.errors import InvalidSettingError
from modelport.records import record
from modelport.refs import check_name, check_version

PREFIX = "MODELPORT_"
#: Longest that a request may wait for others, in milliseconds.
MAX_DELAY_MS = 10_000


class _Settings:
    """Reads and writes the fields of a dataclass as ``MODELPORT_<FIELD>``."""

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Self:
        """Build from environment variables; raises `InvalidSettingError` naming the variable."""
        values: dict[str, Any] = {}
        for field in fields(cls):  # type: ignore[arg-type]
            name = PREFIX + field.name.upper()
            text = environ.get(name)
            if text is None or text == "":
                continue
            values[field.name] = _parse(name, text, str(field.type))
        try:
            return cls(**values)
        except TypeError:
            required = [
                PREFIX + field.name.upper()
                for field in fields(cls)  # type: ignore[arg-type]
                if field.name not in values and not hasattr(cls, field.name)
            ]
            missing = next((name for name in required if not environ.get(name)), required[0])
            raise InvalidSettingError(missing, None, "it is required") from None

    def to_env(self) -> dict[str, str]:
        """The environment variables that `from_env` reads back to an equal object."""
        return {
            PREFIX + field.name.upper(): str(value)
            for field in fields(self)  # type: ignore[arg-type]
            if (value := getattr(self, field.name)) is not None
        }


def _parse(name: str, text: str, kind: str) -> Any:
    try:
        if kind.startswith("int"):
            return int(text)
        if kind.startswith("float"):
            return float(text)
    except ValueError:
        raise InvalidSettingError(name, text, "it must be a number") from None
    return text


def _positive(name: str, value: float | None) -> None:
    if value is not None and not value > 0:
        raise InvalidSettingError(PREFIX + name.upper(), value, "it must be more than 0")


@record(frozen=True)
class RouterSettings(_Settings):
    """The router: which bucket and environment, how stale routes may be, how large a body.

    ``auth`` is what the API in front asks of callers (``iam`` or ``none``): for documentation,
    since nothing here checks it. Without ``payloads_bucket`` and ``jobs_queue_url`` nothing larger
    than an event is taken and nothing answered later, without ``shadow_queue_url`` nothing copied;
    ``webhook_hosts`` (``a.example,b.example:8443``) are those that may be told of finished jobs.
    """

    bucket: str
    environment: str
    routes_ttl_s: float = 5.0
    max_body_bytes: int = 6_000_000
    auth: str = "none"
    payloads_bucket: str | None = None
    jobs_queue_url: str | None = None
    shadow_queue_url: str | None = None
    webhook_hosts: str | None = None
    max_upload_bytes: int = 256 * 1024 * 1024

    def __post_init__(self) -> None:
        _positive("routes_ttl_s", self.routes_ttl_s)
        _positive("max_body_bytes", self.max_body_bytes)
        _positive("max_upload_bytes", self.max_upload_bytes)


@record(frozen=True)
class RuntimeSettings(_Settings):
    """A model function: which version it is, where its bundle lies, what it may use to run.

    ``threads`` count when the version names none; ``providers`` (``tensorrt,cuda,cpu``) replaces
    what the runtime would choose; ``tensorrt_cache`` is a writable folder for built engines,
    without which TensorRT is not used. The two batching fields replace what the version says; one
    row at a time is no batching. Bodies may be named in place of sent if they lie below
    ``payloads_url``; without it they may not.
    """

    model: str
    version: int
    digest: str
    bundle_dir: str = "/opt/ml/model"
    memory_mb: int | None = None
    log_level: str = "INFO"
    threads: int | None = None
    providers: str | None = None
    tensorrt_cache: str | None = None
    max_batch_rows: int | None = None
    max_batch_delay_ms: float | None = None
    payloads_url: str | None = None

    def __post_init__(self) -> None:
        check_name(self.model)
        check_version(self.version)
        _positive("memory_mb", self.memory_mb)
        _positive("threads", self.threads)
        _positive("max_batch_rows", self.max_batch_rows)
        if self.max_batch_delay_ms is not None and not 0 <= self.max_batch_delay_ms <= MAX_DELAY_MS:
            raise InvalidSettingError(
                PREFIX + "MAX_BATCH_DELAY_MS",
                self.max_batch_delay_ms,
                f"it must be between 0 and {MAX_DELAY_MS}",
            )

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Self:
        """As the base class; memory falls back to what Lambda says of the function."""
        lambda_memory = environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE")
        if lambda_memory and not environ.get("MODELPORT_MEMORY_MB"):
            environ = {**environ, "MODELPORT_MEMORY_MB": lambda_memory}
        return super().from_env(environ)


@record(frozen=True)
class RegistrarSettings(_Settings):
    """The registrar: which bucket and environment."""

    bucket: str
    environment: str


@record(frozen=True)
class ControllerSettings(_Settings):
    """The controller of rollouts: which registry, and whose metrics it reads."""

    bucket: str
    environment: str


@record(frozen=True)
class WorkerSettings(_Settings):
    """The worker: which registry and environment, where jobs are kept and where they come from.

    Messages that were received too often end in the queue ``jobs_dead_arn``: jobs that come from
    there have failed.
    """

    bucket: str
    environment: str
    payloads_bucket: str | None = None
    jobs_queue_url: str | None = None
    jobs_dead_arn: str | None = None

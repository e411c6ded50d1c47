"""What MLflow's deployments are here: settings read, models found, versions published and deployed.

An MLflow deployment is a model of the registry, and an update of it is a new version. Knows no
MLflow, so that all of it can be used and tested without; `modelport.mlflow_plugin` puts MLflow's
interface around it. The work itself is done by the functions behind ``modelport publish``,
``deploy`` and ``undeploy``, which are handed in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

import yaml  # type: ignore[import-untyped]

from modelport.cli.deploying import deployed, undeployed
from modelport.cli.failures import InvalidUsageError
from modelport.cli.publishing import published
from modelport.cli.session import Session
from modelport.errors import ConflictError, InvalidSettingError, ModelNotFoundError, NotFoundError
from modelport.refs import check_alias, check_name, parse_ref
from modelport.routes import STABLE, Routes, Weighted

FLAVOR = "onnx"
_MLMODEL = "MLmodel"
#: Of the MLmodel file, what a version's lineage keeps.
_RECORDED = ("run_id", "model_id", "model_uuid", "mlflow_version", "utc_time_created", "signature")
_WAY_OUT = (
    "log it in the onnx flavor (mlflow.onnx.log_model, after skl2onnx, tf2onnx or"
    " torch.onnx.export), or give a bundle: a folder with model.onnx and inference.py"
)


class NameTakenError(ConflictError):
    """A deployment of this name is there already."""

    code = "name-taken"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"deployment {name} exists",
            hint="update_deployment (mlflow deployments update) deploys a new version of it",
        )


@dataclass(frozen=True)
class Source:
    """A bundle on disk, and where it came from."""

    path: Path
    origin: Mapping[str, Any] = field(default_factory=dict)
    description: str | None = None


def find_source(folder: Path, flavor: str | None) -> Source:
    """The bundle in what a model URI led to; `InvalidUsageError` when it cannot be deployed.

    An MLflow model in the onnx flavor, or an .onnx file or bundle folder as ``modelport publish``
    takes it.
    """
    if flavor not in (None, FLAVOR):
        raise InvalidUsageError(f"flavor {flavor!r} cannot be deployed here", hint=_WAY_OUT)
    record = folder / _MLMODEL
    if not record.is_file():
        return Source(folder)
    try:
        said = yaml.safe_load(record.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidUsageError(f"{record} cannot be read: {str(error)[:200]}") from None
    flavors = said.get("flavors") if isinstance(said, dict) else None
    if not isinstance(flavors, dict) or not isinstance(flavors.get(FLAVOR), dict):
        listed = ", ".join(sorted(map(str, flavors or {}))) or "none"
        raise InvalidUsageError(
            f"the model at {folder} has no flavor {FLAVOR} (flavors: {listed})", hint=_WAY_OUT
        )
    data = flavors[FLAVOR].get("data", "model.onnx")
    if not isinstance(data, str) or PurePosixPath(data).is_absolute() or ".." in Path(data).parts:
        raise InvalidUsageError(f"{record} names {data!r} as the model, which is not beside it")
    origin = {name: said[name] for name in _RECORDED if said.get(name)}
    if isinstance(said.get("metadata"), dict):
        origin["metadata"] = said["metadata"]
    run = said.get("run_id")
    told = f"MLflow model of run {run}" if run else "MLflow model"
    return Source(folder / data, {"mlflow": _jsonable(origin)}, told)


@dataclass(frozen=True)
class Settings:
    """A deployment's ``config``; None is not said."""

    target: str | None = None
    memory_mb: int | None = None
    timeout_s: int | None = None
    image: str | None = None
    instance_type: str | None = None
    instances: int | None = None
    bucket: str | None = None
    deployments: Path | None = None
    alias: str = STABLE
    tune: bool = True
    description: str | None = None
    message: str = ""
    port: int = 8080

    @classmethod
    def read(cls, config: Mapping[str, Any] | None, allowed: frozenset[str]) -> Settings:
        """Read a config, whose values may be text; raises `InvalidSettingError` naming the key."""
        values: dict[str, Any] = {}
        for name, value in (config or {}).items():
            if name not in allowed:
                raise InvalidSettingError(name, value, f"allowed: {', '.join(sorted(allowed))}")
            values[name] = _READERS[name](name, value)
        return cls(**values)


def _text(name: str, value: Any) -> str:
    text = str(value).strip()
    if not text:
        raise InvalidSettingError(name, value, "it is empty")
    return text


def _whole(least: int, most: int) -> Callable[[str, Any], int]:
    def read(name: str, value: Any) -> int:
        text = str(value).strip()
        fits = text.isascii() and text.isdigit() and len(text) < 10
        if isinstance(value, bool) or not fits or not least <= int(text) <= most:
            raise InvalidSettingError(name, value, f"a whole number from {least} to {most}")
        return int(text)

    return read


def _one_of(*words: str) -> Callable[[str, Any], str]:
    def read(name: str, value: Any) -> str:
        if value not in words:
            raise InvalidSettingError(name, value, f"allowed: {', '.join(words)}")
        return str(value)

    return read


def _yes_or_no(name: str, value: Any) -> bool:
    found = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if str(value).lower() not in found:
        raise InvalidSettingError(name, value, "allowed: true, false")
    return found[str(value).lower()]


_READERS: Mapping[str, Callable[[str, Any], Any]] = {
    "target": _one_of("lambda", "sagemaker"),
    "memory_mb": _whole(128, 10_240),
    "timeout_s": _whole(1, 900),
    "image": _text,
    "instance_type": _text,
    "instances": _whole(1, 1_000),
    "bucket": _text,
    "deployments": lambda name, value: Path(_text(name, value)),
    "alias": lambda name, value: check_alias(_text(name, value)),
    "tune": _yes_or_no,
    "description": _text,
    "message": _text,
    "port": _whole(0, 65_535),
}
_PLACE = frozenset({"bucket", "deployments"})
CREATING = frozenset(_READERS) - {"port"}
DELETING = _PLACE
LOCALLY = frozenset({"port", "tune", "description"})


@dataclass(frozen=True)
class Work:
    """The functions that do the work, as the commands have them."""

    published: Callable[..., Any] = published
    deployed: Callable[..., Any] = deployed
    undeployed: Callable[..., Any] = undeployed


@dataclass(frozen=True)
class Releases:
    """Deployments as MLflow has them, over one session of the command line."""

    session: Session
    work: Work = field(default_factory=Work)

    def placed(self, settings: Settings) -> Releases:
        """The same in the bucket and with the deployments file that the settings name."""
        session = replace(
            self.session,
            bucket_option=settings.bucket,
            deployments_option=settings.deployments,
        )
        return replace(self, session=session)

    def create(self, name: str, source: Source, settings: Settings) -> dict[str, Any]:
        """Deploy a first version; `NameTakenError` when one is deployed already."""
        if self._routes(check_name(name)).deployments:
            raise NameTakenError(name)
        return self._release(name, source, settings)

    def update(self, name: str, source: Source | None, settings: Settings) -> dict[str, Any]:
        """Deploy a new version and move the alias to it; without a source, deploy the present one
        again with these settings.
        """
        routes = self._routes(check_name(name))
        if not routes.deployments:
            raise NotFoundError(f"there is no deployment {name}", hint="create it first")
        if source is None:
            return self._deploy(name, _present(routes, settings.alias), settings)
        return self._release(name, source, settings)

    def delete(self, name: str) -> None:
        """Take every version of a model down; nothing to do is done. What is published stays."""
        routes = self._routes(check_name(name))
        for alias in sorted(routes.aliases):
            self._edit(name, lambda r, alias=alias: r.without_alias(alias), "route", alias, "")  # type: ignore[misc]
        for version in sorted(routes.deployments):
            self.work.undeployed(self.session, name, version)

    def listed(self) -> list[dict[str, Any]]:
        """Every model that has a version deployed."""
        names = sorted(self.session.registry.models())
        found = (self._routes(name) for name in names)
        return [self._told(routes) for routes in found if routes.deployments]

    def described(self, name: str) -> dict[str, Any]:
        """One deployment; `NotFoundError` when nothing of it runs."""
        routes = self._routes(parse_ref(name).name)
        if not routes.deployments:
            raise NotFoundError(f"there is no deployment {name}")
        return {**self._told(routes), "endpoint": self.session.endpoint}

    def _release(self, name: str, source: Source, settings: Settings) -> dict[str, Any]:
        manifest, _ = self.work.published(
            self.session,
            source.path,
            name,
            settings.description or source.description,
            tune=settings.tune,
            message=settings.message,
            origin=source.origin,
        )
        return self._deploy(name, manifest.version, settings)

    def _deploy(self, name: str, version: int, settings: Settings) -> dict[str, Any]:
        asked = {
            "target": settings.target,
            "memory_mb": settings.memory_mb,
            "timeout_s": settings.timeout_s,
            "image": settings.image,
        }
        endpoint = {"instance_type": settings.instance_type, "instances": settings.instances}
        manifest, entry, stack = self.work.deployed(self.session, name, version, asked, endpoint)
        whole = (Weighted(version),)
        # Last, and only of a version that answered its goldens: callers move in one step.
        self._edit(
            name,
            lambda routes: routes.with_alias(settings.alias, whole),
            "promote",
            settings.alias,
            settings.message,
        )
        return {
            "name": name,
            "flavor": FLAVOR,
            "version": version,
            "alias": settings.alias,
            "digest": manifest.digest,
            "target": entry.target,
            "stack": stack,
            "image": entry.image,
        }

    def _edit(
        self, name: str, edit: Callable[[Routes], Routes], action: str, alias: str, message: str
    ) -> None:
        who = self.session.actor(message)
        self.session.registry.change(name, edit, action=action, detail={"alias": alias}, who=who)

    def _routes(self, name: str) -> Routes:
        try:
            snapshot = self.session.registry.routes(name)
        except ModelNotFoundError:
            return Routes(name)
        return snapshot.routes if snapshot else Routes(name)

    def _told(self, routes: Routes) -> dict[str, Any]:
        aliases = {
            name: [{"version": part.version, "weight": part.weight} for part in alias]
            for name, alias in routes.aliases.items()
        }
        versions = [
            {"version": number, "target": running.target, "digest": running.digest}
            for number, running in sorted(routes.deployments.items())
        ]
        return {"name": routes.model, "flavor": FLAVOR, "versions": versions, "aliases": aliases}


def _present(routes: Routes, alias: str) -> int:
    """The version an alias means, the heaviest of a split; without it, the highest deployed."""
    parts = routes.aliases.get(alias)
    if parts:
        return max(parts, key=lambda part: part.weight).version
    return max(routes.deployments)


def _jsonable(value: Any) -> Any:
    """YAML's values as JSON's: dates and the like as text."""
    if isinstance(value, dict):
        return {str(key): _jsonable(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_jsonable(each) for each in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)

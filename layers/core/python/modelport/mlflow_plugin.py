"""MLflow's deployments, target ``modelport``: ``mlflow deployments create -t modelport …``.

MLflow's interface around `modelport.mlflow_models`, and the place where its clients are made.
MLflow wants exactly one client class in this module, beside `run_local` and `target_help`. Errors
become MLflow's own, with message and hint.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlflow.artifacts
import numpy as np
from mlflow.deployments import BaseDeploymentClient, PredictionsResponse
from mlflow.exceptions import MlflowException
from mlflow.protos import databricks_pb2 as codes

from modelport import mlflow_local
from modelport.cli.app import process_world
from modelport.cli.calling import signer
from modelport.cli.console import Output
from modelport.cli.session import Session
from modelport.client import Client, Outputs
from modelport.errors import (
    BackendError,
    ConflictError,
    InvalidInputError,
    InvalidSettingError,
    ModelportError,
    NotFoundError,
    NotSupportedError,
)
from modelport.mlflow_models import (
    CREATING,
    DELETING,
    LOCALLY,
    NameTakenError,
    Releases,
    Settings,
    Source,
    find_source,
)

_HELP = """\
modelport turns a model into a versioned HTTPS service on AWS: each version is a Lambda function or
a SageMaker endpoint behind one API. A deployment's name is a model of the registry: 1 to 40 of a-z,
0-9 and '-', not starting or ending with '-'.

  mlflow deployments create -t modelport --name digits -m runs:/RUN/model -C memory_mb=3008
  mlflow deployments update -t modelport --name digits -m models:/digits/4
  mlflow deployments predict -t modelport --name digits -I rows.json
  mlflow deployments delete -t modelport --name digits

Models: the onnx flavor (mlflow.onnx.log_model), an .onnx file, or a bundle: a folder with
model.onnx and, for any other framework, inference.py and requirements.txt.

create publishes the model as version 1 (or the next one), deploys it, and points the alias at it
when it has answered its golden requests. update does the same with a new version; without a model
URI it deploys the present one again with other settings. The version before stays deployed:
`modelport rollback NAME` goes back to it in seconds. delete takes all versions down; what was
published stays. predict takes NAME, NAME:VERSION or NAME@ALIAS.

Config (-C key=value):
  target         lambda (default) or sagemaker
  memory_mb      128 to 10240; of a function. Default 1769, one vCPU
  timeout_s      1 to 900
  instance_type  of a SageMaker endpoint, such as ml.g5.xlarge
  instances      how many of them; default 1
  image          the container image, by digest; without it: built and pushed
  alias          what points at the new version; default stable
  tune           false: do not measure how the model is opened fastest
  description    what the model does; default: the MLflow run
  message        why; kept in the log
  bucket         the registry's bucket; else MODELPORT_BUCKET, else the platform stack's output
  deployments    the desired state; else MODELPORT_DEPLOYMENTS, else deployments.toml
  port           run-local only: the port on 127.0.0.1; default 8080

Target URI: modelport. Environment: MODELPORT_BUCKET, MODELPORT_ENDPOINT (the API's URL),
MODELPORT_DEPLOYMENTS, AWS_PROFILE, AWS_REGION and the like. Deploying needs modelport's checkout
(the CDK app in infra/) as the present folder or beside deployments.toml.
"""

_CODES: tuple[tuple[type[ModelportError], int], ...] = (
    (NotSupportedError, codes.NOT_IMPLEMENTED),
    (InvalidInputError, codes.INVALID_PARAMETER_VALUE),
    (NotFoundError, codes.RESOURCE_DOES_NOT_EXIST),
    (NameTakenError, codes.RESOURCE_ALREADY_EXISTS),
    (ConflictError, codes.RESOURCE_CONFLICT),
    (BackendError, codes.TEMPORARILY_UNAVAILABLE),
    (ModelportError, codes.INTERNAL_ERROR),
)


def target_help() -> str:
    """What ``mlflow deployments help -t modelport`` prints."""
    return _HELP


def run_local(
    name: str,
    model_uri: str,
    flavor: str | None = None,
    config: Mapping[str, Any] | None = None,
) -> None:
    """Serve a model on this machine until it is stopped, as its image would."""
    with _told_to_mlflow():
        settings = Settings.read(config, LOCALLY)
        with _fetched(model_uri, flavor) as source:
            mlflow_local.serve(name, source, settings, os.environ, _say)


class ModelportDeploymentClient(BaseDeploymentClient):  # type: ignore[misc]
    """Deployments on AWS, or on the local cloud where the environment says so."""

    def __init__(
        self, target_uri: str = "modelport", releases: Callable[[], Releases] | None = None
    ) -> None:
        """``releases`` replaces how the session with AWS is made."""
        super().__init__(target_uri)
        with _told_to_mlflow():
            if target_uri.rstrip(":/") != "modelport":
                raise InvalidSettingError("target URI", target_uri, "it is just: modelport")
        self._releases = releases or _releases

    def create_deployment(
        self,
        name: str,
        model_uri: str,
        flavor: str | None = None,
        config: Mapping[str, Any] | None = None,
        endpoint: str | None = None,
    ) -> dict[str, Any]:
        """Publish and deploy a model under a new name, and wait until it answers."""
        with _told_to_mlflow():
            _no_endpoint(endpoint)
            settings = Settings.read(config, CREATING)
            with _fetched(model_uri, flavor) as source:
                return self._releases().placed(settings).create(name, source, settings)

    def update_deployment(
        self,
        name: str,
        model_uri: str | None = None,
        flavor: str | None = None,
        config: Mapping[str, Any] | None = None,
        endpoint: str | None = None,
    ) -> dict[str, Any]:
        """Publish and deploy a new version and move the alias to it."""
        with _told_to_mlflow():
            _no_endpoint(endpoint)
            settings = Settings.read(config, CREATING)
            releases = self._releases().placed(settings)
            if model_uri is None:
                return releases.update(name, None, settings)
            with _fetched(model_uri, flavor) as source:
                return releases.update(name, source, settings)

    def delete_deployment(
        self, name: str, config: Mapping[str, Any] | None = None, endpoint: str | None = None
    ) -> None:
        """Take all versions down; one that is not there is no error."""
        with _told_to_mlflow():
            _no_endpoint(endpoint)
            settings = Settings.read(config, DELETING)
            self._releases().placed(settings).delete(name)

    def list_deployments(self, endpoint: str | None = None) -> list[dict[str, Any]]:
        """Every model that has a version deployed."""
        with _told_to_mlflow():
            _no_endpoint(endpoint)
            return self._releases().listed()

    def get_deployment(self, name: str, endpoint: str | None = None) -> dict[str, Any]:
        """One deployment: its versions, its aliases and where the API is."""
        with _told_to_mlflow():
            _no_endpoint(endpoint)
            return self._releases().described(name)

    def predict(
        self,
        deployment_name: str | None = None,
        inputs: Any = None,
        endpoint: str | None = None,
    ) -> PredictionsResponse:
        """Ask a model: ``NAME``, ``NAME:VERSION`` or ``NAME@ALIAS``; ``endpoint`` is the API's URL.

        Arrays, alone or in a dict by input name, go in binary; a DataFrame, a list or a dict of
        other things goes as MLflow's own JSON.
        """
        with _told_to_mlflow():
            if not deployment_name:
                raise InvalidSettingError("deployment name", None, "it is required")
            session = self._releases().session
            url = endpoint or session.endpoint
            if not url:
                raise InvalidSettingError("MODELPORT_ENDPOINT", None, "nothing says where it is")
            with Client(url, auth=signer(session)) as client:
                model = client.model(deployment_name)
                if _is_arrays(inputs):
                    return PredictionsResponse(predictions=_predictions(model.predict(inputs)))
                body = json.dumps(_document(inputs), default=_plain).encode()
                reply = model.invoke(body, "application/json", accept="application/json")
        return PredictionsResponse.from_json(reply.body)

    def predict_stream(
        self, deployment_name: str | None = None, inputs: Any = None, endpoint: str | None = None
    ) -> Any:
        """Refuse: a model's outputs come as a whole."""
        with _told_to_mlflow():
            raise NotSupportedError("predict_stream", "outputs come as a whole; use predict")

    def explain(
        self, deployment_name: str | None = None, df: Any = None, endpoint: str | None = None
    ) -> Any:
        """Refuse: versions have no explainer."""
        with _told_to_mlflow():
            raise NotSupportedError(
                "explain", "versions have no explainer; give the model an output that explains"
            )


def _releases() -> Releases:
    # What commands print as their result is not asked for here: all of it goes to standard error.
    world = process_world(stdout=sys.stderr)
    return Releases(Session(world, Output(world.stdout, world.stderr, world.environ)))


@contextmanager
def _fetched(model_uri: str, flavor: str | None) -> Iterator[Source]:
    """The bundle behind a model URI, for as long as the block runs."""
    if Path(model_uri).exists():
        yield find_source(Path(model_uri), flavor)
        return
    with tempfile.TemporaryDirectory(prefix="modelport-") as folder:
        path = mlflow.artifacts.download_artifacts(artifact_uri=model_uri, dst_path=folder)
        yield find_source(Path(path), flavor)


def _no_endpoint(endpoint: str | None) -> None:
    if endpoint is not None:
        raise NotSupportedError("an endpoint", "all deployments are behind one API; leave it out")


def _is_arrays(inputs: Any) -> bool:
    if isinstance(inputs, Mapping):
        return bool(inputs) and all(isinstance(each, np.ndarray) for each in inputs.values())
    return isinstance(inputs, np.ndarray)


def _predictions(outputs: Outputs) -> Any:
    """Outputs as lists, which MLflow writes as JSON; of a single one without its name."""
    plain = {name: array.tolist() for name, array in outputs.items()}
    return next(iter(plain.values())) if len(plain) == 1 else plain


#: Bodies that are MLflow's already, as its command line reads them from a file.
_MLFLOW_KEYS = frozenset({"dataframe_split", "dataframe_records", "instances", "inputs"})


def _document(inputs: Any) -> Any:
    """MLflow's JSON for these inputs."""
    if hasattr(inputs, "to_dict") and hasattr(inputs, "columns"):
        split = inputs.to_dict(orient="split")
        return {"dataframe_split": {"columns": split["columns"], "data": split["data"]}}
    if isinstance(inputs, Mapping) and _MLFLOW_KEYS & inputs.keys():
        return inputs
    return {"inputs": inputs}


def _plain(value: Any) -> Any:
    """What JSON has no form for, as what it has one for."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if hasattr(value, "isoformat"):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} cannot be sent as JSON")


@contextmanager
def _told_to_mlflow() -> Iterator[None]:
    try:
        yield
    except ModelportError as error:
        code = next(code for kind, code in _CODES if isinstance(error, kind))
        told = f"{error.message}; {error.hint}" if error.hint else error.message
        raise MlflowException(told, error_code=code) from error


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)

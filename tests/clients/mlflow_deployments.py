"""MLflow's deployments client with modelport as its target: prints what it was told, as JSON.

python mlflow_deployments.py FIRST SECOND FOLDER     two ONNX files of one signature
"""

import json
import sys
from pathlib import Path

import mlflow
import mlflow.onnx
import numpy as np
import onnx
import pandas as pd
from mlflow.deployments import get_deploy_client
from mlflow.exceptions import MlflowException

ROWS = np.array([[1, 2], [3, 4]], np.float32)


def saved(model, folder):
    mlflow.onnx.save_model(onnx.load(model), str(folder))
    return str(folder)


def refused(call, *arguments):
    try:
        call(*arguments)
    except MlflowException as error:
        return [error.error_code, str(error)]
    return None


first, second = (
    saved(model, Path(sys.argv[3]) / name)
    for model, name in zip(sys.argv[1:3], ("one", "two"), strict=True)
)
client = get_deploy_client("modelport")
created = client.create_deployment("logged", first, config={"tune": "false"})
told = {
    "created": [created["name"], created["flavor"], created["version"]],
    "again": refused(client.create_deployment, "logged", first),
    "got": [each["version"] for each in client.get_deployment("logged")["versions"]],
    "array": client.predict("logged", ROWS)["predictions"],
    "named": client.predict("logged", {"x": ROWS})["predictions"],
    "frame": client.predict("logged:1", pd.DataFrame({"x": ROWS.tolist()}))["predictions"],
    "plain": client.predict("logged@stable", {"instances": ROWS.tolist()})["predictions"],
    "wrong": refused(client.predict, "logged", np.zeros((1, 3), np.float32)),
}
told["updated"] = client.update_deployment("logged", second, config={"tune": "false"})["version"]
told["pinned"] = [client.predict(f"logged:{n}", ROWS)["predictions"] for n in (1, 2)]
told["listed"] = sorted(each["name"] for each in client.list_deployments())
client.delete_deployment("logged")
told["left"] = sorted(each["name"] for each in client.list_deployments())
told["gone"] = refused(client.get_deployment, "logged")
print(json.dumps(told))

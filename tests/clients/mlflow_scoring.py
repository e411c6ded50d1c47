"""MLflow's scoring client against a server, and its bodies through the gateway: prints JSON.

python mlflow_scoring.py HOST PORT URL      URL is the gateway's, without /invocations
"""

import json
import sys

import numpy as np
import pandas as pd
import requests
from mlflow.deployments import PredictionsResponse
from mlflow.pyfunc.scoring_server.client import ScoringServerClient
from mlflow.utils.proto_json_utils import dump_input_data

FRAME = pd.DataFrame({"x": [[1.0, 2.0], [3.0, 4.0]]})
ROWS = np.array([[1, 2], [3, 4]], np.float32)


def refused(call, *arguments):
    try:
        call(*arguments)
    except Exception as error:
        return str(error)
    return None


def server(host, port):
    client = ScoringServerClient(host, port)
    client.wait_server_ready(timeout=60)
    return {
        "version": client.get_version(),
        "frame": client.invoke(FRAME)["predictions"],
        "array": client.invoke(ROWS)["predictions"],
        "params": client.invoke(ROWS, params={"top": 3})["predictions"],
        "wrong": refused(client.invoke, np.zeros((1, 3), np.float32)),
    }


def gateway(url):
    def post(body, kind="application/json", model="scale"):
        answer = requests.post(
            f"{url}/endpoints/{model}/invocations", data=body, headers={"Content-Type": kind}
        )
        return answer.status_code, answer.text

    def predictions(body, kind="application/json"):
        return PredictionsResponse.from_json(post(body, kind)[1])["predictions"]

    split = FRAME.to_dict(orient="split")
    del split["index"]
    return {
        "split": predictions(json.dumps({"dataframe_split": split})),
        "records": predictions(
            json.dumps({"dataframe_records": FRAME.to_dict(orient="records"), "params": {"a": 1}})
        ),
        "instances": predictions(json.dumps({"instances": ROWS.tolist()})),
        "inputs": predictions(dump_input_data(ROWS, params={"a": 1})),
        "csv": predictions(pd.DataFrame(ROWS).to_csv(index=False, header=False), "text/csv"),
        "absent": post(dump_input_data(ROWS), model="absent"),
    }


print(json.dumps({"server": server(sys.argv[1], sys.argv[2]), "gateway": gateway(sys.argv[3])}))

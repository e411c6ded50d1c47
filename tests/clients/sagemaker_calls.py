"""boto3's runtime client and the SageMaker SDK's predictors, through the gateway: prints JSON.

python sagemaker_calls.py URL BLOCK     BLOCK: Python that makes `runtime`, a client that signs
"""

import io
import json
import os
import sys
import warnings

import boto3
import numpy as np
from botocore.config import Config
from botocore.exceptions import ClientError

warnings.simplefilter("ignore")  # version 2 of the SDK says at every step that there is a 3

from sagemaker import Session  # noqa: E402
from sagemaker import deserializers as d  # noqa: E402
from sagemaker import serializers as s  # noqa: E402
from sagemaker.predictor import Predictor  # noqa: E402
from sagemaker.tensorflow import TensorFlowPredictor  # noqa: E402

ROWS = np.array([[1, 2], [3, 4]], np.float32)


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def invoke(client, body, kind, **more):
    answer = client.invoke_endpoint(
        **{"EndpointName": "scale", "Body": body, "ContentType": kind, **more}
    )
    return answer["ContentType"], answer["Body"].read(), answer.get("CustomAttributes")


def text(answer):
    return [each.decode() if isinstance(each, bytes) else each for each in answer]


def refused(call, *arguments, **named):
    try:
        call(*arguments, **named)
    except ClientError as error:
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        return [status, error.response["Error"]["Code"], str(error)]
    return None


def plain(client):
    kind, body, _ = invoke(client, npy(ROWS), "application/x-npy", Accept="application/x-npy")
    return {
        "json": text(invoke(client, json.dumps({"instances": ROWS.tolist()}), "application/json")),
        "csv": text(invoke(client, "1,2\n3,4\n", "text/csv", Accept="text/csv")),
        "csv_to_json": text(invoke(client, b"1,2\n3,4", "text/csv")),
        "npy": [kind, np.load(io.BytesIO(body)).tolist()],
        "lines": text(
            invoke(
                client, b"[1, 2]\n[3, 4]\n", "application/jsonlines", Accept="application/jsonlines"
            )
        ),
        "attributes": invoke(client, "1,2", "text/csv", CustomAttributes="trace=7")[2],
        "malformed": refused(invoke, client, b'{"instances": ', "application/json"),
        "wrong": refused(invoke, client, b"1,2,3", "text/csv"),
        "absent": refused(invoke, client, b"1,2", "text/csv", EndpointName="absent"),
        "kind": refused(invoke, client, b"1,2", "image/png"),
        "raised": refused(invoke, client, b"13,13", "text/csv"),
    }


def sdk(client, session):
    def ask(serializer, deserializer, data=ROWS, predictor=Predictor, **named):
        asked = predictor(
            "scale", session, serializer=serializer, deserializer=deserializer, **named
        )
        answer = asked.predict(data)
        return answer.tolist() if isinstance(answer, np.ndarray) else answer

    tensorflow = TensorFlowPredictor("scale", session, model_name="scale", model_version="1")
    return {
        "json": ask(s.JSONSerializer(), d.JSONDeserializer(), {"inputs": ROWS}),
        "csv": ask(s.CSVSerializer(), d.CSVDeserializer()),
        "numpy": ask(s.NumpySerializer(), d.NumpyDeserializer()),
        "lines": ask(s.JSONLinesSerializer(), d.JSONLinesDeserializer(), ROWS.tolist()),
        "pandas": ask(s.CSVSerializer(), d.PandasDeserializer()).to_numpy().tolist(),
        "default": ask(s.CSVSerializer(), d.BytesDeserializer()).decode(),
        "tensorflow": [
            tensorflow.predict({"instances": ROWS.tolist()}),
            tensorflow.predict(ROWS),
            tensorflow.predict({"inputs": ROWS.tolist()}),
        ],
        "tensorflow_classify": tensorflow.classify({"examples": [{"x": [1, 2]}]}),
        "tensorflow_regress": refused(tensorflow.regress, {"examples": [{"x": [1, 2]}]}),
    }


def signed(block):
    """The credential scope of a call by the client that README's block makes."""
    made = {"boto3": boto3, "os": os}
    exec(block, made)
    seen = []
    made["runtime"].meta.events.register("before-send", lambda request, **_: seen.append(request))
    invoke(made["runtime"], "1,2", "text/csv")
    said = seen[0].headers["Authorization"]
    said = said.decode() if isinstance(said, bytes) else said
    scope = said.partition("Credential=")[2].partition(",")[0]
    return scope.split("/", 2)[2]


url = sys.argv[1]
runtime = boto3.client(
    "sagemaker-runtime", endpoint_url=url, config=Config(retries={"max_attempts": 0})
)
session = Session(boto3.Session(), sagemaker_runtime_client=runtime)
told = {"boto3": plain(runtime), "sdk": sdk(runtime, session), "signed": signed(sys.argv[2])}
runtime.close()
print(json.dumps(told))

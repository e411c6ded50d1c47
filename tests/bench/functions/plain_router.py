"""A router as tutorials write it: FastAPI, Mangum and boto3, for awslambdaric.

It knows its one function by name, so it does less than ours: no routes, no log, no metrics.
"""

import json
import os

import boto3
from fastapi import FastAPI, Request, Response
from mangum import Mangum

lambda_client = boto3.client("lambda")
s3_client = boto3.client("s3")
sagemaker_client = boto3.client("sagemaker-runtime")
app = FastAPI()


@app.post("/v1/models/{model}:predict")
async def predict(model: str, request: Request) -> Response:
    body = await request.body()
    envelope = {
        "modelport": 1,
        "method": "POST",
        "path": request.url.path,
        "headers": {"content-type": request.headers["content-type"]},
        "request_id": request.scope["aws.event"]["requestContext"]["requestId"],
        "body": body.decode(),
        "base64": False,
    }
    answer = lambda_client.invoke(
        FunctionName=os.environ["FUNCTION"].format(model), Payload=json.dumps(envelope)
    )
    said = json.loads(answer["Payload"].read())
    return Response(said["body"], said["status"], media_type="application/json")


handler = Mangum(app, lifespan="off")

"""Calls of an API with IAM auth: signed with the environment's credentials, each attempt anew."""

from __future__ import annotations

import re

import numpy as np
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from modelport.client import Client, InvalidValueError, Retries

from tests.support.faulty_api import Asked, FaultyApi, inferring, refusing

X = np.array([[1, 2]], np.float32)
KEYS = Credentials("AKIDEXAMPLE", "secret", "session-token")


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEYS.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", KEYS.secret_key)
    monkeypatch.setenv("AWS_SESSION_TOKEN", str(KEYS.token))
    monkeypatch.setenv("AWS_REGION", "eu-central-1")


def expected(url: str, asked: Asked) -> str:
    """What botocore signs such a request with, at the time that it says."""
    names = re.findall(r"SignedHeaders=([^,]+)", asked.headers["authorization"])[0].split(";")
    headers = {name: asked.headers[name] for name in names}
    request = AWSRequest("POST", url + asked.path, headers=headers, data=asked.body)
    request.context["timestamp"] = asked.headers["x-amz-date"]
    auth = SigV4Auth(KEYS, "execute-api", "eu-central-1")
    text = auth.string_to_sign(request, auth.canonical_request(request))
    return str(auth.signature(text, request))


@pytest.mark.usefixtures("credentials")
def test_every_attempt_is_signed() -> None:
    with (
        FaultyApi([refusing(503, "soon"), inferring(X)]).serving() as api,
        Client(api.url, auth="iam", compression="gzip", retries=Retries(first_pause_s=0.01)) as mp,
    ):
        mp.model("demo").predict({"x": np.zeros((400, 2), np.float32)}, key="me")
    for asked in api.asked:
        authorization = asked.headers["authorization"]
        assert "/eu-central-1/execute-api/aws4_request" in authorization
        assert "accept-encoding" not in authorization
        assert "content-encoding" in authorization
        assert authorization.endswith(expected(api.url, asked))
    assert len(api.asked) == 2


def test_without_credentials_nothing_is_sent(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", f"{tmp_path}/none")
    monkeypatch.setenv("AWS_CONFIG_FILE", f"{tmp_path}/none")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(InvalidValueError, match="no AWS credentials"):
        Client("http://127.0.0.1:9", auth="iam")

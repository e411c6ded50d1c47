"""What the command line asks of AWS, against moto over a real socket."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3
import pytest
from modelport.cli.cloud import Aws, local_user
from modelport.cli.failures import AwsUnavailableError
from modelport.errors import ModelNotFoundError, RegistryUnavailableError
from moto.server import ThreadedMotoServer

TEMPLATE = {
    "Resources": {"Topic": {"Type": "AWS::SNS::Topic"}},
    "Outputs": {"BucketName": {"Value": "models"}, "ApiEndpoint": {"Value": "https://api"}},
}
NOWHERE = "http://127.0.0.1:9"


@contextmanager
def environ(**values: str | None) -> Iterator[None]:
    """The process environment, as botocore itself reads it, with some variables changed."""
    before = dict(os.environ)
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with environ(AWS_ENDPOINT_URL=f"http://{host}:{port}"):
        yield f"http://{host}:{port}"
    server.stop()


def test_a_stack_tells_its_outputs(endpoint: str) -> None:
    client = boto3.client("cloudformation", region_name="us-east-1")
    client.create_stack(StackName="there", TemplateBody=json.dumps(TEMPLATE))
    aws = Aws(os.environ)
    assert aws.outputs("there") == {"BucketName": "models", "ApiEndpoint": "https://api"}
    assert aws.outputs("missing") is None


def test_the_identity_is_the_aws_caller(endpoint: str) -> None:
    assert Aws(os.environ).identity().startswith("arn:aws:sts::")


def test_the_registry_is_in_the_bucket(endpoint: str) -> None:
    boto3.client("s3", region_name="us-east-1").create_bucket(Bucket="models")
    with pytest.raises(ModelNotFoundError):
        Aws(os.environ).registry("models").routes("magika")
    with pytest.raises(RegistryUnavailableError):
        Aws(os.environ).registry("no-such-bucket").routes("magika")


def test_another_registry_is_reached_with_another_profile(endpoint: str, tmp_path: Path) -> None:
    client = boto3.client("s3", region_name="us-east-1")
    client.create_bucket(Bucket="theirs")
    config = tmp_path / "config"
    config.write_text(
        "[profile other]\nregion = eu-central-1\n"
        "aws_access_key_id = theirs\naws_secret_access_key = secret\n"
    )
    with environ(AWS_CONFIG_FILE=str(config)):
        for profile in (None, "other"):
            there = Aws(os.environ).elsewhere("theirs", "team/a", profile)
            assert list(there.models()) == []
            assert there.store.create(f"models/of-{profile}".lower(), b"{}")
    listed = client.list_objects_v2(Bucket="theirs")["Contents"]
    assert [each["Key"] for each in listed] == [
        "team/a/models/of-none",
        "team/a/models/of-other",
    ]
    with pytest.raises(AwsUnavailableError, match="profile nobody"):
        Aws(os.environ).elsewhere("theirs", "", "nobody")


def test_region_and_credentials_are_the_standard_ones() -> None:
    with environ(AWS_DEFAULT_REGION="eu-west-3", AWS_REGION=None):
        aws = Aws(os.environ)
        assert aws.region == "eu-west-3"
        credentials = aws.credentials()
    assert credentials is not None
    assert credentials.access_key == "test"
    assert Aws({"AWS_REGION": "eu-north-1"}).region == "eu-north-1"


def test_no_aws_means_the_local_user_and_a_clear_error() -> None:
    with environ(AWS_ENDPOINT_URL=NOWHERE, AWS_MAX_ATTEMPTS="1"):
        aws = Aws(os.environ)
        assert aws.identity() == local_user()
        with pytest.raises(AwsUnavailableError, match="CloudFormation"):
            aws.outputs("any")


def test_a_profile_that_does_not_exist_does_not_block_publishing() -> None:
    with environ(AWS_PROFILE="no-such-profile"):
        aws = Aws(os.environ)
        assert aws.identity() == local_user()
        with pytest.raises(AwsUnavailableError):
            aws.outputs("any")


def test_an_object_of_s3_becomes_a_file(endpoint: str, tmp_path: Path) -> None:
    client = boto3.client("s3", region_name="us-east-1")
    client.create_bucket(Bucket="sets")
    client.put_object(Bucket="sets", Key="a/test.csv", Body=b"x,label\n")
    aws = Aws({"AWS_REGION": "us-east-1"})
    aws.download("sets", "a/test.csv", tmp_path / "test.csv")
    assert (tmp_path / "test.csv").read_bytes() == b"x,label\n"
    with pytest.raises(AwsUnavailableError, match=r"s3://sets/gone\.csv cannot be used"):
        aws.download("sets", "gone.csv", tmp_path / "gone.csv")

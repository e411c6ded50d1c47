"""`modelport.aws.endpoints` against botocore: every region, and every kind of bucket."""

from __future__ import annotations

import re
from typing import Any

import botocore.session
import pytest
from botocore.config import Config
from botocore.loaders import Loader
from modelport.aws.endpoints import Endpoint, bucket_endpoint, endpoint_of, parsed, proxied

PARTITIONS = Loader().load_data("partitions")["partitions"]
REGIONS = sorted(
    region
    for partition in PARTITIONS
    for region in partition["regions"]
    if re.fullmatch(partition["regionRegex"], region)
)
SERVICES = {"LAMBDA": "lambda", "SAGEMAKER_RUNTIME": "sagemaker-runtime", "S3": "s3"}
BUCKETS = ["registry", "a-b-c", "with.dots", "abc", "x" * 63, "1.2.a"]
ODD_BUCKETS = [
    "arn:aws:s3:eu-central-1:123456789012:accesspoint/mine",
    "my-bucket--euc1-az1--x-s3",
    "alias-abc-s3alias",
    "UPPER",
    "under_score",
    "ab",
    "192.168.0.1",
    "a..b",
    "-a-b",
    "x" * 64,
]


@pytest.fixture(scope="module")
def rules() -> dict[str, Any]:
    """Botocore's rules for each service, as a client of it has them."""
    session = botocore.session.Session()
    session.set_credentials("AKIDEXAMPLE", "secret")
    return {
        service: client(session, name, region_name="eu-central-1")._ruleset_resolver
        for service, name in SERVICES.items()
    }


def client(session: botocore.session.Session, name: str, **arguments: Any) -> Any:
    """Botocore's client, whose inside has no types."""
    return session.create_client(name, **arguments)


def of_rules(rules: Any, **parameters: object) -> str:
    return str(rules._provider.resolve_endpoint(**parameters).url)


@pytest.mark.parametrize("region", REGIONS)
def test_every_region_is_asked_where_botocore_asks_it(rules: dict[str, Any], region: str) -> None:
    environ = {"AWS_REGION": region}
    for service in ("LAMBDA", "SAGEMAKER_RUNTIME"):
        found = endpoint_of(service, environ)
        assert found is not None
        assert found.url == of_rules(rules[service], Region=region)
        assert (found.port, found.region) == (443, region)
    for bucket in BUCKETS:
        found = bucket_endpoint(bucket, environ)
        assert found is not None
        # For boto3, us-east-1 is the global endpoint unless it is told otherwise.
        oldest = region == "us-east-1"
        asked = of_rules(rules["S3"], Region=region, Bucket=bucket, UseGlobalEndpoint=oldest)
        assert found.url == asked


def test_the_regions_are_all_there_are() -> None:
    assert len(REGIONS) > 35
    assert {partition["id"] for partition in PARTITIONS} >= {"aws", "aws-cn", "aws-us-gov"}
    unknown = {"AWS_REGION": "mars-north-1"}
    assert endpoint_of("LAMBDA", unknown) is None
    assert endpoint_of("LAMBDA", {}) is None


@pytest.mark.parametrize("url", ["http://127.0.0.1:4566", "https://s3.local", "http://h/base/"])
def test_a_server_of_ones_own_is_asked_as_boto3_asks_it(url: str) -> None:
    environ = {"AWS_REGION": "eu-central-1", "AWS_ENDPOINT_URL": url}
    session = botocore.session.Session()
    session.set_credentials("AKIDEXAMPLE", "secret")
    config = Config(region_name="eu-central-1", signature_version=botocore.UNSIGNED)
    theirs = client(session, "s3", endpoint_url=url, config=config)
    for bucket in (*BUCKETS, "sub.domain-x"):
        found = bucket_endpoint(bucket, environ)
        assert found is not None
        signed = theirs.generate_presigned_url("get_object", {"Bucket": bucket, "Key": "k"})
        assert signed == f"{found.url}/k"


@pytest.mark.parametrize("bucket", ODD_BUCKETS)
def test_buckets_that_are_asked_elsewhere_are_left_to_boto3(bucket: str) -> None:
    assert bucket_endpoint(bucket, {"AWS_REGION": "eu-central-1"}) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AWS_USE_FIPS_ENDPOINT", "true"),
        ("AWS_USE_DUALSTACK_ENDPOINT", "true"),
        ("AWS_PROFILE", "work"),
        ("AWS_CONFIG_FILE", "/etc/aws"),
        ("AWS_ENDPOINT_URL", "no url"),
        ("AWS_ENDPOINT_URL", "ftp://host"),
        ("AWS_ENDPOINT_URL", "http://user:password@host"),
        ("AWS_ENDPOINT_URL", "http://host:port"),
    ],
)
def test_what_only_botocore_knows_is_left_to_boto3(name: str, value: str) -> None:
    assert endpoint_of("LAMBDA", {"AWS_REGION": "eu-central-1", name: value}) is None


def test_endpoint_variables_are_read_as_botocore_reads_them() -> None:
    environ = {
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_REGION": "us-east-2",
        "AWS_ENDPOINT_URL": "http://all:1",
        "AWS_ENDPOINT_URL_LAMBDA": "http://one:2",
    }
    assert endpoint_of("LAMBDA", environ) == Endpoint(False, "one", 2, "one:2", "", "eu-central-1")
    elsewhere = endpoint_of("SAGEMAKER_RUNTIME", environ)
    assert elsewhere is not None
    assert elsewhere.authority == "all:1"
    ignored = endpoint_of("LAMBDA", environ | {"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"})
    assert ignored is not None
    assert ignored.host == "lambda.eu-central-1.amazonaws.com"


@pytest.mark.parametrize(
    ("environ", "used"),
    [
        ({}, False),
        ({"https_proxy": ""}, False),
        ({"HTTP_PROXY": "http://p:1"}, False),
        ({"HTTPS_PROXY": "http://p:1"}, True),
        ({"https_proxy": "http://p:1"}, True),
        ({"https_proxy": "http://p:1", "no_proxy": "amazonaws.com"}, False),
        ({"https_proxy": "http://p:1", "NO_PROXY": "*"}, False),
        ({"https_proxy": "http://p:1", "no_proxy": "other.com"}, True),
    ],
)
def test_a_proxy_is_noticed(environ: dict[str, str], used: bool) -> None:
    endpoint = parsed("https://lambda.eu-central-1.amazonaws.com", "eu-central-1")
    assert endpoint is not None
    assert proxied(endpoint, environ) is used

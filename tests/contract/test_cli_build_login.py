"""The login for ECR, as AWS gives it: against moto over a real socket."""

from __future__ import annotations

import os

import pytest
from modelport.cli.cloud import Aws
from modelport.cli.failures import AwsUnavailableError

from tests.contract import test_cli_cloud
from tests.contract.test_cli_cloud import NOWHERE, environ

ECR = "123456789012.dkr.ecr.eu-central-1.amazonaws.com"
endpoint = test_cli_cloud.endpoint


def test_aws_gives_user_and_password_for_its_own_registries(endpoint: str) -> None:
    login = Aws(os.environ).container_login(ECR)
    assert login is not None
    assert login[0] == "AWS"
    assert login[1]


@pytest.mark.parametrize("registry", ["ghcr.io", "public.ecr.aws", "127.0.0.1:5000"])
def test_other_registries_are_none_of_its_business(registry: str) -> None:
    with environ(AWS_ENDPOINT_URL=NOWHERE):
        assert Aws(os.environ).container_login(registry) is None


def test_an_aws_that_is_away_is_said() -> None:
    with (
        environ(AWS_ENDPOINT_URL=NOWHERE, AWS_MAX_ATTEMPTS="1"),
        pytest.raises(AwsUnavailableError, match="ecr"),
    ):
        Aws(os.environ).container_login(ECR)

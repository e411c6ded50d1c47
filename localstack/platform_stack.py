"""Brings the platform onto a fresh local cloud: the real CDK app by the real ``cdk`` CLI.

What differs from an AWS account is only here: values in a deployments file and the standard
AWS variables. It starts no emulator and knows none.
"""

import platform
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import boto3
import tomlkit
from container_registry import holds
from engine import DEFAULT_REGION, Engine, Hosts
from modelport.cli.cdk import Cdk, environment, find_cdk, reasons
from modelport.cli.failures import CdkFailedError
from modelport.deployments import Deployments, platform_stack
from modelport.errors import ModelportError
from state import Home

ENVIRONMENT = "local"
PAYLOADS = f"modelport-{ENVIRONMENT}-payloads-{{}}-{{}}"
"""The payloads bucket's name, by account and region."""
BUCKET_OUTPUT = "BucketName"
ENDPOINT_OUTPUT = "ApiEndpoint"
API = re.compile(r"https?://(?P<id>[A-Za-z0-9]+)\.execute-api\.[^/]*/?(?P<stage>[^/]*)")
NO_IMAGE = f"local/modelport@sha256:{'0' * 64}"
"""Stands where an image would: on this cloud a function's bundle comes from the registry."""

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Platform:
    """What a deployed platform offers."""

    bucket: str
    endpoint: str


def variables(home: Home, endpoint: str) -> dict[str, str]:
    """What points any AWS tool, and ours, at the local cloud."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": DEFAULT_REGION,
        "AWS_REGION": DEFAULT_REGION,
        # The SDKs would ask the instance metadata service first, and wait for it.
        "AWS_EC2_METADATA_DISABLED": "true",
        # cdk remembers account numbers by access key, and "test" is everybody's.
        "CDK_HOME": str(home.folder / "cdk"),
        "MODELPORT_ENVIRONMENT": ENVIRONMENT,
        "MODELPORT_DEPLOYMENTS": str(home.deployments),
        "MODELPORT_LOGS": str(home.logs),
    }


def write_deployments(
    home: Home, engine: Engine, hosts: Hosts, endpoint: str, images: str | None = None
) -> None:
    """Start the deployments file of this cloud: no versions yet.

    `endpoint` is where the AWS APIs answer; `images` is where built images go, where they are
    really run; else none is ever looked at.
    """
    document = tomlkit.document()
    document.add(tomlkit.comment("The local cloud's desired state; written by `make up`."))
    placeholder = f"{engine.account}.dkr.ecr.{DEFAULT_REGION}.amazonaws.com/{NO_IMAGE}"
    document["environment"] = {
        "name": ENVIRONMENT,
        "auth": "none",
        "api": engine.api,
        # No emulator's gateway streams, and some refuse to be told to.
        "streaming": False,
        **({"image_repository": images} if images else {"image": placeholder}),
        "python": f"{sys.version_info.major}.{sys.version_info.minor}",
        "architecture": "arm64" if platform.machine() in ("arm64", "aarch64") else "x86_64",
        **_bases(home, images),
        # AWS has a host name for every bucket, which is not resolved here.
        "payloads_url": f"{endpoint}/{PAYLOADS.format(engine.account, DEFAULT_REGION)}/",
        "retain": False,
        "throttle_rate": 10_000,
        "throttle_burst": 10_000,
        "function_environment": {**engine.function_environment(hosts), **hosts.variables},
    }
    home.deployments.write_text(tomlkit.dumps(document))
    Deployments.load(home.deployments)


def _bases(home: Home, images: str | None) -> dict[str, str]:
    """What images were built on before, unless that lay in our registry and is not there now."""
    try:
        before = Deployments.load(home.deployments_before).environment
    except ModelportError:
        return {}
    chosen = {"base_image": before.base_image, "cuda_base_image": before.cuda_base_image}
    ours = images is not None
    return {
        name: image
        for name, image in chosen.items()
        if image and (not ours or not image.startswith("127.0.0.1:") or holds(image))
    }


def name_bucket(home: Home, bucket: str) -> None:
    """Tell the model functions' host where the registry is: what stands in for the image pull."""
    document = tomlkit.parse(home.deployments.read_text())
    document["environment"]["function_environment"]["MODELPORT_BUCKET"] = bucket
    home.deployments.write_text(tomlkit.dumps(document))


class PlatformStack:
    """The platform stack of one local cloud."""

    def __init__(self, home: Home, engine: Engine, endpoint: str, environ: Mapping[str, str]):
        self._home = home
        self._engine = engine
        self._endpoint = endpoint
        self._environ = {**_without_aws(environ), **variables(home, endpoint)}

    def bootstrap(self) -> None:
        """Give cdk its bucket and roles; raises `CdkFailedError`."""
        cdk = self._cdk()
        target = f"aws://{self._engine.account}/{DEFAULT_REGION}"
        argv = [str(cdk.command), "bootstrap", target, "--no-color"]
        done = subprocess.run(
            argv,
            cwd=self._home.folder,
            env=environment(self._environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        log = self._home.logs / "cdk-bootstrap.log"
        log.write_text(done.stdout)
        if done.returncode:
            raise CdkFailedError("bootstrap", target, reasons(done.stdout.splitlines()), log)

    def deploy(self, tell: Tell) -> Platform:
        """Deploy the stack and read what it offers; raises `CdkFailedError`."""
        name = platform_stack(ENVIRONMENT)
        self._cdk().deploy([name], tell)
        client = boto3.client(
            "cloudformation",
            endpoint_url=self._endpoint,
            region_name=DEFAULT_REGION,
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )
        (stack,) = client.describe_stacks(StackName=name)["Stacks"]
        outputs = {each["OutputKey"]: each["OutputValue"] for each in stack.get("Outputs", [])}
        return Platform(outputs[BUCKET_OUTPUT], self._api_url(outputs[ENDPOINT_OUTPUT]))

    def _api_url(self, address: str) -> str:
        """The API's address as AWS would give it, as it answers here."""
        found = API.match(address)
        if not found:
            return address.rstrip("/")
        return self._engine.api_url(self._endpoint, found["id"], found["stage"])

    def _cdk(self) -> Cdk:
        root = Path(__file__).parent
        return find_cdk(self._environ, starts=[root], logs=self._home.logs)


def _without_aws(environ: Mapping[str, str]) -> dict[str, str]:
    """The caller's environment without what could lead cdk to somebody's real account."""
    own = ("AWS_", "MODELPORT_", "CDK_")
    kept = ("MODELPORT_CDK",)
    return {
        name: value for name, value in environ.items() if name in kept or not name.startswith(own)
    }


def clean_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What an emulator needs of the caller's environment."""
    kept = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "SSL_CERT_FILE", "VIRTUAL_ENV")
    return {name: environ[name] for name in kept if name in environ}

"""Where a service is asked, when that can be said without botocore; None when it cannot.

Says nothing of FIPS, dual-stack, access points, profiles or partitions that it does not know: who
gets None asks boto3, which is slower to load and knows all. Equality with botocore over every
region of every partition is a test.
"""

from __future__ import annotations

import os.path
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

#: Partition of a region by its name, and the domain of its services (botocore's partitions.json).
_DOMAINS = (
    (re.compile(r"(us|eu|ap|sa|ca|me|af|il|mx)-\w+-\d+"), "amazonaws.com"),
    (re.compile(r"cn-\w+-\d+"), "amazonaws.com.cn"),
    (re.compile(r"us-gov-\w+-\d+"), "amazonaws.com"),
    (re.compile(r"us-iso-\w+-\d+"), "c2s.ic.gov"),
    (re.compile(r"us-isob-\w+-\d+"), "sc2s.sgov.gov"),
    (re.compile(r"eu-isoe-\w+-\d+"), "cloud.adc-e.uk"),
    (re.compile(r"us-isof-\w+-\d+"), "csp.hci.ic.gov"),
    (re.compile(r"eusc-(de)-\w+-\d+"), "amazonaws.eu"),
)
#: Service as its endpoint variable names it → its name in front of the region.
_HOSTS = {"LAMBDA": "lambda", "SAGEMAKER_RUNTIME": "runtime.sagemaker", "S3": "s3"}
#: What changes where or how botocore asks, beyond what is read here.
_UNUSUAL = (
    "AWS_AUTH_SCHEME_PREFERENCE",
    "AWS_CONFIG_FILE",
    "AWS_DEFAULTS_MODE",
    "AWS_DEFAULT_PROFILE",
    "AWS_PROFILE",
    "AWS_RESPONSE_CHECKSUM_VALIDATION",
    "AWS_S3_US_EAST_1_REGIONAL_ENDPOINT",
    "AWS_SIGV4A_SIGNING_REGION_SET",
    "AWS_USE_DUALSTACK_ENDPOINT",
    "AWS_USE_FIPS_ENDPOINT",
)
_PLAIN_BUCKET = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
_DOTTED_BUCKET = re.compile(
    r"(?=.{3,63}\Z)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+"
)
#: Directory buckets, Outposts and aliases of access points, which are asked elsewhere.
_OTHER_BUCKETS = ("--x-s3", "--xa-s3", "--op-s3", "-s3alias", "--ol-s3", "--table-s3")
_ADDRESS = re.compile(r"[\d.]+")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A server, what the Host header calls it, what stands before every path, and the region."""

    secure: bool
    host: str
    port: int
    authority: str
    prefix: str
    region: str

    @property
    def url(self) -> str:
        """For messages."""
        return f"{'https' if self.secure else 'http'}://{self.authority}{self.prefix}"


def endpoint_of(service: str, environ: Mapping[str, str]) -> Endpoint | None:
    """Where ``service``, a key such as "LAMBDA", is asked; None where only botocore knows."""
    region = environ.get("AWS_DEFAULT_REGION") or environ.get("AWS_REGION")
    if not region or any(environ.get(name) for name in _UNUSUAL) or _has_configuration(environ):
        return None
    given = _given(service, environ)
    if given:
        return parsed(given, region)
    domain = _domain(region)
    if domain is None:
        return None
    if service == "S3" and region == "us-east-1":
        return parsed(f"https://s3.{domain}", region)
    return parsed(f"https://{_HOSTS[service]}.{region}.{domain}", region)


def bucket_endpoint(bucket: str, environ: Mapping[str, str]) -> Endpoint | None:
    """Where the objects of ``bucket`` are asked; None where only botocore knows."""
    endpoint = endpoint_of("S3", environ)
    if endpoint is None or bucket.endswith(_OTHER_BUCKETS) or bucket.startswith("xn--"):
        return None
    plain, dotted = _PLAIN_BUCKET.fullmatch(bucket), _DOTTED_BUCKET.fullmatch(bucket)
    if _ADDRESS.fullmatch(bucket) or not (plain or dotted):
        return None
    if dotted or _given("S3", environ):
        # The certificate is for one label in front; and a server of one's own has no wildcard.
        return replace(endpoint, prefix=f"{endpoint.prefix}/{bucket}")
    return parsed(f"https://{bucket}.{endpoint.authority}", endpoint.region)


def parsed(url: str, region: str) -> Endpoint | None:
    """A URL as an endpoint; None for what is none."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    odd = parts.username or parts.query or parts.fragment
    if parts.scheme not in ("http", "https") or not host or odd:
        return None
    secure = parts.scheme == "https"
    usual = 443 if secure else 80
    named = f"[{host}]" if ":" in host else host
    authority = named if port in (None, usual) else f"{named}:{port}"
    return Endpoint(secure, host, port or usual, authority, parts.path.rstrip("/"), region)


def proxied(endpoint: Endpoint, environ: Mapping[str, str]) -> bool:
    """Whether a proxy stands between, which boto3's clients know how to use."""
    scheme = "https" if endpoint.secure else "http"
    proxies = {
        name.lower()[: -len("_proxy")]: value
        for name, value in environ.items()
        if name.lower().endswith("_proxy") and value
    }
    if scheme not in proxies:
        return False
    from urllib import request  # rare, and slow to load

    # Not in the stubs of every platform, and botocore asks exactly this.
    bypassed = getattr(request, "proxy_bypass_environment")  # noqa: B009
    return not bypassed(endpoint.authority, proxies)


def _given(service: str, environ: Mapping[str, str]) -> str:
    if environ.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "").lower() == "true":
        return ""
    return environ.get(f"AWS_ENDPOINT_URL_{service}") or environ.get("AWS_ENDPOINT_URL") or ""


def _has_configuration(environ: Mapping[str, str]) -> bool:
    home = environ.get("HOME")
    return bool(home) and os.path.exists(f"{home}/.aws/config")


def _domain(region: str) -> str | None:
    for pattern, domain in _DOMAINS:
        if pattern.fullmatch(region):
            return domain
    return None

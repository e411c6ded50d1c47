"""Environments in which a service of AWS is a server on loopback."""

from __future__ import annotations

#: As the documentation of AWS shows them.
KEYS = {
    "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
}
REGION = {"AWS_DEFAULT_REGION": "eu-central-1"}


def environment(service: str, url: str) -> dict[str, str]:
    """An environment whose ``service``, as its endpoint variable names it, is at ``url``."""
    return {**KEYS, **REGION, f"AWS_ENDPOINT_URL_{service}": url}

"""Which deployment a call gets: what its path selects, else its headers, else the model's rules.

In this order: version or alias in the path (SageMaker's variant header counts as path), the header
``x-modelport-version`` as far as the model's policy allows it, the first rule that fits, then
``stable``.
Who the caller is, is asked only where an alias has several versions. It asks no registry.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from modelport.errors import MalformedRequestError, NotDeployedError, VersionNotFoundError
from modelport.grammar import Call
from modelport.refs import check_alias, check_version
from modelport.routes import STABLE, Deployment, Routes
from modelport.routes.weights import pick
from modelport.sagemaker_envelope import VARIANT_HEADER

from functions.router.caller import sticky_key

VERSION_HEADER = "x-modelport-version"


def by_variant(call: Call, headers: Mapping[str, str]) -> Call:
    """The call with SageMaker's variant header read: it selects as a version or alias would.

    Where the path selects already, the header is the endpoint's: `for_endpoint`.
    """
    variant = headers.get(VARIANT_HEADER)
    if variant is None or call.protocol != "sagemaker" or call.model is None or _selects(call):
        return call
    if variant.isascii() and variant.isdigit():
        return replace(call, version=check_version(variant))
    return replace(call, alias=check_alias(variant))


def by_header(call: Call, headers: Mapping[str, str], routes: Routes) -> Call:
    """The call with ``x-modelport-version`` read, where nothing has been selected before.

    Raises `VersionNotOfferedError` for what the model's policy does not allow.
    """
    named = headers.get(VERSION_HEADER)
    if named is None or _selects(call):
        return call
    from modelport.routes.selection import selected  # few ask, and every cold start would pay

    version, alias = selected(routes, named.strip())
    return replace(call, version=version, alias=alias)


def for_endpoint(named: Call, deployment: Deployment, headers: Mapping[str, str]) -> str | None:
    """The variant for an endpoint, when the path has selected the version."""
    variant = headers.get(VARIANT_HEADER)
    if variant is None or named.protocol != "sagemaker" or not _selects(named):
        return None
    if deployment.target != "sagemaker":
        raise MalformedRequestError(
            f"the path and the header {VARIANT_HEADER} both select a version; send one of them"
        )
    return variant


def chosen(
    routes: Routes, call: Call, headers: Mapping[str, str], event: Mapping[str, Any] | None
) -> tuple[Deployment, Deployment | None]:
    """The deployment that shall answer, and the one that does where it fails.

    There is no fallback for a caller who names a version. Raises `NotFoundError` and kin.
    """
    policy = routes.policy
    explicit = call.version is not None
    version, alias = meant(routes, call, headers)
    try:
        split = routes.meaning(version, alias)
        if len(split) == 1:
            deployment = routes.deployment(split[0].version)
        else:
            key = sticky_key(policy.sticky, headers, event)
            deployment = routes.deployment(pick(routes.model, split, key))
    except NotDeployedError:
        # To an operator this is a conflict with the present state; a caller asks for a version
        # that is not there.
        raise VersionNotFoundError(routes.model, version or 0) from None
    if explicit or not policy.fallbacks:
        return deployment, None
    spare = policy.fallbacks.get(alias or STABLE)
    if spare is None or spare == deployment.version:
        return deployment, None
    return deployment, routes.deployments.get(spare)


def meant(routes: Routes, call: Call, headers: Mapping[str, str]) -> tuple[int | None, str | None]:
    """Version or alias that a call means: what it selects, else what the model's rules say."""
    if routes.policy.rules and not _selects(call):
        return _ruled(routes, headers)
    return call.version, call.alias


def _ruled(routes: Routes, headers: Mapping[str, str]) -> tuple[int | None, str | None]:
    """Version or alias of the first rule that fits; neither where none does."""
    for rule in routes.policy.rules:
        if headers.get(rule.header) == rule.value:
            version = rule.version
            return version, None if version is not None else rule.to
    return None, None


def _selects(call: Call) -> bool:
    return call.version is not None or call.alias is not None

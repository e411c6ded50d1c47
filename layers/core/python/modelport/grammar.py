"""The path grammar of every protocol, in one place: path → `Call` → path for one version.

Router and runtime both read paths here, so they cannot disagree. TensorFlow Serving's grammar
(RE2 full match, case-insensitive, names percent-decoded) is from its http_rest_api_util.cc; V2's
from the Open Inference Protocol; SageMaker's from InvokeEndpoint and the container contract. This
module knows no model and resolves nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from modelport.errors import MalformedRequestError, RouteNotFoundError
from modelport.refs import check_alias, check_name, check_version


@dataclass(frozen=True, slots=True)
class Call:
    """What a request asks for: protocol, verb, and the model with at most one of version, alias."""

    protocol: str
    verb: str
    model: str | None = None
    version: int | None = None
    alias: str | None = None


_NAME = r"(?P<model>[^/:]+)"
_V1_SELECTOR = r"(?:/versions/(?P<version>[^/:]+)|/labels/(?P<alias>[^/:]+))?"
_ANY_SELECTOR = r"(?:/versions/(?P<any>[^/:]+))?"

_RULES: tuple[tuple[str, str, str, re.Pattern[str]], ...] = tuple(
    (protocol, verb, method, re.compile(pattern, re.IGNORECASE if protocol == "v1" else 0))
    for protocol, verb, method, pattern in (
        ("v1", "predict", "POST", rf"/v1/models/{_NAME}{_V1_SELECTOR}:predict"),
        ("v2", "infer", "POST", rf"/v2/models/{_NAME}{_ANY_SELECTOR}/infer"),
        ("sagemaker", "invocations", "POST", rf"/endpoints/{_NAME}{_ANY_SELECTOR}/invocations"),
        ("sagemaker", "invocations", "POST", r"/invocations"),
        ("v1", "metadata", "GET", rf"/v1/models/{_NAME}{_V1_SELECTOR}/metadata"),
        ("v1", "status", "GET", rf"/v1/models/{_NAME}{_V1_SELECTOR}"),
        ("v1", "list", "GET", r"/v1/models"),
        ("v2", "ready", "GET", rf"/v2/models/{_NAME}{_ANY_SELECTOR}/ready"),
        ("v2", "metadata", "GET", rf"/v2/models/{_NAME}{_ANY_SELECTOR}"),
        ("v2", "server-metadata", "GET", r"/v2/?"),
        ("v2", "server-live", "GET", r"/v2/health/live"),
        ("v2", "server-ready", "GET", r"/v2/health/ready"),
        ("sagemaker", "ping", "GET", r"/ping"),
    )
)


def parse(method: str, path: str) -> Call:
    """Read a request line; ``path`` is raw (percent-encoded) and without its query.

    Raises `RouteNotFoundError` when no protocol has it, `MalformedRequestError` or
    `InvalidNameError` when the path is known but a name or version in it is not possible.

    >>> parse("POST", "/v1/models/magika/versions/3:predict")
    Call(protocol='v1', verb='predict', model='magika', version=3, alias=None)
    """
    # Gateways and clients may encode the verb's colon; nothing in a valid name needs encoding.
    path = path.replace("%3A", ":").replace("%3a", ":")
    for protocol, verb, rule_method, pattern in _RULES:
        if method != rule_method and not (method == "HEAD" and rule_method == "GET"):
            continue
        match = pattern.fullmatch(path)
        if match:
            return _call(protocol, verb, match.groupdict())
    if method == "POST" and re.fullmatch(r"/v1/models/[^/:]+/versions/\d+/labels/[^/:]+:\w+", path):
        raise MalformedRequestError(
            "Both model version and model version label cannot be supplied."
        )
    raise RouteNotFoundError(method, path)


def allowed_methods(path: str) -> tuple[str, ...]:
    """The methods some protocol has for ``path``; empty when the path is unknown."""
    path = path.replace("%3A", ":").replace("%3a", ":")
    methods = {method for _, _, method, pattern in _RULES if pattern.fullmatch(path)}
    return tuple(sorted(methods))


def _call(protocol: str, verb: str, groups: dict[str, str | None]) -> Call:
    model, version, alias = groups.get("model"), groups.get("version"), groups.get("alias")
    selector = groups.get("any")
    if selector:
        if selector.isascii() and selector.isdigit():
            version = selector
        else:
            alias = selector
    return Call(
        protocol,
        verb,
        check_name(_decoded(model)) if model else None,
        check_version(version) if version else None,
        check_alias(_decoded(alias)) if alias else None,
    )


def _decoded(name: str) -> str:
    if "%" not in name:
        return name
    from urllib.parse import unquote  # names need none of it, and every cold start would pay

    return unquote(name)


def pinned(call: Call, version: int) -> Call:
    """The same call, aimed at one version."""
    return replace(call, version=version, alias=None)


def canonical_path(call: Call, version: int | None = None) -> str:
    """The path of a call to a model version, without an alias.

    Without ``version`` it suits whatever version gets it: a deployment is one already, and a
    shadow gets copies of what was meant for another.
    """
    model = call.model or ""  # a checked name has nothing that would need encoding
    at = "" if version is None else f"/versions/{version}"
    if call.protocol == "v1":
        tail = {"predict": ":predict", "metadata": "/metadata"}.get(call.verb, "")
        return f"/v1/models/{model}{at}{tail}"
    if call.protocol == "v2":
        tail = {"infer": "/infer", "ready": "/ready"}.get(call.verb, "")
        return f"/v2/models/{model}{at}{tail}"
    return f"/endpoints/{model}{at}/invocations"

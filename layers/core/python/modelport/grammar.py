"""The path grammar of every protocol, in one place: path → `Call` → path for one version.

Router and runtime both read paths here, so they cannot disagree. TensorFlow Serving's grammar
(RE2 full match, case-insensitive, names percent-decoded) is from its http_rest_api_util.cc; V2's
from the Open Inference Protocol; SageMaker's from InvokeEndpoint and the container contract. This
module knows no model and resolves nothing.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import lru_cache

from modelport.errors import MalformedRequestError, RouteNotFoundError
from modelport.records import record
from modelport.refs import check_alias, check_name, check_version


@record(frozen=True)
class Call:
    """What a request asks for: protocol, verb, and the model with at most one of version, alias."""

    protocol: str
    verb: str
    model: str | None = None
    version: int | None = None
    alias: str | None = None
    query: str = ""
    job: str = ""

    def option(self, name: str) -> str | None:
        """The last value of ``name`` in the query, decoded; None when it is not there."""
        if name not in self.query:
            return None
        from urllib.parse import parse_qs  # few calls have a query, and every cold start would pay

        values = parse_qs(self.query, keep_blank_values=True).get(name)
        return values[-1] if values else None


_NAME = r"(?P<model>[^/:]+)"
_V1_SELECTOR = r"(?:/versions/(?P<version>[^/:]+)|/labels/(?P<alias>[^/:]+))?"
_ANY_SELECTOR = r"(?:/versions/(?P<any>[^/:]+))?"


class Pattern:
    """A regular expression, compiled for the first path that gets as far as to be asked of it.

    All of them together take milliseconds, and a function that just starts needs two or three.
    """

    def __init__(self, pattern: str, flags: int) -> None:
        self.pattern = pattern
        self._flags = flags
        self._compiled: re.Pattern[str] | None = None

    def fullmatch(self, path: str) -> re.Match[str] | None:
        """The match of the whole path, if it has one."""
        if self._compiled is None:
            self._compiled = re.compile(self.pattern, self._flags)
        return self._compiled.fullmatch(path)


#: Every path there is: protocol, verb, method, and what the whole path must match.
RULES: tuple[tuple[str, str, str, Pattern], ...] = tuple(
    (protocol, verb, method, Pattern(pattern, re.IGNORECASE if protocol == "v1" else 0))
    for protocol, verb, method, pattern in (
        ("v1", "predict", "POST", rf"/v1/models/{_NAME}{_V1_SELECTOR}:predict"),
        ("v2", "infer", "POST", rf"/v2/models/{_NAME}{_ANY_SELECTOR}/infer"),
        ("sagemaker", "invocations", "POST", rf"/endpoints/{_NAME}{_ANY_SELECTOR}/invocations"),
        ("sagemaker", "invocations", "POST", r"/invocations"),
        ("v2", "generate", "POST", rf"/v2/models/{_NAME}{_ANY_SELECTOR}/generate"),
        ("v2", "generate-stream", "POST", rf"/v2/models/{_NAME}{_ANY_SELECTOR}/generate_stream"),
        ("v1", "classify", "POST", rf"/v1/models/{_NAME}{_V1_SELECTOR}:classify"),
        ("v1", "regress", "POST", rf"/v1/models/{_NAME}{_V1_SELECTOR}:regress"),
        ("v1", "evaluate", "POST", rf"/v1/models/{_NAME}{_V1_SELECTOR}:evaluate"),
        ("v1", "explain", "POST", rf"/v1/models/{_NAME}{_V1_SELECTOR}:explain"),
        ("v1", "metadata", "GET", rf"/v1/models/{_NAME}{_V1_SELECTOR}/metadata"),
        ("v1", "status", "GET", rf"/v1/models/{_NAME}{_V1_SELECTOR}"),
        ("v1", "list", "GET", r"/v1/models"),
        ("v1", "alive", "GET", r"/"),
        # Triton's clients ask for all models so; a model called "stats" has V1 and its versions.
        ("v2", "server-stats", "GET", r"/v2/models/stats"),
        ("v2", "stats", "GET", rf"/v2/models/{_NAME}{_ANY_SELECTOR}/stats"),
        ("v2", "ready", "GET", rf"/v2/models/{_NAME}{_ANY_SELECTOR}/ready"),
        ("v2", "metadata", "GET", rf"/v2/models/{_NAME}{_ANY_SELECTOR}"),
        ("v2", "server-metadata", "GET", r"/v2/?"),
        ("v2", "server-live", "GET", r"/v2/health/live"),
        ("v2", "server-ready", "GET", r"/v2/health/ready"),
        ("v2", "repository-index", "POST", r"/v2/repository/index"),
        ("v2", "repository-load", "POST", rf"/v2/repository/models/{_NAME}/load"),
        ("v2", "repository-unload", "POST", rf"/v2/repository/models/{_NAME}/unload"),
        ("sagemaker", "ping", "GET", r"/ping"),
        ("mlflow", "ping", "GET", r"/health"),
        ("mlflow", "version", "GET", r"/version"),
        ("jobs", "upload", "POST", r"/uploads"),
        ("jobs", "status", "GET", r"/jobs/(?P<job>[^/]+)"),
        ("jobs", "answer", "GET", r"/jobs/(?P<job>[^/]+)/answer"),
        ("jobs", "cancel", "POST", r"/jobs/(?P<job>[^/]+)/cancel"),
        ("docs", "openapi", "GET", rf"/v2/models/{_NAME}{_ANY_SELECTOR}/openapi\.json"),
        ("docs", "page", "GET", rf"/v2/models/{_NAME}{_ANY_SELECTOR}/docs"),
        ("docs", "server-openapi", "GET", r"/openapi\.json"),
        ("docs", "server-page", "GET", r"/docs"),
    )
)

#: The verbs that run a model; all others ask about one, or about the server.
PREDICTIONS = frozenset(
    {
        "predict",
        "classify",
        "regress",
        "evaluate",
        "infer",
        "invocations",
        "generate",
        "generate-stream",
    }
)

_BOTH_SELECTORS = Pattern(
    r"/v1/models/[^/:]+/versions/\d+/labels/[^/:]+(?::\w+|/metadata)?", re.IGNORECASE
)


def parse(method: str, path: str) -> Call:
    """Read a request line; ``path`` is raw (percent-encoded), with its query if it has one.

    Raises `RouteNotFoundError` when no protocol has it, `MalformedRequestError` or
    `InvalidNameError` when the path is known but a name or version in it is not possible.

    >>> parse("POST", "/v1/models/magika/versions/3:predict")
    Call(protocol='v1', verb='predict', model='magika', version=3, alias=None)
    """
    path, _, query = path.partition("?")
    call = _remembered(method, path) if len(path) <= _LONGEST else _read(method, path)
    return replace(call, query=query) if query else call


def _read(method: str, path: str) -> Call:
    path = _plain(path)
    for protocol, verb, rule_method, pattern in RULES:
        if method != rule_method and not (method == "HEAD" and rule_method == "GET"):
            continue
        match = pattern.fullmatch(path)
        if match:
            return _call(protocol, verb, match.groupdict())
    if _BOTH_SELECTORS.fullmatch(path):
        raise MalformedRequestError(
            "Both model version and model version label cannot be supplied."
        )
    raise RouteNotFoundError(method, path)


#: Characters of a path that is remembered: enough for any name with version or alias.
_LONGEST = 160
#: The same few paths come again and again. A flood of others makes each as dear as without this,
#: and takes about a megabyte; what is refused is not kept.
_remembered = lru_cache(maxsize=4096)(_read)


def allowed_methods(path: str) -> tuple[str, ...]:
    """The methods some protocol has for ``path``; empty when the path is unknown."""
    path = _plain(path.partition("?")[0])
    methods = {method for _, _, method, pattern in RULES if pattern.fullmatch(path)}
    return tuple(sorted(methods))


def _plain(path: str) -> str:
    # Gateways and clients may encode the verb's colon; nothing in a valid name needs encoding.
    return path.replace("%3A", ":").replace("%3a", ":")


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
        job=groups.get("job") or "",
    )


def _decoded(name: str) -> str:
    if "%" not in name:
        return name
    from urllib.parse import unquote  # names need none of it, and every cold start would pay

    return unquote(name)


def pinned(call: Call, version: int) -> Call:
    """The same call, aimed at one version."""
    return replace(call, version=version, alias=None)


#: What stands after the model and its version, by protocol and verb; nothing for the model itself.
_TAILS = {
    ("v1", "predict"): ":predict",
    ("v1", "classify"): ":classify",
    ("v1", "regress"): ":regress",
    ("v1", "evaluate"): ":evaluate",
    ("v1", "explain"): ":explain",
    ("v1", "metadata"): "/metadata",
    ("v2", "infer"): "/infer",
    ("v2", "generate"): "/generate",
    ("v2", "generate-stream"): "/generate_stream",
    ("v2", "ready"): "/ready",
    ("v2", "stats"): "/stats",
    ("sagemaker", "invocations"): "/invocations",
}
_ROOTS = {"v1": "/v1/models/", "v2": "/v2/models/", "sagemaker": "/endpoints/"}


def canonical_path(call: Call, version: int | None = None) -> str:
    """The path of a call to a model version, without an alias, with the call's query.

    Without ``version`` it suits whatever version gets it: a deployment is one already, and a
    shadow gets copies of what was meant for another.
    """
    model = call.model or ""  # a checked name has nothing that would need encoding
    at = "" if version is None else f"/versions/{version}"
    query = f"?{call.query}" if call.query else ""
    return f"{_ROOTS[call.protocol]}{model}{at}{_TAILS.get((call.protocol, call.verb), '')}{query}"

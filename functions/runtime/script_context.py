"""What a bundle's script may ask about a request, and say about its answer.

The ``context`` of the SageMaker inference toolkit, as far as one request at a time has a use for
it, and what this product adds: request id, model, version, digest and custom attributes. It only
carries: it runs nothing, and a header that could pass for one of ours or break an answer is
refused here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from modelport.envelope import Request

CUSTOM_ATTRIBUTES = "x-amzn-sagemaker-custom-attributes"
#: Headers of an answer that are a script's to set. The router passes on the content type, the
#: custom attributes, Retry-After and the prefix; the others reach callers of the server itself.
SETTABLE = (
    "content-type",
    CUSTOM_ATTRIBUTES,
    "retry-after",
    "content-disposition",
    "content-language",
    "cache-control",
)
PREFIX = "x-modelport-script-"
#: Characters of one value; SageMaker carries no more in the custom attributes.
MAX_VALUE = 1024

_OWN_NAME = re.compile(re.escape(PREFIX) + r"[a-z0-9-]{1,64}")
_SENDABLE = re.compile(rf"[\x20-\x7e]{{1,{MAX_VALUE}}}")


class Identity(Protocol):
    """Which version this is."""

    @property
    def model(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def digest(self) -> str: ...


class RequestHeaders(Mapping[str, str]):
    """The request's headers, found by their names in any case."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = headers

    def __getitem__(self, name: str) -> str:
        return self._headers[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._headers)

    def __len__(self) -> int:
        return len(self._headers)


class ScriptContext:
    """One request as the functions of ``inference.py`` see it; ``model_fn`` has none of its own.

    ``idx`` is there because SageMaker's servers hand over several requests at once; here it is 0.
    """

    def __init__(
        self,
        system_properties: Mapping[str, Any],
        identity: Identity,
        request: Request | None = None,
    ) -> None:
        self.system_properties = dict(system_properties)
        self.model = self.model_name = identity.model
        self.version = identity.version
        self.digest = identity.digest
        self.request_id = request.request_id if request else ""
        self.headers = RequestHeaders(request.headers if request else {})
        self.response_headers: dict[str, str] = {}
        self.status = 200

    @property
    def custom_attributes(self) -> str:
        """What the caller sent in ``X-Amzn-SageMaker-Custom-Attributes``; empty without it."""
        return self.headers.get(CUSTOM_ATTRIBUTES, "")

    def get_request_id(self, idx: int = 0) -> str:
        """The id under which this request stands in the logs."""
        return self.request_id

    def get_request_header(self, idx: int, key: str) -> str | None:
        """A header of the request, None when it was not sent."""
        return self.headers.get(key)

    def get_all_request_header(self, idx: int) -> Mapping[str, str]:
        """All headers of the request."""
        return self.headers

    def set_response_header(self, idx: int, key: str, value: str) -> None:
        """Send ``key`` with the answer; raises ValueError for what a script may not set."""
        name = key.lower()
        if name not in SETTABLE and not _OWN_NAME.fullmatch(name):
            allowed = ", ".join((*SETTABLE, f"{PREFIX}…"))
            raise ValueError(f"{key!r} is no header a script may set; allowed: {allowed}")
        if not isinstance(value, str) or not _SENDABLE.fullmatch(value):
            what = f"1 to {MAX_VALUE} printable ASCII characters"
            raise ValueError(f"the value of header {key!r} is not {what}")
        self.response_headers[name] = value

    def get_response_headers(self, idx: int) -> Mapping[str, str]:
        """The headers set so far."""
        return dict(self.response_headers)

    def set_response_content_type(self, idx: int, value: str) -> None:
        """Send the answer as ``value``, whatever ``output_fn`` says it is."""
        self.set_response_header(idx, "content-type", value)

    def get_response_content_type(self, idx: int) -> str | None:
        """The content type set so far, if any."""
        return self.response_headers.get("content-type")

    def set_response_status(self, code: int = 200, phrase: str = "", idx: int = 0) -> None:
        """Answer with ``code``; HTTP carries no phrase any more, so it is dropped."""
        if type(code) is not int or not 200 <= code <= 599:
            raise ValueError(f"{code!r} is no status of an answer (200 to 599)")
        self.status = code

    def get_response_status(self, idx: int) -> tuple[int, str]:
        """The status set so far and an empty phrase."""
        return self.status, ""

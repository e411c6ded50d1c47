"""A codec that is imported by the first request for it: cold starts do not pay for the others'.

Which of a function's protocols its callers speak is not known before they do; those that most of
them speak are better imported at once, while nobody waits.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from importlib import import_module
from typing import Any

from modelport.envelope import Request, Response
from modelport.grammar import Call

from functions.runtime.codecs.codec import Codec, Headers, Parsed, Subject
from functions.runtime.tensors import Tensors


class Later:
    """The codec ``name`` of the module beside this one."""

    def __init__(self, module: str, name: str) -> None:
        self._module, self._name = module, name

    @cached_property
    def _codec(self) -> Codec:
        module = import_module(f"{__package__}.{self._module}")
        codec: Codec = getattr(module, self._name)()
        return codec

    def parse(self, call: Call, request: Request, subject: Subject) -> Parsed:
        return self._codec.parse(call, request, subject)

    def format(self, outputs: Tensors, parsed: Parsed, subject: Subject) -> tuple[Headers, bytes]:
        return self._codec.format(outputs, parsed, subject)

    def describe(
        self, call: Call, request: Request, subject: Subject
    ) -> Mapping[str, Any] | Response | None:
        return self._codec.describe(call, request, subject)

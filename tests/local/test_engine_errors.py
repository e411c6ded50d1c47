"""What MiniStack makes of a proxied function's errors, and what our plugin makes of that."""

from __future__ import annotations

import json
from typing import Any

from engines.ministack_plugin.registration import unwrapped

SAID = {"errorMessage": 'inference.py: no "x" \u00e9', "errorType": "InvalidBundleError"}


def wrapped(document: dict[str, Any]) -> dict[str, Any]:
    """As MiniStack words it: cut after 512 characters."""
    message = f"Proxy target returned HTTP 502: {json.dumps(document)[:512]}"
    return {"body": {"errorMessage": message, "errorType": "Runtime.HandlerError"}, "error": True}


def test_an_init_error_comes_as_aws_gives_it_even_cut() -> None:
    result = unwrapped(wrapped({**SAID, "requestId": "", "stackTrace": ["x" * 600]}))
    assert result == {"body": {**SAID, "requestId": ""}, "error": True}


def test_every_other_result_stays_as_it_is() -> None:
    at_a_request = wrapped({**SAID, "requestId": "r-1", "stackTrace": []})
    too_long = wrapped({**SAID, "errorMessage": "x" * 600, "requestId": ""})
    for result in (at_a_request, too_long, {"body": {**SAID, "requestId": ""}}, {"body": None}):
        assert unwrapped(result) == result

"""A server held against its own OpenAPI document by Schemathesis, with the same requests each time.

Everything it checks is on, but for one: that data which fits the schema is always taken, which no
schema of tensors can promise (free dimensions that must agree, ``data`` that must fit ``shape``).
Text in base64 has to be text here, so the format is generated so.
"""

from __future__ import annotations

import base64
from typing import Any

import schemathesis
from hypothesis import strategies as st
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import from_schema
from schemathesis.engine.events import NonFatalError, ScenarioFinished

_TEXTS = st.text(max_size=8).map(lambda text: base64.b64encode(text.encode()).decode())


def complaints(document: dict[str, Any], url: str, *, examples: int) -> tuple[int, list[str]]:
    """How many requests were sent to the server at ``url``, and all that was wrong.

    ``document`` must be valid OpenAPI, or this raises.
    """
    schemathesis.openapi.format("byte", _TEXTS)
    config = SchemathesisConfig.from_dict(
        {
            "base-url": url,
            "seed": 7,
            "workers": 1,
            "continue-on-failure": True,
            "request-timeout": 30,
            "generation": {"max-examples": examples, "deterministic": True, "database": "none"},
            "phases": {"stateful": {"enabled": False}},
            "checks": {"positive_data_acceptance": {"enabled": False}},
        }
    )
    schema = schemathesis.openapi.from_dict(document, config=config)
    schema.validate()
    sent, wrong = 0, []
    for event in from_schema(schema).execute():
        if isinstance(event, NonFatalError):
            wrong.append(f"{event.label}: {event.info.format()}")
        if isinstance(event, ScenarioFinished):
            sent += len(event.recorder.interactions)
            for case_id, checks in event.recorder.checks.items():
                for check in checks:
                    if check.failure_info is not None:
                        case = event.recorder.cases[case_id].value
                        failure = check.failure_info.failure
                        wrong.append(
                            f"{case.method} {case.formatted_path} {str(case.body)[:300]}:"
                            f" {check.name}: {failure.title}: {failure.message}"
                        )
    return sent, wrong

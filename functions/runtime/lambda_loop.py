"""awslambdaric's loop, with answers in pieces: what it lacks is one way to post a response.

Everything else, errors, deadlines, snapshots, log format, stays awslambdaric's. Where it runs
several requests at once, in processes of its own making, there are no streams.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from awslambdaric import bootstrap  # type: ignore[import-untyped]
from awslambdaric.lambda_config import LambdaConfigProvider  # type: ignore[import-untyped]
from awslambdaric.lambda_runtime_client import (  # type: ignore[import-untyped]
    LambdaRuntimeClient,
)
from awslambdaric.lambda_runtime_marshaller import LambdaMarshaller  # type: ignore[import-untyped]


def poll(arguments: Sequence[str]) -> None:
    """Run a handler; ``arguments`` as awslambdaric's own command line."""
    config = LambdaConfigProvider(list(arguments))
    if config.is_multi_concurrent:
        from awslambdaric.__main__ import main  # type: ignore[import-untyped]

        main(list(arguments))
        return
    client = _Client(config.api_address, config.use_thread_polling)
    bootstrap.run(config.handler, client)


class _Marshaller(LambdaMarshaller):  # type: ignore[misc]
    """Leaves a stream as it is."""

    def marshal_response(self, response: Any) -> Any:
        return (response, "") if _streams(response) else super().marshal_response(response)


class _Client(LambdaRuntimeClient):  # type: ignore[misc]
    """Posts a stream piece by piece."""

    marshaller = _Marshaller()

    def post_invocation_result(self, invoke_id: str, result: Any, *rest: Any) -> None:
        if not _streams(result):
            super().post_invocation_result(invoke_id, result, *rest)
            return
        from modelport.lambda_stream import send  # few versions stream

        send(self.lambda_runtime_address, invoke_id, result)


def _streams(answer: Any) -> bool:
    from modelport.envelope import Stream  # by now the handler has brought it

    return isinstance(answer, Stream)

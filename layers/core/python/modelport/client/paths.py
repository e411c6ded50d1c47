"""The path that calls a model in a protocol. Text only; what exists is not known here."""

from __future__ import annotations

from typing import Literal

from modelport.refs import ModelRef

Protocol = Literal["v1", "v2", "raw"]


def path_of(ref: ModelRef, protocol: Protocol) -> str:
    """The path that calls a model in a protocol.

    >>> path_of(ModelRef("magika", version=3), "v1")
    '/v1/models/magika/versions/3:predict'
    """
    selector = str(ref.version or ref.alias or "")
    if protocol == "v1":
        kind = "versions" if ref.version else "labels"
        return f"/v1/models/{ref.name}{f'/{kind}/{selector}' if selector else ''}:predict"
    if protocol == "v2":
        return f"{metadata_path(ref)}/infer"
    selected = f"/versions/{selector}" if selector else ""
    return f"/endpoints/{ref.name}{selected}/invocations"


def metadata_path(ref: ModelRef) -> str:
    """The path that tells a model's inputs and outputs."""
    selector = str(ref.version or ref.alias or "")
    return f"/v2/models/{ref.name}{f'/versions/{selector}' if selector else ''}"

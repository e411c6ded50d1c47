"""What is told about: a version as far as its documentation needs it, and where it is asked.

`About` is small whatever the manifest holds: goldens too large for an example are left out of it,
so that many can be kept. Plain data; it makes no document.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from modelport.goldens import Golden, Tensor
from modelport.signature import Signature, TensorSpec

if TYPE_CHECKING:
    from modelport.manifest import Manifest

#: An example is at most so many bytes of JSON; a larger golden is not one.
MAX_EXAMPLE = 16_384
#: A description that is longer is cut.
MAX_DESCRIPTION = 4_096
#: Raw bodies are examples only where JSON can spell them.
_TEXTS = ("application/json", "text/")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a document is asked for: which program answers, what it selects, who may ask.

    ``root`` is the relative URL from the document to the server's root, without a slash at the
    end; ``selector`` is a version, an alias, or empty; ``auth`` is ``iam`` or ``none``.
    """

    router: bool
    root: str = ""
    selector: str = ""
    auth: str = "none"

    @property
    def v1_selector(self) -> str:
        """What stands after the model in a V1 path."""
        if not self.selector:
            return ""
        kind = "versions" if self.selector.isdigit() else "labels"
        return f"/{kind}/{self.selector}"

    @property
    def any_selector(self) -> str:
        """What stands after the model in every other path."""
        return f"/versions/{self.selector}" if self.selector else ""


@dataclass(frozen=True, slots=True)
class About:
    """A version, for its documentation; ``golden`` is one that is small enough to show."""

    model: str
    version: int
    digest: str
    signature: Signature
    description: str = ""
    script: bool = False
    labels: bool = False
    golden: Golden | None = None

    @classmethod
    def of(cls, manifest: Manifest) -> About:
        """What of ``manifest`` the documentation shows."""
        content = manifest.content
        fitting = [golden for golden in content.goldens if shows(golden)]
        return cls(
            manifest.model,
            manifest.version,
            manifest.digest,
            content.signature,
            cut(content.description, MAX_DESCRIPTION),
            content.settings.script is not None,
            content.settings.labels is not None,
            min(fitting, key=_weight, default=None) or _invented(content.signature),
        )


def shows(golden: Golden) -> bool:
    """Whether strict JSON can spell this golden within `MAX_EXAMPLE` bytes."""
    if golden.kind == "raw":
        return (
            golden.content_type.startswith(_TEXTS)
            and len(golden.body) <= MAX_EXAMPLE
            and _spelled(golden.answer) is not None
        )
    tensors = (*golden.inputs, *golden.outputs)
    return sum(len(t.data) for t in tensors) <= MAX_EXAMPLE and all(
        _spelled([tensor.to_json()]) is not None for tensor in tensors
    )


def cut(text: str, limit: int) -> str:
    """``text``, or its beginning and an ellipsis."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _spelled(value: Any) -> str | None:
    try:
        text = json.dumps(value, allow_nan=False)
    except ValueError:
        return None
    return text if len(text) <= MAX_EXAMPLE else None


def _weight(golden: Golden) -> tuple[bool, int]:
    """The smallest golden with tensors is the example, else the smallest there is."""
    size = sum(len(tensor.data) for tensor in (*golden.inputs, *golden.outputs))
    return golden.kind == "raw", size + len(golden.body)


def _invented(signature: Signature) -> Golden | None:
    """An input of zeros and empty texts, its answer unknown; none where it would be too large."""
    sizes = [math.prod(map(_size, spec.shape)) for spec in signature.inputs]
    if not sizes or sum(sizes) > MAX_EXAMPLE // 8:
        return None
    return Golden(
        "invented",
        tuple(
            Tensor(spec.name, spec.datatype, tuple(map(_size, spec.shape)), (_zero(spec),) * size)
            for spec, size in zip(signature.inputs, sizes, strict=True)
        ),
    )


def _size(dim: int) -> int:
    return 1 if dim < 0 else dim


def _zero(spec: TensorSpec) -> Any:
    zeros: dict[str, Any] = {"BOOL": False, "BYTES": "text"}
    floats = spec.datatype in ("FP16", "BF16", "FP32", "FP64")
    return zeros.get(spec.datatype, 0.0 if floats else 0)

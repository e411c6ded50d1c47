"""V2's binary tensor extension: how JSON and raw tensors share a body, and who says where to cut.

``Inference-Header-Content-Length`` says how many bytes are JSON, whatever the content type says;
where headers are stripped, as on SageMaker, Triton's content type does. 0 means that there is no
JSON at all: the body is the model's only input. It must not know a model's outputs or run it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from modelport.envelope import Request
from modelport.errors import MalformedRequestError, NotEncodableError, TensorError
from modelport.raw_tensors import pack, unpack
from modelport.signature import DATATYPES, Signature, TensorSpec

from functions.runtime.tensors import Array, check_shape

LENGTH_HEADER = "inference-header-content-length"
OCTETS = "application/octet-stream"
#: Triton's content type, which says the length where no header can.
SAGEMAKER_TYPE = "application/vnd.sagemaker-triton.binary+json"
_SIZE = "json-header-size="
_DIGITS = 19


@dataclass(frozen=True, slots=True)
class Cut:
    """Bytes of JSON before the raw tensors, and whether the content type said so."""

    size: int
    by_type: bool = False


def cut_of(request: Request) -> Cut | None:
    """Where this body is cut, or None when all of it is JSON."""
    header = request.headers.get(LENGTH_HEADER)
    if header is not None:
        return Cut(_size(header, LENGTH_HEADER, request))
    media, _, parameters = request.headers.get("content-type", "").partition(";")
    if media.strip().lower() != SAGEMAKER_TYPE:
        return None
    for parameter in parameters.split(";"):
        if parameter.strip().lower().startswith(_SIZE):
            text = parameter.strip()[len(_SIZE) :]
            return Cut(_size(text, f"{_SIZE[:-1]} of the content type", request), by_type=True)
    raise MalformedRequestError(f"content type {SAGEMAKER_TYPE} needs ;{_SIZE}<bytes of JSON>")


def _size(text: str, what: str, request: Request) -> int:
    text = text.strip()
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS):
        raise MalformedRequestError(f"{what} is {text[:40]!r}; it must be a whole number of bytes")
    size, whole = int(text), len(request.body)
    if size > whole:
        raise MalformedRequestError(f"{what} is {size}, but the whole body has {whole} bytes")
    return size


class RawTail:
    """The raw tensors of one request, taken from the front in the order of its inputs."""

    def __init__(self, tail: memoryview) -> None:
        self._left = tail

    def take(self, name: str, size: Any) -> memoryview:
        """The next ``size`` bytes; raises `MalformedRequestError` for what cannot be one."""
        if type(size) is not int or size < 0:
            raise MalformedRequestError(
                f"parameter 'binary_data_size' of {name!r} must be a whole number of bytes"
            )
        if size > len(self._left):
            raise MalformedRequestError(
                f"parameter 'binary_data_size' of {name!r} is {size},"
                f" but {len(self._left)} bytes of raw tensors are left"
            )
        taken, self._left = self._left[:size], self._left[size:]
        return taken

    def tensor(self, spec: TensorSpec, shape: Sequence[int], size: Any) -> Array:
        """The tensor of this input in the next ``size`` bytes, which nobody copies."""
        return read_raw(spec, shape, self.take(spec.name, size))

    def check_all_taken(self) -> None:
        """Raise if there is more than the inputs account for."""
        if self._left:
            raise MalformedRequestError(
                f"{len(self._left)} bytes follow the last input's raw tensor;"
                " every raw tensor needs its 'binary_data_size', and behind a gateway the body"
                " a content type that is not text (application/octet-stream)"
            )


def read_raw(spec: TensorSpec, shape: Sequence[int], raw: memoryview) -> Array:
    """The tensor of this input in ``raw``, which nobody copies."""
    try:
        return unpack(spec.datatype, shape, raw)
    except ValueError as error:
        declared = f"{spec.datatype} [{','.join(map(str, shape))}]"
        raise TensorError(spec.name, declared, f"raw data: {error}") from None


def read_whole(signature: Signature, body: bytes) -> Array:
    """The model's only input, all of the body; its one free dimension is as large as it says."""
    if len(signature.inputs) != 1:
        raise MalformedRequestError(
            f"a raw request ({LENGTH_HEADER}: 0) is for models with one input;"
            f" this one has {len(signature.inputs)}"
        )
    spec = signature.inputs[0]
    if spec.datatype == "BYTES":
        shape = [1 if dim < 0 else dim for dim in spec.shape]
        if any(dim != 1 for dim in shape):
            raise TensorError(spec.name, str(spec), "a raw request, which carries one text")
        return read_raw(spec, shape, memoryview(len(body).to_bytes(4, "little") + body))
    return check_shape(spec, read_raw(spec, _filled(spec, len(body)), memoryview(body)))


def _filled(spec: TensorSpec, size: int) -> list[int]:
    """The declared shape with its free dimension worked out; a second one, in front, is a batch."""
    shape = list(spec.shape)
    if shape.count(-1) > 1 and shape[0] == -1:
        shape[0] = 1
    if shape.count(-1) > 1:
        raise TensorError(spec.name, str(spec), "a raw request, which can leave one dimension open")
    if -1 in shape:
        step = DATATYPES[spec.datatype]
        for dim in shape:
            step *= 1 if dim == -1 else dim
        shape[shape.index(-1)] = size // step if step else 0
    return shape


def raw_output(name: str, array: Array) -> bytes | memoryview:
    """The raw form of an output."""
    try:
        return pack(array)
    except ValueError as error:
        raise NotEncodableError(name, str(error)) from None


def joined(
    head: bytes, raws: Sequence[bytes | memoryview], by_type: bool
) -> tuple[dict[str, str], bytes]:
    """Headers and body of an answer with raw tensors, told in the way the caller understands."""
    body = b"".join([head, *raws])
    if by_type:
        return {"content-type": f"{SAGEMAKER_TYPE};{_SIZE}{len(head)}"}, body
    return {"content-type": OCTETS, LENGTH_HEADER: str(len(head))}, body

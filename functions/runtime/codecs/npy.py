"""``application/x-npy``: one array, in numpy's own file format.

Nothing pickled is ever opened, and a header that lies is refused before anything is made for it.
Numbers widen or narrow to the declared dtype as JSON's do: SageMaker's serializer sends float64
whatever the model takes.
"""

from __future__ import annotations

import io
import math
import re

import numpy as np
from modelport.errors import MalformedRequestError, NotEncodableError, TensorError
from modelport.signature import TensorSpec

from functions.runtime.codecs.numbers import as_declared
from functions.runtime.tensors import Array, check_shape, from_array

_VERSIONS = ((1, 0), (2, 0), (3, 0))
_OBJECT = re.compile(r"<[^>]* object at 0x[^>]*>?")
_PICKLED = "a pickled array, which is never opened"


def read_npy(body: bytes, spec: TensorSpec) -> Array:
    """The array in ``body`` as ``spec`` declares it; nothing is copied that fits as it is."""
    array = _array(body, spec)
    if array.dtype.kind in "iuf" and spec.datatype not in ("BOOL", "BYTES", "BF16"):
        return check_shape(spec, as_declared(spec, array))
    return check_shape(spec, from_array(spec, array))


def write_npy(name: str, array: Array) -> bytes:
    """The array as a file."""
    if array.dtype.hasobject:
        raise NotEncodableError(name, "application/x-npy carries no text; accept application/json")
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, allow_pickle=False)
    return stream.getvalue()


def _array(body: bytes, spec: TensorSpec) -> Array:
    stream = io.BytesIO(body)
    try:
        version = np.lib.format.read_magic(stream)
        if version not in _VERSIONS:
            raise ValueError(f"version {version}")
        read = np.lib.format.read_array_header_1_0
        if version != (1, 0):
            read = np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(stream)
        if dtype.hasobject:
            raise TensorError(spec.name, str(spec), _PICKLED)
        count = math.prod(shape)
        if min(shape, default=0) < 0:
            raise ValueError(f"shape {shape}")
        values = np.frombuffer(body, dtype, count, stream.tell()) if count else np.empty(0, dtype)
        return values.reshape(shape[::-1]).T if fortran else values.reshape(shape)
    except TensorError:
        raise
    except Exception as error:  # numpy evaluates the header, and raises whatever it meets there
        # What it shows of Python's objects has their places in memory, nobody's affair.
        problem = _OBJECT.sub("an expression", str(error).partition("\n")[0][:200])
        raise MalformedRequestError(f"the body is not an npy array: {problem}") from None

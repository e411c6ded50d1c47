"""Bodies of every protocol and media type, through the data plane of a loaded model."""

from __future__ import annotations

import gzip
import io
import zlib

import numpy as np
from modelport.envelope import Request

from tests.fuzz.dice import Dice, chosen
from tests.fuzz.planes import check, check_headers, open_planes

PATHS = (
    "/v1/models/demo:predict",
    "/v1/models/demo:predict?dialect=kserve",
    "/v1/models/demo:classify",
    "/v1/models/demo:regress",
    "/v1/models/demo:evaluate",
    "/v2/models/demo/infer",
    "/invocations",
    "/endpoints/demo/invocations",
    "/v2/models/demo/generate",
    "/v2/models/demo/generate_stream",
    "/v2/repository/index",
)
TYPES = (
    "application/json",
    "text/csv",
    "application/x-npy",
    "application/jsonlines",
    "application/octet-stream",
    "application/vnd.sagemaker-triton.binary+json;json-header-size=",
    "text/csv; header=present",
    "text/csv; header=absent",
)
ACCEPTS = (
    None, "*/*", "text/csv", "application/x-npy", "application/jsonlines",
    "application/octet-stream", "application/vnd.sagemaker-triton.binary+json",
    "text/*;q=0.5, application/x-npy;q=nan",
)  # fmt: skip
CODINGS = (None, "gzip", "deflate", "as gzip", "as deflate")
ATTRIBUTES = (None, "tfs-method=classify", "tfs-method=regress,tfs-model-name=demo", "tfs-method=")
PLANES, WATCH = open_planes()


def one(data: bytes) -> None:
    """One request; raises what is a finding."""
    dice = Dice(data)
    plane, path = dice.one_of(PLANES).plane, dice.one_of(PATHS)
    headers = {"content-type": dice.one_of(TYPES)}
    accept, coding, attributes = (dice.one_of(each) for each in (ACCEPTS, CODINGS, ATTRIBUTES))
    cut, body = dice.number(), dice.rest()
    # Where the JSON ends: nowhere, where it seems to, at some byte.
    end = str(body.find(b"}\0") + 1 or len(body)) if cut == 1 else str(cut - 2)
    if headers["content-type"].endswith("="):
        headers["content-type"] += end
    elif cut:
        headers["inference-header-content-length"] = end
    if accept is not None:
        headers["accept"] = accept
    if attributes is not None:
        headers["x-amzn-sagemaker-custom-attributes"] = attributes
    if coding is not None:
        headers["content-encoding"] = coding.removeprefix("as ")
        headers["accept-encoding"] = headers["content-encoding"]
    if coding == "as gzip":
        body = gzip.compress(body, 1)
    elif coding == "as deflate":
        body = zlib.compress(body, 1)
    request = Request("POST", path, headers, body, "fuzz")
    response = plane.handle(request)
    check(request, response, WATCH)
    check_headers(request, response)


def _npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def _seed(
    body: bytes, plane: int = 1, path: int = 4, kind: int = 0, coding: int = 0, cut: int = 0
) -> bytes:
    return chosen(plane, path, kind, 0, coding, 0, cut, body=body)


_ALL = (
    b'{"id":"1","inputs":[{"name":"f","datatype":"FP32","shape":[1,2],"data":[1,2]},'
    b'{"name":"i","datatype":"INT64","shape":[1],"data":[3]},'
    b'{"name":"t","datatype":"BYTES","shape":[1],"data":["a"]},'
    b'{"name":"h","datatype":"FP16","shape":[1],"parameters":{"binary_data_size":2}},'
    b'{"name":"s","datatype":"FP32","shape":[],"data":[1]}],'
    b'"outputs":[{"name":"h_out","parameters":{"classification":1}}]}\0<'
)
_X = b'"name":"x","datatype":"FP32","shape":[1,2]'
_RAW = b'{"inputs":[{' + _X + b',"parameters":{"binary_data_size":8}}]}' + bytes(8)
_LARGE = b'{"inputs":[[' + b"1,2],[" * 1500 + b"3,4]]}"
_ROWS = b'{"instances":[{"f":[1,2],"i":1,"t":{"b64":"YQ=="},"h":1,"s":1}]}'
_EXAMPLES = b'{"context":{"c":1},"examples":[{"a":1},{"a":[2],"c":3}]}'

SEEDS = (
    _seed(b'{"instances":[[1,2],[NaN,1e3]]}', path=0),
    _seed(b'{"signature_name":"serving_default","inputs":{"x":[[1,2]]}}', path=0),
    _seed(b'{"inputs":[[1,2]]}', path=1),
    _seed(_LARGE, path=0),
    _seed(_ROWS, plane=0, path=0),
    _seed(_EXAMPLES, plane=9, path=2),
    _seed(_EXAMPLES, plane=9, path=3),
    _seed(b'{"inputs":[{' + _X + b',"data":[[1,2]]}]}'),
    _seed(_RAW, cut=1),
    _seed(_RAW, kind=5, cut=1, path=5),
    _seed(_ALL, plane=0, cut=1),
    _seed(bytes(16), cut=2),
    _seed(_X, coding=3),
    _seed(gzip.compress(_RAW), coding=1, cut=1),
    _seed(zlib.compress(_RAW), coding=2, cut=1),
    _seed(b"1,2\n3,4\n", path=5, kind=1),
    _seed(b'a,c\n1,"2"\n', plane=9, path=5, kind=6),
    _seed("t\nä\n".encode(), plane=3, path=5, kind=1),
    _seed(_npy(np.ones((2, 2))), path=5, kind=2),
    _seed(_npy(np.array([["a"]])), plane=3, path=5, kind=2),
    _seed(b"[1,2]\n\n[3,NaN]\n", path=5, kind=3),
    _seed(b'{"features":[1,2]}\n', path=5, kind=3),
    _seed(bytes(16), path=5, kind=4),
    _seed(b'{"dataframe_split":{"columns":["a","c"],"index":[0],"data":[[1,2]]}}', 9, 5),
    _seed(b'{"dataframe_records":[{"a":1,"c":null}],"params":{}}', 9, 5),
    _seed(b'{"inputs":{"x":[[1,2]]}}', path=6),
    _seed(b'{"text_input":"a b","parameters":{"n":1}}', 11, 7),
    _seed(b'{"text_input":"a b"}', 11, 8),
    _seed(b'{"instances":[18446744073709551615,1]}', 8, 0),
    _seed(b'{"instances":[true,false]}', 4, 0),
)

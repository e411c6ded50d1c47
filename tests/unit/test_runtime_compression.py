"""Compressed bodies: both codings both ways in every protocol, and what is no such body."""

from __future__ import annotations

import asyncio
import gzip
import json
import tracemalloc
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelport.envelope import Request, Response
from modelport.errors import ModelportError, PayloadTooLargeError
from modelport.manifest import Batching

from functions.runtime.batching import Batcher
from functions.runtime.compression import asked, compressed, decompressed
from functions.runtime.data_plane import DataPlane
from functions.runtime.gathering import GatheringPlane
from tests.support import runtime_bundles as bundles
from tests.support.runtime_planes import SAGEMAKER, V1, V2, Plane, open_plane, v2_tensor

MOST = 1000
LENGTH = "inference-header-content-length"


def raw_deflate(body: bytes) -> bytes:
    deflater = zlib.compressobj(wbits=-15)
    return deflater.compress(body) + deflater.flush()


WAYS: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("gzip", gzip.compress),
    ("x-gzip", gzip.compress),
    ("GZIP", gzip.compress),
    ("deflate", zlib.compress),
    ("deflate", raw_deflate),
    ("identity", bytes),
    ("", bytes),
]


def request(body: bytes, coding: str, **headers: str) -> Request:
    return Request("POST", V1, {"content-encoding": coding, "a": "b"} | headers, body, "id")


@pytest.mark.parametrize(("coding", "squeeze"), WAYS)
@given(body=st.binary(max_size=MOST))
def test_whatever_was_squeezed_comes_back(
    coding: str, squeeze: Callable[[bytes], bytes], body: bytes
) -> None:
    found = decompressed(request(squeeze(body), coding), MOST)
    assert (found.body, found.headers) == (body, {"a": "b"})


@given(st.sampled_from(["gzip", "deflate"]), st.binary(max_size=80))
def test_garbage_is_refused_in_words(coding: str, body: bytes) -> None:
    try:
        decompressed(request(body, coding), MOST)
    except ModelportError as error:
        assert coding in error.message  # noqa: PT017


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (gzip.compress(b"1" * 50)[:-9], "the body is gzip that ends too early"),
        (b"", "the body is gzip that ends too early"),
        (b"\x1f\x8b\x08what", "the body is not gzip"),
        (gzip.compress(b"1") + b"more", "4 bytes follow the end of the body's gzip"),
        (gzip.compress(b"1") * 1000, "bytes follow the end of the body's gzip"),
    ],
)
def test_what_is_no_whole_gzip_says_why(tmp_path: Path, body: bytes, message: str) -> None:
    plane = open_plane(tmp_path, bundles.DOUBLE)
    assert message in plane.refusal(V1, body, {"content-encoding": "gzip"})


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, gzip", "gzip,deflate", "zip"])
def test_other_codings_are_told_which_are_taken(tmp_path: Path, coding: str) -> None:
    plane = open_plane(tmp_path, bundles.DOUBLE)
    message = plane.refusal(V1, b"{}", {"content-encoding": coding}, status=415)
    assert message == (
        f"content-encoding {coding!r} is not supported here; allowed: gzip, deflate, identity"
    )


def test_a_bomb_goes_off_nowhere(tmp_path: Path) -> None:
    bomb = gzip.compress(bytes(200_000_000), 9)
    loaded = open_plane(tmp_path, bundles.DOUBLE).plane
    plane = Plane(DataPlane(loaded.subject, loaded.model, most_decompressed=1_000_000))
    tracemalloc.start()
    message = plane.refusal(V1, bomb, {"content-encoding": "gzip"}, status=413)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10_000_000
    assert "the limit is 1,000,000 bytes" in message
    assert f"{len(bomb):,} bytes of gzip" in message


def test_the_limit_is_the_last_that_fits() -> None:
    assert len(decompressed(request(gzip.compress(bytes(MOST)), "gzip"), MOST).body) == MOST
    with pytest.raises(PayloadTooLargeError):
        decompressed(request(gzip.compress(bytes(MOST + 1)), "gzip"), MOST)


@pytest.mark.parametrize(
    ("path", "document"),
    [
        (V1, {"instances": [[1, 2]]}),
        (V2, {"inputs": [v2_tensor("x", [1, 2], [1, 2])]}),
        (SAGEMAKER, {"instances": [[1, 2]]}),
    ],
)
@pytest.mark.parametrize(
    ("coding", "squeeze", "undo"),
    [("gzip", gzip.compress, gzip.decompress), ("deflate", zlib.compress, zlib.decompress)],
)
def test_every_protocol_takes_and_gives_them(
    tmp_path: Path,
    path: str,
    document: object,
    coding: str,
    squeeze: Callable[[bytes], bytes],
    undo: Callable[[bytes], bytes],
) -> None:
    plane = open_plane(tmp_path, bundles.DOUBLE)
    plain = plane.post(path, document)
    body = squeeze(json.dumps(document).encode())
    answer = plane.post(path, body, {"content-encoding": coding, "accept-encoding": coding})
    assert (answer.status, undo(answer.body)) == (200, plain.body)
    timed = {"server-timing": answer.headers["server-timing"]}
    assert answer.headers == plain.headers | {"content-encoding": coding} | timed


def test_raw_tensors_are_cut_where_they_were_before_compression(tmp_path: Path) -> None:
    plane = open_plane(tmp_path, bundles.DOUBLE)
    size = {"binary_data_size": 8}
    entry = {"name": "x", "shape": [1, 2], "datatype": "FP32", "parameters": size}
    head = json.dumps({"inputs": [entry], "parameters": {"binary_data_output": True}}).encode()
    body = gzip.compress(head + b"\x00\x00\x80?\x00\x00\x00@")
    headers = {LENGTH: str(len(head)), "content-encoding": "gzip", "accept-encoding": "gzip"}
    answer = plane.post(V2, body, headers)
    whole = gzip.decompress(answer.body)
    assert json.loads(whole[: int(answer.headers[LENGTH])])["outputs"][0]["name"] == "y"
    assert whole.endswith(b"\x00\x00\x00@\x00\x00\x80@")


@pytest.mark.parametrize(
    ("accept", "coding"),
    [
        ("gzip", "gzip"),
        (" GZip ", "gzip"),
        ("x-gzip", "gzip"),
        ("deflate;q=0.5", "deflate"),
        ("gzip;q=0", None),
        ("gzip;q=0.0", None),
        ("gzip, deflate", None),
        ("deflate, gzip, br, zstd", None),
        ("gzip;q=1.0, identity", None),
        ("br", None),
        ("*", None),
        ("", None),
    ],
)
def test_only_who_names_one_coding_asks_for_it(accept: str, coding: str | None) -> None:
    assert asked(accept) == coding


def test_refusals_and_questions_stay_readable(tmp_path: Path) -> None:
    plane = open_plane(tmp_path, bundles.DOUBLE)
    refused = plane.post(V1, {}, {"accept-encoding": "gzip"})
    assert "content-encoding" not in refused.headers
    metadata = plane.plane.handle(Request("GET", "/v2/models/demo", {"accept-encoding": "gzip"}))
    assert json.loads(metadata.body)["name"] == "demo"


def test_an_answer_that_is_coded_already_is_left_alone(tmp_path: Path) -> None:
    plane = open_plane(tmp_path, bundles.DOUBLE)
    answer = plane.post(V1, {"instances": [[1, 2]]}, {"accept-encoding": "gzip"})
    asking = Request("POST", V1, {"accept-encoding": "gzip"})
    assert compressed(asking, answer) is answer


def test_with_batching_on_they_come_and_go_as_well(tmp_path: Path) -> None:
    plane = open_plane(tmp_path, bundles.DOUBLE)
    body = gzip.compress(json.dumps({"instances": [[1, 2]]}).encode())
    headers = {"content-encoding": "gzip", "accept-encoding": "deflate"}

    async def ask() -> Response:
        with ThreadPoolExecutor(1) as pool:
            batcher = Batcher(plane.plane.model, Batching(8, 1.0), pool)
            gathering = GatheringPlane(plane.plane, batcher, pool)
            return await gathering.handle(Request("POST", V1, headers, body, "id"))

    answer = asyncio.run(ask())
    assert json.loads(zlib.decompress(answer.body)) == {"predictions": [[2.0, 4.0]]}


def test_a_body_that_a_gateway_read_as_text_is_told_so() -> None:
    broken = gzip.compress(b"{}").decode(errors="replace").encode()
    with pytest.raises(ModelportError, match="read as text on its way"):
        decompressed(request(broken, "gzip"), MOST)

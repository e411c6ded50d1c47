"""Large uploads that several publishers share, and what a real S3 process makes of them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from modelport.errors import IntegrityError, RegistryUnavailableError
from modelport.manifest import Draft
from modelport.registry import keys
from modelport.registry.s3 import S3Registry

from tests.support.registry_world import ADA, BUCKET, Killed, make_draft, s3_client, s3_process

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PART = 5 << 20


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with s3_process(tmp_path_factory.mktemp("s3")) as address:
        s3_client(address).create_bucket(Bucket=BUCKET)
        yield address


@pytest.fixture
def client(endpoint: str) -> S3Client:
    return s3_client(endpoint)


@pytest.fixture
def large(tmp_path: Path) -> Draft:
    """Three parts, the last one short, no two alike."""
    return make_draft(tmp_path / "in", model=os.urandom(2 * PART + 12345))


def in_parts(client: S3Client) -> S3Registry:
    return S3Registry(client, BUCKET, part_size=PART, single_put_limit=1 << 20)


def test_an_upload_that_was_cut_off_sends_only_what_is_missing(
    client: S3Client, large: Draft, tmp_path: Path
) -> None:
    sent: list[int] = []

    def there(params: Any) -> list[int]:
        key, upload = keys.blob(large.files[0].digest), params["query_string"]["uploadId"]
        listed = client.list_parts(Bucket=BUCKET, Key=key, UploadId=upload)
        return [part["PartNumber"] for part in listed.get("Parts", ())]

    def note(params: Any, **_: Any) -> None:
        sent.append(int(params["query_string"]["partNumber"]))
        if sent.count(2) == 1 and sent[-1] == 2:
            give_up = time.monotonic() + 30
            while there(params) != [1, 3] and time.monotonic() < give_up:
                time.sleep(0.01)
            raise Killed

    client.meta.events.register("before-call.s3.UploadPart", note)
    with pytest.raises(Killed):
        in_parts(client).publish("magika", large, who=ADA)
    assert sorted(sent) == [1, 2, 3]
    in_parts(client).publish("magika", large, who=ADA)
    assert sorted(sent) == [1, 2, 2, 3]
    in_parts(client).fetch(large.content.files[0], tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == large.sources["model.bin"].read_bytes()


def test_bytes_that_change_on_the_way_are_refused_by_s3(client: S3Client, tmp_path: Path) -> None:
    def spoil(params: Any, **_: Any) -> None:
        if "x-amz-checksum-sha256" in params["headers"]:
            params["body"] = b"weightz"

    client.meta.events.register("before-call.s3.PutObject", spoil)
    draft = make_draft(tmp_path, model=b"weights")
    with pytest.raises(IntegrityError, match=r"uploading model\.bin"):
        in_parts(client).publish("spoiled", draft, who=ADA)
    assert "spoiled" not in in_parts(client).models()
    assert client.list_objects_v2(Bucket=BUCKET, Prefix="models/spoiled/")["KeyCount"] == 0


@pytest.mark.parametrize("end", ["complete", "abort"])
def test_an_upload_that_another_publisher_ended_is_no_failure(
    endpoint: str, client: S3Client, large: Draft, tmp_path: Path, end: str
) -> None:
    registry, others = in_parts(client), s3_client(endpoint)
    key = keys.blob(large.content.files[0].digest)
    ended: list[str] = []

    def be_faster(params: Any, **_: Any) -> None:
        """Somebody else ends the same upload just before we do."""
        if ended:
            return
        ended.append(end)
        upload: Any = {"Bucket": BUCKET, "Key": key, "UploadId": params["query_string"]["uploadId"]}
        if end == "abort":
            others.abort_multipart_upload(**upload)
            return
        listed = others.list_parts(**upload)["Parts"]
        parts: Any = [{name: part[name] for name in ("PartNumber", "ETag")} for part in listed]
        others.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})

    client.meta.events.register("before-call.s3.CompleteMultipartUpload", be_faster)
    registry.publish("magika", large, who=ADA)
    assert ended == [end]
    registry.fetch(large.content.files[0], tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == large.sources["model.bin"].read_bytes()


def test_an_upload_that_is_always_aborted_by_others_is_given_up(
    endpoint: str, client: S3Client, large: Draft
) -> None:
    others = s3_client(endpoint)

    def abort(params: Any, **_: Any) -> None:
        key = keys.blob(large.content.files[0].digest)
        upload = params["query_string"]["uploadId"]
        others.abort_multipart_upload(Bucket=BUCKET, Key=key, UploadId=upload)

    client.meta.events.register("before-call.s3.CompleteMultipartUpload", abort)
    with pytest.raises(RegistryUnavailableError, match="NoSuchUpload"):
        in_parts(client).publish("magika", large, who=ADA)

"""How files go up: small ones whole, large ones in parts that are never sent twice."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import boto3
import pytest
from modelport.errors import IntegrityError
from modelport.manifest import Draft
from modelport.registry import keys
from modelport.registry.checksums import PartChecksums
from modelport.registry.memory import MemoryRegistry
from modelport.registry.s3 import S3Registry
from modelport.upkeep import transfer
from moto import mock_aws
from moto.server import ThreadedMotoServer

from tests.support.registry_world import ADA, BUCKET, Killed, make_draft, s3_client

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PART = 5 << 20
KEY_ID = "arn:aws:kms:us-east-1:000000000000:key/11111111-2222-3333-4444-555555555555"


@pytest.fixture
def client() -> Iterator[S3Client]:
    with mock_aws():
        client = boto3.client("s3")
        client.create_bucket(Bucket=BUCKET)
        yield client


class Requests:
    """Counts a client's requests by operation, and can end the process at one of them."""

    def __init__(self, client: S3Client) -> None:
        self.seen: list[tuple[str, dict[str, Any]]] = []
        self.die_at_part: int | None = None
        client.meta.events.register("before-call.s3", self._note)

    def _note(self, model: Any, params: Any, **_: Any) -> None:
        number = int(params["query_string"].get("partNumber", 0))
        if number and number == self.die_at_part:
            raise Killed
        self.seen.append((model.name, {**params["headers"], "part": number}))

    def names(self) -> list[str]:
        return [name for name, _ in self.seen]

    def parts(self) -> list[int]:
        return sorted(p["part"] for name, p in self.seen if name == "UploadPart")


def in_parts(client: S3Client, **more: Any) -> S3Registry:
    return S3Registry(client, BUCKET, part_size=PART, single_put_limit=1 << 20, **more)


@pytest.fixture
def large(tmp_path: Path) -> Draft:
    """Five parts, the last one short, no two alike."""
    return make_draft(tmp_path / "in", model=os.urandom(4 * PART + 12345))


def test_a_small_file_is_one_put_with_its_checksum(client: S3Client, tmp_path: Path) -> None:
    requests = Requests(client)
    S3Registry(client, BUCKET).publish("magika", make_draft(tmp_path, model=b"abc"), who=ADA)
    name, headers = requests.seen[2]
    assert name == "PutObject"
    assert headers["x-amz-checksum-sha256"] == "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0="


def signed(client: S3Client) -> list[tuple[str, Any]]:
    """Operation and signed headers of everything that the client sends from now on."""
    seen: list[tuple[str, Any]] = []

    def note(request: Any, event_name: str, **_: Any) -> None:
        heads = {
            name: value.decode() if isinstance(value, bytes) else value
            for name, value in request.headers.items()
        }
        seen.append((event_name.rpartition(".")[2], heads))

    client.meta.events.register_first("before-send.s3", note)
    return seen


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_parts_are_signed_by_their_checksum_and_all_else_as_botocore_would(
    client: S3Client, large: Draft, scheme: str
) -> None:
    """Over HTTPS botocore signs everything so; over HTTP only parts are, and only this client's."""
    ours, others = (
        boto3.client("s3", endpoint_url=f"{scheme}://s3.us-east-1.amazonaws.com") for _ in range(2)
    )
    seen, theirs = signed(ours), signed(others)
    in_parts(ours).publish("magika", large, who=ADA)
    upload = others.create_multipart_upload(Bucket=BUCKET, Key="k")["UploadId"]
    others.upload_part(Bucket=BUCKET, Key="k", UploadId=upload, PartNumber=1, Body=b"abc")
    parts = [head for name, head in seen if name == "UploadPart"]
    assert [head["X-Amz-Content-SHA256"] for head in parts] == ["UNSIGNED-PAYLOAD"] * 5
    for head in parts:
        assert "x-amz-checksum-crc32;x-amz-content-sha256" in head["Authorization"]
    rest = [head["X-Amz-Content-SHA256"] for name, head in seen if name == "PutObject"]
    rest.append(theirs[-1][1]["X-Amz-Content-SHA256"])
    assert {"UNSIGNED" in digest for digest in rest} == {scheme == "https"}


def test_a_blob_that_is_there_is_not_sent_again(client: S3Client, tmp_path: Path) -> None:
    registry = S3Registry(client, BUCKET)
    draft = make_draft(tmp_path, model=b"abc")
    registry.publish("magika", draft, who=ADA)
    requests = Requests(client)
    reports: list[tuple[str, int, int]] = []
    registry.publish("other", draft, who=ADA, progress=lambda *report: reports.append(report))
    assert [name for name in requests.names() if "Object" in name and name != "GetObject"] == [
        "HeadObject",  # It is there;
        *["PutObject"] * 2,  # the record and the manifest are new;
        "HeadObject",  # it is still there.
        *["PutObject"] * 3,  # Routes, record, log.
    ]
    assert set(reports) == {("model.bin", 3, 3)}


def test_a_blob_of_the_wrong_size_is_sent_again(client: S3Client, tmp_path: Path) -> None:
    draft = make_draft(tmp_path, model=b"abc")
    key = keys.blob(draft.content.files[0].digest)
    client.put_object(Bucket=BUCKET, Key=key, Body=b"ab")
    S3Registry(client, BUCKET).publish("magika", draft, who=ADA)
    assert client.get_object(Bucket=BUCKET, Key=key)["Body"].read() == b"abc"


def test_a_large_file_goes_in_parts_and_comes_back_whole(
    client: S3Client, large: Draft, tmp_path: Path
) -> None:
    requests, registry = Requests(client), in_parts(client)
    reports: list[int] = []
    registry.publish("magika", large, who=ADA, progress=lambda _, done, total: reports.append(done))
    assert requests.parts() == [1, 2, 3, 4, 5]
    assert reports[-1] == max(reports) == large.content.size
    registry.fetch(large.content.files[0], tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == large.sources["model.bin"].read_bytes()


def there(client: S3Client) -> list[int]:
    """Numbers of the parts that S3 has of the one upload that was cut off."""
    (upload,) = client.list_multipart_uploads(Bucket=BUCKET)["Uploads"]
    at: Any = {"Bucket": BUCKET, "Key": upload["Key"], "UploadId": upload["UploadId"]}
    return [part["PartNumber"] for part in client.list_parts(**at).get("Parts", ())]


@pytest.mark.parametrize("at", [1, 3, 5])
def test_a_copy_that_was_cut_off_sends_only_what_is_missing(
    client: S3Client, large: Draft, tmp_path: Path, at: int
) -> None:
    """From a store that S3 cannot reach, so every byte goes through here, a part at a time."""
    source = MemoryRegistry()
    source.publish("magika", large, who=ADA)
    requests, registry = Requests(client), in_parts(client)
    requests.die_at_part = at
    with pytest.raises(Killed):
        transfer.copy(source, "magika", 1, registry, who=ADA)
    sent = there(client)
    assert at < 5 or 1 in sent
    requests.seen.clear()
    requests.die_at_part = None
    transfer.copy(source, "magika", 1, registry, who=ADA)
    assert sorted(sent + requests.parts()) == [1, 2, 3, 4, 5]
    registry.fetch(large.content.files[0], tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == large.sources["model.bin"].read_bytes()


@pytest.mark.parametrize("at", [1, 3, 5])
def test_an_upload_that_was_cut_off_sends_only_what_is_missing(
    client: S3Client, large: Draft, tmp_path: Path, at: int
) -> None:
    requests, registry = Requests(client), in_parts(client)
    requests.die_at_part = at
    with pytest.raises(Killed):
        registry.publish("magika", large, who=ADA)
    sent = there(client)
    assert at < 5 or 1 in sent
    requests.seen.clear()
    requests.die_at_part = None
    registry.publish("magika", large, who=ADA)
    assert sorted(sent + requests.parts()) == [1, 2, 3, 4, 5]
    assert "CreateMultipartUpload" not in requests.names()
    registry.fetch(large.content.files[0], tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == large.sources["model.bin"].read_bytes()


def test_finished_parts_of_other_bytes_or_sizes_are_sent_again(
    client: S3Client, large: Draft, tmp_path: Path
) -> None:
    key = keys.blob(large.content.files[0].digest)
    at: Any = {"Bucket": BUCKET, "Key": key}
    upload = client.create_multipart_upload(**at)["UploadId"]
    body = large.sources["model.bin"].read_bytes()
    for number, part in {1: body[:PART], 2: bytes(PART), 3: b"short", 9: b"stray"}.items():
        client.upload_part(**at, UploadId=upload, PartNumber=number, Body=part)
    requests, registry = Requests(client), in_parts(client)
    registry.publish("magika", large, who=ADA)
    assert requests.parts() == [2, 3, 4, 5]
    registry.fetch(large.content.files[0], tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == body


def test_a_file_that_changes_while_its_parts_are_sent_is_not_stored(
    client: S3Client, large: Draft
) -> None:
    registry, source = in_parts(client), large.sources["model.bin"]

    def spoil(what: str, done: int, total: int) -> None:
        with source.open("r+b") as handle:
            handle.seek(4 * PART)
            handle.write(b"changed")

    with pytest.raises(IntegrityError, match="changed while it was published"):
        registry.publish("magika", large, who=ADA, progress=spoil)
    listed = client.list_objects_v2(Bucket=BUCKET)
    assert listed["KeyCount"] == 0
    assert "Uploads" not in client.list_multipart_uploads(Bucket=BUCKET)


def test_when_one_part_fails_the_others_are_not_sent_to_their_end(
    client: S3Client, large: Draft
) -> None:
    """Nor when somebody interrupts it: minutes, on a slow line."""
    begun, outlived = Event(), []

    def hold(request: Any, **_: Any) -> None:
        number = int(parse_qs(urlsplit(request.url).query)["partNumber"][0])
        if number == 1:
            begun.wait(30)
            raise Killed
        begun.set()
        give_up = time.monotonic() + 30
        while time.monotonic() < give_up:
            request.body.read(1)
            request.body.seek(0)
        outlived.append(number)

    client.meta.events.register_first("before-send.s3.UploadPart", hold)
    with pytest.raises(Killed):
        in_parts(client).publish("magika", large, who=ADA)
    assert outlived == []


def hashed(draft: Draft) -> Draft:
    """The draft as it is read from a bundle: its file was hashed, and changes come later."""
    checksums = PartChecksums(PART)
    checksums.update(draft.sources["model.bin"].read_bytes())
    return replace(draft, checksums={"model.bin": checksums})


@pytest.mark.parametrize("at", [0, 4 * PART], ids=["first part", "last part"])
def test_a_file_that_changed_since_it_was_hashed_is_not_stored(
    client: S3Client, large: Draft, at: int
) -> None:
    """Even where nobody but us looks at a part: this S3 takes any."""
    draft = hashed(large)
    with draft.sources["model.bin"].open("r+b") as handle:
        handle.seek(at)
        handle.write(b"changed")
    with pytest.raises(IntegrityError, match="changed while it was published"):
        in_parts(client).publish("magika", draft, who=ADA)
    assert client.list_objects_v2(Bucket=BUCKET)["KeyCount"] == 0
    assert "Uploads" not in client.list_multipart_uploads(Bucket=BUCKET)


@pytest.mark.parametrize("size", [4 * PART + 12344, 2 * PART, 0, 4 * PART + 12346])
def test_a_file_of_another_size_than_it_was_hashed_with_is_not_stored(
    client: S3Client, large: Draft, size: int
) -> None:
    draft = hashed(large)
    os.truncate(draft.sources["model.bin"], size)
    with pytest.raises(IntegrityError, match="changed while it was published"):
        in_parts(client).publish("magika", draft, who=ADA)
    assert client.list_objects_v2(Bucket=BUCKET)["KeyCount"] == 0
    assert "Uploads" not in client.list_multipart_uploads(Bucket=BUCKET)


def test_a_file_that_changed_leaves_anothers_upload_as_it_was(
    client: S3Client, large: Draft
) -> None:
    draft = hashed(large)
    at: Any = {"Bucket": BUCKET, "Key": keys.blob(draft.files[0].digest)}
    upload = client.create_multipart_upload(**at)["UploadId"]
    body = draft.sources["model.bin"].read_bytes()[:PART]
    client.upload_part(**at, UploadId=upload, PartNumber=1, Body=body)
    os.truncate(draft.sources["model.bin"], 4 * PART)
    with pytest.raises(IntegrityError, match="changed while it was published"):
        in_parts(client).publish("magika", draft, who=ADA)
    (first, *_) = client.list_parts(**at, UploadId=upload)["Parts"]
    assert (first["PartNumber"], first["Size"]) == (1, PART)


def test_everything_is_encrypted_with_the_key_that_is_given(
    client: S3Client, large: Draft, tmp_path: Path
) -> None:
    registry = in_parts(client, kms_key_id=KEY_ID)
    registry.publish("magika", large, who=ADA)
    registry.publish("magika", make_draft(tmp_path, model=b"abc"), who=ADA)
    objects = client.list_objects_v2(Bucket=BUCKET)["Contents"]
    assert len(objects) == 9
    for entry in objects:
        head = client.head_object(Bucket=BUCKET, Key=entry["Key"])
        assert (head["ServerSideEncryption"], head["SSEKMSKeyId"]) == ("aws:kms", KEY_ID)


def test_everything_lies_under_the_prefix_at_its_place(client: S3Client, tmp_path: Path) -> None:
    registry = S3Registry(client, BUCKET, prefix="/team/a/")
    draft = make_draft(tmp_path, model=b"abc")
    registry.publish("magika", draft, who=ADA)
    blob = draft.content.files[0].digest.removeprefix("sha256:")
    assert [entry["Key"] for entry in client.list_objects_v2(Bucket=BUCKET)["Contents"]] == [
        f"team/a/blobs/sha256/{blob[:2]}/{blob}",
        "team/a/models/magika/log/0000000001.json",
        f"team/a/models/magika/publications/{draft.content.digest.removeprefix('sha256:')}.json",
        "team/a/models/magika/routes.json",
        "team/a/models/magika/versions/0000000001.json",
    ]


def test_publish_and_resolve_cost_the_same_with_many_versions(
    client: S3Client, tmp_path: Path
) -> None:
    registry, requests = S3Registry(client, BUCKET), Requests(client)

    def cost(number: int) -> tuple[list[str], list[str]]:
        requests.seen.clear()
        registry.publish("magika", make_draft(tmp_path, model=b"%d" % number), who=ADA)
        published = requests.names()
        requests.seen.clear()
        registry.routes("magika")
        registry.manifest("magika", 1)
        return published, requests.names()

    cost(0)
    few = cost(1)
    for version in range(3, 200):
        client.put_object(Bucket=BUCKET, Key=keys.manifest("magika", version), Body=b"{}")
    registry.change("magika", lambda r: r.with_published(199), action="import", detail={}, who=ADA)
    assert cost(2) == few
    assert few[1] == ["GetObject", "GetObject"]
    assert len(few[0]) == 14


def test_listing_reads_no_more_pages_than_are_asked_for(client: S3Client, tmp_path: Path) -> None:
    registry = S3Registry(client, BUCKET)
    registry.publish("magika", make_draft(tmp_path, model=b"abc"), who=ADA)
    registry.change("magika", lambda r: r.with_published(5000), action="import", detail={}, who=ADA)
    for version in range(4990, 5001):
        client.put_object(Bucket=BUCKET, Key=keys.manifest("magika", version), Body=b"{}")
    requests = Requests(client)
    newest = registry.versions("magika")
    assert [next(newest) for _ in range(5)] == [5000, 4999, 4998, 4997, 4996]
    assert requests.names() == ["GetObject", "ListObjectsV2", "ListObjectsV2"]


def test_reading_the_newest_of_the_log_reads_nothing_else(client: S3Client, tmp_path: Path) -> None:
    registry = S3Registry(client, BUCKET)
    for number in range(3):
        registry.publish("magika", make_draft(tmp_path, model=b"%d" % number), who=ADA)
    requests = Requests(client)
    assert next(registry.log("magika")).revision == 3
    assert requests.names() == ["GetObject"]


# --- over a real socket ---------------------------------------------------------------------------


@pytest.fixture
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.mark.parametrize("limit", [64 << 20, 1 << 20], ids=["whole", "in parts"])
def test_progress_counts_what_was_sent_while_it_is_sent(
    endpoint: str, large: Draft, tmp_path: Path, limit: int
) -> None:
    client = s3_client(endpoint)
    client.create_bucket(Bucket=BUCKET)
    registry = S3Registry(client, BUCKET, part_size=PART, single_put_limit=limit)
    reports: list[int] = []
    registry.publish("magika", large, who=ADA, progress=lambda _, done, total: reports.append(done))
    assert reports == sorted(reports)
    assert len(set(reports)) > 100
    assert reports[-1] == large.content.size
    registry.fetch(large.content.files[0], tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == large.sources["model.bin"].read_bytes()

"""What S3 can answer, or fail to answer, and what becomes of it."""

from __future__ import annotations

import base64
import socket
import zlib
from pathlib import Path

import pytest
from modelport.errors import IntegrityError, ModelNotFoundError, RegistryUnavailableError
from modelport.manifest import Draft, File, digest_of
from modelport.registry import keys
from modelport.registry.blobs import LocalSource
from modelport.registry.checksums import PartChecksums
from modelport.registry.s3 import S3Registry, S3Store

from tests.support.registry_world import ADA, BUCKET, make_draft, s3_client
from tests.support.s3_answers import Answer, S3Answers, refusal, s3_answering

PUT = Answer(200, headers={"ETag": '"e"'})


def registry_at(server: S3Answers) -> S3Registry:
    return S3Registry(s3_client(server.endpoint, tries=1), BUCKET)


def store_at(server: S3Answers) -> S3Store:
    return S3Store(s3_client(server.endpoint, tries=1), BUCKET, sleep=lambda _: None)


def test_nobody_listening_is_unavailable(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # Bound and not listening: every connection is refused.
        endpoint = f"http://127.0.0.1:{taken.getsockname()[1]}"
        registry = S3Registry(s3_client(endpoint, tries=1), BUCKET)
        with pytest.raises(RegistryUnavailableError, match="Could not connect") as raised:
            registry.routes("magika")
        assert raised.value.retry_after_s > 0
        with pytest.raises(RegistryUnavailableError, match="listing s3://registry/models/"):
            list(registry.models())
        with pytest.raises(RegistryUnavailableError, match="models/magika/publications"):
            registry.publish("magika", make_draft(tmp_path, model=b"x"), who=ADA)


@pytest.mark.parametrize(
    ("status", "code"),
    [(500, "InternalError"), (503, "SlowDown"), (503, "ServiceUnavailable"), (400, "Odd")],
)
def test_trouble_inside_s3_is_unavailable(status: int, code: str) -> None:
    with (
        s3_answering(refusal(status, code)) as server,
        pytest.raises(RegistryUnavailableError, match=f"{code}: because of {code}"),
    ):
        registry_at(server).routes("magika")


def test_no_rights_are_said_with_the_rights_that_are_needed() -> None:
    with s3_answering(refusal(403, "AccessDenied")) as server:
        with pytest.raises(RegistryUnavailableError, match=r"models/magika/routes\.json") as raised:
            registry_at(server).routes("magika")
        assert "s3:ListBucket" in raised.value.hint


def test_no_rights_to_look_for_a_blob_are_said_too(tmp_path: Path) -> None:
    # The answer to a HEAD has no body, so no code but the status.
    with s3_answering(refusal(404, "NoSuchKey"), Answer(403)) as server:
        with pytest.raises(RegistryUnavailableError, match="blobs/sha256") as raised:
            registry_at(server).publish("magika", make_draft(tmp_path, model=b"x"), who=ADA)
        assert "s3:PutObject" in raised.value.hint


@pytest.mark.parametrize("code", ["InvalidAccessKeyId", "ExpiredToken", "SignatureDoesNotMatch"])
def test_refused_credentials_are_said(code: str) -> None:
    with s3_answering(refusal(403, code)) as server:
        with pytest.raises(RegistryUnavailableError) as raised:
            registry_at(server).routes("magika")
        assert "credentials" in raised.value.hint


def test_a_bucket_that_does_not_exist_is_not_a_missing_model(tmp_path: Path) -> None:
    with s3_answering(refusal(404, "NoSuchBucket")) as server:
        registry = registry_at(server)
        with pytest.raises(RegistryUnavailableError) as raised:
            registry.routes("magika")
        assert "bucket's name" in raised.value.hint
        with pytest.raises(RegistryUnavailableError):
            registry.fetch(File("m", "sha256:" + "0" * 64, 1), tmp_path / "m")
    with s3_answering(refusal(404, "NoSuchKey")) as server, pytest.raises(ModelNotFoundError):
        registry_at(server).routes("magika")


def test_bytes_damaged_on_the_way_up_are_refused(tmp_path: Path) -> None:
    with (
        s3_answering(refusal(404, "NoSuchKey"), Answer(404), refusal(400, "BadDigest")) as server,
        pytest.raises(IntegrityError, match=r"uploading model\.bin"),
    ):
        registry_at(server).publish("magika", make_draft(tmp_path, model=b"x"), who=ADA)


def xml(root: str, content: str) -> Answer:
    return Answer(200, f"<{root}>{content}</{root}>".encode(), {"ETag": '"e"'})


def listed_upload(blob: str, *parts: bytes) -> tuple[Answer, Answer]:
    """S3's answers about an unfinished upload of ``blob`` and its parts."""
    listed = "".join(
        f"<Part><PartNumber>{number}</PartNumber><ETag>e</ETag><Size>{len(part)}</Size>"
        f"<ChecksumCRC32>{checksum(part)}</ChecksumCRC32></Part>"
        for number, part in enumerate(parts, 1)
    )
    upload = "<UploadId>u</UploadId><Initiated>2026-01-01T00:00:00Z</Initiated>"
    uploads = f"<Upload><Key>{blob}</Key>{upload}</Upload>"
    return xml("ListMultipartUploadsResult", uploads), xml("ListPartsResult", listed)


def checksum(body: bytes) -> str:
    return base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()


COMPLETED = xml("CompleteMultipartUploadResult", "")


def test_an_upload_begun_with_another_checksum_is_left_alone(tmp_path: Path) -> None:
    draft = make_draft(tmp_path, model=b"x" * 11)
    blob = keys.blob(draft.content.files[0].digest)
    upload = "<UploadId>u</UploadId><Initiated>2026-01-01T00:00:00Z</Initiated>"
    upload += f"<Key>{blob}</Key><ChecksumAlgorithm>SHA256</ChecksumAlgorithm>"
    listing = xml("ListMultipartUploadsResult", f"<Upload>{upload}</Upload>")
    begun = xml("InitiateMultipartUploadResult", "<UploadId>new</UploadId>")
    none, stored = xml("ListPartsResult", ""), Answer(200, b"?" * 11)
    with s3_answering(Answer(404), listing, begun, none, PUT, PUT, COMPLETED, stored) as server:
        send(server, draft)
        sent = {seen.path for seen in server.seen if seen.method == "PUT"}
    assert sent == {f"/{BUCKET}/{blob}?uploadId=new&partNumber={number}" for number in (1, 2)}


def send(
    server: S3Answers, draft: Draft, known: PartChecksums | None = None, tries: int = 1
) -> str:
    """Upload the draft's one file, ten bytes at a time; returns its key."""
    client, file = s3_client(server.endpoint, tries=tries), draft.content.files[0]
    store = S3Store(client, BUCKET, part_size=10, single_put_limit=1)
    key = keys.blob(file.digest)
    store.upload(key, LocalSource(draft.sources[file.path], known), file, lambda _: None)
    return key


def test_parts_are_recognised_by_their_checksums(tmp_path: Path) -> None:
    draft = make_draft(tmp_path, model=b"x" * 11)
    blob = keys.blob(draft.content.files[0].digest)
    listing = listed_upload(blob, b"x" * 10, b"y")
    stored = Answer(200, b"?" * 11)
    with s3_answering(Answer(404), *listing, PUT, COMPLETED, stored) as server:
        send(server, draft)
        sent = [seen.path for seen in server.seen if seen.method == "PUT"]
    assert sent == [f"/{BUCKET}/{blob}?uploadId=u&partNumber=2"]


def test_bytes_that_s3_refuses_because_the_file_changed_are_said_to_have(tmp_path: Path) -> None:
    """It got shorter, too: what is missing must not keep the server waiting."""
    draft, checksums = make_draft(tmp_path, model=b"x" * 10), PartChecksums(10)
    checksums.update(b"x" * 10)
    (tmp_path / "model.bin").write_bytes(b"x" * 9)
    begun = xml("InitiateMultipartUploadResult", "<UploadId>new</UploadId>")
    nothing = xml("ListMultipartUploadsResult", ""), begun, xml("ListPartsResult", "")
    refused = refusal(400, "BadDigest")
    with s3_answering(Answer(404), *nothing, refused, Answer(204)) as server:
        with pytest.raises(IntegrityError, match=r"model\.bin changed while it was published"):
            send(server, draft, checksums)
        sent = [(seen.method, seen.headers.get("x-amz-checksum-crc32")) for seen in server.seen]
    assert sent[4:] == [("PUT", checksum(b"x" * 10)), ("DELETE", None)]


def test_a_part_that_was_damaged_on_its_way_is_not_the_files_fault(tmp_path: Path) -> None:
    draft = make_draft(tmp_path, model=b"x" * 11)
    listing = listed_upload(keys.blob(draft.content.files[0].digest), b"x" * 10)
    with (
        s3_answering(Answer(404), *listing, refusal(400, "BadDigest")) as server,
        pytest.raises(IntegrityError, match=r"uploading model\.bin"),
    ):
        send(server, draft)


def test_a_part_that_failed_is_sent_again_from_its_beginning(tmp_path: Path) -> None:
    draft = make_draft(tmp_path, model=b"x" * 10 + b"y")
    listing = listed_upload(keys.blob(draft.content.files[0].digest), b"x" * 10)
    answers = refusal(500, "InternalError"), PUT, COMPLETED, Answer(200, b"?" * 11)
    with s3_answering(Answer(404), *listing, *answers) as server:
        send(server, draft, tries=2)
        sent = [
            seen.headers["x-amz-checksum-crc32"] for seen in server.seen if seen.method == "PUT"
        ]
    assert sent == [checksum(b"y")] * 2


def test_an_upload_goes_on_without_reading_what_was_sent(tmp_path: Path) -> None:
    """Shown by a file whose first part is other bytes by now: S3 has those that were hashed."""
    draft, checksums = make_draft(tmp_path, model=b"x" * 11), PartChecksums(10)
    checksums.update(b"x" * 11)
    (tmp_path / "model.bin").write_bytes(b"y" * 10 + b"x")
    listing = listed_upload(keys.blob(draft.content.files[0].digest), b"x" * 10)
    with s3_answering(Answer(404), *listing, PUT, COMPLETED, Answer(200, b"?" * 11)) as server:
        send(server, draft, checksums)
        sent = [
            seen.headers["x-amz-checksum-crc32"] for seen in server.seen if seen.method == "PUT"
        ]
    assert sent == [checksum(b"x")]


def test_an_upload_that_came_out_short_is_refused(tmp_path: Path) -> None:
    draft = make_draft(tmp_path, model=b"x" * 11)
    listing = listed_upload(keys.blob(draft.content.files[0].digest), b"x" * 10, b"x")
    with (
        s3_answering(Answer(404), *listing, COMPLETED, Answer(200, b"?" * 10)) as server,
        pytest.raises(IntegrityError, match="expected 11 bytes, got 10"),
    ):
        send(server, draft)


def test_an_upload_that_somebody_else_completed_is_done(tmp_path: Path) -> None:
    draft = make_draft(tmp_path, model=b"x" * 11)
    listing = listed_upload(keys.blob(draft.content.files[0].digest), b"x" * 10, b"x")
    gone, stored = refusal(404, "NoSuchUpload"), Answer(200, b"?" * 11)
    with s3_answering(Answer(404), *listing, gone, stored) as server:
        send(server, draft)
        assert [seen.method for seen in server.seen] == [
            "HEAD",
            "GET",
            "GET",
            "POST",
            "HEAD",
            "HEAD",
        ]


@pytest.mark.parametrize("code", ["NoSuchUpload", "InvalidPart"])
def test_an_upload_that_is_ended_under_us_again_and_again_is_given_up(
    tmp_path: Path, code: str
) -> None:
    draft = make_draft(tmp_path, model=b"x" * 11)
    listing = listed_upload(keys.blob(draft.content.files[0].digest), b"x" * 10, b"x")
    gone = refusal(404, code)
    answers = (*listing, gone, Answer(404), *listing, gone, Answer(404), *listing, gone)
    with (
        s3_answering(Answer(404), *answers) as server,
        pytest.raises(RegistryUnavailableError, match=code),
    ):
        send(server, draft)
    assert [seen.method for seen in server.seen].count("POST") == 3


def test_a_create_that_s3_cannot_decide_is_asked_again() -> None:
    undecided = refusal(409, "ConditionalRequestConflict")
    with s3_answering(undecided, undecided, PUT) as server:
        assert store_at(server).create("key", b"body")
        assert [seen.headers["if-none-match"] for seen in server.seen] == ["*"] * 3
    with s3_answering(undecided, refusal(412, "PreconditionFailed")) as server:
        assert not store_at(server).create("key", b"body")


def test_a_create_that_s3_never_decides_is_given_up() -> None:
    with s3_answering(refusal(409, "ConditionalRequestConflict")) as server:
        with pytest.raises(RegistryUnavailableError, match="never ended"):
            store_at(server).create("key", b"body")
        assert len(server.seen) == 10


@pytest.mark.parametrize(
    ("status", "code"),
    [(409, "ConditionalRequestConflict"), (412, "PreconditionFailed"), (404, "NoSuchKey")],
)
def test_a_replace_that_lost_is_told_apart_from_a_failure(status: int, code: str) -> None:
    with s3_answering(refusal(status, code)) as server:
        assert not store_at(server).replace("key", b"body", '"e"')
        assert server.seen[0].headers["if-match"] == '"e"'


def test_a_replace_in_no_bucket_is_a_failure() -> None:
    with (
        s3_answering(refusal(404, "NoSuchBucket")) as server,
        pytest.raises(RegistryUnavailableError),
    ):
        store_at(server).replace("key", b"body", '"e"')


# --- downloads that break -------------------------------------------------------------------------

BODY = bytes(range(256)) * 4096
FILE = File("model.onnx", digest_of(BODY), len(BODY))


def test_a_download_that_breaks_is_picked_up_where_it_broke(tmp_path: Path) -> None:
    first, second = 300_000, 700_000
    reports: list[int] = []
    answers = (
        Answer(200, BODY, cut=first),
        Answer(206, BODY[first:], cut=second - first),
        Answer(206, BODY[second:]),
    )
    with s3_answering(*answers) as server:
        registry_at(server).fetch(
            FILE, tmp_path / "model.onnx", lambda _, done, total: reports.append(done)
        )
        ranges = [seen.headers.get("range") for seen in server.seen]
    assert ranges == [None, f"bytes={first}-", f"bytes={second}-"]
    assert (tmp_path / "model.onnx").read_bytes() == BODY
    assert reports == sorted(reports)
    assert reports[-1] == len(BODY)


def test_a_connection_that_breaks_after_the_last_byte_breaks_nothing(tmp_path: Path) -> None:
    with s3_answering(Answer(200, BODY + b"more", cut=len(BODY))) as server:
        registry_at(server).fetch(FILE, tmp_path / "model.onnx")
        assert len(server.seen) == 1
    assert (tmp_path / "model.onnx").read_bytes() == BODY


def test_a_download_that_gets_no_further_is_given_up_and_leaves_nothing(tmp_path: Path) -> None:
    with s3_answering(Answer(200, BODY, cut=1000), Answer(206, BODY[1000:], cut=0)) as server:
        with pytest.raises(RegistryUnavailableError, match="reading s3://registry/blobs"):
            registry_at(server).fetch(FILE, tmp_path / "model.onnx")
        assert len(server.seen) == 2
    assert list(tmp_path.iterdir()) == []


def test_a_download_that_was_picked_up_in_another_file_is_refused(tmp_path: Path) -> None:
    other = bytes(len(BODY) - 1000)
    with (
        s3_answering(Answer(200, BODY, cut=1000), Answer(206, other)) as server,
        pytest.raises(IntegrityError, match=FILE.digest),
    ):
        registry_at(server).fetch(FILE, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_document_that_breaks_on_the_way_is_unavailable() -> None:
    with (
        s3_answering(Answer(200, b"{}" * 100, {"ETag": '"e"'}, cut=10)) as server,
        pytest.raises(RegistryUnavailableError, match="reading"),
    ):
        registry_at(server).routes("magika")


def test_a_failing_log_does_not_fail_the_change(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """See the contract suite for how the next change catches up."""
    answers = (
        refusal(404, "NoSuchKey"),  # Never published,
        Answer(404),  # no blob,
        PUT,  # so it is sent;
        refusal(404, "NoSuchKey"),  # no routes;
        PUT,  # the publication record
        PUT,  # and the manifest are new;
        Answer(200, b"?"),  # the blob is there;
        refusal(404, "NoSuchKey"),  # still no routes,
        PUT,  # so they are committed.
        refusal(503, "SlowDown"),  # Nothing more can be written.
    )
    with s3_answering(*answers) as server:
        manifest = registry_at(server).publish("magika", make_draft(tmp_path, model=b"x"), who=ADA)
    assert manifest.version == 1
    assert "log of model magika is behind" in caplog.text

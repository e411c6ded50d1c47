"""Our clients beside boto3's, over the same servers: the same answers, the same errors."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from modelport.aws import CallError, Clients, Endpoints, Functions, RefusedError, Timeouts
from modelport.aws.container_credentials import fetched
from modelport.aws.documents import S3Documents
from modelport.aws.errors import CredentialsError
from modelport.aws.through_boto3 import BotoDocuments, BotoEndpoints, BotoFunctions, config
from modelport.errors import RegistryUnavailableError
from modelport.registry.s3 import S3Registry, S3Store
from modelport.registry.s3_reading import S3ReadingRegistry, S3ReadingStore
from modelport.registry.store import Store
from modelport.routes import Deployment

from tests.support.aws_world import KEYS, REGION, environment
from tests.support.lambda_api import Function, LambdaApi, failing, lambda_api
from tests.support.lambda_api import refusing as lambda_refusing
from tests.support.registry_world import ADA, BUCKET, make_draft, s3_client, s3_process
from tests.support.s3_answers import Answer, S3Answers, refusal, s3_answering
from tests.support.sagemaker_api import Endpoint, model_error, refusing, sagemaker_api
from tests.support.scripted_server import Scripted, Talk, answer, scripted

PATIENCE = Timeouts(1, 5)
ARN = "arn:aws:lambda:eu-central-1:123456789012:function:f:live"


def boto(service: str, url: str) -> Any:
    keys = dict(zip(("aws_access_key_id", "aws_secret_access_key"), KEYS.values(), strict=True))
    make: Any = boto3.client
    return make(
        service, endpoint_url=url, region_name="eu-central-1", config=config(PATIENCE), **keys
    )


def functions(api: LambdaApi) -> tuple[Functions, Functions]:
    """Ours and boto3's."""
    ours = Clients(environment("LAMBDA", api.endpoint)).lambda_(PATIENCE)
    return ours, BotoFunctions(boto("lambda", api.endpoint), 5)


def outcome(call: Callable[[], object]) -> object:
    """What a call gives, or the facts of how it failed."""
    try:
        return call()
    except RefusedError as error:
        return error.status, error.code, error.message, error.original_status
    except CallError as error:
        return type(error)


def test_lambda_says_the_same_to_both() -> None:
    kinds: list[Function] = [
        lambda payload: (200, {}, payload[::-1]),
        failing("ValueError", "said"),
        lambda_refusing(404, "ResourceNotFoundException"),
        lambda_refusing(429, "TooManyRequestsException:http://internal.amazon.com/x"),
        lambda_refusing(400, "com.amazon.x#InvalidParameterValueException"),
        lambda payload: (403, {}, b'{"__type": "a.b#Denied", "message": "m"}'),
        lambda payload: (400, {}, b'{"code": "Odd", "Message": "m"}'),
        lambda payload: (502, {}, b"<html>bad gateway</html>"),
        lambda payload: (500, {}, b""),
        lambda payload: None,
    ]
    with lambda_api() as api:
        ours, theirs = functions(api)
        for kind in kinds:
            api.functions["f"] = kind
            said, expected = (
                outcome(lambda client=client: client.invoke("f", b"payload"))  # type: ignore[misc]
                for client in (ours, theirs)
            )
            if isinstance(expected, tuple) and expected[0] >= 500:
                # Botocore words what no service said.
                assert isinstance(said, tuple)
                assert (said[:2], expected[:2]) == (expected[:2], said[:2])
            else:
                assert said == expected


def test_an_error_that_is_no_object_is_an_error_without_words() -> None:
    with lambda_api() as api:
        api.functions["f"] = lambda payload: (400, {}, b"[]")
        assert outcome(lambda: functions(api)[0].invoke("f", b"")) == (400, "400", "", None)


def test_sagemaker_says_the_same_to_both() -> None:
    kinds: list[Endpoint] = [
        lambda request: (200, {"Content-Type": "a/b"}, request.body),
        model_error(504, "said"),
        refusing(400, "ValidationError", "variant"),
        refusing(413, ""),
        refusing(503, "ServiceUnavailable"),
        lambda request: None,
    ]
    with sagemaker_api() as api:
        ours = Clients(environment("SAGEMAKER_RUNTIME", api.url)).sagemaker(PATIENCE)
        clients: list[Endpoints] = [ours, BotoEndpoints(boto("sagemaker-runtime", api.url), 5)]
        headers = {"content-type": "x/y", "x-amzn-sagemaker-custom-attributes": "c"}
        for kind in kinds:
            api.endpoints["e"] = kind
            said, expected = (
                outcome(lambda client=client: client.invoke("e", b"b", headers).body)  # type: ignore[misc]
                for client in clients
            )
            assert said == expected
        sent = [(request.path, request.headers, request.body) for request in api.requests]
    assert sent[0][0] == sent[1][0]
    for name in ("content-type", "x-amzn-sagemaker-custom-attributes", "host"):
        assert sent[0][1].get(name, "") == sent[1][1].get(name, "")


def test_a_function_named_by_its_arn_is_one_part_of_the_path() -> None:
    with scripted(lambda talk: talk.send(talk.request() and answer())) as server:
        url = f"http://127.0.0.1:{server.port}"
        for client in (
            Clients(environment("LAMBDA", url)).lambda_(PATIENCE),
            BotoFunctions(boto("lambda", url), 5),
        ):
            assert client.invoke(ARN, b"{}").payload == b"ok"


def seen(environ: Mapping[str, str]) -> list[str]:
    """The lines of an invocation's head, as it arrives."""
    heads: list[str] = []

    def script(talk: Talk) -> None:
        heads.append(talk.request().decode())
        talk.send(answer())

    with scripted(script) as server:
        url = f"http://127.0.0.1:{server.port}"
        Clients({**environ, **environment("LAMBDA", url)}).lambda_(PATIENCE).invoke("f:live", b"{}")
    return heads[0].lower().split("\r\n")


def test_the_trace_of_a_request_goes_on_in_what_it_invokes() -> None:
    trace = {"_X_AMZN_TRACE_ID": "Root=1-a;Parent=b;Sampled=1;Lineage=1:c:0 "}
    lines = seen({"AWS_LAMBDA_FUNCTION_NAME": "router", **trace})
    assert "x-amzn-trace-id: root=1-a;parent=b;sampled=1;lineage=1:c:0%20" in lines
    assert lines[0] == "post /2015-03-31/functions/f%3alive/invocations http/1.1"
    assert not any(line.startswith("x-amzn-trace-id") for line in seen(trace))


# --- S3 -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with s3_process(tmp_path_factory.mktemp("s3")) as endpoint:
        s3_client(endpoint).create_bucket(Bucket=BUCKET)
        yield endpoint


def at_s3(endpoint: str) -> dict[str, str]:
    """An environment in the region of the clients that make the bucket."""
    return environment("S3", endpoint) | {"AWS_DEFAULT_REGION": "us-east-1"}


def away() -> Store:
    raise AssertionError("nothing here needs the rest of a store")


def reading(endpoint: str, rest: Callable[[], Store] = away) -> S3ReadingStore:
    documents = Clients(at_s3(endpoint)).s3_reader(BUCKET, PATIENCE, attempts=1)
    assert isinstance(documents, S3Documents)
    return S3ReadingStore(documents, BUCKET, rest)


def test_documents_are_read_as_s3_store_reads_them(s3: str) -> None:
    theirs = S3Store(s3_client(s3), BUCKET)
    through = S3ReadingStore(BotoDocuments(s3_client(s3), BUCKET, 5), BUCKET, away)
    names = ["a.json", "b c.json", "b+c", "d%2Fe", "f&g=h?i", "ü", "k/l/m", "k/n", "o~p'(q)"]
    for name in names:
        assert theirs.create(f"odd/{name}", name.encode())
    for store in (reading(s3), through):
        for name in names:
            found = store.get(f"odd/{name}")
            assert found == theirs.get(f"odd/{name}")
            assert found is not None
            assert found.body == name.encode()
            assert store.get(f"odd/{name}", known=found.etag) == theirs.get(
                f"odd/{name}", known=found.etag
            )
            assert store.get(f"odd/{name}", known='"other"') == found
        assert store.get("odd/none") is None
        for folder, after in [("odd/", ""), ("odd/", "b c.json"), ("odd/k/", ""), ("no/", "")]:
            expected = list(theirs.children(folder, after=after))
            assert list(store.children(folder, after=after)) == expected


def test_a_registry_is_read_without_an_sdk_and_changed_with_one(s3: str, tmp_path: Path) -> None:
    made: list[Store] = []

    def rest() -> Store:
        made.append(S3Store(s3_client(s3), BUCKET))
        return made[-1]

    documents = Clients(at_s3(s3)).s3_reader(BUCKET, PATIENCE)
    registry = S3ReadingRegistry(documents, BUCKET, rest)
    assert list(registry.models()) == []
    manifest = S3Registry(s3_client(s3), BUCKET).publish(
        "magika", make_draft(tmp_path, model=b"x"), who=ADA
    )
    assert registry.manifest("magika", 1) == manifest
    snapshot = registry.routes("magika")
    assert snapshot is not None
    assert registry.routes("magika", etag=snapshot.etag) is None
    assert (list(registry.models()), list(registry.versions("magika"))) == (["magika"], [1])
    assert made == []
    deployment = Deployment(1, "lambda", "f", manifest.digest)
    routes = registry.change(
        "magika", lambda r: r.with_deployment(deployment), action="deploy", detail={}, who=ADA
    )
    assert routes.deployments[1] == deployment
    assert len(made) == 1


def listing(names: list[str], more: str = "") -> Answer:
    keys = "".join(f"<Contents><Key>{name}</Key></Contents>" for name in names)
    cut = f"<IsTruncated>true</IsTruncated><NextContinuationToken>{more}</NextContinuationToken>"
    space = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
    body = f"<ListBucketResult {space}>{keys}{cut if more else ''}</ListBucketResult>"
    return Answer(200, body.encode())


def test_a_listing_goes_on_where_its_page_ends() -> None:
    with s3_answering(listing(["m/a", "m/b"], "t/+="), listing(["m/c"])) as server:
        assert list(reading(server.endpoint).children("m/", after="9")) == ["a", "b", "c"]
        first, second = (each.path for each in server.seen)
    assert first == (
        f"/{BUCKET}?delimiter=%2F&encoding-type=url&list-type=2&prefix=m%2F&start-after=m%2F9"
    )
    assert "continuation-token=t%2F%2B%3D" in second


@pytest.mark.parametrize(
    "answered",
    [
        refusal(500, "InternalError"),
        refusal(403, "AccessDenied"),
        refusal(403, "ExpiredToken"),
        refusal(404, "NoSuchBucket"),
        refusal(400, "Odd"),
        Answer(403),
        Answer(503, b"<html>busy</html>"),
        Answer(200, b"{}" * 100, {"ETag": '"e"'}, cut=10),
        Answer(200, b"{}", {"ETag": '"e"', "x-amz-checksum-crc32": "AAAAAA=="}),
    ],
)
def test_what_fails_for_s3_store_fails_alike(answered: Answer) -> None:
    with s3_answering(answered) as server:
        errors = []
        for store in (
            reading(server.endpoint),
            S3Store(s3_client(server.endpoint, tries=1), BUCKET),
        ):
            with pytest.raises(RegistryUnavailableError) as raised:
                store.get("models/m/routes.json")
            errors.append(raised.value)
        ours, theirs = errors
    assert ours.hint == theirs.hint
    if answered.body.startswith(b"<Error>"):
        assert ours.message == theirs.message
    assert f"reading s3://{BUCKET}/models/m/routes.json: " in ours.message


def test_a_bucket_in_another_region_is_named() -> None:
    moved = Answer(
        301, b"<Error><Code>PermanentRedirect</Code></Error>", {"x-amz-bucket-region": "us-west-2"}
    )
    with (
        s3_answering(moved) as server,
        pytest.raises(RegistryUnavailableError, match="bucket is in us-west-2"),
    ):
        reading(server.endpoint).get("k")


PASSING = [refusal(503, "SlowDown"), refusal(400, "RequestTimeout"), Answer(200, b"x", cut=0)]


@pytest.mark.parametrize("first", PASSING)
def test_passing_trouble_is_tried_once_more(first: Answer) -> None:
    paused: list[float] = []
    with s3_answering(first, Answer(200, b"whole", {"ETag": '"e"'})) as server:
        documents = patient(server, paused)
        assert documents.get("k").body == b"whole"
        assert len(server.seen) == 2
    assert 0 <= paused[0] <= 1


def test_trouble_that_stays_is_told_and_other_trouble_at_once() -> None:
    paused: list[float] = []
    with s3_answering(refusal(500, "InternalError")) as server:
        with pytest.raises(RefusedError, match="InternalError"):
            patient(server, paused).get("k")
        assert (len(server.seen), len(paused)) == (2, 1)
    with s3_answering(refusal(403, "AccessDenied")) as server:
        with pytest.raises(RefusedError, match="AccessDenied"):
            patient(server, paused).get("k")
        assert len(server.seen) == 1


def test_a_connection_that_died_unused_costs_no_pause() -> None:
    paused: list[float] = []

    def once(talk: Talk) -> None:
        talk.request()
        talk.send(answer(b"%d" % talk.number))
        talk.request()

    with scripted(once) as server:
        made = Clients(environment("S3", f"http://127.0.0.1:{server.port}"))
        reader = made.s3_reader(BUCKET, PATIENCE)
        assert isinstance(reader, S3Documents)
        documents = S3Documents(reader._caller, attempts=2, sleep=paused.append)
        assert [documents.get("k").body for _ in range(2)] == [b"1", b"2"]
    assert paused == []


def patient(server: S3Answers, paused: list[float]) -> S3Documents:
    made = Clients(environment("S3", server.endpoint)).s3_reader(BUCKET, PATIENCE)
    assert isinstance(made, S3Documents)
    return S3Documents(made._caller, attempts=2, sleep=paused.append)


# --- what is left to boto3 ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "more", [{"HTTP_PROXY": "http://127.0.0.1:1"}, {"AWS_USE_FIPS_ENDPOINT": "true"}]
)
def test_what_only_boto3_can_do_is_done_by_boto3(
    more: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    environ = environment("LAMBDA", "http://somewhere:1") | more
    for name, value in (KEYS | REGION).items():
        monkeypatch.setenv(name, value)
    clients = Clients(environ)
    assert isinstance(clients.lambda_(PATIENCE), BotoFunctions)
    other = {**KEYS, **REGION, "AWS_USE_FIPS_ENDPOINT": "true"}
    assert isinstance(Clients(other).sagemaker(PATIENCE), BotoEndpoints)
    assert isinstance(Clients(other).s3_reader(BUCKET, PATIENCE), BotoDocuments)


# --- a container's credentials --------------------------------------------------------------------

SOON = (datetime.now(UTC) + timedelta(hours=12)).strftime("%Y-%m-%dT%H:%M:%SZ")
GIVEN = {"AccessKeyId": "K", "SecretAccessKey": "hidden", "Token": "hidden-too", "Expiration": SOON}


def container(server: Scripted, **more: str) -> dict[str, str]:
    url = f"http://127.0.0.1:{server.port}/v1/c?role=r"
    return {"AWS_CONTAINER_CREDENTIALS_FULL_URI": url, **more}


def test_a_containers_credentials_are_asked_with_its_token(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("of the file")
    heads: list[str] = []

    def script(talk: Talk) -> None:
        heads.append(talk.request().decode())
        talk.send(answer(json.dumps(GIVEN).encode()))

    with scripted(script) as server:
        for more in (
            {"AWS_CONTAINER_AUTHORIZATION_TOKEN": "of the variable"},
            {
                "AWS_CONTAINER_AUTHORIZATION_TOKEN": "of the variable",
                "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(token),
            },
        ):
            got = fetched(container(server, **more))
            assert (got.access_key, got.secret_key, got.token) == ("K", "hidden", "hidden-too")
            assert got.expires == datetime.fromisoformat(SOON).timestamp()
    assert heads[0].startswith("GET /v1/c?role=r HTTP/1.1\r\n")
    assert "authorization: of the variable\r\n" in heads[0]
    assert "authorization: of the file\r\n" in heads[1]


@pytest.mark.parametrize(
    "said",
    [
        b"hidden",
        b"[]",
        json.dumps({**GIVEN, "Expiration": "hidden"}).encode(),
        json.dumps({**GIVEN, "Token": 1}).encode(),
        json.dumps({"Message": "hidden"}).encode(),
    ],
)
def test_what_are_no_credentials_is_said_and_not_shown(said: bytes) -> None:
    def script(talk: Talk) -> None:
        talk.request()
        talk.send(answer(said))

    with scripted(script) as server, pytest.raises(CredentialsError) as raised:
        fetched(container(server))
    assert "hidden" not in repr(raised.value)
    assert server.connections == 1


def test_an_address_that_is_away_is_asked_three_times() -> None:
    def script(talk: Talk) -> None:
        talk.request()
        if talk.number < 3:
            talk.send(answer(status=500))
            return
        talk.send(answer(json.dumps(GIVEN).encode()))

    paused: list[float] = []
    with scripted(script) as server:
        assert fetched(container(server), paused.append).access_key == "K"
    assert paused == [1.0, 1.0]
    with pytest.raises(CredentialsError, match="away"):
        fetched(container(server), paused.append)


@pytest.mark.parametrize(
    "environ",
    [
        {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://example.com/c"},
        {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://169.254.169.254/c"},
        {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "no address"},
        {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1:1/a b"},
        {
            "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/c",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN": "a\r\nb: c",
        },
        {
            "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/c",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": "/none",
        },
    ],
)
def test_credentials_are_asked_of_nobody_else_and_with_no_other_token(
    environ: dict[str, str],
) -> None:
    with pytest.raises(CredentialsError):
        fetched(environ, lambda _: None)


def test_without_credentials_nothing_is_sent() -> None:
    def script(talk: Talk) -> None:
        talk.request()

    with scripted(script) as server:
        url = f"http://127.0.0.1:{server.port}"
        bad = {**REGION, "AWS_ENDPOINT_URL_LAMBDA": url, **container(server)}
        bad["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = "http://example.com/c"
        with pytest.raises(CredentialsError, match="plain http"):
            Clients(bad).lambda_(PATIENCE).invoke("f", b"{}")
    assert server.connections == 0

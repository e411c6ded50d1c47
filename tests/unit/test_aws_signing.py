"""`modelport.aws.signing` against botocore's signers, over whatever can be asked."""

from __future__ import annotations

from datetime import UTC, datetime

from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.compat import HTTPHeaders
from botocore.credentials import Credentials as BotoCredentials
from hypothesis import given
from hypothesis import strategies as st
from modelport.aws.credentials import Credentials
from modelport.aws.signing import Signer

TEXT = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x24F), max_size=20)
NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,20}", fullmatch=True).filter(
    lambda name: name not in {"date", "authorization", "host"}
)
UNSIGNED = st.sampled_from(["user-agent", "x-amzn-trace-id", "connection", "te", "expect"])
PART = st.text("abcXYZ019-._~%: +@&='(", max_size=8)
PATHS = st.lists(PART, max_size=6).map(lambda parts: "/" + "/".join(parts)) | st.sampled_from(
    ["/", "//", "/a/../b", "/./a/", "/a//b/", "/..", "/a%2Fb", "/arn%3Aaws%3Alambda%3Ax"]
)
PAIRS = st.tuples(st.text("abAB019-._~%", max_size=6), st.text("abAB019-._~%", max_size=6))
QUERIES = st.lists(PAIRS.map("=".join) | st.text("abAB-", min_size=1, max_size=4), max_size=5).map(
    "&".join
)
KEYS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=40)
WHEN = st.datetimes(datetime(1990, 1, 1), datetime(2099, 1, 1), timezones=st.just(UTC))


class _At:
    """Botocore's signers at a time that is given."""

    def _signed(self, request: AWSRequest, stamp: str) -> str:
        request.context["timestamp"] = stamp
        self._modify_request_before_signing(request)  # type: ignore[attr-defined]
        canonical = self.canonical_request(request)  # type: ignore[attr-defined]
        text = self.string_to_sign(request, canonical)  # type: ignore[attr-defined]
        signature = self.signature(text, request)  # type: ignore[attr-defined]
        self._inject_signature_to_request(request, signature)  # type: ignore[attr-defined]
        return str(request.headers["Authorization"])


class _Plain(_At, SigV4Auth):
    pass


class _S3(_At, S3SigV4Auth):
    pass


@given(
    s3=st.booleans(),
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "HEAD"]),
    path=PATHS,
    query=QUERIES,
    headers=st.dictionaries(NAMES | UNSIGNED, TEXT, max_size=6),
    host=st.sampled_from(["h", "b.s3.eu-central-1.amazonaws.com", "127.0.0.1:4566", "[::1]:80"]),
    body=st.binary(max_size=100),
    keys=st.tuples(KEYS, KEYS, st.just("") | KEYS),
    region=st.from_regex(r"[a-z]{2}-[a-z]+-\d", fullmatch=True),
    when=WHEN,
)
def test_every_signature_is_botocores(
    s3: bool,
    method: str,
    path: str,
    query: str,
    headers: dict[str, str],
    host: str,
    body: bytes,
    keys: tuple[str, str, str],
    region: str,
    when: datetime,
) -> None:
    service = "s3" if s3 else "lambda"
    url = f"http://host{path}" + (f"?{query}" if query else "")
    request = AWSRequest(method=method, url=url, data=body)
    request.headers = HTTPHeaders()
    for name, value in {"host": host, **headers}.items():
        request.headers[name] = value
    theirs = (_S3 if s3 else _Plain)(BotoCredentials(*keys), service, region)
    expected = theirs._signed(request, when.strftime("%Y%m%dT%H%M%SZ"))

    ours = {"host": host, **headers}
    Signer(service, region).sign(
        method, path, query, ours, body, Credentials(*keys), when.timestamp()
    )
    assert ours["authorization"] == expected
    assert ours == {name.lower(): value for name, value in request.headers.items()}


def test_a_key_of_another_day_or_secret_is_not_used_again() -> None:
    signer = Signer("lambda", "eu-central-1")
    day = 86_400.0
    for secret, now in [("a", 0.0), ("a", day), ("b", day), ("a", day), ("a", 0.0)]:
        once = {"host": "h"}
        again = {"host": "h"}
        signer.sign("POST", "/", "", once, b"", Credentials("k", secret), now)
        Signer("lambda", "eu-central-1").sign(
            "POST", "/", "", again, b"", Credentials("k", secret), now
        )
        assert once == again


def test_credentials_do_not_show_what_is_secret() -> None:
    shown = repr(Credentials("AKIDEXAMPLE", "hidden", "hidden", 1.0))
    assert shown == "Credentials(access_key='AKIDEXAMPLE')"

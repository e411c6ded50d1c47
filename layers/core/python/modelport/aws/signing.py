"""AWS Signature Version 4 in the Authorization header, as botocore's SigV4Auth and S3SigV4Auth.

It neither sends nor fetches anything, and it keeps no request. Source of every step: "Create a
signed AWS API request" in the IAM user guide; equality with botocore is a property test.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import MutableMapping
from functools import lru_cache
from hashlib import sha256
from urllib.parse import quote

from modelport.aws.credentials import Credentials

#: What proxies may change on the way, and what botocore therefore does not sign either.
_UNSIGNED = frozenset(
    (
        "connection",
        "expect",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
        "x-amzn-trace-id",
    )
)


class Signer:
    """Signs requests to one service in one region; for any number of threads.

    ``service`` is the name that the service signs by, which for a SageMaker endpoint is
    "sagemaker".
    """

    def __init__(self, service: str, region: str) -> None:
        self._region, self._service = region, service
        self._s3 = service == "s3"
        # Day, secret and the key made of them: one tuple, so that no thread sees halves of two.
        self._key = ("", "", b"")

    def sign(
        self,
        method: str,
        path: str,
        query: str,
        headers: MutableMapping[str, str],
        body: bytes,
        credentials: Credentials,
        now: float,
    ) -> None:
        """Add what proves who asks to ``headers``, whose names are lower case and include host.

        ``path`` and ``query`` are as they are sent, so already encoded. ``now`` is seconds since
        the epoch.
        """
        digest = sha256(body).hexdigest()
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
        headers["x-amz-date"] = stamp
        if credentials.token:
            headers["x-amz-security-token"] = credentials.token
        if self._s3:
            headers["x-amz-content-sha256"] = digest
        names = sorted(headers.keys() - _UNSIGNED)
        signed = ";".join(names)
        canonical = "\n".join(
            (
                method,
                path if self._s3 else _normalised(path),
                _sorted(query) if query else "",
                *[f"{name}:{' '.join(headers[name].split())}" for name in names],
                "",
                signed,
                digest,
            )
        )
        scope = f"{stamp[:8]}/{self._region}/{self._service}/aws4_request"
        summary = sha256(canonical.encode()).hexdigest()
        text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{summary}"
        key = self._signing_key(stamp[:8], credentials.secret_key)
        signature = hmac.digest(key, text.encode(), "sha256").hex()
        headers["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={credentials.access_key}/{scope},"
            f" SignedHeaders={signed}, Signature={signature}"
        )

    def _signing_key(self, day: str, secret: str) -> bytes:
        known_day, known_secret, key = self._key
        if (day, secret) != (known_day, known_secret):
            key = f"AWS4{secret}".encode()
            for part in (day, self._region, self._service, "aws4_request"):
                key = hmac.digest(key, part.encode(), "sha256")
            self._key = (day, secret, key)
        return key


@lru_cache(maxsize=1024)
def _normalised(path: str) -> str:
    """The path without dots and empty parts, encoded once more: for every service but S3."""
    kept: list[str] = []
    for part in path.split("/"):
        if part == "..":
            if kept:
                kept.pop()
        elif part and part != ".":
            kept.append(part)
    first = "/" if path.startswith("/") or not path else ""
    last = "/" if path.endswith("/") and kept else ""
    return quote(first + "/".join(kept) + last, safe="/~")


def _sorted(query: str) -> str:
    pairs = sorted(pair.partition("=")[::2] for pair in query.split("&"))
    return "&".join(f"{name}={value}" for name, value in pairs)

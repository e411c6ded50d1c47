"""An operation as commands to copy: curl, and Python with its standard library or boto's signer.

``$URL`` stands for where the service is; the page's script puts the address there.
"""

from __future__ import annotations

import json
import shlex
from typing import Any

_SIGNED_BY_CURL = (
    '--aws-sigv4 "aws:amz:$AWS_REGION:execute-api"',
    '--user "$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY"',
    '-H "x-amz-security-token: $AWS_SESSION_TOKEN"',
)


def curl(method: str, path: str, media: str, body: str | None, *, iam: bool) -> str:
    """The request for a shell."""
    parts = [f'curl "$URL{path}"' if method == "GET" else f'curl -X {method} "$URL{path}"']
    if iam:
        parts += _SIGNED_BY_CURL
    if body is not None:
        parts += [f"-H 'content-type: {media}'", f"--data-binary {shlex.quote(body)}"]
    return " \\\n  ".join(parts)


def python(method: str, path: str, media: str, body: str | None, *, iam: bool) -> str:
    """The request for Python."""
    headers = {} if body is None else {"content-type": media}
    sent = _literal(media, body)
    if iam:
        return _signed(method, path, headers, sent)
    lines = ["import json", "from urllib.request import Request, urlopen", ""]
    arguments = [f'"$URL{path}"', f'method="{method}"']
    if body is not None:
        arguments += [f"headers={headers!r}", f"data={sent}"]
    return "\n".join(
        [
            *lines,
            f"request = Request({', '.join(arguments)})",
            "print(urlopen(request).read().decode())",
        ]
    )


def _signed(method: str, path: str, headers: dict[str, str], sent: str) -> str:
    return "\n".join(
        (
            "import json, os",
            "import boto3, httpx",
            "from botocore.auth import SigV4Auth",
            "from botocore.awsrequest import AWSRequest",
            "",
            f'url = "$URL{path}"',
            f'request = AWSRequest("{method}", url, headers={headers!r}, data={sent or "None"})',
            "credentials = boto3.Session().get_credentials()",
            'SigV4Auth(credentials, "execute-api", os.environ["AWS_REGION"]).add_auth(request)',
            f'print(httpx.request("{method}", url, headers=dict(request.headers),'
            " content=request.body).text)",
        )
    )


def _literal(media: str, body: str | None) -> str:
    if body is None:
        return ""
    if media == "application/json":
        value: Any = json.loads(body)
        return f"json.dumps({value!r}).encode()"
    return repr(body.encode())

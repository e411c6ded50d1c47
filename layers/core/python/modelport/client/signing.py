"""Signs requests for an API of API Gateway with IAM auth (SigV4, service ``execute-api``)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from modelport.client.errors import InvalidValueError

if TYPE_CHECKING:
    from botocore.credentials import Credentials

_REGION_IN_HOST = re.compile(r"\.execute-api\.([a-z0-9-]+)\.amazonaws\.")
#: What a CDN before the API may rewrite.
_UNSIGNED = frozenset({"accept-encoding"})
_DEFAULT_REGION = "us-east-1"
_SIGNATURE_HEADERS = ("Authorization", "X-Amz-Date", "X-Amz-Security-Token")


@dataclass(frozen=True)
class Signer:
    """Signs with these credentials; ``region`` counts where the host does not name one."""

    credentials: Credentials
    region: str

    @classmethod
    def of_environment(cls, environ: Mapping[str, str]) -> Signer:
        """The signer that AWS's own variables, files and roles make.

        Raises `InvalidValueError` when there are no credentials, or nothing that reads them.
        """
        try:
            from botocore.session import Session
        except ImportError:
            raise InvalidValueError(
                'auth="iam"', "signing needs botocore", hint="pip install 'modelport[client]' boto3"
            ) from None
        session = Session()
        credentials = session.get_credentials()
        if credentials is None:
            raise InvalidValueError(
                'auth="iam"', "there are no AWS credentials to sign with", hint="set AWS_PROFILE"
            )
        # AWS_REGION is what other tools read; botocore itself does not.
        region = environ.get("AWS_REGION") or session.get_config_variable("region")
        return cls(credentials, region or _DEFAULT_REGION)

    def headers(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes
    ) -> Mapping[str, str]:
        """The headers that sign exactly this request."""
        # Imported here: only a signed call pays the 0.1 s that botocore's signing takes to load.
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest

        kept = {name: value for name, value in headers.items() if name not in _UNSIGNED}
        request = AWSRequest(method=method, url=url, data=body, headers=kept)
        in_host = _REGION_IN_HOST.search(url)
        region = in_host.group(1) if in_host else self.region
        SigV4Auth(self.credentials, "execute-api", region).add_auth(request)
        return {
            name: request.headers[name] for name in _SIGNATURE_HEADERS if name in request.headers
        }

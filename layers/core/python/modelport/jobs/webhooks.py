"""Where a job's end may be told: the hosts that an environment allows, and no other place.

Text only; nothing is sent from here.
"""

from __future__ import annotations

from modelport.jobs.errors import WebhookRefusedError

HEADER = "x-modelport-webhook"
LONGEST = 2_000


def allowed(url: str, hosts: str | None) -> str:
    """``url``, if it is one of https on one of ``hosts`` (``a.example,b.example:8443``).

    Raises `WebhookRefusedError`. A port is allowed as it is written there, none means 443.

    >>> allowed("https://a.example/done", "a.example")
    'https://a.example/done'
    """
    from urllib.parse import urlsplit

    if len(url) > LONGEST or not url.isascii() or not url.isprintable() or set(url) & set(" \\"):
        raise WebhookRefusedError("is no URL")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise WebhookRefusedError("is no URL") from None
    if parts.scheme != "https" or not parts.hostname or "@" in parts.netloc or parts.fragment:
        raise WebhookRefusedError("is no https URL of a host and nothing before it")
    place = parts.hostname if port in (None, 443) else f"{parts.hostname}:{port}"
    named = (host.strip().lower() for host in (hosts or "").split(","))
    known = {host.removesuffix(":443") for host in named} - {""}
    if place not in known:
        raise WebhookRefusedError(f"names {place}, which this environment does not tell anything")
    return url

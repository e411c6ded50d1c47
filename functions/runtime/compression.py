"""Bodies compressed on the way: gzip and deflate, in and out, for every protocol alike.

What a body may grow to is bounded, so a small one cannot fill the memory. Only requests that name a
coding load this module. It must not know what a body says.
"""

from __future__ import annotations

import zlib
from dataclasses import replace

from modelport.envelope import Request, Response, Stream
from modelport.errors import MalformedRequestError, PayloadTooLargeError, UnsupportedMediaTypeError

ALLOWED = ("gzip", "deflate", "identity")
#: Tensors hardly compress; more effort buys time, not bytes.
_LEVEL = 1
_GZIP, _ZLIB, _RAW = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS, -zlib.MAX_WBITS
_ALIASES = {"x-gzip": "gzip", "": "identity"}


def decompressed(request: Request, most: int) -> Request:
    """The request with its body as it was before its content coding, at most ``most`` bytes.

    Raises `UnsupportedMediaTypeError` for other codings and for several, `MalformedRequestError`
    for a body that is not what it says, `PayloadTooLargeError` for one that grows beyond ``most``.
    """
    said = request.headers.get("content-encoding", "").strip().lower()
    coding = _ALIASES.get(said, said)
    if coding not in ALLOWED:
        raise UnsupportedMediaTypeError(said, ALLOWED, what="content-encoding")
    headers = {name: text for name, text in request.headers.items() if name != "content-encoding"}
    if coding == "identity":
        return replace(request, headers=headers)
    return replace(request, headers=headers, body=inflated(request.body, coding, most))


def inflated(body: bytes, coding: str, most: int) -> bytes:
    """What ``body`` was before gzip or deflate; raises as `decompressed` does."""
    bits = _GZIP if coding == "gzip" else _ZLIB if _is_zlib(body) else _RAW
    inflater = zlib.decompressobj(bits)
    try:
        text = inflater.decompress(body, most + 1)
    except zlib.error as error:
        raise MalformedRequestError(f"the body is not {coding}: {error}{_reason(body)}") from None
    if len(text) > most:
        what = f"the request body, {len(body):,} bytes of {coding}, decompressed"
        raise PayloadTooLargeError(None, most, what, "send fewer rows per request")
    if not inflater.eof:
        raise MalformedRequestError(f"the body is {coding} that ends too early")
    if inflater.unused_data:
        raise MalformedRequestError(
            f"{len(inflater.unused_data)} bytes follow the end of the body's {coding}"
        )
    return text


def _reason(body: bytes) -> str:
    """What a gateway did that takes bodies called JSON for text: its sign for what is no text."""
    if "\ufffd".encode() not in body:
        return ""
    return "; it was read as text on its way here: send it as application/octet-stream"


def _is_zlib(body: bytes) -> bool:
    """Whether deflate comes in zlib's wrapping, as is standard; some clients leave it off."""
    return len(body) > 1 and body[0] & 0x0F == 8 and int.from_bytes(body[:2], "big") % 31 == 0


def compressed(request: Request, response: Response) -> Response:
    """The answer in the one coding that the caller names; one who names several only lists them."""
    coding = asked(request.headers.get("accept-encoding", ""))
    if coding is None or isinstance(response, Stream) or not response.body:
        return response
    if response.status != 200 or "content-encoding" in response.headers:
        return response
    body = zlib.compress(response.body, _LEVEL, wbits=_GZIP if coding == "gzip" else _ZLIB)
    return Response(response.status, {**response.headers, "content-encoding": coding}, body)


def asked(accept: str) -> str | None:
    """gzip or deflate if ``Accept-Encoding`` names this one coding and no other, else None."""
    name, _, weight = accept.partition(";")
    coding = name.strip().lower()
    coding = _ALIASES.get(coding, coding)
    if coding not in ("gzip", "deflate") or "," in weight:
        return None
    _, _, quality = weight.partition("=")
    return None if quality.strip(" 0.") == "" and quality else coding

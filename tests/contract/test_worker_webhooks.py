"""News of a job's end over a real socket: taken, refused, redirected, cut off, never answered."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest

from functions.worker.webhooks import TIMEOUT_S, WebhookFailedError, connected, post
from tests.support.loopback import Exchange, serving

NEWS = {"id": "0" * 32, "status": "succeeded", "model": "magika", "version": "3"}


class Listener(Exchange):
    """Answers by what its path says."""

    heard: ClassVar[list[tuple[str, dict[str, str], Any]]] = []

    def do_POST(self) -> None:
        self.heard.append((self.path, dict(self.headers.items()), json.loads(self.body())))
        where = self.path.strip("/").partition("?")[0]
        if where == "hang-up":
            self.answer(None)
        elif where == "nonsense":
            self.wfile.write(b"what?\r\n\r\n")
            self.close_connection = True
        elif where == "redirect":
            self.answer((307, {"Location": "/200"}, b""))
        else:
            self.answer((int(where or 200), {}, b"thanks" * 1000))


@pytest.fixture
def listener() -> Iterator[int]:
    Listener.heard.clear()
    with serving(Listener) as url:
        yield int(url.rpartition(":")[2])


def tell(port: int, path: str) -> list[tuple[str, int]]:
    """Tell the listener, which has no certificate; where the connection would have gone."""
    asked: list[tuple[str, int]] = []

    def connect(host: str, at: int) -> http.client.HTTPConnection:
        asked.append((host, at))
        return http.client.HTTPConnection("127.0.0.1", port, timeout=5)

    post(f"https://hooks.example{path}", NEWS, connect)
    return asked


@pytest.mark.parametrize("path", ["", "/", "/200", "/204?token=a%2Fb"])
def test_news_is_posted_as_json_to_where_it_was_asked_for(listener: int, path: str) -> None:
    assert tell(listener, path) == [("hooks.example", 443)]
    ((where, headers, news),) = Listener.heard
    assert where == (path or "/")
    assert (headers["Content-Type"], news) == ("application/json", NEWS)


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/500", "status 500"),
        ("/404", "status 404"),
        ("/redirect", "status 307"),
        ("/hang-up", "RemoteDisconnected"),
        ("/nonsense", "BadStatusLine"),
    ],
)
def test_what_is_not_taken_is_said_without_the_url(listener: int, path: str, says: str) -> None:
    with pytest.raises(WebhookFailedError, match=says) as caught:
        tell(listener, f"{path}?token=secret")
    assert "secret" not in caught.value.message
    assert len(Listener.heard) == 1  # no redirect is followed


def test_nobody_there_is_an_error_like_any_other() -> None:
    with pytest.raises(WebhookFailedError, match="ConnectionRefusedError"):
        tell(1, "/200")


def test_the_real_connection_is_over_tls_and_impatient() -> None:
    connection = connected("hooks.example", 8443)
    assert isinstance(connection, http.client.HTTPSConnection)
    assert (connection.host, connection.port, connection.timeout) == (
        "hooks.example",
        8443,
        TIMEOUT_S,
    )

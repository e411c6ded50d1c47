"""The least that calls a function: one socket, one request made by hand, nothing signed or read."""

import json
import os
import socket
from typing import Any
from urllib.parse import urlsplit

HEAD = b"POST /2015-03-31/functions/f/invocations HTTP/1.1\r\ncontent-length: %d\r\n\r\n"
url = urlsplit(os.environ["AWS_ENDPOINT_URL"])
connection = socket.create_connection((url.hostname or "", url.port or 0))
connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    sent = {"modelport": 1, "method": "POST", "path": event["rawPath"], "body": event["body"]}
    body = json.dumps(sent).encode()
    connection.sendall(HEAD % len(body) + body)
    said = json.loads(connection.recv(1 << 16).partition(b"\r\n\r\n")[2])
    return {"statusCode": said["status"], "headers": {}, "body": said["body"]}

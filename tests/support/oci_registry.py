"""A container registry of our own on loopback, over real sockets, whose faults tests switch on.

Stores in memory and keeps to the distribution specification where no fault says otherwise; also a
proxy that cuts its connections after so many bytes.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from modelport.images.reference import Reference

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"


def sha256(body: bytes) -> str:
    """The digest of some bytes."""
    return "sha256:" + hashlib.sha256(body).hexdigest()


@dataclass(frozen=True)
class Seen:
    """One request that came in, with the length of its body."""

    method: str
    path: str
    headers: dict[str, str]
    length: int


@dataclass(frozen=True)
class Told:
    """An answer to give instead of the right one, to requests whose line holds ``to``."""

    to: str
    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


def refused(to: str, status: int, code: str, message: str = "", **headers: str) -> Told:
    """An error as the specification words it."""
    body = json.dumps({"errors": [{"code": code, "message": message or f"because of {code}"}]})
    return Told(to, status, body.encode(), {"Content-Type": "application/json", **headers})


@dataclass
class Faults:
    """What is wrong with the registry; everything is right to begin with."""

    #: Given instead of the right answer, each once, the first that fits.
    told: list[Told] = field(default_factory=list)
    #: Given instead of the right answer for ever.
    always: list[Told] = field(default_factory=list)
    #: Connections that bring a blob are cut after so many of its bytes, one number a try.
    cut_uploads: list[int] = field(default_factory=list)
    #: Connections that take a blob away are cut after so many of its bytes, one number a try.
    cut_downloads: list[int] = field(default_factory=list)
    #: Answers to uploads that are lost although the blob was stored.
    lost_answers: int = 0
    #: Whether the state of an upload may be asked for; ECR knows none.
    resumes: bool = True
    #: Whether an upload starts from scratch although its state said otherwise.
    forgets_parts: bool = False
    mounts: bool = True
    ranges: bool = True
    #: A digest it claims to have stored, whatever it has.
    claims: str | None = None
    #: It says that it stored manifests, but has none.
    drops_manifests: bool = False
    drops_blobs: bool = False
    #: Bytes that come out otherwise than they went in.
    corrupts: bool = False
    #: Where blobs are really kept: GET is redirected there.
    blobs_at: str | None = None


@dataclass
class Door:
    """Who may come in: nobody has to say who he is unless ``kind`` says so."""

    kind: str = "open"
    users: dict[str, str] = field(default_factory=dict)
    identity_tokens: set[str] = field(default_factory=set)
    #: Requests a token is good for.
    uses: int = 10**9
    #: Repositories for which tokens allow more than reading.
    may_push: re.Pattern[str] = re.compile(".*")
    #: Repositories of which tokens allow nothing.
    hidden: re.Pattern[str] = re.compile("(?!)")
    realm: str | None = None


class OciRegistry:
    """The registry's state and its address."""

    def __init__(self, port: int) -> None:
        self.host = f"127.0.0.1:{port}"
        self.faults = Faults()
        self.door = Door()
        self.blobs: dict[str, dict[str, bytes]] = {}
        self.manifests: dict[str, dict[str, tuple[str, bytes]]] = {}
        self.uploads: dict[str, bytearray] = {}
        self.tokens: dict[str, tuple[set[str], int]] = {}
        self.seen: list[Seen] = []
        self.lock = threading.RLock()

    def reference(self, name: str = "team/models") -> Reference:
        """A repository in it."""
        return Reference(self.host, name)

    def lines(self, method: str = "") -> list[str]:
        """Method and path of what was asked, in order."""
        return [f"{s.method} {s.path}" for s in self.seen if s.method.startswith(method)]

    def put(self, name: str, body: bytes) -> str:
        """Have a blob in a repository."""
        self.blobs.setdefault(name, {})[sha256(body)] = body
        return sha256(body)

    def put_manifest(self, name: str, body: bytes, kind: str = MANIFEST_TYPE, tag: str = "") -> str:
        """Have a manifest in a repository."""
        found = self.manifests.setdefault(name, {})
        found[sha256(body)] = (kind, body)
        if tag:
            found[tag] = (kind, body)
        return sha256(body)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    registry: OciRegistry

    def handle(self) -> None:
        with suppress(ConnectionError, TimeoutError, ValueError):
            super().handle()

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_any(self) -> None:
        self._body_left = int(self.headers.get("Content-Length") or 0)
        headers = {name.lower(): value for name, value in self.headers.items()}
        state = self.registry
        with state.lock:
            state.seen.append(Seen(self.command, self.path, headers, self._body_left))
            told = self._told()
        if told is not None:
            self._drain()
            self._answer(told.status, told.body, told.headers)
            return
        path = urlsplit(self.path).path
        if path == "/token":
            self._token()
            return
        if path.startswith("/kept/"):
            self._send_blob(path.rpartition("/")[2], any_repository=True)
            return
        if not self._let_in():
            return
        found = re.fullmatch(r"/v2/(.+)/(manifests|blobs)/(uploads/)?([^/]*)", path)
        if found is None:
            self._drain()
            self._answer(404, b"{}")
            return
        name, kind, upload, which = found.groups()
        with suppress(KeyError):
            self._route(name, kind, bool(upload), which)
            return
        self._drain()
        self._refuse(404, "MANIFEST_UNKNOWN" if kind == "manifests" else "BLOB_UNKNOWN")

    do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = do_any

    def _route(self, name: str, kind: str, upload: bool, which: str) -> None:
        state = self.registry
        if kind == "manifests":
            self._manifest(name, which)
        elif not upload:
            self._send_blob(which, name=name)
        elif self.command == "POST":
            self._begin(name)
        elif self.command == "GET":
            with state.lock:
                size = len(state.uploads[which])
                # Moves with every question, as with registries that keep the state in it.
                fresh = f"{which}-"
                state.uploads[fresh] = state.uploads.pop(which)
            if not state.faults.resumes:
                raise KeyError(which)
            end = max(size - 1, 0)
            where = f"/v2/{name}/blobs/uploads/{fresh}?_state=x"
            self._answer(204, headers={"Location": where, "Range": f"0-{end}"})
        else:
            self._finish(name, which)

    # --- who is there -----------------------------------------------------------------------------

    def _let_in(self) -> bool:
        door, state = self.registry.door, self.registry
        said = self.headers.get("Authorization", "")
        if door.kind == "open":
            return True
        if door.kind == "basic":
            if self._known(said):
                return True
            self._drain()
            self._refuse(401, "UNAUTHORIZED", WWW_Authenticate='Basic realm="here, or there"')
            return False
        needed = self._needed()
        with state.lock:
            granted, uses = state.tokens.get(said.removeprefix("Bearer "), (set(), 0))
            if uses > 0 and needed <= granted:
                state.tokens[said.removeprefix("Bearer ")] = (granted, uses - 1)
                return True
        realm = door.realm or f"http://{state.host}/token"
        self._drain()
        self._refuse(
            401, "UNAUTHORIZED", WWW_Authenticate=f'Bearer realm="{realm}",service="reg,istry"'
        )
        return False

    def _needed(self) -> set[str]:
        parts = urlsplit(self.path)
        name = re.sub(r"/(manifests|blobs)/.*", "", parts.path.removeprefix("/v2/"))
        action = "pull" if self.command in ("GET", "HEAD") else "push"
        if "/uploads/" in parts.path:
            action = "push"
        mounted = parse_qs(parts.query).get("from", [])
        return {f"{name}:{action}", *(f"{source}:pull" for source in mounted)}

    def _known(self, authorization: str) -> bool:
        with suppress(ValueError):
            pair = base64.b64decode(authorization.removeprefix("Basic ")).decode()
            user, _, password = pair.partition(":")
            return user in self.registry.door.users and self.registry.door.users[user] == password
        return False

    def _token(self) -> None:
        state, door = self.registry, self.registry.door
        said = self.headers.get("Authorization", "")
        if self.command == "POST":
            form = parse_qs(self.rfile.read(self._body_left).decode())
            scopes = form["scope"][0].split()
            known = form["refresh_token"][0] in door.identity_tokens
        else:
            scopes = parse_qs(urlsplit(self.path).query).get("scope", [])
            known = self._known(said)
        if (said or self.command == "POST") and not known:
            self._refuse(401, "UNAUTHORIZED")
            return
        granted = set()
        for scope in scopes:
            _, name, actions = scope.split(":")
            for action in actions.split(","):
                allowed = action == "pull" or (known and door.may_push.fullmatch(name))
                if allowed and not door.hidden.fullmatch(name):
                    granted.add(f"{name}:{action}")
        token = secrets.token_urlsafe(24)
        with state.lock:
            state.tokens[token] = (granted, door.uses)
        body = json.dumps({"token": token, "expires_in": 300}).encode()
        self._answer(200, body, {"Content-Type": "application/json"})

    # --- manifests --------------------------------------------------------------------------------

    def _manifest(self, name: str, which: str) -> None:
        state, faults = self.registry, self.registry.faults
        if self.command == "PUT":
            body = self.rfile.read(self._body_left)
            kind = self.headers["Content-Type"]
            blobs = [json.loads(body)["config"], *json.loads(body)["layers"]]
            missing = [b for b in blobs if b["digest"] not in state.blobs.get(name, {})]
            if missing and not faults.drops_blobs:
                self._refuse(400, "MANIFEST_BLOB_UNKNOWN")
                return
            if not faults.drops_manifests:
                state.put_manifest(name, body, kind, which)
            said = faults.claims or sha256(body)
            self._answer(201, headers={"Docker-Content-Digest": said, "Location": self.path})
            return
        kind, body = state.manifests[name][which]
        headers = {"Content-Type": kind, "Docker-Content-Digest": faults.claims or sha256(body)}
        self._answer(200, body + b" " if faults.corrupts else body, headers)

    # --- blobs ------------------------------------------------------------------------------------

    def _send_blob(self, digest: str, *, name: str = "", any_repository: bool = False) -> None:
        state, faults = self.registry, self.registry.faults
        if any_repository:
            body = next(b[digest] for b in state.blobs.values() if digest in b)
        else:
            body = state.blobs[name][digest]
        if faults.blobs_at and not any_repository:
            where = f"{faults.blobs_at}/kept/{digest}?X-Amz-Signature=presigned"
            self._answer(307, headers={"Location": where})
            return
        if faults.corrupts:
            body = bytes([body[0] ^ 1]) + body[1:]
        headers = {"Docker-Content-Digest": faults.claims or digest}
        status, start = 200, 0
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if asked and faults.ranges:
            status, start = 206, int(asked[1])
            headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        with state.lock:
            cut = faults.cut_downloads.pop(0) if faults.cut_downloads else None
        if self.command == "HEAD" or cut is None:
            self._answer(status, body[start:], headers)
            return
        self._head(status, len(body) - start, headers)
        self.wfile.write(body[start : start + cut])
        self._hang_up()

    def _begin(self, name: str) -> None:
        state, faults = self.registry, self.registry.faults
        self._drain()
        asked = parse_qs(urlsplit(self.path).query)
        source, digest = asked.get("from", [""])[0], asked.get("mount", [""])[0]
        with state.lock:
            body = state.blobs.get(source, {}).get(digest)
            referenced = any(
                digest.encode() in manifest
                for _, manifest in state.manifests.get(source, {}).values()
            )
            if body is not None and faults.mounts and referenced:
                state.put(name, body)
                self._answer(201, headers={"Docker-Content-Digest": digest, "Location": "/x"})
                return
            upload = secrets.token_hex(8)
            state.uploads[upload] = bytearray()
        where = f"/v2/{name}/blobs/uploads/{upload}?_state=begin"
        self._answer(202, headers={"Location": where, "Range": "0-0"})

    def _finish(self, name: str, which: str) -> None:
        state, faults = self.registry, self.registry.faults
        upload = state.uploads[which]
        with state.lock:
            cut = faults.cut_uploads.pop(0) if faults.cut_uploads else None
        if faults.forgets_parts:
            upload.clear()
        asked = re.match(r"(\d+)-", self.headers.get("Content-Range", ""))
        if asked and int(asked[1]) != len(upload):
            self._drain()
            self._answer(416)
            return
        while self._body_left:
            step = min(self._body_left, 65536 if cut is None else max(min(65536, cut), 0))
            chunk = self.rfile.read1(step) if step else b""
            if not chunk:  # Cut by us or by the other side.
                self._hang_up()
                return
            upload += chunk
            self._body_left -= len(chunk)
            cut = None if cut is None else cut - len(chunk)
        if cut is not None:
            self._hang_up()
            return
        digest = parse_qs(urlsplit(self.path).query)["digest"][0]
        if sha256(bytes(upload)) != digest:
            self._refuse(400, "DIGEST_INVALID")
            return
        del state.uploads[which]
        if not faults.drops_blobs:
            state.put(name, bytes(upload))
        if faults.lost_answers:
            faults.lost_answers -= 1
            self._hang_up()
            return
        headers = {"Docker-Content-Digest": faults.claims or digest, "Location": "/x"}
        self._answer(201, headers=headers)

    # --- the wire ---------------------------------------------------------------------------------

    def _told(self) -> Told | None:
        faults, line = self.registry.faults, f"{self.command} {self.path}"
        for told in faults.told:
            if told.to in line:
                faults.told.remove(told)
                return told
        return next((told for told in faults.always if told.to in line), None)

    def _drain(self) -> None:
        while self._body_left and (chunk := self.rfile.read1(min(self._body_left, 65536))):
            self._body_left -= len(chunk)

    def _refuse(self, status: int, code: str, **headers: str) -> None:
        told = refused("", status, code, **{k.replace("_", "-"): v for k, v in headers.items()})
        self._answer(status, told.body, told.headers)

    def _head(self, status: int, length: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def _answer(
        self, status: int, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> None:
        self._head(status, len(body), headers or {})
        if self.command != "HEAD":
            self.wfile.write(body)

    def _hang_up(self) -> None:
        self.close_connection = True
        self.wfile.flush()
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        pass


@contextmanager
def oci_registry() -> Iterator[OciRegistry]:
    """A registry on a free port of this machine."""

    class Handler(_Handler):
        pass

    with _Server(("127.0.0.1", 0), Handler) as server:
        Handler.registry = OciRegistry(server.server_port)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield Handler.registry
        finally:
            server.shutdown()
            thread.join()


@dataclass
class CuttingProxy:
    """Forwards to a registry until so many bytes have gone there; then it cuts, and stays cut."""

    host: str
    limit: int | None = None
    #: Whether connections work again after the cut.
    recovers: bool = False
    passed: int = 0
    _cut: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def reference(self, name: str = "team/models") -> Reference:
        """A repository behind it."""
        return Reference(self.host, name)

    def allowed(self, wanted: int) -> int:
        """How many of these bytes still go through."""
        with self._lock:
            if self._cut and not self.recovers:
                return 0
            if self.limit is None:
                self.passed += wanted
                return wanted
            granted = min(wanted, self.limit - self.passed)
            self.passed += granted
            if granted < wanted:
                self._cut = True
                if self.recovers:
                    self.limit = None
            return granted


@contextmanager
def cutting_proxy(
    to: str, limit: int | None = None, *, recovers: bool = False
) -> Iterator[CuttingProxy]:
    """A proxy before a registry."""
    host, _, port = to.rpartition(":")
    listener = socket.create_server(("127.0.0.1", 0))
    proxy = CuttingProxy(f"127.0.0.1:{listener.getsockname()[1]}", limit, recovers)
    ends: list[socket.socket] = []

    def pump(source: socket.socket, sink: socket.socket, counted: bool) -> None:
        with suppress(OSError):
            while chunk := source.recv(65536):
                granted = proxy.allowed(len(chunk)) if counted else len(chunk)
                sink.sendall(chunk[:granted])
                if granted < len(chunk):
                    break
        for end in (source, sink):
            with suppress(OSError):
                # Closed at once: a peer that is only shut out keeps sending until nothing fits.
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def accept() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.create_connection((host, int(port)))
                ends.extend((client, server))
                for end in (client, server):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for pair in ((client, server, True), (server, client, False)):
                    threading.Thread(target=pump, args=pair, daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
        for end in ends:
            end.close()

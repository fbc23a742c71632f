"""A small image registry with basic authentication: of the registry HTTP API v2 what engines and cosign use."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from tests.lab.archive import Image

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
BLOB = "application/octet-stream"
JSON = {"Content-Type": "application/json"}
USER, PASSWORD = "lab", "open-sesame"


class Registry:
    """What the registry holds; a reference is `HOST/NAME:TAG`."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.blobs: dict[str, bytes] = {}
        self.kinds: dict[str, str] = {}  # media types of manifests, by digest
        self.tags: dict[str, str] = {}
        self.asked: list[str] = []  # paths
        self.faults: list[int] = []  # how the next requests for a manifest fail: a status, or 0 for a connection cut

    def publish(self, name: str, tag: str, image: Image) -> str:
        """Make a tag point to an image; return the digest of its manifest."""
        config = image.config()
        layers = [gzip.compress(data, mtime=0) for data in image.layers]
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self.add(config, "application/vnd.docker.container.image.v1+json"),
            "layers": [self.add(data, "application/vnd.docker.image.rootfs.diff.tar.gzip") for data in layers],
        }
        return self.put(name, tag, json.dumps(manifest).encode(), MANIFEST)

    def publish_index(self, name: str, tag: str, image: Image) -> str:
        """Make a tag point to a list of one image, as one of several platforms is; return the digest of the list."""
        digest = self.publish(name, f"{tag}-one", image)
        config = json.loads(image.config())
        entry = {
            "mediaType": MANIFEST,
            "digest": digest,
            "size": len(self.blobs[digest]),
            "platform": {"architecture": config["architecture"], "os": config["os"]},
        }
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}
        return self.put(name, tag, json.dumps(index).encode(), INDEX)

    def put(self, name: str, tag: str, manifest: bytes, kind: str) -> str:
        """Make a tag point to a manifest; return its digest."""
        digest = str(self.add(manifest, kind)["digest"])
        self.kinds[digest] = kind
        self.tags[f"{name}:{tag}"] = digest
        return digest

    def login(self, folder: Path) -> None:
        """Write a Docker config with the credentials, as `docker login` does."""
        secret = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        (folder / "config.json").write_text(json.dumps({"auths": {self.host: {"auth": secret}}}))

    def find(self, path: str) -> tuple[str, bytes] | None:
        """Return media type and content of /v2/NAME/(manifests|blobs)/REFERENCE."""
        name, _, rest = path.removeprefix("/v2/").rpartition("/manifests/")
        digest = self.tags.get(f"{name}:{rest}", rest) if name else path.rpartition("/blobs/")[2]
        return (self.kinds.get(digest, BLOB), self.blobs[digest]) if digest in self.blobs else None

    def add(self, data: bytes, media_type: str) -> dict[str, object]:
        """Keep a blob; return its descriptor."""
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        self.blobs[digest] = data
        return {"mediaType": media_type, "size": len(data), "digest": digest}


@contextmanager
def running() -> Iterator[Registry]:
    """Serve an empty registry on a free port of 127.0.0.1, to which engines and cosign speak plain HTTP."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        server.daemon_threads = True
        registry = Registry(f"127.0.0.1:{server.server_address[1]}")
        server.registry = registry  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield registry
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: ThreadingHTTPServer

    @property
    def registry(self) -> Registry:
        return self.server.registry  # type: ignore[attr-defined,no-any-return]

    def do_GET(self) -> None:
        if not self._allowed() or self._failed():
            return
        found = ("application/json", b"{}") if self.path == "/v2/" else self.registry.find(self.path)
        if found is None:
            self._answer(404, b"{}", JSON)
        else:
            digest = f"sha256:{hashlib.sha256(found[1]).hexdigest()}"
            self._answer(200, found[1], {"Content-Type": found[0], "Docker-Content-Digest": digest})

    do_HEAD = do_GET  # noqa: N815 -- the name is given by http.server

    # A push: an upload is begun (POST), its bytes come (PATCH), it gets its digest (PUT); then a manifest is put.

    def do_POST(self) -> None:
        if self._allowed():
            self._answer(202, b"", {"Location": f"{self.path}1"})

    def do_PATCH(self) -> None:
        if self._allowed():
            self.registry.add(self._body(), BLOB)
            self._answer(202, b"", {"Location": self.path})

    def do_PUT(self) -> None:
        if not self._allowed():
            return
        data = self._body()
        name, _, tag = self.path.removeprefix("/v2/").rpartition("/manifests/")
        if name:
            digest = self.registry.put(name, tag, data, self.headers["Content-Type"])
        else:
            digest = parse_qs(urlsplit(self.path).query)["digest"][0]
        self._answer(201 if digest in self.registry.blobs else 400, b"", {"Docker-Content-Digest": digest})

    def _allowed(self) -> bool:
        self.registry.asked.append(self.path)
        expected = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if self.headers.get("Authorization") == expected:
            return True
        self._answer(401, b"{}", {**JSON, "WWW-Authenticate": 'Basic realm="lab"'})
        return False

    def _failed(self) -> bool:
        """Fail as the registry was told to, if it was."""
        if "/manifests/" not in self.path or not self.registry.faults:
            return False
        if status := self.registry.faults.pop(0):
            self._answer(status, b"{}", JSON)
        else:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
        return True

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers["Content-Length"]))

    def _answer(self, status: int, data: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Write nothing."""

"""A small image registry for pulls, with basic authentication: the read half of the registry HTTP API v2."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.lab.archive import Image

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
USER, PASSWORD = "lab", "open-sesame"


class Registry:
    """What the registry holds; a reference is `HOST/NAME:TAG`."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.blobs: dict[str, bytes] = {}
        self.tags: dict[str, str] = {}

    def publish(self, name: str, tag: str, image: Image) -> str:
        """Make a tag point to an image; give the digest of its manifest."""
        config = image.config()
        layers = [gzip.compress(data, mtime=0) for data in image.layers]
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self._add(config, "application/vnd.docker.container.image.v1+json"),
            "layers": [self._add(data, "application/vnd.docker.image.rootfs.diff.tar.gzip") for data in layers],
        }
        digest = str(self._add(json.dumps(manifest).encode(), MANIFEST)["digest"])
        self.tags[f"{name}:{tag}"] = digest
        return digest

    def login(self, folder: Path) -> None:
        """Write a Docker config with the credentials, as `docker login` does."""
        secret = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        (folder / "config.json").write_text(json.dumps({"auths": {self.host: {"auth": secret}}}))

    def find(self, path: str) -> tuple[str, bytes] | None:
        """Give media type and content of /v2/NAME/(manifests|blobs)/REFERENCE."""
        name, _, rest = path.removeprefix("/v2/").rpartition("/manifests/")
        if name:
            digest = self.tags.get(f"{name}:{rest}", rest)
            return (MANIFEST, self.blobs[digest]) if digest in self.blobs else None
        digest = path.rpartition("/blobs/")[2]
        return ("application/octet-stream", self.blobs[digest]) if digest in self.blobs else None

    def _add(self, data: bytes, media_type: str) -> dict[str, object]:
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        self.blobs[digest] = data
        return {"mediaType": media_type, "size": len(data), "digest": digest}


@contextmanager
def running() -> Iterator[Registry]:
    """Serve an empty registry on a free port of 127.0.0.1, to which engines speak plain HTTP."""
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
    def do_GET(self) -> None:
        expected = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if self.headers.get("Authorization") != expected:
            return self._answer(401, "application/json", b"{}")
        if self.path == "/v2/":
            return self._answer(200, "application/json", b"{}")
        found = self.server.registry.find(self.path)  # type: ignore[attr-defined]
        return self._answer(200, *found) if found else self._answer(404, "application/json", b"{}")

    do_HEAD = do_GET  # noqa: N815 -- the name is given by http.server

    def _answer(self, status: int, media_type: str, data: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(data)))
        if status == 401:
            self.send_header("WWW-Authenticate", 'Basic realm="lab"')
        if media_type == MANIFEST:
            self.send_header("Docker-Content-Digest", f"sha256:{hashlib.sha256(data).hexdigest()}")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

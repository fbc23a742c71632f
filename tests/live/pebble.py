"""An ACME authority for tests: Let's Encrypt's pebble, with a name server that sends every domain to one address."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from tests.live.certificates import certificate
from tests.ports import free_port
from tests.waiting import within


@dataclass(frozen=True)
class Pebble:
    """A running authority: its directory, the file that verifies it, and the manager of its name server."""

    directory: str
    ca: Path
    names: str
    log: Path

    def auto(self, **more: Any) -> dict[str, Any]:
        """Return `tls.auto` of a manifest; this host cannot resolve what only the authority's name server knows."""
        return {"directory": self.directory, "ca": str(self.ca), "probe": False, **more}

    def name(self, way: str, **of: Any) -> None:
        """Send the name server something: `add-a`, `set-servfail`, `set-txt`, `add-caa` …"""
        requests.post(f"{self.names}/{way}", json=of, timeout=10).raise_for_status()


@contextmanager
def pebble(
    folder: Path, http: int, *, refused: int = 5, valid: int = 0, environ: Mapping[str, str] | None = None
) -> Iterator[Pebble]:
    """Run one that asks for proofs at port `http` of 127.0.0.1, and refuses that many nonces of a hundred.

    Certificates are valid for `valid` seconds; 0 is its default.
    """
    folder.mkdir(exist_ok=True)
    ca = certificate(folder / "authority.pem", "localhost")
    port, manager, dns, challenge = (free_port() for _ in range(4))
    settings = {
        "listenAddress": f"127.0.0.1:{port}",
        "managementListenAddress": f"127.0.0.1:{manager}",
        "certificate": str(ca),
        "privateKey": str(ca),
        "httpPort": http,
        "tlsPort": free_port(),
        "ocspResponderURL": "",
        "externalAccountBindingRequired": False,
        "retryAfter": {"authz": 1, "order": 1},
        **({"certificateValidityPeriod": valid} if valid else {}),
    }
    (folder / "pebble.json").write_text(json.dumps({"pebble": settings}))
    names = f"http://127.0.0.1:{challenge}"
    server = ["pebble-challtestsrv", "-dns01", f"127.0.0.1:{dns}", "-management", f"127.0.0.1:{challenge}"]
    server += ["-http01", "", "-https01", "", "-tlsalpn01", "", "-doh", "", "-defaultIPv4", "127.0.0.1"]
    server += ["-defaultIPv6", ""]
    authority = ["pebble", "-config", str(folder / "pebble.json"), "-dnsserver", f"127.0.0.1:{dns}"]
    chosen = {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_AUTHZREUSE": "0", "PEBBLE_WFE_NONCEREJECT": str(refused)}
    log = folder / "pebble.log"
    with log.open("w") as out, (folder / "names.log").open("w") as other:
        running = [
            subprocess.Popen(server, stdout=other, stderr=subprocess.STDOUT),
            subprocess.Popen(
                authority, stdout=out, stderr=subprocess.STDOUT, env={**os.environ, **chosen, **(environ or {})}
            ),
        ]
        try:
            within(60).until(lambda: _listens(port) and _listens(challenge), "pebble does not listen")
            yield Pebble(f"https://localhost:{port}/dir", ca, names, log)
        finally:
            for process in running:
                process.kill()
                process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0

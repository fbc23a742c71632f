"""Probes and smoke tests against what they will really meet: Docker's proxy and HAProxy with TLS."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import docker
import pytest
import requests.exceptions

from deployer.core.clock import Deadline, SystemClock
from deployer.drivers.checks import DirectChecks
from deployer.manifest.models import Manifest
from deployer.model import Instance
from tests.lab import image
from tests.ports import free_port
from tests.services import require
from tests.unit.test_checks_tls import self_signed

pytestmark = [pytest.mark.live, pytest.mark.xdist_group("checks_services")]

CLOCK = SystemClock()
CHECKS = DirectChecks(None, CLOCK)  # type: ignore[arg-type]  # no command is run here


def manifest(**more: Any) -> Manifest:
    return Manifest.model_validate({"service": "shop", "image": "shop", "port": 8080, **more})


def probe(address: str, **health: Any) -> str:
    instance = Instance("shop", "blue", 1, 1, "shop-r1-1", "x", address, "running")
    return CHECKS.probe(manifest(health={"timeout": "20s", **health}), instance, Deadline.after(CLOCK, 60))


@pytest.fixture(scope="module")
def container(engine: docker.DockerClient) -> Iterator[Any]:
    """Yield a container of the test app with two published ports; it listens on 8080 and not on 9."""
    require("gcc")
    with image.built(f"dp-checks:{os.getpid()}", engine, version="7") as identity:
        made = engine.containers.run(  # type: ignore[call-overload]
            identity,
            detach=True,
            name=f"dp-checks-{os.getpid()}",
            ports={"8080/tcp": ("127.0.0.1", None), "9/tcp": ("127.0.0.1", None)},
        )
        try:
            made.reload()
            yield made
        finally:
            made.remove(force=True)


def published(container: Any, port: str) -> str:
    return f"127.0.0.1:{container.ports[port][0]['HostPort']}"


def test_a_container_is_healthy_once_it_answers(container: Any) -> None:
    address = published(container, "8080/tcp")

    Deadline.after(CLOCK, 60).until(lambda: not probe(address, http="/up"), "the app answers")

    assert probe(address, http="/version", body="7") == ""
    assert probe(address, http="/version", header={"X-Version": "7"}) == ""
    assert probe(address, tcp=True) == ""
    assert (
        probe(address, http="/status?code=503") == f"GET http://{address}/status?code=503: HTTP 503, expected 200-399"
    )
    assert "no response within 0.3 s" in probe(address, http="/slow?ms=2000", timeout="300ms")


def test_dockers_proxy_that_accepts_for_nobody_is_no_pass(container: Any) -> None:
    address = published(container, "9/tcp")
    with socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])), timeout=5):
        pass  # the engine itself does accept

    said = "accepted and closed at once"  # that is looked at for a tenth of a second, which the engine may miss once
    Deadline.after(CLOCK, 60).until(lambda: said in probe(address, tcp=True), "no pass")
    assert probe(address, http="/up").endswith(("closed without a response", "was reset"))


HAPROXY = """
global
    log /dev/null local0
defaults
    mode http
    timeout connect 1s
    timeout client 5s
    timeout server 5s
frontend tls
    bind 127.0.0.1:{port} ssl crt {pem} strict-sni
    acl preview hdr(X-Side) candidate
    acl named ssl_fc_sni shop.example.com
    http-request return status 200 content-type text/plain string "candidate" if preview named
    http-request return status 503 content-type text/plain string "stable"
"""


@contextmanager
def haproxy(folder: Path) -> Iterator[int]:
    """Run an HAProxy that only answers those who name shop.example.com in the TLS handshake."""
    pem = self_signed(folder, "shop.example.com")
    port = free_port()
    (folder / "haproxy.cfg").write_text(HAPROXY.format(port=port, pem=pem))
    program = shutil.which("haproxy") or "/usr/sbin/haproxy"
    running = subprocess.Popen([program, "-db", "-f", folder / "haproxy.cfg"])
    try:
        yield port
    finally:
        running.terminate()
        running.wait(10)


def test_smoke_through_haproxy_with_a_certificate_that_nobody_signed(state: Path) -> None:
    require("haproxy")
    tests = manifest(smoke=[{"get": "/", "body": "candidate"}])
    route = {"Host": "shop.example.com", "X-Side": "candidate"}

    with haproxy(state) as port:
        base = f"https://127.0.0.1:{port}"

        def smoke(headers: dict[str, str]) -> str:
            return CHECKS.smoke(tests, base, headers, Deadline.after(CLOCK, 60))

        Deadline.after(CLOCK, 60).until(lambda: "refused" not in smoke(route), "HAProxy listens")

        assert smoke(route) == ""
        assert smoke({"Host": "shop.example.com"}) == (
            "smoke test 1 of 1, GET /: HTTP 503, expected 200; the answer (503) begins: stable"
        )
        assert "TLS failed" in smoke({"Host": "other.example.com"})  # strict-sni: the name really is in the handshake
        with pytest.raises(requests.exceptions.SSLError):  # whoever verifies refuses this certificate
            requests.get(base, headers=route, timeout=5)

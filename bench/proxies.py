"""Proxies to be loaded: a plain HAProxy, deployer's with many services at one entry, and the upstream of both."""

from __future__ import annotations

import http.client
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from deployer.core.clock import Deadline, SystemClock
from deployer.drivers.traffic.haproxy import HAProxyTraffic, chain, layout, reload, render, spec
from deployer.drivers.traffic.haproxy.routing_rules import LINES
from deployer.manifest.models import Manifest
from deployer.model import COLOURS, Live, Release, Server
from tests.ports import free_port

CLOCK = SystemClock()
DEFAULTS = """\
defaults
  mode http
  timeout client 60s
  timeout connect 1s
  timeout server 60s
  timeout http-keep-alive 15s
  option redispatch 1
"""
UPSTREAM = """\
frontend up
  bind 127.0.0.1:{port}
  http-request return status 200 content-type text/plain string "hello"
"""
PLAIN = """\
frontend plain
  bind 127.0.0.1:{port}
  use_backend %[req.hdr(host),host_only,lower,map_str({names})]
"""
BACKEND = """\
backend {name}
  balance leastconn
  http-request del-header x-forwarded- -m beg
  http-request del-header forwarded
  http-request set-header X-Forwarded-For "%[src]"
  http-request set-header X-Forwarded-Host "%[req.hdr(host)]"
  http-request set-header X-Forwarded-Proto http
"""


@dataclass(frozen=True)
class Plain:
    """A HAProxy without deployer."""

    port: int
    pid: int


@dataclass(frozen=True)
class Ours:
    """A proxy of deployer: service `shop` has an instance on both sides, the others have none."""

    traffic: HAProxyTraffic
    port: int
    settings: dict[str, object]

    @property
    def pid(self) -> int:
        """Return the process that serves."""
        return self.traffic.parts.proxy.master.current()[0].pid

    def share(self, share: int) -> None:
        """Set the candidate's share, or end the rollout with 0."""
        live = Live("blue", share, int(time.time()) + 3600, 1, 50) if share else Live("blue", 0, 0, 1, 0)
        self.traffic.set_traffic("shop", live, _soon())
        for worker in self.traffic.parts.proxy.master.current():  # as a minute after the last reader
            self.traffic.parts.proxy.master.set_variable(worker, LINES, 0)

    def cookie(self) -> str:
        """Return the cookie of a client that was there before: giving one to each request would cost something else."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request("POST", "/", headers={"Host": "shop.example.com"})
        given = connection.getresponse().headers.get("Set-Cookie", "a=b").partition(";")[0]
        connection.close()
        return given


def configuration(home: layout.Home, port: int, settings: dict[str, object]) -> render.Files:
    """Return what deployer's proxy would load for the service `shop` at this port."""
    return render.render([spec.configured(None, "shop", _manifest("shop", port, settings), None)], home, own=True)


@contextmanager
def upstream(folder: Path, program: Path) -> Iterator[int]:
    """Serve `hello`; yield the port."""
    port = free_port()
    with awaited(program, folder / "up.cfg", DEFAULTS + UPSTREAM.format(port=port), port):
        yield port


@contextmanager
def plain(program: Path, services: int, behind: int, folder: Path, counter: tuple[str, ...] = ()) -> Iterator[Plain]:
    """Run a plain HAProxy with as many services, of which `shop` has an instance; by a program that counts, if any."""
    port, names = free_port(), folder / f"names{services}.map"
    names.write_text("".join(f"{name}.example.com {name}\n" for name in _names(services)))
    parts = [DEFAULTS, PLAIN.format(port=port, names=names)]
    for name in _names(services):
        parts.append(BACKEND.format(name=name))
        parts.append(f"  server one 127.0.0.1:{behind} check inter 1s\n" if name == "shop" else "")
    with awaited(program, folder / f"plain{services}.cfg", "".join(parts), port, counter) as pid:
        yield Plain(port, pid)


@contextmanager
def ours(folder: Path, program: Path, services: int, behind: int, settings: dict[str, object]) -> Iterator[Ours]:
    """Run deployer's proxy with as many services."""
    traffic, port = HAProxyTraffic(folder, CLOCK, program=program), free_port()
    one = Ours(traffic, port, settings)
    configured = {name: spec.configured(None, name, _release(one, name).manifest, None) for name in _names(services)}
    key = {"chain_key": chain.key_of("a secret") if "chain" in settings else ""}
    specs = {name: each.model_copy(update=key) for name, each in configured.items()}
    with traffic.parts.home.locked(_soon()):
        reload.load(traffic.parts.proxy, traffic.parts.live, specs, _soon())
    try:
        for colour in COLOURS:
            traffic.attach("shop", colour, [Server("one", f"127.0.0.1:{behind}")], _soon())
        yield one
    finally:
        with traffic.parts.home.locked(_soon()):
            traffic.parts.proxy.leave(_soon())


def one_more(proxy: Ours) -> float:
    """Return the seconds in which one more service is configured and loaded."""
    before = CLOCK.monotonic()
    proxy.traffic.configure(_release(proxy, "another"), "blue", _soon())
    return CLOCK.monotonic() - before


def _names(services: int) -> Iterator[str]:
    yield "shop"
    yield from (f"service-{n}" for n in range(1, services))


def _release(proxy: Ours, name: str) -> Release:
    return Release(name, 1, "1", "app:1", "sha256:1", _manifest(name, proxy.port, proxy.settings), "h1")


def _manifest(name: str, port: int, settings: dict[str, object]) -> Manifest:
    traffic = {"listen": f"127.0.0.1:{port}", "domains": [f"{name}.example.com"], **settings}
    said = {"service": name, "image": "app:1", "port": 80, "health": {"tcp": True}, "traffic": traffic}
    return Manifest.model_validate(said)


def _soon() -> Deadline:
    return Deadline.after(CLOCK, 120)


@contextmanager
def awaited(program: Path, config: Path, text: str, port: int, counter: tuple[str, ...] = ()) -> Iterator[int]:
    """Run HAProxy with this configuration until it answers, by a program that counts or without; yield the process."""
    config.write_text(text)
    with subprocess.Popen([*counter, program, "-db", "-f", config], stderr=subprocess.DEVNULL) as process:
        try:
            _soon().until(lambda: _answers(port) or process.poll() is not None, f"nobody listens on port {port}")
            if process.poll() is not None:
                raise SystemExit(f"{program} -f {config} ended with {process.returncode}")
            yield process.pid
        finally:
            process.terminate()


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/", headers={"Host": "shop.example.com"})
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()

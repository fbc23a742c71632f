"""Guests isolated by gVisor where an engine has not declared it: who says so, and how it is put right."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from deployer.app import doctor, inventory, operations
from deployer.app.inventory import InventoryHosts
from deployer.core import commands
from deployer.core.clock import SystemClock
from deployer.core.errors import Exit, Refused
from deployer.core.host import LOCAL, Host
from deployer.drivers.hosts.inventory import chosen
from deployer.drivers.hosts.readiness import HostRoles, Trait, examine
from deployer.drivers.runtime.docker import Engine
from deployer.drivers.runtime.docker.fleet_guests import FleetGuests
from deployer.drivers.runtime.docker.fleet_host import FleetHost
from deployer.drivers.runtime.docker.runtime import DockerRuntime
from deployer.model import GuestTerms
from deployer.planning.tenancy import DECLARE
from tests.documents import REPOSITORY
from tests.house import Scene, manifest, request
from tests.unit.test_runtime_docker_engine import talking_engine

TENANTS = "tenants:\n  acme: {cpus: 1, memory: 512m, isolation: gvisor}\n"
GUEST: dict[str, Any] = {"service": "blog", "image": "blog:1", "tenant": "acme"}
TERMS = GuestTerms("acme", cpus=1, memory=512 << 20, pids=256, lent_memory=2 << 30, isolation="gvisor")
WEB1, WEB2 = (Host(name, "10.0.0.1", "ssh", name, groups=("web",)) for name in ("web1", "web2"))


@pytest.fixture
def scene(state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    """Yield a world whose engine has no runtime but its own."""
    (tmp_path / "tenants.yml").write_text(TENANTS)
    monkeypatch.setenv("DEPLOYER_TENANTS", str(tmp_path / "tenants.yml"))
    made = Scene(state)
    with made.house:
        yield made


def test_a_plan_and_a_deploy_are_refused_before_anything_is_fetched(scene: Scene) -> None:
    for act in (operations.propose, operations.deploy):
        with pytest.raises(Refused, match="the engine has no runtime runsc") as refused:
            act(scene.house, request("1.0", "bluegreen", REPOSITORY, manifest=GUEST))
        assert refused.value.hint == DECLARE
    assert (scene.world.lent, scene.world.instances, scene.house.store.services.all()) == ([], {}, ())
    scene.world.runtimes.add("runsc")
    assert scene.deploy("1.0", manifest=GUEST).exit == Exit.DONE
    assert [terms.isolation for terms in scene.world.lent][:1] == ["gvisor"]


def test_the_doctor_says_so(scene: Scene) -> None:
    def found() -> list[tuple[str, str, str]]:
        seen = doctor.examine(scene.house, manifest(**GUEST, hosts="local"), REPOSITORY).findings
        return [(f.level, f.text, f.remedy) for f in seen if f.what == "guests of acme"]

    assert found() == [("bad", "the engine has no runtime runsc", DECLARE)]
    scene.world.runtimes.add("runsc")
    assert found() == [("ok", "each engine has what their terms ask for", "")]


def member(name: str, address: str) -> FleetHost:
    def client(seconds: float, version: str | None) -> docker.DockerClient:
        return docker.DockerClient(address, version, seconds)  # type: ignore[arg-type]

    clock, engine = SystemClock(), Engine(client, address)
    return FleetHost(name, engine, DockerRuntime(clock, "store", engine), clock)


def test_the_host_that_lacks_it_is_named() -> None:
    here = {"Name": socket.gethostname()}
    with (
        talking_engine(**here, Runtimes={"runc": {}, "runsc": {}}) as fit,
        talking_engine(**here, Runtimes={"runc": {}}) as bare,
    ):
        members = {"web1": member("web1", fit), "web2": member("web2", bare)}
        FleetGuests({"web1": members["web1"]}, members).require(TERMS)
        with pytest.raises(Refused, match=r"web2: acme is to be isolated by gvisor, .* no runtime runsc") as refused:
            FleetGuests(members, members).require(TERMS)
        assert refused.value.hint == DECLARE
    words = DECLARE.partition("add ")[2].partition(" to /etc/docker/daemon.json")[0]
    assert json.loads(f"{{{words}}}")["runtimes"]["runsc"]["runtimeArgs"] == ["--network=host"], "it can be pasted"
    FleetGuests({"web1": members["web1"]}, members).require(TERMS)  # which is silent now: not what is asked here


# -- deploy hosts check


def guests(monkeypatch: pytest.MonkeyPatch, engine: dict[str, str], *isolations: str) -> list[Trait]:
    clock = SystemClock()
    told = {"python": "3.13", "system": "Debian", "disk": {"free": 40 << 30, "size": 80 << 30}, "reboot": False}
    said = json.dumps({**told, "engine": engine, "now": clock.now()}).encode()
    monkeypatch.setattr(commands, "run", lambda *_, **__: said)
    (found,) = examine([WEB1], HostRoles(("web1",), (), isolations={"web1": isolations}), clock, 5)
    return [trait for trait in found.traits if trait.what == "guests"]


def test_a_host_that_is_lent_is_checked_for_what_isolates_guests(monkeypatch: pytest.MonkeyPatch) -> None:
    (lacking,) = guests(monkeypatch, {"version": "26.1.5", "runtimes": "runc io.containerd.runc.v2"}, "gvisor")
    assert (lacking.level, lacking.remedy) == ("bad", DECLARE)
    assert lacking.text == "guests are to be isolated by gvisor, and the engine has no runtime runsc"
    (fit,) = guests(monkeypatch, {"version": "26.1.5", "runtimes": "runc runsc"}, "gvisor")
    assert (fit.level, fit.text) == ("ok", "guests by gvisor")
    assert guests(monkeypatch, {"version": "26.1.5", "runtimes": "runc"}) == []
    assert guests(monkeypatch, {"error": "FileNotFoundError", "text": ""}, "gvisor") == [], "that it has none is said"


def test_hosts_are_those_that_the_file_of_tenants_lends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    patterns = {"web": (WEB1, WEB2), "web2": (WEB2,), "all": (LOCAL,)}
    monkeypatch.setattr(inventory, "hosts", lambda _source, pattern, *_, **__: patterns[pattern])

    def read(source: Path) -> dict[str, set[str]]:
        fleet = InventoryHosts(
            source, "", tmp_path, (WEB1, WEB2), "web", "edge", frozenset({"web1", "web2"}), frozenset(), False
        )
        return inventory.isolations(fleet, {}, SystemClock())

    assert read(tmp_path / "inventory" / "hosts") == {}, "nothing is lent"
    (tmp_path / "inventory").mkdir()
    own = "cpus: 1, memory: 1g"
    text = f"tenants:\n  a: {{hosts: web, {own}}}\n  b: {{hosts: web2, {own}, isolation: gvisor}}\n"
    (tmp_path / "inventory" / "tenants.yml").write_text(text)
    assert read(tmp_path / "inventory" / "hosts") == {"web2": {"gvisor"}}
    (tmp_path / "tenants.yml").write_text(TENANTS)
    assert read(chosen(None, tmp_path).absolute()) == {LOCAL.name: {"gvisor"}}

"""Guests on a real engine: what a hostile one tries is refused, and its limits hold."""

from __future__ import annotations

import http.server
import os
import shlex
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import docker
import pytest
import requests

from deployer.core.errors import DriverFailed, Refused
from deployer.core.host import Host
from deployer.drivers.runtime.docker import DockerRuntime
from deployer.drivers.runtime.docker.ground import HostGround, by_ssh
from deployer.drivers.runtime.docker.guests import GROUP, bridge, network
from deployer.model import Instance
from deployer.model.guests import Isolation
from deployer.planning.tenancy import RUNTIMES
from tests.conformance.runtimes import answers, wait_until_it_answers
from tests.live.conftest import Make
from tests.live.hostile import MEMORY, PIDS, PROGRAM, HostileBench, bench, remove_group, tenants, terms
from tests.live.internet import ADDRESS, HERE, internet
from tests.live.shop import Shop
from tests.live.sshd import sshd
from tests.load import Load, Options
from tests.services import require
from tests.waiting import within

pytestmark = [pytest.mark.live, pytest.mark.xdist_group("guests")]  # all guests of a host are in one group

# What each tries of the kernel and of its host, by name
OF_THE_HOST = {
    "the engine's socket": ("socket", "/var/run/docker.sock"),
    "the engine's socket at its other place": ("socket", "/run/docker.sock"),
    "containerd's socket": ("socket", "/run/containerd/containerd.sock"),
    "how core dumps are written": ("change", "/proc/sys/kernel/core_pattern"),
    "the keys of the kernel by hand": ("change", "/proc/sysrq-trigger"),
    "its own limit of memory": ("change", "/sys/fs/cgroup/memory/memory.limit_in_bytes"),
    "its own limit of memory, cgroup v2": ("change", "/sys/fs/cgroup/memory.max"),
    "memory of the host": ("read", "/dev/mem"),
    "a disk of the host": ("read", "/dev/vda"),
    "a device of its own": ("device",),
    "a mount": ("mount",),
    "a user namespace": ("user",),
    "a network namespace": ("network",),
    "forged packets": ("raw",),
    "packets of others": ("packet",),
    "another root": ("root",),
    "a module of the kernel": ("module",),
    "another kernel": ("kexec",),
    "a program in the kernel": ("bpf",),
    "keys of others": ("keys",),
    "the log of the kernel": ("log",),
    "the clock": ("clock",),
    "the name of the host": ("name",),
    "the power": ("reboot",),
    "a higher priority": ("priority",),
    "a higher limit": ("limit",),
}
# What each takes too much of
TOO_MUCH = {
    "processes": ("fork", str(2 * PIDS)),
    "memory": ("eat", str(3 * MEMORY)),
    "descriptors": ("open", "20000"),
    "disk": ("write", "/file", str(1 << 20)),
    "disk of a volume of its image": ("write", "/data/file", str(128 << 20)),
    "disk for what is temporary": ("write", "/tmp/file", str(128 << 20)),
}
# What of these a guest of gVisor may do: its kernel is a program of its own, and does it there.
IN_ITS_OWN_KERNEL = {
    "a user namespace",
    "keys of others",
    "the keys of the kernel by hand",
    "the log of the kernel",
    "a higher priority",
    "its own limit of memory",
}
ISOLATIONS = ["container", pytest.param("gvisor", marks=pytest.mark.long("a sandbox of gVisor for each instance"))]


@pytest.fixture(params=ISOLATIONS)
def isolation(request: pytest.FixtureRequest) -> Isolation:
    """Return each way in which guests are kept apart from their host."""
    if request.param == "gvisor":
        require("gvisor")
    chosen: Isolation = request.param
    return chosen


@pytest.fixture
def service(engine: docker.DockerClient) -> Iterator[HostileBench]:
    require("docker", "gcc", "root", "nft", "cgroups")
    with bench(engine) as made:
        yield made


@contextmanager
def listening() -> Iterator[int]:
    """Have a program of the owner listen on every address of the host; yield its port."""
    server = http.server.ThreadingHTTPServer(("0.0.0.0", 0), http.server.SimpleHTTPRequestHandler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()


def gateway(engine: docker.DockerClient, name: str) -> str:
    """Return the address of the host in a network."""
    return str(engine.networks.get(name).attrs["IPAM"]["Config"][0]["Gateway"])


@pytest.mark.long("three services and forty tries", every_change=("container",))
def test_what_a_hostile_guest_tries_is_refused(
    service: HostileBench, engine: docker.DockerClient, isolation: Isolation
) -> None:
    with tenants(engine, 2) as (ours, theirs), bench(engine) as other, bench(engine) as owner, listening() as port:
        guest = service.guest(terms(ours, isolation=isolation))
        neighbour = other.guest(terms(theirs, isolation=isolation))
        owned: Instance = owner.start()
        hosts = {gateway(engine, "bridge"), gateway(engine, network(ours))}
        published = owned.address.rpartition(":")[2]
        reached = {
            f"a neighbour at {other.address(neighbour)}": ("connect", other.address(neighbour), "8080"),
            f"the owner at {owner.address(owned)}": ("connect", owner.address(owned), "8080"),
            **{f"a program of the owner at {host}": ("connect", host, str(port)) for host in hosts},
        }
        more = {
            **{f"the owner's published port at {host}": ("connect", host, published) for host in hosts},
            "the metadata of a cloud": ("connect", "169.254.169.254", "80"),
            "the Internet": ("connect", "198.41.0.4", "53"),
            "names, by the engine": ("ask", "127.0.0.11"),
            "names, by a server of its own": ("ask", "198.41.0.4"),
        }
        # An owner reaches these: what is refused below would have worked.
        for what, words in list(reached.items())[1:]:
            assert owner.tries(owned, *words)[0] == 0, what
        assert service.tries(guest, "connect", service.address(guest), "8080")[0] == 0

        tried, worked = {**OF_THE_HOST, **reached, **more, **TOO_MUCH}, dict[str, str]()
        assert len(tried) >= 40
        for what, attempt in tried.items():
            code, said = service.tries(guest, *attempt)
            if code == 0:
                worked[what] = said
            wait_until_it_answers(guest)  # again: a sandbox that takes too much ends as a whole
            assert answers(owned)
        if isolation == "gvisor":
            assert "gVisor" in worked["the log of the kernel"]
            sandbox = engine.containers.get(guest.runtime_id).attrs["State"]["Pid"]
            assert os.getpriority(os.PRIO_PROCESS, sandbox) == 0
            worked = {what: said for what, said in worked.items() if what not in IN_ITS_OWN_KERNEL}
        assert worked == {}


@pytest.mark.long("two services, and a host that plays the Internet")
def test_a_guest_reaches_the_internet_where_its_network_is_out_and_nothing_else(
    service: HostileBench, engine: docker.DockerClient, isolation: Isolation
) -> None:
    with tenants(engine, 2) as (outgoing, silent), bench(engine) as other, listening() as port:
        names = (ADDRESS,)
        guest = service.guest(terms(outgoing, network="out", dns=names, isolation=isolation))
        shut = other.guest(terms(silent, dns=names, isolation=isolation))
        with internet(bridge(outgoing), bridge(silent)):
            reached = {"a public address": ("connect", ADDRESS, "80"), "names": ("ask", "127.0.0.11")}
            for what, words in reached.items():
                assert service.tries(guest, *words) == (0, ""), what
                assert other.tries(shut, *words)[0] == 1, what
            host = gateway(engine, network(outgoing))
            refused = {
                "a program of the owner": ("connect", host, str(port)),
                "this host by its public address": ("connect", HERE, str(port)),
                "a neighbour": ("connect", other.address(shut), "8080"),
                "the metadata of a cloud": ("connect", "169.254.169.254", "80"),
            }
            for what, words in refused.items():
                assert service.tries(guest, *words)[0] == 1, what


@pytest.mark.long("two deploys on an engine", every_change=True)
def test_a_guest_is_deployed_canaried_and_listed_by_command(make_shop: Make, engine: docker.DockerClient) -> None:
    require("root", "nft", "cgroups")
    shop = make_shop("docker")
    with tenants(engine, 1) as (tenant,):
        more = "cpus: 4, memory: 256m, pids: 100, evict: 3s"
        (shop.folder / "tenants.yml").write_text(f"tenants:\n  {tenant}: {{{more}}}\n  other: {{{more}}}\n")
        shop.write(tenant=tenant, health={"http": "/health", "deadline": "60s"})
        shop.live("1.0")
        assert shop.get().text.strip() == "1.0"
        shop.version("2.0")
        shop.deploy("bluegreen", "--bake", "0", "--version", "2.0")
        assert shop.get().text.strip() == "2.0"
        rows = {row["name"]: row for row in shop.events("tenants")[0]["tenants"]}
        assert (rows[tenant]["services"], rows["other"]["services"]) == ([shop.name], [])
        for name in shop.containers():
            assert network(tenant) in engine.containers.get(name).attrs["NetworkSettings"]["Networks"]
        shop.deploy("evict", tenant, "-m", "we need it")
        assert shop.containers() == []
        assert shop.get().status_code == 503
        (row,) = shop.events("guests")[0]["guests"]
        assert (row["service"], row["running"]) == (shop.name, 0)
        assert "we need it" in row["evicted"]
        assert "is evicted, since" in shop.deploy("up", "--version", "2.0", expect=2).stderr
        shop.deploy("evict", "--end", "-m", "there is room")
        assert shop.get().text.strip() == "2.0"
        assert [row["strategy"] for row in shop.events("history")[0]["rollouts"]][:2] == ["admit", "evict"]
        shop.write(mounts=[{"source": "/", "target": "/host"}])
        assert "a guest has nothing of its host" in shop.deploy("up", "--version", "2.0", expect=2).stderr
        shop.close()


@pytest.mark.long("a canary under load, a rollback, an eviction and the way back")
def test_users_of_a_guest_notice_nothing_of_its_releases(
    make_shop: Make, engine: docker.DockerClient, isolation: Isolation
) -> None:
    require("root", "nft", "cgroups")
    shop = make_shop("docker")
    with tenants(engine, 1) as (tenant,):
        name = f"{tenant.upper().replace('-', '_')}_TOKEN"
        shop.environ[name] = "sesame"
        own = f"cpus: 4, memory: 768m, pids: 2000, evict: 5s, isolation: {isolation}"
        (shop.folder / "tenants.yml").write_text(f"tenants:\n  {tenant}: {{{own}}}\n")
        shop.write(
            tenant=tenant,
            limits={"memory": "128m", "cpus": 1},
            secrets={"TOKEN": {"env": name, "deliver": "env"}},
            health={"http": "/health", "deadline": "60s"},
        )
        shop.live("1.0")
        shop.version("2.0")
        with Load(shop.url, Options(rate=40, kinds=("fresh", "busy", "post"))) as load:
            load.until(lambda now: now.answered > 100, "the load runs")
            shop.deploy("canary", "--version", "2.0")
            assert shop.get().text.strip() == "2.0"
            shop.deploy("rollback")
            assert shop.get().text.strip() == "1.0"
            report = load.stop()
        assert report.failed == 0, report.text()
        assert set(report.by_version) == {"1.0", "2.0"}
        for container in map(engine.containers.get, shop.containers()):
            assert container.attrs["HostConfig"]["Runtime"] == RUNTIMES.get(isolation, "runc")
            assert container.exec_run(["/app", "env", "TOKEN"]).output == b"sesame\n"
        shop.deploy("evict", tenant, "-m", "we need it")
        assert shop.containers() == []
        assert shop.get().status_code == 503
        (use,) = shop.events("guests")[0]["use"]
        assert use["memory"] < 8 << 20
        shop.deploy("evict", "--end", "-m", "there is room")
        assert shop.get().text.strip() == "1.0"
        shop.close()


def status_of(shop: Shop) -> int:
    """Ask once; 0 for who was not answered, as by a guest that is frozen meanwhile."""
    try:
        return shop.get().status_code
    except requests.RequestException:
        return 0


@pytest.mark.long("a keeper that lets a guest in again after a calm minute")
def test_the_keeper_has_a_guest_go_whose_time_is_over_and_lets_it_in(
    make_shop: Make, engine: docker.DockerClient
) -> None:
    require("root", "nft", "cgroups")
    shop = make_shop("docker")
    with tenants(engine, 1) as (tenant,):
        file, terms_of = shop.folder / "tenants.yml", "cpus: 2, memory: 256m, pids: 100, evict: 2s"
        file.write_text(f"tenants:\n  {tenant}: {{{terms_of}}}\n")
        shop.write(tenant=tenant, health={"http": "/health", "deadline": "60s"})
        shop.live("1.0")
        with shop.start("keep", "--log", "json") as keeper:
            file.write_text(f"tenants:\n  {tenant}: {{{terms_of}, until: 2020-01-01}}\n")
            within(120).until(lambda: status_of(shop) == 503, "the guest is gone")
            status = shop.wait(lambda found: bool(found["problems"]), "the status says so")
            assert any("is evicted, since" in text and "its time was over" in text for text in status["problems"])
            file.write_text(f"tenants:\n  {tenant}: {{{terms_of}}}\n")
            within(240).until(lambda: status_of(shop) == 200, "the guest is back")
            keeper.send_signal(signal.SIGTERM)
            assert keeper.wait(120) == 0
        assert [row["strategy"] for row in shop.events("history")[0]["rollouts"]][:2] == ["admit", "evict"]
        shop.close()


def test_what_a_guest_uses_comes_back_frozen_and_removed(
    service: HostileBench, engine: docker.DockerClient, isolation: Isolation
) -> None:
    with tenants(engine, 1, starved=True) as (tenant,):
        guest = service.guest(terms(tenant, cpus=1, memory=2 * MEMORY, isolation=isolation))
        runtime = service.runtime
        assert isinstance(runtime, DockerRuntime)
        engine.containers.get(guest.runtime_id).exec_run([PROGRAM, "burn", "120"], detach=True)
        engine.containers.get(guest.runtime_id).exec_run([PROGRAM, "hold", str(48 << 20), "120"], detach=True)

        def used() -> tuple[float, int]:
            found = runtime.guests.use(terms(tenant))[""]
            return found.cpu, found.memory

        with runtime.guests.raised():
            within(60).until(lambda: used()[1] >= 48 << 20, "it holds its memory")
        runtime.guests.freeze([guest], within())
        (frozen,) = runtime.instances(service.service)
        assert frozen.state == "paused"
        began, before = time.monotonic(), used()[0]
        assert not within(1.0).wait(lambda: False)
        # What runs a sandbox looks after itself now and then.
        most = 0.2 * (time.monotonic() - began) if isolation == "gvisor" else 0.0
        assert used()[0] - before <= most
        assert used()[1] >= 48 << 20
        runtime.remove(guest, 1, within(60))
        assert runtime.instances(service.service) == ()
        within(60).until(lambda: used()[1] < 8 << 20, "its memory is back")


def test_a_guest_is_in_the_group_of_its_tenant_and_has_its_limits(
    service: HostileBench, engine: docker.DockerClient, isolation: Isolation
) -> None:
    with tenants(engine, 1) as (tenant,):
        guest = service.guest(terms(tenant, isolation=isolation), limits={"memory": "64m", "cpus": 0.5})
        found = engine.containers.get(guest.runtime_id).attrs
        host = found["HostConfig"]
        assert tenant.replace("-", "_") in host["CgroupParent"].replace("-", "_")
        assert GROUP in host["CgroupParent"]
        assert (host["Memory"], host["MemorySwap"], host["PidsLimit"]) == (64 * 1024**2, 64 * 1024**2, PIDS)
        assert host["NanoCpus"] == 500_000_000
        assert (host["Privileged"], host["CapDrop"], host["ReadonlyRootfs"]) == (False, ["ALL"], True)
        assert host["RestartPolicy"]["Name"] == "on-failure"
        assert set(found["NetworkSettings"]["Networks"]) == {network(tenant)}
        assert not [each for each in found["Mounts"] if each["Type"] != "tmpfs"]
        assert isinstance(service.runtime, DockerRuntime)
        used = service.runtime.guests.use(terms(tenant))[""]
        assert used.cpu > 0
        assert used.memory > 0
        assert used.processes >= 1
        for _ in range(2):
            engine.containers.get(guest.runtime_id).exec_run([PROGRAM, "burn", "60"], detach=True)
        began, before = time.monotonic(), service.runtime.guests.use(terms(tenant))[""].cpu
        assert not within(2.0).wait(lambda: False)
        spent = service.runtime.guests.use(terms(tenant))[""].cpu - before
        assert spent < 0.7 * (time.monotonic() - began), "two loops have half a processor"


def test_all_guests_together_have_the_lowest_weight_that_there_is(
    service: HostileBench, engine: docker.DockerClient
) -> None:
    with tenants(engine, 1, starved=True) as (tenant,):
        driver = str(engine.info()["CgroupDriver"])
        assert isinstance(service.runtime, DockerRuntime)
        service.runtime.guests.prepare(terms(tenant))
        assert HostGround().do("weighs", driver) in (["idle"], ["2"], ["1"])  # else of cgroup v1, and of v2


def test_an_engine_without_the_runtime_of_gvisor_is_refused(
    service: HostileBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(RUNTIMES, "gvisor", "runsc-that-nobody-has")
    assert isinstance(service.runtime, DockerRuntime)
    with pytest.raises(Refused, match="isolated by gvisor, and the engine has no runtime runsc-that-nobody-has"):
        service.runtime.guests.check(terms("acme", isolation="gvisor"))


def test_a_limit_of_disk_is_refused_where_the_engine_has_none(
    service: HostileBench, engine: docker.DockerClient
) -> None:
    status = dict(engine.info()["DriverStatus"])
    if status.get("Backing Filesystem") == "xfs":
        pytest.skip("the engine can limit the disk of a container")
    assert isinstance(service.runtime, DockerRuntime)
    with pytest.raises(Refused, match="cannot limit the disk"):
        service.runtime.guests.check(terms("acme", disk=1 << 30))


def test_cgroups_that_are_not_there_are_refused_and_not_passed_over(tmp_path: Path) -> None:
    with pytest.raises(DriverFailed, match="there are no cgroups of cpu"):
        HostGround(lambda words: ["env", f"CGROUPS={tmp_path}", f"STATE={tmp_path}", *words]).do(
            "bound", "cgroupfs", "1000000", "0", "acme", "1000000", "1", "10"
        )


def test_the_ground_of_another_host_is_reached_by_ssh(tmp_path: Path) -> None:
    require("root", "nft", "cgroups", "sshd")
    with sshd(tmp_path) as server:
        args = tuple(shlex.split(server.args))
        host = Host("web1", "127.0.0.1", "ssh", server.host, server.port, "root", ssh_args=args)
        far, tenant = HostGround(by_ssh(host), "web1"), f"t{os.getpid()}-far"
        assert int(far.do("room")[0]) > 0
        driver = "cgroupfs"
        try:
            far.do("bound", driver, str(4 * MEMORY), "0", tenant, str(MEMORY), "1.5", str(PIDS))
            assert HostGround().do("used", driver, tenant)[2] == "0"
        finally:
            remove_group(driver, tenant)
        assert far.do("used", driver, tenant)[:3] == ["0", "0", "0"], "nothing is left of it"
        with pytest.raises(DriverFailed, match=r"web1 cannot keep guests \(weigh\)"):
            far.do("weigh")

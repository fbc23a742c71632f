"""Runtime `ansible` with the shipped verbs: units of systemd on machines, and a canary of them under load."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import requests

from deployer.core.clock import SystemClock
from deployer.core.errors import DriverFailed, HostsUnreachable
from deployer.core.host import Host, ServiceHosts
from deployer.drivers.hosts.verbs import AnsibleVerbs
from deployer.drivers.runtime.ansible import AnsibleRuntime
from deployer.drivers.runtime.ansible.host_presence import HostPresence
from deployer.drivers.runtime.ansible.runtime import Ground
from deployer.manifest.models import Manifest
from deployer.model import InstanceSpec, Release, SecretText
from tests.conformance.runtimes import get, silent, wait_until_it_answers
from tests.lab import image
from tests.lab.machines import Lab, Machine
from tests.lab.machines.programs import call
from tests.live.shop import Shop
from tests.load import Load, Options
from tests.machines.box import within
from tests.machines.conftest import write_inventory
from tests.ports import free_port
from tests.services import require

pytestmark = pytest.mark.live
WEB = ("web1", "web2")
HOME = "/var/lib/deployer-instances"
MIX = Options(rate=60, slow=2, websocket_may_move=True, websocket_may_be_cut=True)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    require("machines", "ansible", "haproxy", "gcc")
    with Lab(dict.fromkeys(WEB, ())) as made, made.entered():
        yield made


def left_on(machine: Machine) -> list[str]:
    """What stands on a machine of any instance: units, files, runtime folders."""
    script = f"systemctl list-units --all --plain --no-legend 'deployer-*'; ls {HOME} /run/deployer /etc/systemd/system"
    return [
        line for line in machine.run("sh", "-c", script, check=False).stdout.split() if re.search(r"-r\d+-\d", line)
    ]


def state_of(machine: Machine, name: str) -> str:
    """Everything of an instance that a second `ensure` must not change: files with their times, the run of its unit."""
    script = f"""find {HOME}/{name} /etc/systemd/system/deployer-{name}.service -printf '%p %i %T@ %m %u\\n' | sort
        systemctl show --property=InvocationID,NRestarts,UnitFileState deployer-{name}.service"""
    return machine.run("sh", "-c", script).stdout


class Stand:
    """A runtime `ansible` on the machines, and releases of the test app for it."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.folder, self.source = folder, folder / "source"
        self.hosts = tuple(
            Host(n, lab[n].address, "ssh", lab[n].address, None, "root", str(lab.key), tuple(lab.ssh_args.split()))
            for n in WEB
        )
        self.command = image.directory(self.source, "c")
        clock = SystemClock()
        ground = Ground(folder / "state", "here", folder)
        self.runtime = AnsibleRuntime(ground, AnsibleVerbs(None), ServiceHosts(self.hosts), HostPresence(clock), clock)

    def spec(self, number: int = 1, config: str = "one", **settings: object) -> InstanceSpec:
        manifest = Manifest.model_validate(
            {
                "service": "shop",
                "image": str(self.source),
                "port": 8080,
                "runtime": "ansible",
                "verbs": "systemd",
                "command": self.command,
                "secrets": {"PASSWORD": {"env": "X"}, "TOKEN": {"env": "Y", "deliver": "env"}},
                "limits": {"memory": "200m", "pids": 50, "cpus": 0.5},
                **settings,
            }
        )
        pinned = self.runtime.resolve(manifest, manifest.image, within(), silent)
        release = Release("shop", number, "1.0", manifest.image, pinned.id, manifest, config)
        secrets = {"PASSWORD": SecretText('hunter2 "{{ x }}" $HOME'), "TOKEN": SecretText('sword\\fish `x` $Y "z"')}
        return InstanceSpec(release, "blue", 1, 7, f"{self.hosts[0].address}:{free_port()}", secrets, "web1")

    def printed(self, instance_of: InstanceSpec, *command: str) -> str:
        (instance,) = (i for i in self.runtime.instances("shop") if i.name == instance_of.name)
        code, output = self.runtime.run(instance, [*self.command, *command], within())
        assert code == 0, output
        return output


@pytest.fixture
def stand(lab: Lab, tmp_path: Path) -> Stand:
    return Stand(lab, tmp_path)


@contextmanager
def occupied(machine: Machine, port: str) -> Iterator[None]:
    machine.run("systemd-run", "--unit=occupied", "python3", "-m", "http.server", "-b", machine.address, port)
    within().until(lambda: port in machine.run("ss", "-Hltn").stdout, "the other program listens")
    try:
        yield
    finally:
        machine.run("systemctl", "stop", "occupied")


def test_a_unit_is_made_left_alone_and_taken_away(lab: Lab, stand: Stand) -> None:
    machine, spec = lab["web1"], stand.spec(env={"VERSION": "1.0", "DRAIN": "30000", "TEXT": 'a "b" $c \\ `d` %n é'})
    made = stand.runtime.ensure(spec, within())
    wait_until_it_answers(made)
    assert (made.address, made.state, made.host) == (spec.address, "running", "web1")
    assert stand.runtime.instances("shop") == (made,)
    before = state_of(machine, spec.name)
    assert "UnitFileState=enabled" in before

    assert stand.runtime.ensure(replace(spec, rollout=8), within()) == made
    assert state_of(machine, spec.name) == before

    with pytest.raises(requests.ConnectionError):
        get(made, "/exit")
    within().until(lambda: stand.runtime.instances("shop")[0].restarts == 1, "one restart is seen")
    wait_until_it_answers(made)
    script = f'printf "%s\\n" "$TEXT" "$TOKEN"; cat /run/deployer/{spec.name}/PASSWORD; exit 3'
    code, printed = stand.runtime.run(made, ["sh", "-c", script], within())
    assert (code, printed.splitlines()) == (
        3,
        ['a "b" $c \\ `d` %n é', 'sword\\fish `x` $Y "z"', 'hunter2 "{{ x }}" $HOME'],
    )
    assert stand.runtime.run(made, ["/no/such/command"], within())[0] == 127
    assert stand.runtime.logs(made, 1) == (f"v=1.0 listening on {spec.address.rpartition(':')[2]}",)
    told = machine.run("journalctl", "--output=export").stdout
    assert "_HOSTNAME=web1" in told
    assert "hunter2" not in told
    assert "sword" not in told
    kept = [path for path in stand.folder.rglob("*") if path.is_file() and b"hunter2" in path.read_bytes()]
    assert kept == []

    statuses: list[int] = []
    slow = threading.Thread(target=lambda: statuses.append(get(made, "/slow?ms=5000", 60).status_code))
    slow.start()
    within().until(lambda: get(made, "/stats").json()["inflight"] == 1, "the slow request")
    stand.runtime.remove(made, 30, within())
    slow.join()
    assert statuses == [200]
    stand.runtime.remove(made, 10, within())
    assert stand.runtime.instances("shop") == ()
    assert left_on(machine) == []


def test_what_does_not_start_is_told_and_leaves_nothing(lab: Lab, stand: Stand) -> None:
    taken = stand.spec()
    with occupied(lab["web1"], taken.address.rpartition(":")[2]), pytest.raises(DriverFailed) as told:
        stand.runtime.ensure(taken, within())
    assert f"shop-r1-1: start.yml: task 'See that its address is free' failed on web1: {taken.address}" in str(
        told.value
    )
    with pytest.raises(
        DriverFailed, match=r"shop-r1-1: start\.yml: task .* does not start: .*Failed to determine user credentials"
    ):
        stand.runtime.ensure(stand.spec(user="nobody-here"), within())
    assert stand.runtime.instances("shop") == ()

    looping = stand.runtime.ensure(stand.spec(env={"EXIT": "7"}), within())
    within().until(lambda: stand.runtime.instances("shop")[0].restarts >= 1, "restarts are seen")
    (seen,) = stand.runtime.instances("shop")
    assert seen.exit_code == 7
    assert any("told to end" in line for line in stand.runtime.logs(looping, 20))
    stand.runtime.remove(looping, 5, within())
    assert left_on(lab["web1"]) == []


def test_a_machine_that_is_off_is_named_in_time(lab: Lab, stand: Stand) -> None:
    spec, began = stand.spec(), SystemClock().monotonic()
    stand.runtime.instances("shop")
    least = SystemClock().monotonic() - began
    lab.cut("web1")
    began = SystemClock().monotonic()
    try:
        with pytest.raises(HostsUnreachable, match="web1 is unreachable"):
            stand.runtime.ensure(spec, within())
        with pytest.raises(HostsUnreachable, match="web1 is unreachable"):
            stand.runtime.instances("shop")
    finally:
        lab.heal()
    assert SystemClock().monotonic() - began < 30 + 3 * least


# -- containers of LXC


@pytest.fixture
def bridged(lab: Lab) -> Iterator[Machine]:
    """Yield a machine with a bridge for containers, whose network is reached through it."""
    require("lxc")
    machine = lab["web2"]
    for line in (
        "ip link add lxcbr0 address 00:16:3e:00:00:00 type bridge",  # pinned: else it follows its ports
        "ip address add 10.0.3.1/24 dev lxcbr0",
        "ip link set lxcbr0 up",
        "sysctl --quiet --write net.ipv4.ip_forward=1",
    ):
        machine.run(*line.split())
    call("ip", "route", "add", "10.0.3.0/24", "via", machine.address)
    try:
        yield machine
    finally:
        call("ip", "route", "del", "10.0.3.0/24")
        machine.run("ip", "link", "del", "lxcbr0")


def containers(machine: Machine) -> str:
    """What stands of containers: their files with their times, and the processes that they are."""
    files = "find /var/lib/lxc -mindepth 1 -maxdepth 2 -printf '%p %i %T@ %m %u\\n' | sort"
    script = f"{files}; lxc-ls --fancy --fancy-format=NAME,STATE,PID"
    return machine.run("sh", "-c", script).stdout


def test_containers_have_addresses_of_their_own(bridged: Machine, stand: Stand) -> None:
    archive = stand.folder / "root.tar"
    call("tar", "-C", stand.source, "-cf", archive, "app")
    before = containers(bridged)

    def spec(index: int) -> InstanceSpec:
        env = {"VERSION": "1.0", "TEXT": "a 'b' \"c\" $d \\\\ é"}
        made = stand.spec(verbs="lxc", image=str(archive), command=("/app",), env=env, limits={})
        return replace(made, index=index, host="web2")

    first, second = spec(1), spec(2)
    with ThreadPoolExecutor(2) as pool:
        one, two = pool.map(lambda each: stand.runtime.ensure(each, within()), (first, second))
    assert {one.address.partition(":")[0], two.address.partition(":")[0]} == {"10.0.3.254", "10.0.3.253"}
    assert one.address.rpartition(":")[2] == first.address.rpartition(":")[2]
    for made in (one, two):
        wait_until_it_answers(made)
    assert stand.runtime.instances("shop") == (one, two)

    stands = containers(bridged)
    assert stand.runtime.ensure(first, within()) == one
    assert containers(bridged) == stands

    stand.command = ("/app",)
    assert stand.printed(first, "env", "TEXT") == "a 'b' \"c\" $d \\\\ é\n"
    assert stand.printed(first, "cat", f"/run/deployer/{first.name}/PASSWORD") == 'hunter2 "{{ x }}" $HOME'
    assert stand.runtime.logs(one, 1) == (f"v=1.0 listening on {first.address.rpartition(':')[2]}",)

    bridged.run("lxc-stop", "-n", second.name, "-k")
    within().until(lambda: stand.runtime.instances("shop")[1].state == "exited", "its end is seen")
    for made in (one, two):
        stand.runtime.remove(made, 5, within())
    assert stand.runtime.instances("shop") == ()
    assert containers(bridged) == before


# -- a canary, as a user would deploy it


class UnitShop(Shop):
    """A service whose instances are units of systemd on the machines."""

    def __init__(self, folder: Path, lab: Lab) -> None:
        super().__init__(folder, "process", None)
        self.program = "c"
        write_inventory(lab, folder / "inventory", {"web": WEB})
        self.manifest["strategy"] = {"canary": {"steps": [30], "for": "2s", "bake": "1s"}}
        self.manifest |= {
            "runtime": "ansible",
            "verbs": "systemd",
            "hosts": "web",
            "inventory": "inventory",
            "replicas": 1,
        }
        self.write()


@pytest.fixture
def shop(lab: Lab, state: Path) -> Iterator[UnitShop]:
    """Yield a service with version 1.0 live on both machines."""
    folder = state / "s"
    folder.mkdir()
    made = UnitShop(folder, lab)
    try:
        made.version("1.0")
        made.deploy("up", "--version", "1.0")
        yield made
    finally:
        made.close()


def test_a_canary_of_units_under_load(shop: UnitShop, lab: Lab) -> None:
    shop.version("2.0")
    shop.version("3.0", {"ERR": "0.3"})
    with Load(shop.url, MIX) as load:
        load.until(lambda now: now.answered > 40, "the load runs")
        shop.deploy("canary", "--version", "2.0")
        load.mark("done")
        shop.deploy("canary", "--version", "3.0", expect=3)
        shop.deploy("rollback", "--again")  # the canary was rolled back a moment ago
        wanted = load.counters().answered + 60
        load.until(lambda now: now.answered >= wanted, "requests after the rollback")
        report = load.stop()
    assert report.only("fresh", "busy").failed == 0, report.text()
    assert shop.get().text == "1.0\n"
    assert all(not any("-r3-" in line for line in left_on(lab[name])) for name in WEB)
    lab["web1"].run("systemctl", "stop", f"deployer-{shop.name}-r1-1.service")
    assert f"{shop.name}-r1-1 is exited" in shop.deploy("doctor", expect=8).stdout
    shop.deploy("doctor", "--fix")
    states = {i["name"]: (i["state"], i["up"]) for e in shop.status()["environments"] for i in e["instances"]}
    assert states[f"{shop.name}-r1-1"] == ("running", True)
    shop.deploy("down", "-y")
    assert [left_on(lab[name]) for name in WEB] == [[], []]
    with pytest.raises(requests.ConnectionError):
        shop.get()
    assert not list((shop.state / "ansible" / "instances").iterdir())

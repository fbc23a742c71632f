"""Runtime `ansible` with the lifecycle playbooks `qemu`: virtual machines on a host, without KVM."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deployer.core.clock import SystemClock
from deployer.core.errors import DriverFailed
from deployer.core.host import Host, ServiceHosts
from deployer.drivers.hosts.verbs import AnsibleVerbs
from deployer.drivers.runtime.ansible import AnsibleRuntime
from deployer.drivers.runtime.ansible.host_presence import HostPresence
from deployer.drivers.runtime.ansible.runtime import Ground
from deployer.manifest.models import Manifest
from deployer.model import Instance, InstanceSpec, Release, SecretText
from tests.conformance.runtimes import answers, get, silent
from tests.lab import guest
from tests.lab.machines import Lab, Machine
from tests.lab.machines.programs import call
from tests.lab.package import package
from tests.live.shop import Shop
from tests.load import Load, Options
from tests.machines.conftest import write_inventory
from tests.ports import free_port
from tests.services import require
from tests.waiting import within

pytestmark = [pytest.mark.live, pytest.mark.xdist_group("virtual_machines")]
HOST, HOME, NETWORK = "vmhost", "/var/lib/deployer-machines", "10.0.4"
QUIET = Options(rate=20, kinds=("fresh", "busy", "post"))
SECONDS = 400.0  # for a machine without KVM to be there, where much else is done


@pytest.fixture(scope="module")
def disk() -> Path:
    """Return the image of the guest, made where there is a way to Debian's packages: out of the lab."""
    require("machines", "qemu")
    with Lab.outside():  # this process may stand in another lab by now
        return guest.made()


@pytest.fixture(scope="module")
def lab(disk: Path) -> Iterator[Lab]:
    require("machines", "ansible", "haproxy", "gcc", "qemu")
    with Lab({HOST: ()}) as made, made.entered():
        machine = made[HOST]
        for line in (
            "ip link add br0 address 02:00:00:00:00:01 type bridge",  # pinned: else it follows its ports
            f"ip address add {NETWORK}.1/24 dev br0",
            "ip link set br0 up",
            "chmod 0666 /dev/net/tun",  # as udev has it, which the host of the tests may lack
            "sysctl --quiet --write net.ipv4.ip_forward=1",
        ):
            machine.run(*line.split())
        call("ip", "route", "add", f"{NETWORK}.0/24", "via", machine.address)
        yield made


def variables(lab: Lab, **more: object) -> str:
    settings = {
        "qemu_accel": "tcg",
        "qemu_ssh_keys": [lab.key.with_suffix(".pub").read_text().strip()],
        "qemu_address_within": 300,
        **more,
    }
    return "".join(f"{name}: {value!r}\n" for name, value in settings.items())


class Stand:
    """A runtime `ansible` on the host of the machines."""

    def __init__(self, lab: Lab, disk: Path, folder: Path) -> None:
        self.lab, self.disk, self.folder = lab, disk, folder
        self.inventory = write_inventory(lab, folder / "inventory", {"web": (HOST,)})
        (self.inventory / "group_vars" / "web.yml").write_text(variables(lab))
        address = lab[HOST].address
        host = Host(HOST, address, "ssh", address, None, "root", str(lab.key), tuple(lab.ssh_args.split()))
        clock = SystemClock()
        ground = Ground(folder / "state", "here", folder)
        verbs = AnsibleVerbs(self.inventory)
        self.runtime = AnsibleRuntime(ground, verbs, ServiceHosts((host,)), HostPresence(clock), clock)

    def spec(self, number: int = 1, **settings: object) -> InstanceSpec:
        manifest = Manifest.model_validate(
            {
                "service": "shop",
                "image": str(self.disk),
                "port": 8080,
                "runtime": "ansible",
                "verbs": "qemu",
                "secrets": {"PASSWORD": {"env": "X"}, "TOKEN": {"env": "Y", "deliver": "env"}},
                "limits": {"memory": "192m"},
                "stop": {"grace": "60s"},
                **settings,
            }
        )
        pinned = self.runtime.resolve(manifest, manifest.image, within(), silent)
        release = Release("shop", number, "1.0", manifest.image, pinned.id, manifest, "one")
        secrets = {"PASSWORD": SecretText('hunter2 "{{ x }}" $HOME'), "TOKEN": SecretText('sword\\fish `x` $Y "z"')}
        return InstanceSpec(release, "blue", 1, 7, f"{self.lab[HOST].address}:{free_port()}", secrets, HOST)

    def settings(self, **more: object) -> None:
        (self.inventory / "group_vars" / "web.yml").write_text(variables(self.lab, **more))

    def ssh(self, instance: Instance, *command: str) -> str:
        """Run a command in a machine, which must show the key that was made for it."""
        address = instance.address.partition(":")[0]
        key = self.lab[HOST].run("cat", f"{HOME}/{instance.name}/ssh_host_key.pub").stdout.split()[:2]
        known = self.folder / "known"
        known.write_text(f"{address} {' '.join(key)}\n")
        options = ("-o", f"UserKnownHostsFile={known}", "-o", "BatchMode=yes", "-i", str(self.lab.key))
        return call("ssh", *options, f"root@{address}", *command).stdout


@pytest.fixture
def stand(lab: Lab, disk: Path, tmp_path: Path) -> Stand:
    return Stand(lab, disk, tmp_path)


def left_on(machine: Machine) -> str:
    """What stands on the host of any machine: units, folders, images, their cables."""
    script = f"""systemctl list-units --all --plain --no-legend 'deployer-*'; ls /run/deployer /etc/systemd/system |
        grep deployer-; ls -d {HOME}/*/ {HOME}/images/*; ip -brief link | grep ^dep"""
    return machine.run("sh", "-c", script, check=False).stdout.replace(f"{HOME}/images/\n", "")


def state_of(machine: Machine, name: str) -> str:
    """Everything of a machine that a second `ensure` must not change."""
    script = f"""find {HOME}/{name} {HOME}/images /etc/systemd/system/deployer-{name}.service ! -name disk \\
            ! -name .lock ! -name image ! -path {HOME}/images -printf '%p %i %T@ %m %u\\n' | sort
        systemctl show --property=InvocationID,NRestarts,UnitFileState deployer-{name}.service"""
    return machine.run("sh", "-c", script).stdout


def there(instance: Instance, path: str = "/version") -> None:
    within(SECONDS).until(lambda: answers(instance, path), f"{instance.name} answers on {instance.address}")


def test_a_machine_is_made_left_alone_and_taken_away(lab: Lab, stand: Stand) -> None:
    machine = lab[HOST]
    spec = stand.spec(env={"VERSION": "1.5", "DRAIN": "20000", "TEXT": 'a "b" $c \\ `d` %n é'})
    made = stand.runtime.ensure(spec, within(SECONDS))
    assert (made.address, made.state, made.host) == (f"{NETWORK}.254:8080", "running", HOST)
    there(made)
    assert get(made, "/version", 30).text == "1.5\n"
    assert stand.runtime.instances("shop") == (made,)
    assert any("v=1.5 listening on 8080" in line for line in stand.runtime.logs(made, 30))

    before = state_of(machine, spec.name)
    assert stand.runtime.ensure(spec, within(SECONDS)) == made
    assert state_of(machine, spec.name) == before

    script = f'. /etc/deployer/env; printf "%s\\n" "$TEXT" "$TOKEN"; cat /run/deployer/{spec.name}/PASSWORD'
    assert stand.ssh(made, script).splitlines() == [
        'a "b" $c \\ `d` %n é',
        'sword\\fish `x` $Y "z"',
        'hunter2 "{{ x }}" $HOME',
    ]
    shown = machine.run("sh", "-c", "{ journalctl --output=export; ps -efww; } | tr -cd '\\11\\12\\40-\\176'").stdout
    assert "hunter2" not in shown
    assert "sword" not in shown
    assert machine.run("sh", "-c", "ps -o user= -C qemu-system-x86_64").stdout.strip() != "root"

    statuses: list[int] = []
    slow = threading.Thread(target=lambda: statuses.append(get(made, "/slow?ms=10000", 120).status_code))
    slow.start()
    within(60).until(lambda: get(made, "/stats", 30).json()["inflight"] == 1, "the slow request")
    stand.runtime.remove(made, 60, within(SECONDS))
    slow.join()
    assert statuses == [200]
    stand.runtime.remove(made, 60, within(SECONDS))
    assert stand.runtime.instances("shop") == ()
    assert left_on(machine) == ""


def refused(stand: Stand, **settings: Any) -> str:
    with pytest.raises(DriverFailed) as told:
        stand.runtime.ensure(stand.spec(**settings), within(SECONDS))
    assert stand.runtime.instances("shop") == ()
    assert left_on(stand.lab[HOST]) == ""
    return str(told.value)


def test_what_a_host_lacks_is_said_at_once_and_nothing_is_made(lab: Lab, stand: Stand) -> None:
    machine = lab[HOST]
    small = "/mnt/small"
    machine.run("mkdir", "-p", small)
    machine.run("mount", "-t", "tmpfs", "-o", "size=100m", "tmpfs", small)
    machine.run("mv", "/usr/bin/qemu-system-x86_64", "/usr/bin/hidden")
    stand.settings(qemu_home=f"{small}/vms", qemu_bridge="nothere")
    try:
        told = refused(stand, limits={"memory": "9000g"})
        assert machine.run("ls", small).stdout == ""
    finally:
        machine.run("mv", "/usr/bin/hidden", "/usr/bin/qemu-system-x86_64")
        machine.run("umount", small)
    assert "shop-r1-1: create.yml: task 'Stop here if it cannot' failed on vmhost: " in told
    for sentence in (
        "qemu-system-x86_64 is not installed (apt-get install qemu-system-x86)",
        "there is no bridge nothere; make it, or name another by qemu_bridge",
        "/mnt/small has 100 MiB free, and the machine needs 3",
        "of memory are available, and limits.memory is 9216000 MiB",
    ):
        assert sentence in told


def test_a_machine_without_an_address_is_given_up_with_what_its_console_says(stand: Stand) -> None:
    stand.settings(qemu_address="lease", qemu_address_within=20)  # nobody gives addresses here
    told = refused(stand)
    assert "the machine got no address from DHCP within 20 s on br0; its console says: " in told


def test_a_machine_that_does_not_start_is_told_with_what_qemu_says(stand: Stand) -> None:
    stand.settings(qemu_cpu="nonsense")
    assert "unable to find CPU model 'nonsense'" in refused(stand, number=7)


# -- as a user would deploy it, with a package brought onto the machine by ssh

UPDATE = """\
- name: Reach the twins
  ansible.builtin.import_playbook: "{{ deployer_playbooks }}/machines.yml"

- name: Bring the package of this version
  hosts: machines
  gather_facts: false
  tasks:
    - name: Copy it
      ansible.builtin.copy:
        src: "app_{{ deployer_version }}.deb"
        dest: /tmp/app.deb
        mode: "0644"

    - name: Install it, and start the program again
      ansible.builtin.shell: dpkg -i /tmp/app.deb && kill $(cat /run/app.pid)
"""


class MachineShop(Shop):
    """A service whose instances are virtual machines."""

    seconds = 600  # without KVM, where much else is done

    def __init__(self, folder: Path, lab: Lab, disk: Path) -> None:
        super().__init__(folder, "process", None)
        inventory = write_inventory(lab, folder / "inventory", {"web": (HOST,)})
        (inventory / "group_vars" / "web.yml").write_text(variables(lab))
        (folder / "group_vars").mkdir()
        (folder / "group_vars" / "machines.yml").write_text(
            f"ansible_user: root\nansible_ssh_private_key_file: {lab.key}\n"
        )
        (folder / "update.yml").write_text(UPDATE)
        del self.manifest["command"]
        self.manifest |= {
            "image": str(disk),
            "runtime": "ansible",
            "verbs": "qemu",
            "hosts": "web",
            "inventory": "inventory",
            "replicas": 1,
            "limits": {"memory": "192m"},
            "update": ["update.yml"],
            "env": {"DRAIN": "20000"},
            "stop": {"drain": "20s", "grace": "60s"},
            "health": {"http": "/health", "interval": "500ms", "deadline": "120s"},
            "strategy": {"canary": {"steps": [5, 50], "for": "5s", "bake": "1s"}},
        }
        self.write()

    def version(self, version: str, env: object = None) -> None:
        """Make the package of a version."""
        package(self.folder / f"app_{version}.deb", version, {"etc/app.env": f"VERSION={version}\n"})


@pytest.fixture
def shop(lab: Lab, disk: Path, state: Path, request: pytest.FixtureRequest) -> Iterator[MachineShop]:
    """Yield a service with version 1.0 live on one machine, with keys of its manifest as a parameter."""
    folder = state / "s"
    folder.mkdir()
    made = MachineShop(folder, lab, disk)
    made.write(**getattr(request, "param", {}))
    try:
        made.version("1.0")
        made.deploy("up", "--version", "1.0")
        yield made
    finally:
        made.close()


def test_a_canary_of_machines_under_load_there_and_back(shop: MachineShop, lab: Lab) -> None:
    """Each gets its package by Ansible before users meet it; nobody loses a request."""
    assert shop.get().text == "1.0\n"
    shop.version("2.0")
    shop.write(env={**shop.manifest["env"], "UPDATES": "2.0"})  # the image is the same
    with Load(shop.url, QUIET) as load:
        load.until(lambda now: now.answered > 40, "the load runs")
        shop.deploy("canary", "--version", "2.0")
        assert shop.get().text == "2.0\n"
        shop.deploy("rollback")
        wanted = load.counters().answered + 40
        load.until(lambda now: now.answered >= wanted, "requests after the rollback")
        report = load.stop()
    assert report.failed == 0, report.text()
    assert shop.get().text == "1.0\n"
    shop.deploy("down", "-y")
    assert left_on(lab[HOST]) == ""


@pytest.mark.parametrize("shop", [{"keep": {"warm": "1h", "paused": True}}], indirect=True)
def test_the_former_machine_is_paused_and_goes_on_where_it_was(
    shop: MachineShop, lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its memory is kept and its processors are not; a rollback under load has it go on, and nobody loses a request."""

    def process(release: int) -> str:
        return lab[HOST].run("systemctl", "show", "--property=MainPID", f"deployer-{shop.name}-r{release}-1").stdout

    def ticks(release: int) -> int:
        number = process(release).strip().removeprefix("MainPID=")
        return sum(map(int, lab[HOST].run("cat", f"/proc/{number}/stat").stdout.rpartition(")")[2].split()[11:13]))

    def states() -> dict[int, str]:
        return {e["release"]: i["state"] for e in shop.status()["environments"] for i in e["instances"]}

    first = process(1)
    shop.version("2.0")
    shop.write(env={**shop.manifest["env"], "UPDATES": "2.0"})
    with Load(shop.url, QUIET) as load:
        load.until(lambda now: now.answered > 40, "the load runs")
        canary = shop.told("canary", "--version", "2.0")
        assert states() == {1: "paused", 2: "running"}
        began = ticks(1)
        wanted = load.counters().answered + 40
        load.until(lambda now: now.answered >= wanted, "requests while it is paused")
        assert ticks(1) - began < 20, "a paused machine has no processor time"
        back = shop.told("rollback", "-m", "back")
        assert states() == {1: "running", 2: "paused"}
        assert shop.get().text == "1.0\n"
        wanted = load.counters().answered + 40
        load.until(lambda now: now.answered >= wanted, "requests after the rollback")
        report = load.stop()
    assert report.failed == 0, report.text()
    assert process(1) == first, "it is the same machine, not one that was started again"
    assert shop.deploy("doctor", expect=0).returncode == 0
    shop.deploy("down", "-y")  # one that is paused shuts down, too
    assert left_on(lab[HOST]) == ""
    with capsys.disabled():
        for name, told in (("canary", canary), ("rollback", back)):
            print(f"\n{name}:", *(f"{e['step']} {e['seconds']}" for e in told.all("step.done")), sep="\n  ")

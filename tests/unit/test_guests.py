"""Guests: terms of tenants, what a guest may not ask for, what a host is told to do."""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deployer.app import operations
from deployer.app.guests import overview
from deployer.app.operations import DeployRequest
from deployer.app.releases import config_hash
from deployer.app.wiring import open_house
from deployer.app.work_tree import git_revision
from deployer.core.clock import Deadline, SystemClock
from deployer.core.errors import DriverFailed, Exit, ManifestRefused, Refused
from deployer.drivers.runtime.docker.ground import HostGround
from deployer.drivers.runtime.docker.guests import bridge, refuse_unbounded
from deployer.manifest import tenants
from deployer.manifest.load import load
from deployer.manifest.models import Manifest
from deployer.model import GuestTerms, Release, read_hosts
from deployer.planning import release_record, tenancy
from deployer.planning.strategy import fitting, of_manifest
from tests.house import Scene, manifest

FILE = """
lent: {memory: 2g}
tenants:
  acme: {cpus: 1, memory: 512m, services: 1, evict: 5s}
  past: {cpus: 0.5, memory: 256m, until: 2020-02-29}
  far: {hosts: web, cpus: 0.5, memory: 256m}
"""
TERMS = GuestTerms("acme", cpus=1, memory=512 * 1024**2, pids=256, lent_memory=2 * 1024**3, evict=5)
PLAIN: dict[str, Any] = {"service": "blog", "image": "blog:1", "port": 80, "tenant": "acme"}


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    found = tmp_path / "tenants.yml"
    found.write_text(FILE)
    monkeypatch.setenv("DEPLOYER_TENANTS", str(found))
    return found


@pytest.fixture
def scene(state: Path, file: Path) -> Iterator[Scene]:
    made = Scene(state)
    with made.house:
        yield made


def release(**more: Any) -> Release:
    given = {"image": "blog:1", "image_id": "sha256:1", "manifest": manifest(**PLAIN), "config_hash": "c", **more}
    return Release("blog", 1, "1.0", **given)


# -- tenants.yml


def test_terms_are_those_of_the_file_with_what_is_lent_in_all(file: Path) -> None:
    found = tenants.read(file)
    assert tenancy.terms(found, "acme", file) == replace(TERMS, file=str(file), dns=found.dns, reserve=512 * 1024**2)
    assert tenancy.terms(found, "far", file).lent_memory == 2 * 1024**3
    with pytest.raises(Refused, match=r"has no tenant beta\n.*there are acme, past, far"):
        tenancy.terms(found, "beta", file)


def test_without_what_is_lent_in_all_it_is_the_sum(file: Path) -> None:
    file.write_text("tenants: {a: {cpus: 1, memory: 100m}, b: {cpus: 1, memory: 200m}}")
    assert tenancy.terms(tenants.read(file), "a", file).lent_memory == 300 * 1024**2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tenants: {acme: {cpus: 1}}", r"tenants.acme.memory: is missing"),
        ("tenants: {acme: {cpu: 1, memory: 1g}}", r"cpu: is not a key .*did you mean `cpus`"),
        ("tenants: {Acme: {cpus: 1, memory: 1g}}", r"tenants.Acme: must be the name of a tenant"),
        (
            "lent: {memory: 1g}\ntenants: {acme: {cpus: 1, memory: 2g}}",
            r"acme.memory: is more than what is lent",
        ),
        ("tenants: {acme: {cpus: 1, memory: 1g, network: all}}", r"tenants.acme.network: must be"),
        ("tenants: {acme: {cpus: 1, memory: 1g, until: soon}}", r"tenants.acme.until: must be a day"),
        ("tenants: {acme: {cpus: 1, memory: 1g, hours: {from: 0 9 * * *, to: 0 9 * * *}}}", r"hours.to: they end when"),
        ("dns: [here]\ntenants: {acme: {cpus: 1, memory: 1g}}", r"dns\[0\]"),
        ("tenants: {}", "tenants"),
    ],
)
def test_what_is_wrong_in_the_file_is_named_with_its_place(file: Path, text: str, said: str) -> None:
    file.write_text(text)
    with pytest.raises(ManifestRefused, match=said) as refused:
        tenants.read(file)
    assert "tenants.yml:" in str(refused.value)


def test_it_lies_beside_the_inventory_unless_the_environment_names_it(tmp_path: Path) -> None:
    assert tenants.path_for("inventories/production", tmp_path, {}) == tmp_path / "inventories" / "tenants.yml"
    assert tenants.path_for(None, tmp_path, {}) == tmp_path / "tenants.yml"
    assert tenants.path_for("mine", tmp_path, {"DEPLOYER_TENANTS": "/etc/tenants.yml"}) == Path("/etc/tenants.yml")


def test_hours_and_the_last_day_say_when_nothing_may_run() -> None:
    day = 1_790_000_000.0 // 86_400 * 86_400
    own = tenants.TenantTerms.model_validate(
        {"cpus": 1, "memory": "1g", "hours": {"from": "0 20 * * *", "to": "0 6 * * *"}, "until": "2100-01-01"}
    )
    assert own.refused_at(day + 12 * 3600).startswith("its hours begin at")
    assert own.refused_at(day + 22 * 3600) == ""
    assert own.refused_at(own.ends).startswith("its time was over")


def test_terms_that_cannot_be_read_any_more_are_those_that_were_recorded(file: Path) -> None:
    recorded = replace(TERMS, file=str(file), pids=1)
    assert tenancy.current(recorded).pids == 256
    file.write_text("tenants: [")
    assert tenancy.current(recorded) == recorded


# -- what a guest may not ask for


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("mounts", [{"source": "/", "target": "/host"}]),
        ("mounts", [{"source": "data", "target": "/data"}]),
        ("networks", ["host"]),
        ("build", "."),
        ("env_file", ["/etc/shadow"]),
        ("update", [{"run": ["id"]}]),
        ("hooks", {"before": [{"run": ["id"]}]}),
        ("hooks", {"on_done": [{"playbook": "x.yml"}]}),
        ("migrate", {"expand": [{"run": ["id"]}]}),
        ("schedule", {"spin": {"cron": "* * * * *", "command": ["spin"]}}),
        ("notify", {"to": [{"name": "me", "webhook": "URL", "key": "KEY"}]}),
        ("secrets", {"KEY": {"file": "/etc/shadow", "deliver": "env"}}),
        ("secrets", {"KEY": {"command": ["id"], "deliver": "env"}}),
        ("secrets", {"KEY": {"env": "PGPASSWORD", "deliver": "env"}}),
        ("secrets", {"KEY": {"env": "ACME_KEY"}}),
        ("runtime", "process"),
        ("scale", {"min": 0, "max": 2, "concurrency": 4}),
        ("traffic", {"domains": ["a.example.com"], "tls": {"auto": {"dns": {"run": ["id"]}}}}),
        ("traffic", {"domains": ["a.example.com"], "tls": {"auto": {"dns": {"lego": "cloudflare"}}}}),
        ("traffic", {"domains": ["a.example.com"], "tls": {"auto": {"ca": "/etc/shadow"}}}),
        ("traffic", {"domains": ["a.example.com"], "tls": {"auto": {"directory": "https://10.0.0.1/"}}}),
    ],
)
def test_what_is_of_the_host_or_its_owner_is_refused(key: str, value: Any) -> None:
    more = {"command": ["x"]} if value == "process" else {}
    ours = r"guest|keep guests apart|hosts? of|room for|the disk of|runs of jobs|from within"
    with pytest.raises(ValueError, match=ours) as refused:
        Manifest.model_validate({**PLAIN, key: value, **more})
    assert key in str(refused.value)


@pytest.mark.parametrize("key", ["privileged", "cap_add", "devices", "network_mode", "pid", "ipc", "security_opt"])
def test_what_no_service_may_have_has_no_key(key: str, tmp_path: Path) -> None:
    (tmp_path / "deploy.yml").write_text(f"service: blog\nimage: blog:1\nport: 80\ntenant: acme\n{key}: all\n")
    with pytest.raises(ManifestRefused, match=f"{key}: is not a key"):
        load(tmp_path, environ={})


def test_the_deployers_variables_are_not_for_guests(tmp_path: Path) -> None:
    text = "service: blog\nimage: blog:1\nport: 80\nenv: {A: $WHAT}\n".replace("$WHAT", '"${PGPASSWORD}"')
    (tmp_path / "deploy.yml").write_text(text)
    assert load(tmp_path, environ={"PGPASSWORD": "x"}).manifest.env == {"A": "x"}
    (tmp_path / "deploy.yml").write_text(f"{text}tenant: acme\n")
    with pytest.raises(ManifestRefused, match="PGPASSWORD"):
        load(tmp_path, environ={"PGPASSWORD": "x"})


def test_strategies_beside_the_manifest_of_a_guest_are_not_loaded(scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "strategies").mkdir()
    (tmp_path / "strategies" / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    (tmp_path / "deploy.yml").write_text("service: blog\nimage: blog:1\nport: 80\ntenant: acme\nstrategy: evil\n")
    with pytest.raises(ManifestRefused, match="there is no strategy 'evil'"):
        load(tmp_path, environ={}, also=of_manifest)
    (tmp_path / "deploy.yml").write_text("service: blog\nimage: blog:1\nport: 80\ntenant: acme\n")
    found = load(tmp_path, environ={}, also=of_manifest)
    with pytest.raises(Refused, match="there is no strategy 'evil'"):
        operations.deploy(scene.house, DeployRequest(found, "evil", {}))
    assert "evil" not in fitting(found.manifest, tmp_path, alone=False)
    assert not (tmp_path / "ran").exists()
    ours = found.manifest.model_copy(update={"tenant": None})
    assert "evil" in fitting(ours, tmp_path, alone=False), "an owner's are"


@pytest.mark.parametrize("inventory", ["hosts.sh", "../theirs/hosts.sh", "link.sh"])
def test_an_inventory_that_is_not_the_owners_is_not_read(
    scene: Scene, file: Path, tmp_path: Path, inventory: str
) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "hosts.sh").write_text(f"#!/bin/sh\ntouch {tmp_path / 'ran'}\necho '{{}}'\n")
    (theirs / "hosts.sh").chmod(0o755)
    (theirs / "link.sh").symlink_to("hosts.sh")
    guest = {"service": "blog", "image": "blog:1", "port": 80, "tenant": "far", "hosts": "web", "inventory": inventory}
    described = Manifest.model_validate(guest)
    said = f"inventory: {inventory} is not that of the owner of the hosts, which is beside {file}"
    with pytest.raises(Refused, match=re.escape(said)):
        scene.deploy("1.0", manifest=guest)
    with open_house(tmp_path / "other") as real, pytest.raises(Refused, match=re.escape(said)):
        real.find(described, theirs)
    assert not (tmp_path / "ran").exists()
    tenants.refuse_foreign(str(file.parent / "inventory"), theirs, os.environ)


def test_a_repository_among_the_files_of_a_guest_runs_nothing(tmp_path: Path) -> None:
    inside = tmp_path / "theirs"
    git = ["git", "-c", "safe.bareRepository=all", "-C", str(inside)]
    subprocess.run(["git", "init", "-q", "--bare", str(inside)], check=True)
    for name, value in (("core.bare", "false"), ("core.worktree", str(inside))):
        subprocess.run([*git, "config", name, value], check=True)
    subprocess.run([*git, "config", "core.fsmonitor", f"touch {tmp_path / 'ran'}; :"], check=True)
    who = ("-c", "user.name=x", "-c", "user.email=x@example.com")
    subprocess.run([*git, *who, "commit", "-q", "--allow-empty", "-m", "x"], check=True)
    (tmp_path / "ran").unlink(missing_ok=True)
    assert git_revision(inside) == ""
    assert not (tmp_path / "ran").exists()


def test_a_link_beside_the_manifest_of_a_guest_leads_to_no_variables(tmp_path: Path) -> None:
    (tmp_path / "ours.env").write_text("PGPASSWORD=geheim\n")
    folder = tmp_path / "theirs"
    folder.mkdir()
    (folder / ".env").symlink_to(tmp_path / "ours.env")
    text = 'service: blog\nimage: blog:1\nport: 80\nenv: {A: "${PGPASSWORD}"}\n'
    (folder / "deploy.yml").write_text(text)
    assert load(folder, environ={}).manifest.env == {"A": "geheim"}
    (folder / "deploy.yml").write_text(f"{text}tenant: acme\n")
    with pytest.raises(ManifestRefused, match=r"\.env: cannot be read: ") as refused:
        load(folder, environ={})
    assert "geheim" not in str(refused.value)


# -- a deploy


def deploy(scene: Scene, **more: Any) -> Any:
    return scene.deploy("1.0", manifest={"service": "blog", "image": "blog:1", "tenant": "acme", **more})


def test_a_guest_is_deployed_under_its_terms(scene: Scene, file: Path) -> None:
    assert deploy(scene).exit == Exit.DONE
    made = scene.house.store.releases.get("blog", 1)
    assert made.terms == tenancy.terms(tenants.read(file), "acme", file)
    assert (made.manifest.stop.drain, made.manifest.stop.grace) == (5, 5)
    (row, *_) = overview(scene.house, file).tenants
    assert (row.name, row.services) == ("acme", ("blog",))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"tenant": "beta"}, "has no tenant beta"),
        ({"tenant": "past"}, r"blog is a guest of past: its time was over on .* \(`until`\)"),
    ],
)
def test_a_tenant_that_may_not_run_is_refused(scene: Scene, more: dict[str, Any], said: str) -> None:
    with pytest.raises(Refused, match=said):
        deploy(scene, **more)
    assert scene.house.store.services.all() == ()


def test_a_tenant_has_no_more_services_than_its_terms_say(scene: Scene) -> None:
    deploy(scene)
    with pytest.raises(Refused, match=r"acme may have 1 service \(`services`\), and has blog"):
        deploy(scene, service="chat")


def test_a_service_of_the_owner_does_not_become_a_guest(scene: Scene) -> None:
    scene.deploy("1.0")
    with pytest.raises(Refused, match="shop: tenant cannot change in a rollout"):
        deploy(scene, service="shop")


def test_a_host_that_is_not_lent_is_refused(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    from deployer.core.host import LOCAL, Meant

    web = replace(LOCAL, name="web1")
    monkeypatch.setattr(scene.house, "find", lambda m, _f: Meant((web,)) if m.hosts == "web" else Meant())
    with pytest.raises(Refused, match="this host: not lent to far, whose hosts are web"):
        deploy(scene, tenant="far")


# -- a release


def test_terms_survive_the_store_and_the_label() -> None:
    made = release(terms=TERMS)
    assert read_hosts(made.hosts_record())["terms"] == TERMS
    assert release_record.read(release_record.write(made)).terms == TERMS
    assert "terms" not in read_hosts(release().hosts_record())


def test_other_limits_are_another_release_and_what_is_seen_to_beside_is_not() -> None:
    of = manifest(**PLAIN)
    same, same_too = (config_hash("i", of, {}, "k", replace(TERMS, evict=each)) for each in (5, 9))
    assert same == same_too != config_hash("i", of, {}, "k", replace(TERMS, memory=1))
    assert config_hash("i", manifest(), {}, "k") == config_hash("i", manifest(), {}, "k", TERMS)


def test_a_guest_without_terms_is_never_started() -> None:
    with pytest.raises(DriverFailed, match=r"r1 \(1.0\) is a guest of acme, and its terms are not recorded"):
        refuse_unbounded(release())
    refuse_unbounded(release(terms=TERMS))
    refuse_unbounded(release(manifest=manifest()))


def test_the_bridge_of_a_tenant_fits_into_the_name_of_an_interface() -> None:
    assert len(bridge("a" * 32)) <= 15
    assert bridge("a") != bridge("b")


# -- what a host is told, with its cgroups in a folder


def ground(root: Path, bin_: Path) -> HostGround:
    path = f"{bin_}:{os.environ['PATH']}"
    places = (f"CGROUPS={root}", f"STATE={root}.state", f"UNITS={root}.units", f"PRESSURE={root}.pressure")
    return HostGround(lambda words: ["env", f"PATH={path}", *places, *words])


def told(ground: HostGround, *words: str) -> list[str]:
    return ground.do(*words, deadline=Deadline.after(SystemClock(), 60))


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """Return a folder with programs that note what they are told; nobody is root here, so `id` says so."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in (
        ("id", "echo 0"),
        ("systemctl", f'echo "$*" >> {tmp_path}/systemctl'),
        ("nft", f"cat >> {tmp_path}/nft"),
    ):
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    return folder


def test_cgroups_of_version_2_get_limits_and_the_lowest_weight(tmp_path: Path, programs: Path) -> None:
    root, files = tmp_path / "cg", ("cpu.max", "memory.max", "memory.swap.max", "pids.max", "cpu.weight", "io.weight")
    for group in ("deployer-guests", "deployer-guests/acme"):
        (root / group).mkdir(parents=True)
        for name in files:
            (root / group / name).touch()
    (root / "cgroup.controllers").touch()
    told(ground(root, programs), "bound", "cgroupfs", "4096", "0", "acme", "2048", "1.5", "64")

    def read(group: str) -> list[str]:
        return [(root / group / name).read_text().strip() for name in files]

    assert read("deployer-guests") == ["max 100000", "4096", "0", "100000", "1", "1"]
    assert read("deployer-guests/acme") == ["150000 100000", "2048", "0", "64", "", ""]


def test_guests_have_their_part_until_the_last_who_raised_it_lowers_it(tmp_path: Path, programs: Path) -> None:
    root, weight = tmp_path / "cg", tmp_path / "cg" / "deployer-guests" / "cpu.weight"
    weight.parent.mkdir(parents=True)
    weight.touch()
    idle = weight.with_name("cpu.idle")
    (root / "cgroup.controllers").touch()
    for verb, name, found in (("raise", "a", "100"), ("raise", "b", "100"), ("lower", "a", "100"), ("lower", "b", "1")):
        told(ground(root, programs), verb, "cgroupfs", name)
        assert told(ground(root, programs), "weighs", "cgroupfs") == [found]
    told(ground(root, programs), "raise", "cgroupfs", "killed")
    os.utime(tmp_path / "cg.state" / "raised.killed", (0, 0))
    told(ground(root, programs), "lower", "cgroupfs", "another")
    assert weight.read_text() == "1\n"
    idle.touch()
    for verb, found in (("lower", "idle"), ("raise", "100"), ("lower", "idle")):
        told(ground(root, programs), verb, "cgroupfs", "a")
        assert told(ground(root, programs), "weighs", "cgroupfs") == [found]


def test_there_is_nothing_to_raise_on_a_host_that_has_no_guest_yet(tmp_path: Path, programs: Path) -> None:
    root, weight = tmp_path / "cg", tmp_path / "cg" / "deployer-guests" / "cpu.weight"
    root.mkdir()
    (root / "cgroup.controllers").touch()
    told(ground(root, programs), "raise", "cgroupfs", "a")
    weight.parent.mkdir()
    for name in ("cpu.weight", "cpu.max", "memory.max", "pids.max"):
        for group in (weight.parent, weight.parent / "acme"):
            group.mkdir(exist_ok=True)
            (group / name).touch()
    told(ground(root, programs), "bound", "cgroupfs", "4096", "0", "acme", "2048", "1.5", "64")
    assert weight.read_text() == "100\n", "it was raised before it was made"


def test_a_tenant_has_used_nothing_since_the_host_was_started_until_it_has_a_group(
    tmp_path: Path, programs: Path
) -> None:
    root = tmp_path / "cg"
    root.mkdir()
    (root / "cgroup.controllers").touch()
    assert told(ground(root, programs), "used", "cgroupfs", "acme")[:3] == ["0", "0", "0"]
    group = root / "deployer-guests" / "acme"
    group.mkdir(parents=True)
    for name, text in (("cpu.stat", "usage_usec 7"), ("memory.current", "8"), ("pids.current", "9")):
        (group / name).write_text(f"{text}\n")
    assert told(ground(root, programs), "used", "cgroupfs", "acme")[:3] == ["7", "8", "9"]


def test_with_systemd_the_groups_are_slices(tmp_path: Path, programs: Path) -> None:
    root = tmp_path / "cg"
    root.mkdir()
    (root / "cgroup.controllers").touch()
    told(ground(root, programs), "bound", "systemd", "4096", "2", "ac-me", "2048", "1.5", "64")
    assert (tmp_path / "systemctl").read_text().splitlines() == [
        "start deployer-guests.slice",
        "set-property deployer-guests.slice MemoryMax=4096 MemorySwapMax=0 CPUQuota=200% TasksMax=100000",
        "start deployer-guests-ac_me.slice",
        "set-property deployer-guests-ac_me.slice MemoryMax=2048 MemorySwapMax=0 CPUQuota=150% TasksMax=64",
        "set-property --runtime deployer.slice CPUWeight=idle IOWeight=1",
    ]
    (root / "deployer.slice").mkdir()
    (root / "deployer.slice" / "cpu.idle").write_text("1\n")
    assert told(ground(root, programs), "weighs", "systemd") == ["idle"], "where it was set"


def test_a_process_that_is_not_in_the_group_of_its_tenant_is_told(tmp_path: Path, programs: Path) -> None:
    with pytest.raises(DriverFailed, match=r"\(holds\): .*its process is in .*, and not in /deployer-guests/acme"):
        told(ground(tmp_path, programs), "holds", "cgroupfs", "acme", str(os.getpid()))
    told(ground(tmp_path, programs), "holds", "cgroupfs", "acme", "0")


def test_a_network_is_in_one_set_and_no_longer_in_the_other(tmp_path: Path, programs: Path) -> None:
    told(ground(tmp_path, programs), "fence", "dg-1", "out")
    rules = (tmp_path / "nft").read_text().splitlines()
    assert 'add element inet deployer_guests out { "dg-1" }' in rules
    assert 'delete element inet deployer_guests none { "dg-1" }' in rules
    assert rules[-1] == "add rule inet deployer_guests guest drop"


def test_a_limit_that_the_kernel_does_not_take_is_an_error(tmp_path: Path, programs: Path) -> None:
    (tmp_path / "cgroup.controllers").touch()
    with pytest.raises(DriverFailed, match=r"this host cannot keep guests \(bound\): .*there is no .*cpu.max"):
        told(ground(tmp_path, programs), "bound", "cgroupfs", "4096", "0", "acme", "2048", "1.5", "64")


@pytest.fixture
def watching(tmp_path: Path, programs: Path) -> HostGround:
    """Return a host with all that a watch over pressure needs."""
    group = tmp_path / "cg" / "deployer-guests" / "acme"
    group.mkdir(parents=True)
    for name, text in (("cpu.stat", "usage_usec 7"), ("memory.current", "8"), ("pids.current", "9")):
        (group / name).write_text(f"{text}\n")
    for name in ("cgroup.controllers", "cgroup.procs"):
        (tmp_path / "cg" / name).touch()
    for name in ("cg.units", "cg.pressure"):
        (tmp_path / name).mkdir()
    (tmp_path / "cg.pressure" / "memory").touch()
    return ground(tmp_path / "cg", programs)


PROGRAM = r"""print("\n", '\\')
# it is"""


def test_a_host_gets_a_unit_that_watches_and_a_second_time_changes_nothing(
    watching: HostGround, tmp_path: Path
) -> None:
    def calls() -> list[str]:
        return (tmp_path / "systemctl").read_text().splitlines()

    unit, program = tmp_path / "cg.units" / "deployer-pressure.service", tmp_path / "cg.state" / "pressure_watch.py"
    told(watching, "watch", "cgroupfs", "/run/docker.sock", PROGRAM)
    assert program.read_text() == f"{PROGRAM}\n"
    assert f" -I {program} {tmp_path}/cg deployer-guests {tmp_path}/cg.state /run/docker.sock\n" in unit.read_text()
    assert calls() == ["daemon-reload", "restart deployer-pressure.service"]
    assert told(watching, "used", "cgroupfs", "acme")[3:] == ["deployer-pressure.service does not run", "", ""]
    with (tmp_path / "cg.state" / "watch").open("w") as running:
        fcntl.flock(running, fcntl.LOCK_EX)
        assert told(watching, "used", "cgroupfs", "acme") == ["7", "8", "9", "", "", ""]
        told(watching, "watch", "cgroupfs", "/run/docker.sock", PROGRAM)
        assert len(calls()) == 2
        told(watching, "watch", "cgroupfs", "/run/docker.sock", "import that")
        assert len(calls()) == 4


@pytest.mark.parametrize(
    ("gone", "said"),
    [
        ("cg.pressure/memory", "its kernel tells no pressure (psi=1 on its command line)"),
        ("cg/cgroup.procs", "it has no cgroup v2"),
        ("cg.units", "it does not run systemd"),
    ],
)
def test_why_a_host_does_not_watch_is_said(watching: HostGround, tmp_path: Path, gone: str, said: str) -> None:
    (tmp_path / gone).rmdir() if (tmp_path / gone).is_dir() else (tmp_path / gone).unlink()
    told(watching, "watch", "cgroupfs", "/run/docker.sock", "import this")
    assert told(watching, "used", "cgroupfs", "acme")[3] == said
    assert not (tmp_path / "systemctl").exists()


def test_while_guests_are_frozen_none_is_started_and_whoever_raises_them_thaws(
    watching: HostGround, tmp_path: Path
) -> None:
    frozen, stopped = tmp_path / "cg.state" / "frozen", tmp_path / "cg.state" / "stopped.acme"
    top = tmp_path / "cg" / "deployer-guests"
    frozen.parent.mkdir()
    frozen.write_text("1790000000 web waits for memory\n")
    stopped.write_text("1790000009 web waits for memory\n")
    for name in ("cpu.weight", "cpu.max", "memory.max", "pids.max", "cgroup.freeze"):
        (top / name).touch()
        (top / "acme" / name).touch()
    bound = ("bound", "cgroupfs", "4096", "0", "acme", "2048", "1.5", "64")
    assert told(watching, "used", "cgroupfs", "acme")[4:] == [frozen.read_text()[:-1], stopped.read_text()[:-1]]
    with pytest.raises(DriverFailed, match=r"starts no guest now: .*its guests are frozen: web waits for memory"):
        told(watching, *bound)
    told(watching, "raise", "cgroupfs", "a")
    assert (top / "cgroup.freeze").read_text() == "0\n"
    told(watching, *bound)
    assert told(watching, "used", "cgroupfs", "acme")[4:] == ["", ""]

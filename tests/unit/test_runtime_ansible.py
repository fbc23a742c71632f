"""Runtime `ansible`: what it writes down, what it hands to verbs and reads from them, what it refuses."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from deployer.app.operations.image import path_of
from deployer.core.clock import Deadline, SystemClock
from deployer.core.errors import DeadlinePassed, DriverFailed, HostsUnreachable, Refused
from deployer.core.host import LOCAL, Host, ServiceHosts
from deployer.drivers.hosts.verbs import _VerbRun, inventory
from deployer.drivers.ports import Image
from deployer.drivers.runtime.ansible import AnsibleRuntime
from deployer.drivers.runtime.ansible.archive import packed
from deployer.drivers.runtime.ansible.host_presence import HostPresence
from deployer.drivers.runtime.ansible.pinned import Pinned
from deployer.drivers.runtime.ansible.runtime import Ground
from deployer.manifest.models import Manifest
from deployer.manifest.verbs import REQUIRED
from deployer.model import InstanceSpec, Release, SecretText
from deployer.planning import release_record
from deployer.planning.recipes import PLAYBOOK_SECONDS, remove, start
from deployer.transport.reachability import AGAIN_SECONDS, STALE_SECONDS
from tests.memory import FakeClock

WEB1 = Host("web1", "10.0.0.11", "ssh", "web1.example.com", 2222, "deploy", "/keys/id", ("-J", "jump host"))


@dataclass
class Player:
    """Takes the place of Ansible: notes what is played, reports as told, fails where told."""

    reported: dict[str, Any] = field(default_factory=dict)
    failures: dict[str, Exception] = field(default_factory=dict)  # by the verb
    played: list[tuple[tuple[str, ...], Path, Host, Mapping[str, Any]]] = field(default_factory=list)

    def require(self) -> None:
        """Ansible is there."""

    def play(
        self, folder: Path, verbs: Sequence[str], host: Host, variables: Mapping[str, Any], deadline: Deadline
    ) -> Mapping[str, Any]:
        deadline.check("a verb")
        self.played.append((tuple(verbs), folder, host, dict(variables)))
        for verb in verbs:
            if verb in self.failures:
                raise self.failures[verb]
        return self.reported

    @property
    def verbs(self) -> list[str]:
        return [verb for verbs, *_ in self.played for verb in verbs]

    @property
    def told(self) -> Mapping[str, Any]:
        return self.played[-1][3]


class Scene:
    """A runtime with a folder that can be deployed, and verbs of somebody's own."""

    def __init__(self, folder: Path, hosts: ServiceHosts | None = None, installation: str = "mine") -> None:
        self.folder, self.player, self.clock = folder, Player(), FakeClock()
        self.state = folder / "state"
        (folder / "app").mkdir(exist_ok=True)
        (folder / "app" / "server").write_text("#!/bin/sh\n")
        (folder / "app" / "server").chmod(0o755)
        (folder / "verbs").mkdir(exist_ok=True)
        for verb in REQUIRED:
            (folder / "verbs" / f"{verb}.yml").write_text(f"# {verb}\n")
        self.presence = HostPresence(self.clock)
        ground = Ground(self.state, installation, folder)
        self.runtime = AnsibleRuntime(ground, self.player, hosts or ServiceHosts(), self.presence, self.clock)

    def within(self, seconds: float = 60) -> Deadline:
        return Deadline.after(self.clock, seconds)

    def manifest(self, **settings: Any) -> Manifest:
        base = {"service": "shop", "image": "app", "port": 8080, "runtime": "ansible", "verbs": "verbs"}
        return Manifest.model_validate({**base, "command": ["./server"], **settings})

    def resolve(self, manifest: Manifest, image: str = "app") -> Image:
        path = self.folder / image
        reference = str(path) if path.exists() else image
        return self.runtime.resolve(manifest, reference, self.within(), lambda _kind, **_data: None)

    def spec(
        self, number: int = 1, config: str = "one", host: str = "", image: str = "app", **settings: Any
    ) -> InstanceSpec:
        manifest = self.manifest(**settings)
        pinned = self.resolve(manifest, image)
        release = Release("shop", number, "1.0", image, pinned.id, manifest, config)
        secrets = {name: SecretText(f"value of {name}") for name in manifest.secrets}
        return InstanceSpec(release, "blue", 1, 7, "10.0.0.11:21001", secrets, host)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


# -- what is made, and how it is read back


def test_an_instance_is_made_by_three_verbs_and_written_down(scene: Scene) -> None:
    spec = scene.spec()
    made = scene.runtime.ensure(spec, scene.within())
    assert scene.player.verbs == ["create", "update", "start"]
    assert (made.name, made.address, made.state, made.rollout) == ("shop-r1-1", "10.0.0.11:21001", "running", 7)
    assert scene.runtime.instances("shop") == (made,)
    assert scene.runtime.instances("other") == ()
    (file,) = (scene.state / "ansible" / "instances").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_what_verbs_report_is_what_holds(scene: Scene) -> None:
    scene.player.reported = {"deployer_address": "10.0.3.7:80", "deployer_id": "vm-12", "deployer_state": "created"}
    made = scene.runtime.ensure(scene.spec(), scene.within())
    assert (made.address, made.runtime_id, made.state) == ("10.0.3.7:80", "vm-12", "created")
    assert scene.runtime.instances("shop") == (made,)


def test_again_is_played_again_and_remembers_the_latest_report(scene: Scene) -> None:
    spec = scene.spec()
    scene.player.reported = {"deployer_address": "10.0.3.7:80"}
    scene.runtime.ensure(spec, scene.within())
    scene.player.reported = {"deployer_address": "10.0.3.9:80"}
    again = scene.runtime.ensure(replace(spec, rollout=8), scene.within())
    assert scene.player.verbs == ["create", "update", "start"] * 2
    assert (again.address, again.rollout) == ("10.0.3.9:80", 7)
    assert scene.runtime.instances("shop") == (again,)


@pytest.mark.parametrize("address", ["web1:80", "10.0.3.7", "10.0.3.7:http", ""])
def test_an_address_that_is_none_is_refused_and_what_was_made_is_taken_away(scene: Scene, address: str) -> None:
    scene.player.reported = {"deployer_address": address}
    with pytest.raises(DriverFailed, match="not an address"):
        scene.runtime.ensure(scene.spec(), scene.within())
    assert scene.player.verbs[-2:] == ["stop", "destroy"]
    assert scene.runtime.instances("shop") == ()


def test_a_state_that_is_none_is_refused(scene: Scene) -> None:
    scene.player.reported = {"deployer_state": "up"}
    with pytest.raises(DriverFailed, match="deployer_state 'up'"):
        scene.runtime.ensure(scene.spec(), scene.within())


def test_another_configuration_is_made_anew(scene: Scene) -> None:
    scene.runtime.ensure(scene.spec(), scene.within())
    made = scene.runtime.ensure(scene.spec(config="two"), scene.within())
    assert scene.player.verbs == ["create", "update", "start", "stop", "destroy", "create", "update", "start"]
    assert made.config_hash == "two"


def test_what_fails_is_taken_away_again(scene: Scene) -> None:
    scene.player.failures["start"] = DriverFailed("start.yml: no", log=("line",))
    with pytest.raises(DriverFailed, match=r"shop-r1-1: start\.yml: no") as told:
        scene.runtime.ensure(scene.spec(), scene.within())
    assert told.value.log == ("line",)
    assert scene.player.verbs == ["create", "update", "start", "stop", "destroy"]
    assert scene.runtime.instances("shop") == ()


def test_what_cannot_be_taken_away_stays_written_down(scene: Scene) -> None:
    spec = scene.spec()
    scene.player.failures = {"start": DeadlinePassed("start.yml: late"), "destroy": DriverFailed("destroy.yml: no")}
    with pytest.raises(DeadlinePassed, match=r"shop-r1-1: start\.yml: late"):
        scene.runtime.ensure(spec, scene.within())
    (left,) = scene.runtime.instances("shop")
    assert left.state == "created"
    scene.player.failures = {}
    scene.runtime.remove(left, 5, scene.within())
    assert scene.runtime.instances("shop") == ()


def test_what_was_there_before_is_not_taken_away_by_a_failure(scene: Scene) -> None:
    spec = scene.spec()
    made = scene.runtime.ensure(spec, scene.within())
    scene.player.failures["update"] = DriverFailed("update.yml: no")
    with pytest.raises(DriverFailed):
        scene.runtime.ensure(spec, scene.within())
    assert scene.player.verbs == ["create", "update", "start"] * 2
    assert scene.runtime.instances("shop") == (made,)


def test_it_is_removed_by_what_it_carries(scene: Scene) -> None:
    made = scene.runtime.ensure(scene.spec(stop={"grace": "8s"}), scene.within())
    scene.runtime.remove(made, 30, scene.within())
    assert scene.player.verbs[-2:] == ["stop", "destroy"]
    told = scene.player.told
    assert (told["deployer_name"], told["deployer_port"], told["deployer_grace"]) == ("shop-r1-1", 21001, 8.0)
    assert told["deployer_id"] == "shop-r1-1"
    scene.runtime.remove(made, 30, scene.within())
    assert len(scene.player.played) == 2


# -- what verbs are told


def test_verbs_are_told_what_an_instance_is(scene: Scene) -> None:
    secrets = {
        "PASSWORD": {"env": "X"},
        "TOKEN": {"env": "Y", "deliver": "env"},
        "HOOK": {"env": "Z", "deliver": "none"},
    }
    scene.runtime.ensure(
        scene.spec(env={"LEVEL": "info"}, secrets=secrets, limits={"cpus": 0.5}, user="app"), scene.within()
    )
    told = scene.player.told
    assert told["deployer_env"] == {
        "LEVEL": "info",
        "TOKEN": "value of TOKEN",
        "PASSWORD_FILE": "/run/deployer/shop-r1-1/PASSWORD",
        "DEPLOYER_SERVICE": "shop",
        "DEPLOYER_RELEASE": "1",
        "DEPLOYER_VERSION": "1.0",
        "DEPLOYER_COLOUR": "blue",
        "DEPLOYER_INSTANCE": "shop-r1-1",
        "PORT": "21001",
        "HOST": "10.0.0.11",
    }
    assert told["deployer_secrets"] == {"PASSWORD": "value of PASSWORD"}
    assert told["deployer_secret_names"] == ["PASSWORD"]
    assert (told["deployer_host"], told["deployer_port"]) == ("10.0.0.11", 21001)
    assert (told["deployer_user"], told["deployer_limits"]) == ("app", {"cpus": 0.5})
    assert "value of" not in (scene.state / "ansible" / "instances" / "shop-r1-1.json").read_text()


def test_a_directory_comes_as_an_archive_and_a_file_as_itself(scene: Scene) -> None:
    (scene.folder / "app" / "more").mkdir()
    scene.runtime.ensure(scene.spec(), scene.within())
    assert scene.player.told["deployer_file"] == ""
    assert scene.player.told["deployer_archive"].endswith(".tar") is True
    scene.runtime.ensure(scene.spec(number=2, image="app/server"), scene.within())
    assert Path(scene.player.told["deployer_file"]).read_text() == "#!/bin/sh\n"
    assert scene.player.told["deployer_archive"] == ""


def test_an_archive_is_the_same_each_time_and_readable_by_everybody(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "bin").mkdir(parents=True)
    (source / "bin" / "server").write_text("x")
    (source / "bin" / "server").chmod(0o555)
    (source / "page").write_text("y")
    (source / "page").chmod(0o400)
    (source / "link").symlink_to("bin/server")
    with packed(source, tmp_path) as first, packed(source, tmp_path) as second:
        assert first.read_bytes() == second.read_bytes()
        with tarfile.open(first) as tar:
            members = {m.name: (oct(m.mode), m.uid, m.mtime) for m in tar if not m.issym()}
    assert members == {"bin": ("0o755", 0, 0), "bin/server": ("0o755", 0, 0), "page": ("0o644", 0, 0)}
    assert list(tmp_path.iterdir()) == [source]


# -- verbs of somebody's own


def test_own_verbs_are_kept_with_the_release(scene: Scene) -> None:
    spec = scene.spec(command=None)
    made = scene.runtime.ensure(spec, scene.within())
    kept = scene.player.played[-1][1]
    assert kept.is_relative_to(scene.state)
    (scene.folder / "verbs" / "stop.yml").write_text("# another stop\n")
    scene.runtime.remove(made, 5, scene.within())
    assert (scene.player.played[-1][1] / "stop.yml").read_text() == "# stop\n"
    assert scene.spec(command=None).release.image_id != spec.release.image_id


def test_an_image_of_own_verbs_may_be_a_name(scene: Scene) -> None:
    spec = scene.spec(image="debian-12", command=None)
    assert Pinned.parse(spec.release.image_id).what == "name:debian-12"
    scene.runtime.ensure(spec, scene.within())
    assert scene.player.told["deployer_image"] == "debian-12"
    assert {scene.player.told[f"deployer_{name}"] for name in ("files", "file", "archive")} == {""}


@pytest.mark.parametrize(
    ("image", "always", "is_path"),
    [
        ("app", False, True),
        ("app", True, True),
        ("nothing", True, True),
        ("./nothing", False, True),
        ("debian-12", False, False),
    ],
)
def test_what_is_no_file_and_not_written_as_one_stays_a_name(
    scene: Scene, image: str, *, always: bool, is_path: bool
) -> None:
    wanted = str((scene.folder / image).resolve()) if is_path else image
    assert path_of(scene.folder, image, always=always) == wanted


def test_a_verb_that_is_missing_is_named_before_anything_changes(scene: Scene) -> None:
    (scene.folder / "verbs" / "destroy.yml").unlink()
    with pytest.raises(Refused, match=r"has no destroy\.yml"):
        scene.resolve(scene.manifest(verbs="verbs"))
    with pytest.raises(Refused, match=r"there is no folder .*/nowhere, and shipped are .*systemd"):
        scene.resolve(scene.manifest(verbs="nowhere"))
    assert scene.player.played == []


def test_verbs_without_logs_and_run_say_so(scene: Scene) -> None:
    made = scene.runtime.ensure(scene.spec(command=None), scene.within())
    assert scene.runtime.logs(made, 10) == ()
    with pytest.raises(DriverFailed, match=r"have no run\.yml"):
        scene.runtime.run(made, ["true"], scene.within())


def test_logs_and_run_are_what_was_reported(scene: Scene) -> None:
    for verb in ("logs", "run"):
        (scene.folder / "verbs" / f"{verb}.yml").write_text(f"# {verb}\n")
    made = scene.runtime.ensure(scene.spec(), scene.within())
    scene.player.reported = {"deployer_log": ["one", "two", "three"]}
    assert scene.runtime.logs(made, 2) == ("two", "three")
    scene.player.reported = {"deployer_code": "3", "deployer_output": "no\n"}
    assert scene.runtime.run(made, ["./app", "x"], scene.within(9)) == (3, "no\n")
    assert scene.player.told["deployer_run"] == ["./app", "x"]
    assert scene.player.told["deployer_seconds"] == 9
    scene.player.reported = {}
    with pytest.raises(DriverFailed, match="did not report deployer_code"):
        scene.runtime.run(made, ["true"], scene.within())


def test_verbs_have_the_time_of_playbooks(scene: Scene) -> None:
    release = scene.spec().release
    starting, *_ = start(release, "blue")
    assert starting.deadline == PLAYBOOK_SECONDS
    assert (
        remove(release.manifest, "blue").deadline
        > remove(scene.manifest(runtime="process", verbs=None), "blue").deadline
    )


# -- what is refused


@pytest.mark.parametrize(
    ("settings", "image", "told"),
    [
        ({"verbs": "systemd"}, "nothing", "there is no file or directory .*nothing"),
        ({"command": None}, "/nothing", "there is no file or directory /nothing"),
        ({"verbs": "lxc", "command": None}, "app/server", "is not a tar archive"),
        ({"verbs": "lxc", "command": None}, "app", "is not a tar archive"),
        ({"verbs": "systemd", "command": ["./other"]}, "app", "command: ./other is not among the files"),
    ],
)
def test_what_does_not_fit_is_refused(scene: Scene, settings: dict[str, Any], image: str, told: str) -> None:
    with pytest.raises(Refused, match=told):
        scene.resolve(scene.manifest(**settings), image)


def test_a_file_may_be_pinned(scene: Scene) -> None:
    (scene.folder / "root.bin").write_bytes(b"content")
    manifest = scene.manifest()
    digest = hashlib.sha256(b"content").hexdigest()
    reference = path_of(scene.folder, f"root.bin@sha256:{digest}", always=False)
    assert reference == f"{(scene.folder / 'root.bin').resolve()}@sha256:{digest}"
    assert scene.resolve(manifest, reference).id == scene.resolve(manifest, "root.bin").id
    with pytest.raises(Refused, match=rf"root\.bin has sha256 {digest}, and {'0' * 64} is pinned"):
        scene.resolve(manifest, f"{scene.folder}/root.bin@sha256:{'0' * 64}")


def qcow2(backing: int = 0) -> bytes:
    return b"QFI\xfb" + (3).to_bytes(4) + backing.to_bytes(8) + bytes(500)


@pytest.mark.parametrize("disk", [qcow2(), bytes(510) + b"\x55\xaa"], ids=["qcow2", "raw"])
def test_the_disk_of_a_machine_is_taken(scene: Scene, disk: bytes) -> None:
    (scene.folder / "debian.img").write_bytes(disk)
    assert scene.resolve(scene.manifest(verbs="qemu", command=None), "debian.img").id.startswith("dir:sha256:")


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"debian.img": b"no disk" + bytes(600)}, r"debian\.img is neither a qcow2 image nor a raw disk"),
        ({"debian.img": qcow2(backing=512)}, r"debian\.img is an overlay of another image"),
        ({"debian.img/disk": qcow2()}, r"debian\.img has no file kernel"),
        ({"debian.img/kernel": b"", "debian.img/disk": qcow2(backing=512)}, r"disk is an overlay of another image"),
    ],
)
def test_what_is_no_machine_is_refused(scene: Scene, files: dict[str, bytes], told: str) -> None:
    for name, content in files.items():
        (scene.folder / name).parent.mkdir(exist_ok=True)
        (scene.folder / name).write_bytes(content)
    with pytest.raises(Refused, match=told):
        scene.resolve(scene.manifest(verbs="qemu", command=None), "debian.img")


def test_a_folder_cannot_be_pinned(scene: Scene) -> None:
    with pytest.raises(Refused, match="only a file can be pinned"):
        scene.resolve(scene.manifest(), f"{scene.folder}/app@sha256:{'0' * 64}")


@pytest.mark.parametrize("settings", [{"command": ["./x"]}, {"user": "www"}, {"limits": {"pids": 5}}])
def test_a_machine_has_no_command_user_or_processes_of_its_own(scene: Scene, settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="lifecycle playbooks qemu do not support it"):
        scene.manifest(**{"verbs": "qemu", "command": None, **settings})


def test_a_program_that_cannot_be_executed_is_refused(scene: Scene) -> None:
    (scene.folder / "app" / "server").chmod(0o644)
    with pytest.raises(Refused, match=r"\./server is not executable"):
        scene.resolve(scene.manifest(verbs="systemd"))


# -- hosts


def test_a_host_that_falls_silent_is_told_with_what_stands_elsewhere(tmp_path: Path) -> None:
    scene = Scene(tmp_path, ServiceHosts((WEB1, LOCAL)))
    here = scene.runtime.ensure(scene.spec(number=1), scene.within())
    scene.runtime.ensure(scene.spec(number=2, host="web1"), scene.within())
    scene.presence.lost("web1", "")
    assert len(scene.runtime.instances("shop")) == 2
    scene.player.failures["stop"] = HostsUnreachable({"web1": "no route"})
    there = scene.runtime.instances("shop")[1]
    with pytest.raises(HostsUnreachable):
        scene.runtime.remove(there, 5, scene.within())
    with pytest.raises(HostsUnreachable) as told:
        scene.runtime.instances("shop")
    assert told.value.seen == (here,)
    assert told.value.silent == {"web1": "no route"}


def test_what_is_begun_on_a_host_that_falls_silent_stays_written_down(tmp_path: Path) -> None:
    scene = Scene(tmp_path, ServiceHosts((WEB1,)))
    scene.player.failures["create"] = HostsUnreachable({"web1": "no route"})
    with pytest.raises(HostsUnreachable):
        scene.runtime.ensure(scene.spec(host="web1"), scene.within())
    assert scene.player.verbs == ["create", "update", "start"]
    assert [found.instance.host for found in scene.runtime.list_all()] == ["web1"]


def test_a_host_that_nobody_knows_is_named(scene: Scene) -> None:
    with pytest.raises(DriverFailed, match="web9 is not a host"):
        scene.runtime.ensure(scene.spec(host="web9"), scene.within())
    assert scene.runtime.list_all() == ()


def test_a_host_is_reached_as_its_inventory_says() -> None:
    assert inventory(WEB1)["all"]["children"]["deployer_machine"]["hosts"] == {
        "web1": {
            "ansible_connection": "ssh",
            "ansible_host": "web1.example.com",
            "ansible_port": 2222,
            "ansible_user": "deploy",
            "ansible_ssh_private_key_file": "/keys/id",
            "ansible_ssh_common_args": "-J 'jump host'",
        }
    }
    (local,) = inventory(LOCAL)["all"]["children"]["deployer_machine"]["hosts"].items()
    assert local[0] == "localhost"
    assert local[1]["ansible_connection"] == "local"


# -- records and snapshots


def test_an_instance_carries_its_release_and_whose_it_is(tmp_path: Path) -> None:
    scene, other = Scene(tmp_path), Scene(tmp_path, installation="another")
    spec = scene.spec()
    made = scene.runtime.ensure(spec, scene.within())
    (found,) = other.runtime.list_all()
    assert (found.instance, found.installation) == (made, "mine")
    assert release_record.read(found.record) == spec.release
    assert other.runtime.instances("shop") == ()
    assert other.runtime.foreign("shop") == ("shop-r1-1",)
    assert scene.runtime.foreign("shop") == ()


def test_a_record_that_cannot_be_read_is_named(scene: Scene) -> None:
    made = scene.runtime.ensure(scene.spec(), scene.within())
    file = scene.state / "ansible" / "instances" / "shop-r1-1.json"
    data = json.loads(file.read_text())
    file.write_text(json.dumps({**data, "record": ""}))
    with pytest.raises(DriverFailed, match="carries no record"):
        scene.runtime.remove(made, 5, scene.within())
    file.write_text("{")
    with pytest.raises(DriverFailed, match=r"shop-r1-1\.json cannot be read"):
        scene.runtime.instances("shop")


def test_snapshots_stay_as_long_as_something_needs_them(scene: Scene) -> None:
    first = scene.spec(number=1, command=None)
    made = scene.runtime.ensure(first, scene.within())
    (scene.folder / "app" / "server").write_text("#!/bin/sh\n# two\n")
    second = scene.spec(number=2, command=None)
    own = Pinned.parse(first.release.image_id)
    assert scene.runtime.prune([second.release], [first.release]) == ()
    scene.runtime.remove(made, 5, scene.within())
    assert scene.runtime.prune([second.release], [first.release]) == (own.files,)
    assert scene.runtime.garbage([second.release]) == ()


def test_what_a_killed_process_left_is_swept_once_it_is_old(scene: Scene) -> None:
    spec = scene.spec()
    left = scene.state / "ansible" / ".archive-x"
    left.mkdir()
    assert scene.runtime.garbage([spec.release]) == ()
    os.utime(left, (1, 1))
    assert scene.runtime.collect_garbage([spec.release]) == (str(left),)
    assert not left.exists()


# -- what a script says of instances


def looking(scene: Scene, script: str) -> InstanceSpec:
    (scene.folder / "verbs" / "look.sh").write_text(script)
    return scene.spec(command=None)


@pytest.mark.parametrize(
    ("script", "state", "exit_code", "restarts"),
    [
        ('for name; do echo "$name running 0 0"; done', "running", None, 0),
        ('for name; do echo "$name running 7 2"; done', "running", 7, 2),
        ('for name; do echo "$name exited 7 0"; done', "exited", 7, 0),
        ('for name; do echo "$name exited"; done', "exited", None, 0),
        ('for name; do echo "$name created - -"; done', "created", None, 0),
        ("true", "exited", None, 0),
        ("echo other running; echo; echo words of no meaning", "exited", None, 0),
    ],
)
def test_a_script_says_what_runs(scene: Scene, script: str, state: str, exit_code: int | None, restarts: int) -> None:
    scene.runtime.ensure(looking(scene, script), scene.within())
    (seen,) = scene.runtime.instances("shop")
    assert (seen.state, seen.exit_code, seen.restarts) == (state, exit_code, restarts)


def test_a_host_whose_script_fails_is_told_as_silent(scene: Scene) -> None:
    made = scene.runtime.ensure(looking(scene, "echo no systemd here >&2; exit 3"), scene.within())
    with pytest.raises(HostsUnreachable, match=r"this host is unreachable: .*no systemd here") as told:
        scene.runtime.instances("shop")
    assert told.value.seen == ()
    scene.runtime.remove(made, 1, scene.within())
    assert scene.runtime.instances("shop") == ()


def test_what_was_begun_is_not_expected_to_run(scene: Scene) -> None:
    scene.player.failures = {"start": DriverFailed("no"), "stop": DriverFailed("no")}
    with pytest.raises(DriverFailed):
        scene.runtime.ensure(looking(scene, "true"), scene.within())
    (seen,) = scene.runtime.instances("shop")
    assert seen.state == "created"


def test_what_was_said_holds_for_a_moment_and_not_after_a_change(scene: Scene) -> None:
    file = scene.folder / "says"
    file.write_text("running")
    spec = looking(scene, f'for name; do echo "$name $(cat {file})"; done')
    made = scene.runtime.ensure(spec, scene.within())

    def state() -> str:
        return scene.runtime.instances("shop")[0].state

    assert state() == "running"
    file.write_text("exited")
    assert state() == "running"
    scene.clock.at += STALE_SECONDS
    assert state() == "exited"
    file.write_text("running")
    assert state() == "exited"
    assert scene.runtime.ensure(spec, scene.within()) == made
    assert state() == "running"


def test_an_answer_that_grows_old_is_asked_for_in_the_background(scene: Scene) -> None:
    file = scene.folder / "says"
    file.write_text("running")
    scene.runtime.ensure(looking(scene, f'for name; do echo "$name $(cat {file})"; done'), scene.within())
    assert scene.runtime.instances("shop")[0].state == "running"
    file.write_text("exited")
    scene.clock.at += AGAIN_SECONDS
    until = Deadline.after(SystemClock(), 10)
    until.until(lambda: scene.runtime.instances("shop")[0].state == "exited", "the new state")


# -- what Ansible reports


def reports(
    *events: dict[str, Any], status: str = "successful", verbs: tuple[str, ...] = ("create", "start")
) -> _VerbRun:
    heard = _VerbRun(verbs)
    for event in (*events, {"event": "end", "status": status, "rc": 0 if status == "successful" else 2}):
        heard.take(event)
    return heard


def begins(verb: str) -> dict[str, Any]:
    return {"event": "playbook_on_play_start", "play": f"deployer verb {verb}"}


def ok(**result: Any) -> dict[str, Any]:
    return {"event": "runner_on_ok", "task": "t", "host": "web1", "res": result}


def stats(**data: Any) -> dict[str, Any]:
    return ok(ansible_stats={"data": data, "per_host": False, "aggregate": True})


def test_the_last_word_of_verbs_counts() -> None:
    heard = reports(
        begins("create"),
        stats(deployer_address="10.0.0.1:1", deployer_id="vm-1"),
        begins("start"),
        stats(deployer_address="10.0.0.2:2"),
    )
    assert heard.judged(WEB1) == {"deployer_address": "10.0.0.2:2", "deployer_id": "vm-1"}


def test_a_failure_names_verb_task_and_host_but_no_secret() -> None:
    SecretText("swordfish-1")
    failed = {"event": "runner_on_failed", "task": "Boot", "host": "web1", "res": {"msg": "bad key swordfish-1"}}
    heard = reports(begins("create"), ok(), begins("start"), failed, status="failed")
    with pytest.raises(DriverFailed, match=r"start\.yml: task 'Boot' failed on web1: bad key \*\*\*"):
        heard.judged(WEB1)


def test_a_host_that_cannot_be_reached_is_silent_and_another_host_is_a_failure() -> None:
    lost = {"event": "runner_on_unreachable", "task": "t", "host": "web1", "res": {"msg": "timed out"}}
    with pytest.raises(HostsUnreachable) as told:
        reports(begins("create"), lost, status="failed").judged(WEB1)
    assert told.value.silent == {"web1": "timed out"}
    with pytest.raises(DriverFailed, match="host vm cannot be reached"):
        reports(begins("create"), {**lost, "host": "vm"}, status="failed").judged(WEB1)


def test_a_verb_of_which_nothing_ran_is_a_failure() -> None:
    with pytest.raises(DriverFailed, match=r"start\.yml: no task ran on any host"):
        reports(begins("create"), ok(), begins("start")).judged(WEB1)

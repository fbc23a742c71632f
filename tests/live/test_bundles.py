"""Bundles from one state folder to another: the same image, without a registry between them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import docker
import pexpect
import pytest

from tests import swarm
from tests.lab import image
from tests.lab.archive import Image
from tests.live.bundling import bundle, forget, hosts, load
from tests.live.conftest import Make
from tests.live.laptop import SSHD_PATH
from tests.live.shop import COMMAND_SECONDS, Shop
from tests.live.sshd import sshd
from tests.ports import free_port
from tests.services import require

pytestmark = pytest.mark.live


@pytest.fixture(params=["docker", "process"])
def pair(request: pytest.FixtureRequest, make_shop: Make) -> tuple[Shop, Shop]:
    """Return a service where it is made, and the host on which it is to run."""
    return hosts(make_shop, request.param)


@pytest.fixture
def processes(make_shop: Make) -> tuple[Shop, Shop]:
    return hosts(make_shop, "process")


@pytest.mark.long("three deploys", every_change=("docker",))
def test_a_release_goes_from_one_host_to_another_without_a_registry(pair: tuple[Shop, Shop]) -> None:
    here, there = pair
    first = bundle(here, "1.0")
    again = here.folder / "again.bundle"
    here.deploy("bundle", "make", "-o", str(again), "--version", "1.0")
    assert hashlib.sha256(again.read_bytes()).digest() == hashlib.sha256(first.read_bytes()).digest()
    second = bundle(here, "2.0", "--since", str(first))
    assert second.stat().st_size < first.stat().st_size / 20
    forget(here, here.client)

    refused = there.deploy("up", "--from", str(second), expect=2)
    assert "parts that are not here" in refused.stderr
    assert "not for other" in there.deploy("up", "--from", str(first), "--service", "other", expect=2).stderr
    assert "nothing was deployed" in there.deploy("status", expect=2).stderr

    there.deploy("up", "--from", str(first))
    assert there.get().text.strip() == "1.0"
    assert "nothing to do" in there.deploy("up", "--from", str(first)).stdout
    there.deploy("bluegreen", "--bake", "0", "--from", str(second))
    assert there.get().text.strip() == "2.0"
    releases = json.loads(there.deploy("releases", "--output", "json").stdout)["releases"]
    assert [release["version"] for release in releases] == ["2.0", "1.0"]
    there.deploy("rollback")
    assert there.get().text.strip() == "1.0"


@pytest.mark.long("a Swarm of its own")
def test_what_a_swarm_runs_goes_along_with_its_image(make_shop: Make) -> None:
    require("root", "dockerd")
    with swarm.one_node() as node, node.entered():
        here, there = hosts(make_shop, "process")
        here.environ["DOCKER_HOST"] = there.environ["DOCKER_HOST"] = node.socket
        here.manifest.pop("command")
        here.write(runtime="swarm", image=here.name)
        with swarm.client(node.socket) as engine:
            made = image.build(f"{here.name}:1.0", version="1.0", client=engine)
            file = here.folder / "1.0.bundle"
            here.deploy("bundle", "make", "-o", str(file), "--version", "1.0")
            more = ("bundle", "make", "-o", str(here.folder / "b"), "--version", "1.0", "--with", "data")
            assert "a bundle cannot have data of runtime swarm" in here.deploy(*more, expect=2).stderr
            engine.images.remove(made, force=True)
            there.deploy("up", "--from", str(file))
            assert there.get().text.strip() == "1.0"
            assert engine.images.get(made)
        there.close()  # while its Swarm is there


def test_what_incus_runs_goes_into_no_bundle(processes: tuple[Shop, Shop]) -> None:
    here, _ = processes
    here.manifest.pop("command")
    here.write(runtime="incus", image="shop/{version}")
    said = here.deploy("bundle", "make", "-o", str(here.folder / "b"), "--version", "1.0", expect=2).stderr
    assert "a bundle cannot have an image of runtime incus" in said
    assert not (here.folder / "b").exists()


def test_the_image_is_the_one_that_skopeo_sees(make_shop: Make) -> None:
    require("skopeo")
    made = make_shop("docker")
    made.program = "c"
    place = bundle(made, "1.0")
    shown = json.loads(made.deploy("bundle", "verify", str(place), "--output", "json").stdout)
    raw = subprocess.run(
        ["skopeo", "inspect", "--raw", f"oci-archive:{place}"], capture_output=True, text=True, check=True, timeout=60
    )
    assert made.client is not None
    assert json.loads(raw.stdout)["config"]["digest"] == shown["image_id"]
    assert made.client.images.get(f"{made.name}:1.0").id == shown["image_id"]
    assert shown["checked"]


@pytest.mark.long("two bundles, planned five times")
def test_who_signed_is_known_before_anything_is_unpacked(processes: tuple[Shop, Shop]) -> None:
    here, there = processes
    key = here.folder / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True, timeout=20)
    plain, signed = bundle(here, "1.0"), bundle(here, "2.0", "--sign", str(key))
    there.state.mkdir(mode=0o700)
    (there.state / "bundle_signers").write_text(f"ann@example.com {key.with_suffix('.pub').read_text()}")

    assert "it is not signed, and" in there.deploy("plan", "--from", str(plain), expect=2).stderr
    assert not (there.state / "bundles").exists()
    there.deploy("plan", "--from", str(plain), "--allow-unsigned", "made before there were keys")
    assert "unsigned-bundle" in there.deploy("audit").stdout
    there.deploy("plan", "--from", str(signed))
    assert (
        "ann@example.com"
        in here.deploy("bundle", "verify", str(signed), "--signers", str(there.state / "bundle_signers")).stdout
    )
    (there.state / "bundle_signers").write_text("")
    assert "is not signed by a key of" in there.deploy("plan", "--from", str(signed), expect=2).stderr


def test_a_bundle_for_another_processor_is_refused(processes: tuple[Shop, Shop]) -> None:
    here, there = processes
    here.version("1.0")
    program = bytearray((here.folder / "releases" / "1.0" / "app").read_bytes())
    program[18:20] = (22).to_bytes(2, "little")
    (here.folder / "releases" / "1.0" / "app").write_bytes(program)
    place = here.folder / "1.bundle"
    here.deploy("bundle", "make", "-o", str(place), "--version", "1.0")
    said = there.deploy("up", "--from", str(place), expect=2).stderr
    assert "has programs for s390x, and this host is" in said
    assert not (there.state / "bundles").exists()


def test_an_image_for_another_processor_is_refused(make_shop: Make, engine: docker.DockerClient) -> None:
    here, there = hosts(make_shop, "docker")
    layers, program = image.base()
    made = Image(layers, entrypoint=program, labels={"service": here.name}, architecture="s390x")
    here._images.append(str(engine.images.load(made.archive(f"{here.name}:1.0"))[0].id))
    place = here.folder / "1.bundle"
    here.deploy("bundle", "make", "-o", str(place), "--version", "1.0")
    assert "linux/s390x" in here.deploy("bundle", "show", str(place)).stdout
    forget(here, engine)
    said = there.deploy("up", "--from", str(place), expect=2).stderr
    assert "is for linux/s390x, the engine here runs linux/" in said
    assert not (there.state / "bundles").exists()
    assert not [name for names in image.named(engine).values() for name in names if here.name in name]


def test_an_older_bundle_that_is_not_there_is_named(processes: tuple[Shop, Shop]) -> None:
    here, _ = processes
    here.version("1.0")
    place, older = here.folder / "1.bundle", here.folder / "gone.bundle"
    command = ("bundle", "make", "-o", str(place), "--version", "1.0", "--since", str(older))
    assert f"{older} cannot be read: No such file" in here.deploy(*command, expect=2).stderr
    older.write_bytes(b"no bundle" * 1000)
    assert f"{older} is not a sound bundle" in here.deploy(*command, expect=2).stderr
    assert not place.exists()


def test_secrets_are_those_of_the_other_host(processes: tuple[Shop, Shop]) -> None:
    here, there = processes
    (here.folder / "token").write_text("a-token-from-here")
    here.write(secrets={"TOKEN": {"file": "token"}})
    place = bundle(here, "1.0", "--include", "token")
    assert b"a-token-from-here" not in place.read_bytes()
    assert (
        "token is left out"
        in here.deploy("bundle", "make", "-o", str(place), "--version", "1.0", "--include", "token").stdout
    )
    assert f"{there.folder}/token is not there" in there.deploy("up", "--from", str(place), expect=2).stderr
    (there.folder / "token").write_text("a-token-of-theirs")
    there.deploy("plan", "--from", str(place))


@pytest.mark.long("two sshs and three bundles")
def test_only_what_is_missing_there_is_sent(processes: tuple[Shop, Shop]) -> None:
    require("sshd", "root")
    here, there = processes
    with sshd(there.folder, {"PATH": SSHD_PATH, "DEPLOYER_STATE": str(there.state)}) as way:
        command, to = ("bundle", "send"), (f"{way.address}{there.folder}", "--ssh-args", way.args)

        def send(place: Path) -> dict[str, int]:
            return dict(json.loads(here.deploy(*command, str(place), *to, "--output", "json").stdout))

        first = send(bundle(here, "1.0"))
        assert first["sent"] == first["size"]
        there.deploy("plan", "--from", "1.0.bundle")
        second = send(bundle(here, "2.0"))
        assert second["sent"] < second["size"] / 20
        there.deploy("plan", "--from", "2.0.bundle")

        delta = bundle(here, "3.0", "--since", str(here.folder / "2.0.bundle"))
        shutil.rmtree(there.state)
        done = here.deploy(*command, str(delta), *to, expect=2)
        assert "parts that are not there" in done.stderr
        assert not (there.folder / "3.0.bundle").exists()


@pytest.mark.long("the tool, 40 MB of it, is unpacked and deploys")
def test_a_bundle_with_the_tool_needs_python_alone(processes: tuple[Shop, Shop]) -> None:
    here, there = processes
    place = bundle(here, "1.0", "--with", "deployer")
    bare = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": str(there.folder),
        "PYTHON": os.path.realpath(sys.executable),
    }

    def sh(*arguments: str) -> str:
        command = ["sh", str(place), *arguments]
        environ = {**bare, "DEPLOYER_STATE": str(there.state), "NO_COLOR": "1"}
        done = subprocess.run(
            command, cwd=there.folder, env=environ, capture_output=True, text=True, timeout=COMMAND_SECONDS
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "is live" in sh("up")
    assert there.get().text.strip() == "1.0"
    assert "everyone" in sh("status")
    with place.open("r+b") as file:
        file.seek(-5000, os.SEEK_END)
        file.write(b"damage")
    assert "is not a sound bundle" in there.deploy("up", "--from", str(place), expect=2).stderr


def test_secrets_go_along_for_who_has_the_key(processes: tuple[Shop, Shop]) -> None:
    require("age")
    here, there = processes
    (here.folder / "token").write_text("a-token-from-here")
    here.write(secrets={"TOKEN": {"file": "token"}})
    key = here.folder / "key"
    subprocess.run(["age-keygen", "-o", str(key)], check=True, capture_output=True, timeout=20)
    recipient = subprocess.run(
        ["age-keygen", "-y", str(key)], check=True, capture_output=True, text=True
    ).stdout.strip()
    place = bundle(here, "1.0", "--secrets-for", recipient)
    assert b"a-token-from-here" not in place.read_bytes()
    assert "TOKEN (encrypted)" in here.deploy("bundle", "show", str(place)).stdout
    closed = there.deploy("up", "--from", str(place), expect=2).stderr
    assert "the secrets TOKEN in the bundle stay closed without --identity" in closed
    assert f"{there.folder}/token is not there" in closed
    there.deploy("plan", "--from", str(place), "--identity", str(key))
    plain = bundle(here, "2.0")
    assert "has no secrets that" in there.deploy("plan", "--from", str(plain), "--identity", str(key), expect=2).stderr


@pytest.fixture
def asking(processes: tuple[Shop, Shop]) -> tuple[Shop, Shop, Path]:
    """Return a bundle whose release wants two secrets."""
    here, there = processes
    here.write(secrets={"TOKEN": {"file": "private/token"}, "KEY": {"env": "SHOP_KEY", "deliver": "env"}})
    return here, there, bundle(here, "1.0")


def test_a_first_start_without_a_terminal_names_all_that_is_missing(asking: tuple[Shop, Shop, Path]) -> None:
    _, there, place = asking
    said = there.deploy("bundle", "run", str(place), "--listen", f"127.0.0.1:{there.port}", expect=2).stderr
    assert f"secrets.TOKEN: {there.folder}/private/token is not there" in said
    assert "secrets.KEY: the environment variable SHOP_KEY is not set" in said
    wrong = there.deploy("bundle", "run", str(place), "--listen", "nowhere", expect=2).stderr
    assert "traffic.listen" in wrong
    assert [path.name for path in there.folder.iterdir()] == ["state"]


@pytest.mark.long("a first start at a terminal, and one more deploy")
def test_a_first_start_asks_for_secrets_and_addresses(asking: tuple[Shop, Shop, Path]) -> None:
    here, there, place = asking
    port = free_port()
    words = there.command("bundle", "run", str(place))
    child = pexpect.spawn(
        words[0], words[1:], cwd=str(there.folder), env=there.environment(), encoding="utf-8", timeout=COMMAND_SECONDS
    )
    shown = ""
    for question, answer in (
        ("Secret TOKEN (kept as private/token)", "it's a $token"),
        ("Secret KEY (kept as SHOP_KEY in .env)", "a 'key' with \\ and #"),
        ("Address that users reach", "nowhere"),
        ("Error: ", f"127.0.0.1:{port}"),
    ):
        child.expect_exact(question)
        shown += child.before
        child.sendline(answer)
    child.expect(pexpect.EOF)
    shown += child.before
    child.close()
    assert child.exitstatus == 0, shown
    assert "token" not in shown.replace("private/token", "")
    assert (there.folder / "private" / "token").read_text() == "it's a $token\n"
    for name in (".env", "private/token"):
        assert (there.folder / name).stat().st_mode & 0o077 == 0
    there.url = f"http://127.0.0.1:{port}"
    assert there.get().text.strip() == "1.0"

    assert "nothing to do" in there.deploy("bundle", "run", str(place)).stdout
    there.deploy("bluegreen", "--bake", "0", "--from", str(bundle(here, "2.0")))
    assert there.get().text.strip() == "2.0"
    refused = there.deploy("bundle", "run", str(place), "--domain", "shop.example.com", expect=2).stderr
    assert f"{there.name}.here.yml already has the settings of this host" in refused


RESTORE = """\
#!/bin/sh
set -eu
[ ! -e "$1" ] || exit 0
mkdir "$1.half"
tar -C "$1.half" -xf data.tar
mv "$1.half" "$1"
"""


@pytest.mark.long("two deploys")
def test_what_a_command_saved_may_go_along_as_data(processes: tuple[Shop, Shop]) -> None:
    here, there = processes
    data = there.folder / "data"
    (here.folder / "bin").mkdir()
    (here.folder / "bin" / "restore").write_text(RESTORE)
    (here.folder / "bin" / "restore").chmod(0o755)
    (here.folder / "rows").write_text("first")
    subprocess.run(
        ["tar", "-C", str(here.folder), "-cf", str(here.folder / "data.tar"), "rows"], check=True, timeout=20
    )
    here.manifest = {key: here.manifest[key] for key in ("service", "image", "runtime")}  # a worker: no users, no proxy
    here.write(command=["sleep", "1000"], hooks={"before": [{"run": ["bin/restore", str(data)]}]})
    there.deploy("up", "--from", str(bundle(here, "1.0", "--include", "data.tar")))
    assert (data / "rows").read_text() == "first"
    (data / "rows").write_text("second")
    there.deploy("bluegreen", "--bake", "0", "--from", str(bundle(here, "2.0", "--include", "data.tar")))
    assert (data / "rows").read_text() == "second"


@pytest.mark.long("an image of 100 MB")
def test_a_delta_is_as_large_as_what_has_changed(make_shop: Make, engine: docker.DockerClient) -> None:
    here, there = hosts(make_shop, "docker")
    places = []
    for version, since in (("1.0", []), ("2.0", ["--since", str(here.folder / "1.0.bundle")])):
        load(here, engine, version, kilobytes=(100_000, 1000))
        places.append(here.folder / f"{version}.bundle")
        here.deploy("bundle", "make", "-o", str(places[-1]), "--version", version, *since)
    assert places[0].stat().st_size > 100_000_000
    assert places[1].stat().st_size < 1_200_000
    forget(here, engine)

    there.deploy("up", "--from", str(places[0]))
    there.deploy("bluegreen", "--bake", "0", "--from", str(places[1]))
    assert there.get().text.strip() == "2.0"

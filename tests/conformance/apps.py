"""The ways to ask for rollouts that the suite tries, all to the state folder of one service."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deployer.app.interface import App
from deployer.app.local import LocalApp, at
from deployer.client.address import DeployServer
from deployer.client.control import Control
from deployer.client.http_app import HttpApp
from deployer.client.ssh_app import SshApp
from deployer.manifest.target import Target
from tests.live.serving import server, token
from tests.live.shop import Shop
from tests.live.sshd import sshd
from tests.ports import free_port
from tests.services import require

SSHD_PATH = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"


class AppBench:
    """One service, live by 1.0 on runtime `process`, and everything through which it can be asked for."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self._versions = 1

    @property
    def manifest(self) -> Path:
        """The manifest of the service."""
        return self.shop.folder / "deploy.yml"

    @property
    def target(self) -> Target:
        """What a command means that names the manifest."""
        return Target(file=self.manifest, named=True)

    def version(self, **env: str) -> str:
        """Make a version that was never deployed; return its name."""
        self._versions += 1
        name = f"{self._versions}.0"
        self.shop.version(name, env)
        return name

    def rest(self) -> None:
        """Take back what a test left in progress."""
        with self.local() as here:
            left = here.status(self.shop.name).rollout
        if left:
            self.shop.deploy("abort")

    @contextmanager
    def local(self) -> Iterator[App]:
        """Ask the state folder."""
        with LocalApp(at(self.shop.state), self.target) as app:
            yield app

    @contextmanager
    def http(self) -> Iterator[App]:
        """Ask a server in a process of its own, by HTTP with a token."""
        port = free_port()
        os.environ["DEPLOYER_TOKEN"] = token(self.shop, "admin")
        try:
            with (
                server(self.shop, port),
                HttpApp.open(DeployServer.of(f"http://127.0.0.1:{port}", "--server"), self.target) as app,
            ):
                yield app
        finally:
            del os.environ["DEPLOYER_TOKEN"]

    @contextmanager
    def ssh(self) -> Iterator[App]:
        """Ask a control host, through a real sshd."""
        require("sshd", "root")
        environ = {"PATH": SSHD_PATH, "DEPLOYER_STATE": str(self.shop.state)}
        with sshd(self.shop.folder, environ) as way:
            control = Control.of(f"{way.address}{self.shop.folder}", "--on", way.args)
            with SshApp.reach(control, Target(file=Path("deploy.yml"), named=True)) as app:
                yield app

"""Who brings a version to everyone and takes it back, each in its own way."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import docker
import requests

from deployer.drivers.traffic.haproxy import binary
from tests.live.shop import Shop

REPLICAS = 2
WITHIN = 120.0
PLAYBOOK = Path(__file__).parent / "rolling.yml"
HAPROXY = """\
global
  stats socket {socket} mode 600 level admin

defaults
  mode http
  option redispatch
  option idle-close-on-response
  retries 3
  timeout connect 2s
  timeout client 30s
  timeout server 30s

{more}
frontend users
  bind {listen}
  default_backend app

backend app
  option httpchk GET /health
  default-server check {checks}
{servers}
"""


class Contender(ABC):
    """One way to deploy; users ask `url`."""

    name = ""

    def __init__(self, folder: Path, client: docker.DockerClient, images: tuple[str, ...]) -> None:
        self.folder, self.client, self.images = folder, client, images
        self.undo = ExitStack()
        folder.mkdir()

    @property
    @abstractmethod
    def url(self) -> str:
        """Return the address that users ask."""

    @abstractmethod
    def begin(self) -> None:
        """Bring the first version to everyone."""

    @abstractmethod
    def deploy(self) -> None:
        """Bring the second version to everyone; back when the command is."""

    @abstractmethod
    def rollback(self) -> None:
        """Bring everyone back to the first version; back when the command is."""

    def settle(self) -> None:
        """Wait until nothing goes on any more; most have nothing to wait for when their command is back."""
        return

    def close(self) -> None:
        """Take everything down."""
        self.undo.close()

    def run(self, command: Sequence[str], **environ: str) -> str:
        """Run a command; it must end well."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            env={**os.environ, **environ},
            capture_output=True,
            text=True,
            timeout=WITHIN,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"{' '.join(command)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def proxy(
        self,
        listen: str,
        servers: str,
        more: str = "",
        within: Sequence[str] = (),
        checks: str = "inter 1s fall 3 rise 1",
    ) -> None:
        """Start HAProxy as a program, in the namespace that the words `within` lead to."""
        config = self.folder / "haproxy.cfg"
        config.write_text(HAPROXY.format(socket=self.socket, more=more, listen=listen, servers=servers, checks=checks))
        with (self.folder / "haproxy.log").open("wb") as log:
            process = subprocess.Popen([*within, binary.find().path, "-f", config], stdout=log, stderr=log)
        self.undo.callback(process.wait, 10)
        self.undo.callback(process.terminate)

    @property
    def socket(self) -> Path:
        """Return the place of the proxy's socket."""
        return self.folder / "haproxy.sock"


class Ours(Contender):
    """`deploy STRATEGY` and `deploy rollback`."""

    strategy = ""
    options: tuple[str, ...] = ()

    @property
    def url(self) -> str:
        """Return the address that users ask."""
        return self._shop.url

    def begin(self) -> None:
        """Bring the first version to everyone."""
        self._shop = Shop(self.folder, "docker", self.client)
        self.undo.callback(self._shop.close)
        for version, image in zip(("1", "2"), self.images, strict=False):
            self.client.images.get(image).tag(self._shop.name, version)
        self._shop.write(replicas=REPLICAS)
        self._shop.deploy("up", "--version", "1")

    def deploy(self) -> None:
        """Bring the second version to everyone."""
        self._shop.deploy(self.strategy, *self.options, "--version", "2")

    def rollback(self) -> None:
        """Bring everyone back."""
        self._shop.deploy("rollback")


class BlueGreen(Ours):
    """Ours, both versions side by side."""

    name = "deploy bluegreen"
    strategy = "bluegreen"
    options = ("--bake", "0")


class Rolling(Ours):
    """Ours, one instance after the other, as quick as the others: nobody watches what users get."""

    name = "deploy rolling, blind"
    strategy = "rolling"
    options = ("--for", "0")


class Watched(Ours):
    """Ours, one instance after the other, as it comes: each one is watched for 5 s."""

    name = "deploy rolling"
    strategy = "rolling"


class InSwarm(Ours):
    """Ours, instances as services of the swarm that `docker service update` has made."""

    name = "deploy canary, swarm"
    strategy = "canary"
    options = ("--steps", "20,50", "--for", "3s", "--bake", "2s")

    def begin(self) -> None:
        """Bring the first version to everyone."""
        self._shop = Shop(self.folder, "docker", self.client)
        self.undo.callback(self._shop.close)
        for version, image in zip(("1", "2", "3"), self.images, strict=True):
            self.client.images.get(image).tag(self._shop.name, version)
        join_swarm(self)
        self._shop.write(replicas=REPLICAS, runtime="swarm")
        self._shop.deploy("up", "--version", "1")

    def deploy_bad(self) -> None:
        """Try to bring the version that fails; it is rolled back."""
        self._shop.told(self.strategy, *self.options, "--version", "3", expect=3)


def join_swarm(contender: Contender) -> None:
    """Make a swarm of the engine, unless another contender has."""
    if contender.client.info()["Swarm"]["LocalNodeState"] == "inactive":
        contender.run(["docker", "swarm", "init", "--advertise-addr", "10.254.0.1", "--listen-addr", "10.254.0.1:2377"])
        contender.undo.callback(contender.run, ["docker", "swarm", "leave", "--force"])


class Swarm(Contender):
    """`docker service update` and `docker service rollback`, HAProxy on the service's network."""

    name = "docker service update"
    port = 8000
    replicas = REPLICAS

    @property
    def url(self) -> str:
        """Return the address that users ask: the proxy's address on the bridge between the network and this machine."""
        return f"http://{self._address}:{self.port}"

    def begin(self) -> None:
        """Make a swarm of this engine, and the service in it."""
        join_swarm(self)
        self.run(["docker", "network", "create", "--driver", "overlay", "--attachable", "users"])
        self.undo.callback(self._remove_network)
        ways = [
            f"--{when}-{option}"
            for when in ("update", "rollback")
            for option in ("parallelism=1", "delay=0s", "monitor=1s", "order=start-first")
        ]
        service = ["--name", "app", "--replicas", str(self.replicas), "--network", "users", "--endpoint-mode", "dnsrr"]
        create = ["docker", "service", "create", "-q", *service, "--no-resolve-image", *ways, "--stop-grace-period=15s"]
        self.run([*create, self.images[0]])
        self.undo.callback(self.run, ["docker", "service", "rm", "app"])
        place = self.client.containers.run(self.images[0], detach=True, network="users", name="proxy")
        self.undo.callback(place.remove, force=True)
        attributes = self.client.api.inspect_container(str(place.id))
        process = int(attributes["State"]["Pid"])
        bridge = self.client.networks.get("docker_gwbridge").attrs["Containers"]
        self._address = bridge[place.id]["IPv4Address"].partition("/")[0]
        asked = (
            "resolvers docker\n  nameserver dns 127.0.0.11:53\n  hold valid 200ms\n  hold nx 0s\n  hold obsolete 0s\n"
        )
        asked += "  timeout resolve 200ms\n  timeout retry 200ms\n"
        servers = f"  server-template task {self.replicas * 2} tasks.app:8080 resolvers docker init-addr none"
        within = ["nsenter", f"--net=/proc/{process}/ns/net"]
        # A task is not taken out by anybody: that it ends shows in its health, and soon.
        self.proxy(f"{self._address}:{self.port}", servers, asked, within, checks="inter 200ms fall 1 rise 1")

    def deploy(self) -> None:
        """Bring the second version to everyone."""
        self._update(self.images[1])

    def deploy_bad(self) -> None:
        """Bring the version that fails to everyone."""
        self._update(self.images[2])

    def _update(self, image: str) -> None:
        self.run(["docker", "service", "update", "-q", "--no-resolve-image", "--image", image, "app"])

    def rollback(self) -> None:
        """Bring everyone back."""
        self.run(["docker", "service", "rollback", "-q", "app"])

    def settle(self) -> None:
        """Wait until no task of the other version is left."""
        until(lambda: len(self._tasks()) == self.replicas, "the tasks before have ended")

    def _remove_network(self) -> None:
        """Remove the network once the tasks have left it: that the service is removed does not wait for them."""
        until(lambda: not self._tasks(), "the tasks have ended")
        until(self._is_network_gone, "the network is removed")

    def _is_network_gone(self) -> bool:
        done = subprocess.run(
            ["docker", "network", "rm", "users"], capture_output=True, text=True, timeout=WITHIN, check=False
        )
        return not done.returncode or "not found" in done.stderr

    def _tasks(self) -> list[str]:
        found = self.client.containers.list(filters={"label": "com.docker.swarm.service.name=app"})
        return [str(container.id) for container in found]


class Playbook(Contender):
    """`ansible-playbook` over two containers with fixed ports."""

    name = "ansible-playbook"
    ports = (9101, 9102)
    listen = "127.0.0.1:9100"

    @property
    def url(self) -> str:
        """Return the address that users ask."""
        return f"http://{self.listen}"

    def begin(self) -> None:
        """Start the containers, and the proxy before them."""
        lines = []
        for n, port in enumerate(self.ports, 1):
            lines.append(f"web{n} port={port} ansible_connection=local ansible_python_interpreter={sys.executable}")
            publish = ["-p", f"127.0.0.1:{port}:8080"]
            self.run(["docker", "run", "-d", "--name", f"web{n}", *publish, self.images[0]])
            self.undo.callback(self.run, ["docker", "rm", "-f", f"web{n}"])
        (self.folder / "hosts").write_text("\n".join(lines) + "\n")
        self.proxy(self.listen, "\n".join(f"  server web{n} 127.0.0.1:{p}" for n, p in enumerate(self.ports, 1)))

    def deploy(self) -> None:
        """Bring the second version to everyone."""
        self._play(self.images[1])

    def rollback(self) -> None:
        """Bring everyone back: the same play with the version before."""
        self._play(self.images[0])

    def _play(self, image: str) -> None:
        program = Path(sys.executable).with_name("ansible-playbook")
        values = ["-e", f"image={image}", "-e", f"socket={self.socket}"]
        home = str(self.folder / "ansible")
        self.run(
            [str(program), "-i", "hosts", *values, str(PLAYBOOK)], ANSIBLE_HOME=home, ANSIBLE_LOCALHOST_WARNING="0"
        )


CONTENDERS: tuple[type[Contender], ...] = (BlueGreen, Rolling, Watched, Swarm, InSwarm, Playbook)
# Those that are tried with a release that fails, too
TRIED: tuple[type[Swarm] | type[InSwarm], ...] = (Swarm, InSwarm)


def until(ready: Callable[[], bool], what: str) -> None:
    """Look until it is so."""
    end = time.monotonic() + WITHIN
    while not ready():
        if time.monotonic() > end:
            raise SystemExit(f"{what}: not within {WITHIN:g} s")
        time.sleep(0.1)


def answers(url: str, version: str) -> bool:
    """Return whether users of this address get this version."""
    try:
        return requests.get(url, timeout=2).headers.get("X-Version") == version
    except requests.exceptions.RequestException:
        return False

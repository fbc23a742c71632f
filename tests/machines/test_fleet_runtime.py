"""What every runtime promises, tried on a fleet of engines that are reached by ssh, and by TLS."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import docker
import pytest

from deployer.clock import Deadline, SystemClock
from deployer.drivers.ports import Runtime
from deployer.drivers.runtime.docker import DockerRuntime, Engine, Fleet, Member
from deployer.drivers.runtime.docker.reach import Reach
from deployer.machine import Host, Machines
from deployer.model import InstanceSpec, Release
from tests.conformance import test_runtime
from tests.conformance.runtimes import Bench, DockerBench
from tests.lab import image
from tests.lab.machines import Lab
from tests.machines.authority import Authority
from tests.machines.farm import CONTROL, WEB, engine, lab_of_engines
from tests.ports import free_port

pytestmark = pytest.mark.live
DIRECT = ("web3",)  # reached by TLS
for _name, _test in vars(test_runtime).items():
    if _name.startswith("test_") or _name == "secretive":  # the suite, and its fixture
        globals()[_name] = _test


class FleetBench(DockerBench):
    """Three machines; images are built on the engine of a fourth, and each instance stands on the next machine.

    One of them is reached by TLS.
    """

    def __init__(self, lab: Lab, authority: Authority, stack: ExitStack) -> None:
        self.lab, self._stack = lab, stack
        self.clients = {name: stack.enter_context(engine(lab[name])) for name in WEB}
        hosts = tuple(
            Host(
                name,
                lab[name].address,
                "ssh",
                lab[name].address,
                user="root",
                key_file=str(lab.key),
                ssh_args=tuple(lab.ssh_args.split()),
            )
            for name in WEB
        )
        self.hosts = tuple(authority.direct(host) if host.name in DIRECT else host for host in hosts)
        super().__init__(stack.enter_context(engine(lab[CONTROL])))

    def another(self, installation: str) -> Runtime:
        clock, owner = SystemClock(), f"/state/{self.service}/{installation}"
        reach = Reach(clock, owner, "")
        self._stack.callback(reach.close)
        control = Engine(lambda timeout, version: _client(self.lab, timeout, version), CONTROL)
        fleet = reach.fleet(Machines(self.hosts))
        # Images come from the engine of the control machine, which is another one than that of the test machine.
        return Fleet(fleet.members, set(WEB), Member("", control, DockerRuntime(clock, owner, control), clock))

    def spec(self, release: Release, index: int = 1, **secrets: str) -> InstanceSpec:
        host = self.hosts[(release.number + index) % len(self.hosts)]
        spec = super().spec(release, index, **secrets)
        return replace(spec, host=host.name, address=f"{host.address}:{free_port()}")

    @contextmanager
    def occupied(self, spec: InstanceSpec) -> Iterator[None]:
        port = spec.address.rpartition(":")[2]
        machine = self.lab[spec.host]
        machine.run("systemd-run", "--unit=occupied", "python3", "-m", "http.server", "-b", machine.address, port)
        listening = f"sport = :{port}"
        Deadline.after(SystemClock(), 10).until(
            lambda: port in machine.run("ss", "-Hltn", listening).stdout, "the other program listens"
        )
        try:
            yield
        finally:
            machine.run("systemctl", "stop", "occupied")

    def close(self) -> None:
        super().close()
        wanted: dict[str, str | list[str] | bool] = {"label": f"deployer.service={self.service}"}
        for client in self.clients.values():
            for container in client.containers.list(all=True, filters=wanted, ignore_removed=True):
                container.remove(force=True, v=True)
            for found in client.images.list(all=True):
                image.remove(str(found.id), client)


def _client(lab: Lab, timeout: float, version: str | None) -> docker.DockerClient:
    return docker.DockerClient(base_url=lab[CONTROL].docker_url, timeout=timeout, version=version)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def machines() -> Iterator[Lab]:
    with lab_of_engines() as lab:
        yield lab


@pytest.fixture(scope="module")
def authority(machines: Lab, tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Give who signs, when machines listen for who was signed."""
    authority = Authority(tmp_path_factory.mktemp("tls") / "certs")
    for name in DIRECT:
        authority.guard(machines[name])
    return authority


@pytest.fixture
def bench(machines: Lab, authority: Authority) -> Iterator[Bench]:
    with ExitStack() as stack:
        made = FleetBench(machines, authority, stack)
        try:
            yield made
        finally:
            made.close()


def test_an_image_is_copied_to_each_machine_once_and_pulled_nowhere(bench: FleetBench) -> None:
    told: list[str] = []
    manifest = bench.manifest("1.0")

    def tell(_kind: str, **data: str) -> None:
        told.append(data["text"])

    image_id = bench.runtime.resolve(manifest, manifest.image, _within(), tell).id
    assert bench.runtime.resolve(manifest, manifest.image, _within(), tell).id == image_id
    assert told == [f"bringing {manifest.image} to web1, web2, web3"]
    for client in bench.clients.values():
        assert client.images.get(image_id).id == image_id


def _within() -> Deadline:
    return Deadline.after(SystemClock(), 30)

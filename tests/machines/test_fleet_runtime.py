"""What every runtime promises, tried on a fleet of engines that are reached by ssh, and by TLS."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import docker
import pytest

from deployer.core.clock import Deadline, SystemClock
from deployer.core.errors import HostsUnreachable
from deployer.core.host import Host, ServiceHosts
from deployer.drivers.ports import READ_SECONDS, RuntimeCare, standing
from deployer.drivers.runtime.docker import DockerFleet, DockerRuntime, Engine, FleetHost
from deployer.drivers.runtime.docker.engine_pool import EnginePool
from deployer.model import Instance, InstanceSpec, Release
from tests.conformance import test_runtime
from tests.conformance.runtimes import Bench, DockerBench, silent, wait_until_it_answers
from tests.conformance.test_runtime import only
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

    def another(self, installation: str) -> RuntimeCare:
        clock, owner = SystemClock(), f"/state/{self.service}/{installation}"
        reach = EnginePool(clock, owner, "")
        self._stack.callback(reach.close)
        control = Engine(lambda timeout, version: _client(self.lab, timeout, version), CONTROL)
        fleet = reach.fleet(ServiceHosts(self.hosts))
        # Images come from the engine of the control machine, which is another one than that of the test machine.
        return DockerFleet(fleet.members, set(WEB), FleetHost("", control, DockerRuntime(clock, owner, control), clock))

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
        Deadline.after(SystemClock(), 60).until(
            lambda: port in machine.run("ss", "-Hltn", listening).stdout, "the other program listens"
        )
        try:
            yield
        finally:
            machine.run("systemctl", "stop", "occupied")

    def client_of(self, instance: Instance) -> docker.DockerClient:
        return self.clients[instance.host]

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
    """Return who signs, when machines listen for who was signed."""
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


# -- hosts that are silent


@pytest.fixture(params=["cut", "engine"])
def lost(request: pytest.FixtureRequest, machines: Lab) -> Iterator[Callable[[str], None]]:
    """Yield what makes a host silent, in each of two ways: its cable is pulled, or its engine ends."""

    def lose(name: str) -> None:
        if request.param == "cut":
            machines.cut(name)
        else:
            machines[name].run("systemctl", "stop", "docker.socket", "docker")

    yield lose
    machines.heal()
    for name in WEB:
        machines[name].run("systemctl", "start", "docker")
        machines[name].wait()


@pytest.fixture
def spread(bench: FleetBench) -> dict[str, Instance]:
    """Return an instance on each host, by its name."""
    release = bench.release()
    specs = [bench.spec(release, index) for index in range(1, len(WEB) + 1)]
    return {spec.host: bench.runtime.ensure(spec, _within()) for spec in specs}


def test_an_image_is_brought_to_hosts_that_answer_as_long_as_the_others_can_be_spared(
    bench: FleetBench, lost: Callable[[str], None]
) -> None:
    limit = READ_SECONDS + 3 * _usual(bench)
    lost("web2")
    manifest = bench.manifest("1.0", max_unavailable=1)
    began = time.monotonic()
    image_id = bench.runtime.resolve(manifest, manifest.image, _within(), silent).id
    assert time.monotonic() - began < limit
    for name in ("web1", "web3"):
        assert bench.clients[name].images.get(image_id).id == image_id


@pytest.mark.parametrize(("silent_hosts", "spared"), [(("web2",), 0), (("web1", "web2"), 1), (WEB, 3)])
def test_an_image_is_brought_nowhere_when_more_hosts_are_silent_than_can_be_spared(
    bench: FleetBench, lost: Callable[[str], None], silent_hosts: tuple[str, ...], spared: int
) -> None:
    for name in silent_hosts:
        lost(name)
    manifest = bench.manifest("1.0", max_unavailable=spared)
    with pytest.raises(HostsUnreachable) as raised:
        bench.runtime.resolve(manifest, manifest.image, _within(), silent)
    assert sorted(raised.value.silent) == list(silent_hosts)


def test_a_host_that_answers_again_gets_the_image_with_its_first_instance(bench: FleetBench, machines: Lab) -> None:
    machines.cut("web2")
    try:
        release = bench.release(max_unavailable=1)
    finally:
        machines.heal()
    spec = next(s for index in (1, 2, 3) if (s := bench.spec(release, index)).host == "web2")
    _within().until(lambda: _ensured(bench, spec), "web2 is reachable again")
    wait_until_it_answers(only(bench))


def _usual(bench: FleetBench) -> float:
    """Return how many seconds a look at all hosts takes here and now: many on a busy host."""
    began = time.monotonic()
    bench.runtime.instances(bench.service)
    return time.monotonic() - began


def _ensured(bench: FleetBench, spec: InstanceSpec) -> bool:
    try:
        bench.runtime.ensure(spec, _within())
    except HostsUnreachable:
        return False
    return True


def test_what_asks_all_hosts_names_the_silent_ones_and_gives_what_the_others_said(
    bench: FleetBench, spread: dict[str, Instance], lost: Callable[[str], None]
) -> None:
    limit = READ_SECONDS + 3 * _usual(bench)
    lost("web2")
    here = {instance.name for host, instance in spread.items() if host != "web2"}
    questions: dict[str, Callable[[], tuple[object, ...]]] = {
        "instances": lambda: bench.runtime.instances(bench.service),
        "list_all": lambda: tuple(f.instance for f in bench.runtime.list_all() if f.instance.service == bench.service),
        "foreign": lambda: bench.runtime.foreign(bench.service),
        "garbage": lambda: bench.runtime.garbage(()),
        "collect_garbage": lambda: bench.runtime.collect_garbage(()),
        "prune": lambda: bench.runtime.prune((), ()),
    }
    for name, question in questions.items():
        began = time.monotonic()
        with pytest.raises(HostsUnreachable) as raised:
            question()
        assert sorted(raised.value.silent) == ["web2"], name
        assert time.monotonic() - began < limit, name
        if name == "instances":
            assert {instance.name for instance in raised.value.seen} == here
        if name == "list_all":
            assert here <= {found.instance.name for found in raised.value.seen}


def test_work_on_a_silent_host_is_refused_and_goes_on_at_the_others(
    bench: FleetBench, spread: dict[str, Instance], lost: Callable[[str], None]
) -> None:
    limit = READ_SECONDS + 3 * _usual(bench)
    lost("web2")
    gone, there = spread["web2"], spread["web1"]
    spec = next(
        s for index in (1, 2, 3) if (s := bench.spec(bench.release(2, max_unavailable=1), index)).host == "web2"
    )
    work: dict[str, Callable[[], object]] = {
        "ensure": lambda: bench.runtime.ensure(spec, _within()),
        "run": lambda: bench.runtime.run(gone, [*bench.program(), "env", "PATH"], _within()),
        "logs": lambda: bench.runtime.logs(gone, 5),
        "remove": lambda: bench.runtime.remove(gone, 1, _within()),
    }
    for name, do in work.items():
        began = time.monotonic()
        with pytest.raises(HostsUnreachable, match="web2 is unreachable"):
            do()
        assert time.monotonic() - began < limit, name
    wait_until_it_answers(there)
    assert bench.runtime.logs(there, 5)
    bench.runtime.remove(there, 1, _within())
    standing_now = standing(bench.runtime, bench.service)
    assert [i.host for i in standing_now.instances] == ["web3"]
    assert list(standing_now.silent) == ["web2"]


def _within() -> Deadline:
    return Deadline.after(SystemClock(), 120)

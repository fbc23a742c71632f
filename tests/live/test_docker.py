"""Runtime `docker` on a real engine: what is special about containers, beside the promises of all runtimes."""

from __future__ import annotations

import json
import os
import socket
import socketserver
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.models.containers import Container

from deployer.core.clock import Deadline, SystemClock
from deployer.core.errors import DeadlinePassed, DriverFailed, Refused
from deployer.drivers.runtime.docker.options import SECRETS
from deployer.model import Instance
from tests.conformance.runtimes import DockerBench, answers, get, silent, wait_until_it_answers
from tests.lab import archive, image, registry
from tests.waiting import within

pytestmark = pytest.mark.live


@pytest.fixture
def bench(engine: docker.DockerClient) -> Iterator[DockerBench]:
    made = DockerBench(engine)
    try:
        yield made
    finally:
        made.close()


def container(bench: DockerBench, instance: Instance) -> Container:
    return bench.engine.containers.get(instance.runtime_id)


def inspected(bench: DockerBench, instance: Instance) -> dict[str, Any]:
    return dict(container(bench, instance).attrs)


def test_the_manifest_reaches_the_engine(bench: DockerBench, tmp_path: Path) -> None:
    network = bench.engine.networks.create(f"{bench.service}-net")
    volume = bench.engine.volumes.create(f"{bench.service}-data")
    try:
        instance = bench.start(
            limits={"cpus": 0.5, "memory": "64m", "pids": 50},
            user="65534:65534",
            entrypoint=list(bench.program()),
            read_only=True,
            stop={"signal": "SIGINT", "grace": "3s"},
            log={"driver": "local", "options": {"max-size": "1m"}},
            mounts=[
                {"source": str(tmp_path), "target": "/host", "read_only": True},
                {"source": volume.name, "target": "/data"},
            ],
            networks=[network.name],
        )
        found = inspected(bench, instance)
        host = found["HostConfig"]
        assert (host["NanoCpus"], host["Memory"], host["PidsLimit"]) == (500_000_000, 64 * 1024**2, 50)
        assert (host["ReadonlyRootfs"], host["SecurityOpt"]) == (True, ["no-new-privileges:true"])
        assert found["Config"]["Entrypoint"] == list(bench.program())
        assert host["LogConfig"] == {"Type": "local", "Config": {"max-size": "1m"}}
        assert host["RestartPolicy"]["Name"] == "unless-stopped"
        assert (found["Config"]["User"], found["Config"]["StopSignal"]) == ("65534:65534", "SIGINT")
        mounts = {m["Destination"]: (m["Type"], m["RW"]) for m in found["Mounts"]}
        assert mounts == {"/host": ("bind", False), "/data": ("volume", True)}
        assert set(found["NetworkSettings"]["Networks"]) == {"bridge", network.name}
        within().until(lambda: bench.runtime.logs(instance, 5) != (), "the engine has its log")
        bench.runtime.remove(instance, 5, within())
        assert volume.name in {v.name for v in bench.engine.volumes.list()}  # the user's own volume stays
    finally:
        bench.close()
        volume.remove()
        network.remove()


def test_an_unknown_network_is_refused_before_anything_is_made(bench: DockerBench) -> None:
    with pytest.raises(Refused, match="no network nowhere"):
        bench.release(networks=["nowhere"])


def test_secrets_never_show_and_leave_with_the_container(bench: DockerBench) -> None:
    release = bench.release(secrets={"PASSWORD": {"env": "X"}}, user="65534:65534", read_only=True)
    instance = bench.runtime.ensure(bench.spec(release, PASSWORD="hunter2"), within())
    wait_until_it_answers(instance)
    read = [*bench.program(), "cat", f"{SECRETS}/PASSWORD"]
    assert bench.runtime.run(instance, read, within()) == (0, "hunter2")

    found = inspected(bench, instance)
    assert "hunter2" not in json.dumps(found)
    assert "hunter2" not in subprocess.run(["ps", "axwwe"], capture_output=True, text=True, timeout=60).stdout
    (volume,) = (m["Name"] for m in found["Mounts"] if m["Destination"] == SECRETS)

    container(bench, instance).restart(timeout=1)
    wait_until_it_answers(instance)
    assert bench.runtime.run(instance, read, within()) == (0, "hunter2")

    bench.runtime.remove(instance, 1, within())
    with pytest.raises(docker.errors.NotFound):
        bench.engine.volumes.get(volume)


def test_a_container_of_somebody_else_is_never_touched(bench: DockerBench) -> None:
    spec = bench.spec(bench.release())
    theirs = bench.engine.containers.run(spec.release.image_id, name=spec.name, detach=True)
    try:
        with pytest.raises(DriverFailed, match=f"a container named {spec.name} exists that deployer does not manage"):
            bench.runtime.ensure(spec, within())
        ours = Instance(bench.service, "blue", 1, 1, spec.name, str(theirs.id), spec.address, "running")
        with pytest.raises(DriverFailed, match="no longer managed by deployer"):
            bench.runtime.remove(ours, 0, within())
        theirs.reload()
        assert theirs.status == "running"
        assert bench.runtime.instances(bench.service) == ()
    finally:
        theirs.remove(force=True, v=True)


def test_another_installation_with_the_same_service_is_refused(bench: DockerBench) -> None:
    spec = bench.spec(bench.release())
    instance = bench.runtime.ensure(spec, within())
    with pytest.raises(DriverFailed, match="deployer does not manage"):
        bench.another("second").ensure(replace(spec, address="127.0.0.1:1"), within())
    wait_until_it_answers(instance)


@pytest.mark.parametrize("trouble", ["stop", "kill", "pause"])
def test_what_somebody_stopped_is_started_again(bench: DockerBench, trouble: str) -> None:
    spec = bench.spec(bench.release())
    instance = bench.runtime.ensure(spec, within())
    wait_until_it_answers(instance)
    getattr(container(bench, instance), trouble)()
    assert bench.runtime.instances(bench.service)[0].state == ("paused" if trouble == "pause" else "exited")
    again = bench.runtime.ensure(spec, within())
    assert (again.runtime_id, again.address, again.state) == (instance.runtime_id, instance.address, "running")
    wait_until_it_answers(again)


def test_a_paused_container_is_not_healthy(bench: DockerBench) -> None:
    instance = bench.start()
    container(bench, instance).pause()
    assert bench.runtime.instances(bench.service)[0].state == "paused"
    bench.runtime.remove(instance, 1, within())


def test_a_half_made_container_is_made_anew(bench: DockerBench) -> None:
    spec = bench.spec(bench.release(secrets=["PASSWORD"]), PASSWORD="hunter2")
    first = bench.runtime.ensure(spec, within())
    labels = container(bench, first).labels
    bench.runtime.remove(first, 0, within())
    host, _, port = spec.address.partition(":")
    half = bench.engine.containers.create(
        spec.release.image_id, name=spec.name, labels=labels, ports={"8080/tcp": (host, int(port))}
    )

    second = bench.runtime.ensure(spec, within())
    assert second.runtime_id != half.id
    wait_until_it_answers(second)
    read = [*bench.program(), "cat", f"{SECRETS}/PASSWORD"]
    assert bench.runtime.run(second, read, within()) == (0, "hunter2")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"user": "nobody-such"}, "nobody-such"),
        ({"mounts": [{"source": "/no/such/folder", "target": "/data"}]}, "/no/such/folder"),
    ],
    ids=["user", "mount"],
)
def test_what_the_engine_refuses_is_told_and_leaves_nothing(
    bench: DockerBench, settings: dict[str, Any], words: str
) -> None:
    release = bench.release(**settings, secrets=["PASSWORD"])
    with pytest.raises(DriverFailed, match=words):
        bench.runtime.ensure(bench.spec(release, PASSWORD="hunter2"), within())
    label: dict[str, Any] = {"label": f"deployer.service={bench.service}"}
    assert bench.engine.containers.list(all=True, filters=label) == []


def test_a_port_published_by_another_container_is_named(bench: DockerBench) -> None:
    first = bench.start()
    second = replace(bench.spec(bench.release(), index=2), address=first.address)
    with pytest.raises(DriverFailed, match=f"cannot have {first.address}"):
        bench.runtime.ensure(second, within())
    assert bench.runtime.instances(bench.service) == (first,)


def test_the_health_check_of_the_image_is_read(bench: DockerBench) -> None:
    image.build(f"{bench.service}:checked", version="2", health=True, client=bench.engine)
    spec = bench.spec(replace(bench.release(), image_id=_id(bench, "checked")))

    def health() -> str:
        return bench.runtime.instances(bench.service)[0].health

    instance = bench.runtime.ensure(spec, within())
    assert instance.health == "starting" or health() == "healthy"  # where it took longer than its first check
    within(60).until(lambda: health() == "healthy", "healthy")
    get(instance, "/admin?health=0")
    within(60).until(lambda: health() == "unhealthy", "unhealthy")


def _id(bench: DockerBench, tag: str) -> str:
    return str(bench.engine.images.get(f"{bench.service}:{tag}").id)


def test_an_image_that_is_gone_is_named(bench: DockerBench) -> None:
    spec = bench.spec(bench.release())
    image.remove(spec.release.image_id, bench.engine)
    with pytest.raises(DriverFailed, match=f"image of {bench.service} r1.* is gone"):
        bench.runtime.ensure(spec, within())


def test_an_image_whose_tag_moved_on_is_kept_for_a_rollback(bench: DockerBench) -> None:
    old = bench.release(number=1)
    bench.runtime.remove(bench.runtime.ensure(bench.spec(old), within()), 0, within())
    image.build(f"{bench.service}:1.0", version="1.0-rebuilt", client=bench.engine)

    assert old.image_id not in image.named(bench.engine, dangling=True)  # `docker image prune` takes these
    wait_until_it_answers(bench.runtime.ensure(bench.spec(old), within()))


def test_prune_leaves_the_tags_of_the_user(bench: DockerBench) -> None:
    release = bench.release()
    instance = bench.runtime.ensure(bench.spec(release), within())
    assert bench.runtime.prune([], [release]) == ()  # in use
    bench.runtime.remove(instance, 0, within())
    (removed,) = bench.runtime.prune([], [release])
    assert removed.startswith("deployer-")
    assert _id(bench, "1.0") == release.image_id


@pytest.fixture
def shelf(bench: DockerBench) -> Iterator[registry.Registry]:
    with registry.running() as served:
        yield served
        for identity, names in image.named(bench.engine).items():
            if any(served.host in name for name in names):
                image.remove(identity, bench.engine)


def variant(bench: DockerBench, version: str) -> archive.Image:
    layers, program = image.base()
    return archive.Image(layers, program, {"VERSION": version}, {"for": bench.service})


@pytest.fixture
def logged_in(shelf: registry.Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> registry.Registry:
    shelf.login(tmp_path)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    return shelf


def test_images_are_pulled_with_the_credentials_of_docker_login(
    bench: DockerBench, logged_in: registry.Registry
) -> None:
    shop = variant(bench, "1.0")
    digest = logged_in.publish("shop", "1.0", shop)
    manifest = bench.manifest("1.0")
    for reference in (f"{logged_in.host}/shop:1.0", f"{logged_in.host}/shop@{digest}"):
        found = bench.runtime.resolve(manifest, reference, within(), silent)
        assert found.id == bench.engine.images.get(f"{logged_in.host}/shop:1.0").id


def test_a_tag_that_moved_is_noticed_and_a_registry_that_is_gone_is_told(
    bench: DockerBench, logged_in: registry.Registry
) -> None:
    notes: list[str] = []

    def tell(kind: str, **data: Any) -> None:
        notes.append(str(data["text"]))

    manifest, reference = bench.manifest("1.0"), f"{logged_in.host}/shop:latest"
    logged_in.publish("shop", "latest", variant(bench, "1"))
    first = bench.runtime.resolve(manifest, reference, within(), tell)
    logged_in.publish("shop", "latest", variant(bench, "2"))
    second = bench.runtime.resolve(manifest, reference, within(), tell)
    assert first.id != second.id

    logged_in.tags.clear()
    assert bench.runtime.resolve(manifest, reference, within(), tell) == second
    assert "could not be pulled" in notes[-1]


class Impatient(SystemClock):
    """The machine's clock, but that a pause takes no time."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


@pytest.mark.parametrize("faults", [[503, 503], [0]], ids=["5xx", "connection-cut"])
def test_a_pull_that_fails_for_a_moment_is_tried_again(
    bench: DockerBench, logged_in: registry.Registry, faults: list[int]
) -> None:
    logged_in.publish("shop", "1.0", variant(bench, "1.0"))
    logged_in.faults, clock = faults, Impatient()
    reference = f"{logged_in.host}/shop:1.0"
    found = bench.runtime.resolve(bench.manifest("1.0"), reference, Deadline.after(clock, 60), silent)
    assert found.id == bench.engine.images.get(reference).id
    assert clock.slept == [1.0]


@pytest.mark.parametrize(
    ("faults", "slept", "why"),
    [([503] * 6, [1.0, 2.0], "503"), ([0] * 3, [1.0, 2.0], "EOF"), ([403] * 2, [], "403"), ([401] * 2, [], "unauth")],
)
def test_a_pull_is_given_up_after_three_attempts_and_at_once_where_no_other_will_help(
    bench: DockerBench, logged_in: registry.Registry, faults: list[int], slept: list[float], why: str
) -> None:
    logged_in.publish("shop", "1.0", variant(bench, "1.0"))
    logged_in.faults, clock = faults, Impatient()
    with pytest.raises(Refused, match=f"cannot be pulled: .*{why}"):
        bench.runtime.resolve(bench.manifest("1.0"), f"{logged_in.host}/shop:1.0", Deadline.after(clock, 60), silent)
    assert clock.slept == slept


def test_without_credentials_the_image_is_refused(
    bench: DockerBench, shelf: registry.Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    shelf.publish("shop", "1.0", variant(bench, "1.0"))
    with pytest.raises(Refused, match="cannot be pulled") as refused:
        bench.runtime.resolve(bench.manifest("1.0"), f"{shelf.host}/shop:1.0", within(), silent)
    assert "docker login" in refused.value.hint
    assert registry.PASSWORD not in str(refused.value)


def test_a_pulled_image_is_pruned_with_its_tag(bench: DockerBench, logged_in: registry.Registry) -> None:
    reference = f"{logged_in.host}/shop:1.0"
    logged_in.publish("shop", "1.0", variant(bench, "1.0"))
    found = bench.runtime.resolve(bench.manifest("1.0"), reference, within(), silent)
    release = replace(bench.release(), image=reference, image_id=found.id)
    bench.runtime.remove(bench.runtime.ensure(bench.spec(release), within()), 0, within())

    assert reference in bench.runtime.prune([], [release])
    with pytest.raises(docker.errors.ImageNotFound):
        bench.engine.images.get(found.id)


def test_removing_one_instance_leaves_the_others(bench: DockerBench) -> None:
    release = bench.release()
    one, two = (bench.runtime.ensure(bench.spec(release, index=n), within()) for n in (1, 2))
    wait_until_it_answers(two)
    bench.runtime.remove(one, 1, within())
    assert answers(two)
    assert bench.runtime.instances(bench.service) == (two,)


@contextmanager
def forwarded(target: str) -> Iterator[str]:
    """Offer a Unix socket on a free port of 127.0.0.1, as an engine with a TCP address does; gives host and port."""

    def pump(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.socket(socket.AF_UNIX) as engine:
                engine.connect(target)
                answers = threading.Thread(target=pump, args=(engine, self.request))
                answers.start()
                pump(self.request, engine)
                answers.join()

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        serving.start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            serving.join()


def test_an_engine_at_a_tcp_address(bench: DockerBench, monkeypatch: pytest.MonkeyPatch) -> None:
    here = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    with forwarded(here.removeprefix("unix://")) as address:
        monkeypatch.setenv("DOCKER_HOST", f"tcp://{address}")
        instance = bench.start(version="1.5", secrets=[])
        assert bench.runtime.run(instance, [*bench.program(), "env", "VERSION"], within()) == (0, "1.5\n")
        with pytest.raises(DeadlinePassed):
            bench.runtime.run(instance, [*bench.program(), "sleep", "60"], within(0.5))
        within().until(lambda: bool(bench.runtime.logs(instance, 1)), "the engine has its log")
        assert bench.runtime.logs(instance, 1)[0].startswith("v=1.5 listening")
        bench.runtime.remove(instance, 1, within())
        assert bench.runtime.instances(bench.service) == ()


@pytest.mark.long("an instance that takes seconds to end")
def test_an_instance_may_take_longer_to_end_than_any_other_call(
    bench: DockerBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance = bench.start(env={"DRAIN": "60000"}, stop={"grace": "30m"})
    slow = threading.Thread(target=lambda: answers(instance, "/slow?ms=5000"))
    slow.start()
    within().until(lambda: get(instance, "/stats").json()["inflight"] == 1, "the slow request")
    monkeypatch.setattr("deployer.drivers.runtime.docker.runtime.CALL", 1.0)  # all of one client: four times as much
    bench.runtime.remove(instance, 1800, within(60))
    assert bench.runtime.instances(bench.service) == ()
    slow.join()

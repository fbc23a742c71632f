"""What every runtime promises (deployer/drivers/ports/runtime.py), tried on each one with real instances."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests

from deployer.core.errors import DeadlinePassed, DriverFailed, ImageGone, Refused
from deployer.model import Instance
from deployer.planning import release_record
from tests.conformance.runtimes import (
    Bench,
    DockerBench,
    IncusBench,
    IncusMachineBench,
    ProcessBench,
    SwarmBench,
    answers,
    get,
    silent,
    wait_until_it_answers,
)
from tests.waiting import within

LIVE = pytest.param("docker", marks=pytest.mark.live)
LONG = pytest.param("incus", marks=[pytest.mark.live, pytest.mark.long("a daemon of Incus of its own")])
MACHINE = pytest.param("incus-vm", marks=[pytest.mark.live, pytest.mark.long("virtual machines, where there is KVM")])
# Incus starts nothing again that has ended, and says of no line of a log when it was written.
SWARM = pytest.param("swarm", marks=[pytest.mark.live, pytest.mark.long("a Swarm of its own")])
OF_EACH = pytest.mark.long("a daemon of its own", every_change=("process", "docker", "swarm"))
# Commands in a virtual machine need Incus's agent, which the guest of the tests has not; its address is its own.
not_machines = pytest.mark.parametrize("bench", ["process", LIVE, LONG, SWARM], indirect=True)
not_incus = pytest.mark.parametrize("bench", ["process", LIVE, SWARM], indirect=True)


@pytest.fixture(params=["process", LIVE, LONG, SWARM, MACHINE])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    """Yield every implementation in turn."""
    made: Bench
    match request.param:
        case "docker":
            made = DockerBench(request.getfixturevalue("engine"))
        case "incus":
            made = IncusBench(request.getfixturevalue("incus"))
        case "incus-vm":
            made = IncusMachineBench(request.getfixturevalue("incus_machines"))
        case "swarm":
            made = SwarmBench(request.getfixturevalue("swarm_node"))
        case _:
            made = ProcessBench(tmp_path)
    try:
        yield made
    finally:
        made.close()


def only(bench: Bench) -> Instance:
    (instance,) = bench.runtime.instances(bench.service)
    return instance


def test_an_instance_answers_on_its_address(bench: Bench) -> None:
    instance = bench.start(version="1.5")
    assert get(instance, "/version").text == "1.5\n"


@OF_EACH
def test_what_an_instance_is_is_read_back(bench: Bench) -> None:
    spec = bench.spec(bench.release(number=42), index=3)
    made = bench.runtime.ensure(spec, within())
    assert only(bench) == made
    assert made == Instance(
        service=bench.service,
        colour="blue",
        release=42,
        index=3,
        name=f"{bench.service}-r42-3",
        runtime_id=made.runtime_id,
        address=bench.reached(spec, made),
        state="running",
        config_hash="config-42",
        rollout=7,
        host=spec.host,
    )


def test_instances_are_ordered_by_release_and_index(bench: Bench) -> None:
    for number, index in ((2, 1), (1, 2), (1, 1)):
        bench.runtime.ensure(bench.spec(bench.release(number=number), index=index), within())
    assert [(i.release, i.index) for i in bench.runtime.instances(bench.service)] == [(1, 1), (1, 2), (2, 1)]
    assert bench.runtime.instances("another-service") == ()


def test_an_instance_that_runs_is_left_alone(bench: Bench) -> None:
    spec = bench.spec(bench.release())
    first = bench.runtime.ensure(spec, within())
    wait_until_it_answers(first)
    get(first, "/")
    second = bench.runtime.ensure(replace(spec, rollout=8), within())
    assert (second.runtime_id, second.restarts) == (first.runtime_id, 0)
    assert get(second, "/stats").json()["n"] == 1


@OF_EACH
def test_another_configuration_replaces_the_instance(bench: Bench) -> None:
    spec = bench.spec(bench.release(config="old"))
    wait_until_it_answers(bench.runtime.ensure(spec, within()))
    changed = bench.release(config="new", env={"VERSION": "1.0-changed"})
    second = bench.runtime.ensure(replace(spec, release=changed), within())
    wait_until_it_answers(second)
    assert get(second, "/version").text == "1.0-changed\n"
    assert only(bench).config_hash == "new"


@not_incus
def test_an_instance_that_dies_comes_back_on_its_address(bench: Bench) -> None:
    instance = bench.start()
    with pytest.raises(requests.ConnectionError):
        get(instance, "/exit")
    within().until(lambda: only(bench).restarts == 1, "one restart")
    wait_until_it_answers(instance)
    assert only(bench).address == instance.address
    # A program may answer before its supervisor has written down that it runs.
    within().until(lambda: only(bench).state == "running", "it is reported to run")


@not_incus
def test_a_crash_loop_shows(bench: Bench) -> None:
    instance = bench.runtime.ensure(bench.spec(bench.release(env={"EXIT": "7"})), within())
    within().until(lambda: only(bench).restarts >= 2, "restarts")
    seen: list[Instance] = []  # a moment later it runs again

    def ended() -> bool:
        seen.append(only(bench))
        return seen[-1].state == "exited"

    within().until(ended, "the state between two restarts")
    assert seen[-1].exit_code == 7
    assert any("told to end" in line for line in bench.runtime.logs(instance, 20))


@not_machines
def test_a_taken_address_is_named_and_leaves_nothing(bench: Bench) -> None:
    spec = bench.spec(bench.release())
    with bench.occupied(spec), pytest.raises(DriverFailed, match=spec.address):
        bench.runtime.ensure(spec, within())
    assert bench.runtime.instances(bench.service) == ()


@not_machines
@pytest.mark.parametrize("address", ["localhost:80", "127.0.0.1", "127.0.0.1:http"])
def test_only_real_addresses_are_taken(bench: Bench, address: str) -> None:
    with pytest.raises(DriverFailed, match="not an address"):
        bench.runtime.ensure(replace(bench.spec(bench.release()), address=address), within())
    assert bench.runtime.instances(bench.service) == ()


def test_remove_lets_a_running_request_finish(bench: Bench) -> None:
    instance = bench.start(env={"DRAIN": "20000"})
    statuses: list[int] = []
    slow = threading.Thread(target=lambda: statuses.append(get(instance, "/slow?ms=3000", 60).status_code))
    slow.start()
    within().until(lambda: get(instance, "/stats").json()["inflight"] == 1, "the slow request")
    bench.runtime.remove(instance, 20, within(60))
    slow.join()
    assert statuses == [200]
    assert bench.runtime.instances(bench.service) == ()


def test_remove_kills_after_the_grace(bench: Bench) -> None:
    instance = bench.start(env={"DRAIN": "60000"}, stop={"grace": "60s"})
    slow = threading.Thread(target=lambda: answers(instance, "/slow?ms=60000", 60))
    slow.start()
    within().until(lambda: get(instance, "/stats").json()["inflight"] == 1, "the slow request")
    began = time.monotonic()
    bench.runtime.remove(instance, 1, within(30))
    assert 0.9 < time.monotonic() - began < 30, "the request would end after a minute"
    slow.join()


def test_remove_is_idempotent(bench: Bench) -> None:
    instance = bench.start()
    bench.runtime.remove(instance, 5, within())
    bench.runtime.remove(instance, 5, within())
    assert bench.runtime.instances(bench.service) == ()
    assert bench.runtime.logs(instance, 5) == ()


def test_logs_are_the_last_lines(bench: Bench) -> None:
    instance = bench.start(version="1.5")
    # A program may answer before an engine has passed on what it printed.
    within().until(lambda: bench.runtime.logs(instance, 1) != (), "a line")
    assert bench.runtime.logs(instance, 1)[0].startswith("v=1.5 listening on")
    assert bench.runtime.logs(instance, 0) == ()


@not_incus
def test_lines_are_counted_that_came_lately(bench: Bench) -> None:
    instance = bench.start(version="1.5")
    within().until(lambda: bench.runtime.logs(instance, 1) != (), "a line")
    assert bench.runtime.count_lines(instance, re.compile("^v=1.5 listening"), 600, within()) == 1
    assert bench.runtime.count_lines(instance, re.compile("no such line"), 600, within()) == 0


@not_machines
def test_an_instance_without_a_port_gets_none(bench: Bench) -> None:
    never_listening = {"START": "60000"}
    spec = bench.spec(bench.release(port=None, health={"running": "1s"}, env=never_listening))
    instance = bench.runtime.ensure(spec, within())
    assert bench.runtime.instances(bench.service) == (instance,)
    assert bench.runtime.run(instance, [*bench.program(), "env", "PORT"], within())[1].strip() == ""
    assert bench.runtime.ensure(spec, within()).runtime_id == instance.runtime_id
    bench.runtime.remove(instance, 5, within())
    assert bench.runtime.instances(bench.service) == ()


@not_machines
def test_commands_run_inside(bench: Bench) -> None:
    instance = bench.start(env={"GREETING": "hello"})
    assert bench.runtime.run(instance, [*bench.program(), "env", "GREETING"], within()) == (0, "hello\n")
    code, output = bench.runtime.run(instance, [*bench.program(), "cat", "/no/such/file"], within())
    assert code == 1
    assert "No such file" in output


@not_machines
def test_a_command_that_does_not_exist_says_so(bench: Bench) -> None:
    instance = bench.start()
    try:
        code, output = bench.runtime.run(instance, ["/no/such/command"], within())
    except DriverFailed as error:
        code, output = 127, error.message
    assert code in {126, 127}  # an engine reports it as a shell does
    assert "/no/such/command" in output


@not_machines
@pytest.mark.parametrize("command", [("sleep", "60"), ("cat", "/dev/zero")], ids=["silent", "noisy"])
def test_a_command_that_takes_too_long_is_given_up(bench: Bench, command: tuple[str, ...]) -> None:
    instance = bench.start()
    patience = within(30)
    with pytest.raises(DeadlinePassed):
        bench.runtime.run(instance, [*bench.program(), *command], within(1))
    assert not patience.passed()


@not_machines
def test_an_instance_knows_what_it_is(bench: Bench) -> None:
    instance = bench.start(version="1.5", number=9)
    expected = {
        "DEPLOYER_SERVICE": bench.service,
        "DEPLOYER_RELEASE": "9",
        "DEPLOYER_VERSION": "1.5",
        "DEPLOYER_COLOUR": "blue",
        "DEPLOYER_INSTANCE": instance.name,
    }
    found = {name: _env(bench, instance, name) for name in expected}
    assert found == expected


def _env(bench: Bench, instance: Instance, name: str) -> str:
    code, output = bench.runtime.run(instance, [*bench.program(), "env", name], within())
    assert code == 0
    return output.removesuffix("\n")


@pytest.fixture
def secretive(bench: Bench) -> Instance:
    """Return an instance with one secret of each kind."""
    secrets = {"PASSWORD": {"env": "X"}, "TOKEN": {"env": "Y", "deliver": "env"}}
    release = bench.release(secrets=secrets)
    instance = bench.runtime.ensure(bench.spec(release, PASSWORD="hunter2", TOKEN="swordfish"), within())
    wait_until_it_answers(instance)
    return instance


@not_incus
def test_secrets_are_readable_inside_also_after_a_restart(bench: Bench, secretive: Instance) -> None:
    def read() -> tuple[int, str]:
        path = _env(bench, secretive, "PASSWORD_FILE")
        return bench.runtime.run(secretive, [*bench.program(), "cat", path], within())

    assert read() == (0, "hunter2")
    assert _env(bench, secretive, "TOKEN") == "swordfish"
    assert _env(bench, secretive, "PASSWORD") == ""
    with pytest.raises(requests.ConnectionError):
        get(secretive, "/exit")
    within().until(lambda: only(bench).restarts == 1, "one restart")
    wait_until_it_answers(secretive)
    assert read() == (0, "hunter2")


def test_a_secret_without_a_value_is_named(bench: Bench) -> None:
    release = bench.release(secrets=["PASSWORD"])
    with pytest.raises(DriverFailed, match="PASSWORD"):
        bench.runtime.ensure(bench.spec(release), within())
    assert bench.runtime.instances(bench.service) == ()


def test_two_installations_do_not_meet(bench: Bench) -> None:
    instance = bench.start()
    stranger = bench.another("second")
    assert stranger.instances(bench.service) == ()
    with suppress(DriverFailed):  # one that shares the engine finds a stranger's container and says so
        stranger.remove(instance, 0, within())
    wait_until_it_answers(instance)
    assert only(bench).restarts == 0


def test_a_copy_of_an_instance_is_reported_and_is_not_ours(bench: Bench) -> None:
    """An image made of a container hands its labels on, a copied folder its record."""
    instance = bench.start()
    with bench.copied(instance) as copies:
        assert only(bench) == instance
        assert [f.instance for f in bench.runtime.list_all() if f.instance.service == bench.service] == [instance]
        assert strangers(bench) == sorted(copies)
        bench.runtime.remove(instance, 0, within())
        assert bench.runtime.instances(bench.service) == ()
        assert strangers(bench) == sorted(copies)


def strangers(bench: Bench) -> list[str]:
    return [name.partition(" on ")[0] for name in bench.runtime.foreign(bench.service)]


def test_an_instance_carries_what_its_release_is(bench: Bench) -> None:
    secret: dict[str, Any] = {"secrets": {"TOKEN": {"env": "TOKEN"}}, "env": {"GREETING": bench.text}}
    release = bench.release(number=3, **secret)
    made = bench.runtime.ensure(bench.spec(release, index=2, TOKEN="pl4nted"), within())
    (found,) = [f for f in bench.runtime.list_all() if f.instance.service == bench.service]
    assert found.instance == made
    assert release_record.read(found.record) == release
    assert "pl4nted" not in found.record


def test_a_census_tells_whose_each_instance_is(bench: Bench) -> None:
    bench.start(number=1)
    (mine,) = [f for f in bench.runtime.list_all() if f.instance.service == bench.service]
    other = bench.another("second")
    there = [f.installation for f in other.list_all() if f.instance.service == bench.service]
    assert there in ([], [mine.installation]), "an engine shows what others run, a folder of processes has only its own"
    assert other.instances(bench.service) == ()


def test_what_an_instance_carries_does_not_decide_whether_it_stays(bench: Bench) -> None:
    spec = bench.spec(bench.release())
    first = bench.runtime.ensure(spec, within())
    told = replace(spec.release, message="written down later", created_at=5.0)
    assert bench.runtime.ensure(replace(spec, release=told), within()) == first


def test_an_image_that_is_not_there_is_refused(bench: Bench) -> None:
    manifest = bench.manifest("1.0")
    with pytest.raises(Refused, match="no-such-image"):
        bench.runtime.resolve(manifest, "no-such-image:1.0", within(), silent)


def test_the_same_content_is_the_same_image(bench: Bench) -> None:
    first, again, other = (bench.release(version=v).image_id for v in ("1.0", "1.0", "1.1"))
    assert first == again
    assert first != other


def test_a_release_whose_image_or_files_are_gone_is_known(bench: Bench) -> None:
    release = bench.release()
    bench.runtime.check_release(release)
    with pytest.raises(ImageGone, match="gone"):
        bench.runtime.check_release(replace(release, image_id=f"{release.image_id[:-12]}{'0' * 12}"))


def test_prune_keeps_what_is_used(bench: Bench) -> None:
    releases = {n: bench.release(number=n, version=f"{n}.0") for n in (1, 2, 3)}
    specs = {n: bench.spec(release) for n, release in releases.items()}
    instances = {n: bench.runtime.ensure(spec, within()) for n, spec in specs.items()}
    bench.runtime.remove(instances[2], 0, within())
    bench.runtime.remove(instances[3], 0, within())

    removed = bench.runtime.prune(keep=[releases[3]], drop=[releases[1], releases[2]])

    assert len(removed) == 1  # 1 has an instance, 3 is kept
    assert bench.runtime.prune(keep=[releases[3]], drop=[releases[1], releases[2]]) == ()
    wait_until_it_answers(bench.runtime.ensure(specs[3], within()))
    bench.runtime.remove(only_of(bench, 1), 0, within())
    wait_until_it_answers(bench.runtime.ensure(specs[1], within()))


def only_of(bench: Bench, release: int) -> Instance:
    (instance,) = (i for i in bench.runtime.instances(bench.service) if i.release == release)
    return instance

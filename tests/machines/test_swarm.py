"""A service on a Swarm of three nodes, under load: forward and back, nodes that are lost, changes by other hands."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.machines import Lab
from tests.load import Load
from tests.machines.farm import CONTROL, WEB, Farm, engine, lab_of_engines
from tests.machines.test_fleet import AROUND, MIX, more, started, unfailing
from tests.swarm import begin, client, ready
from tests.waiting import within

pytestmark = pytest.mark.live
LONG = ("canary", "--steps", "50", "--for", "40s", "--version", "2.0", "--output", "plain")


@pytest.fixture(scope="module")
def machines() -> Iterator[Lab]:
    """Give hosts that are a Swarm, and one beside them from which is deployed."""
    with lab_of_engines() as made:
        begin([made[name].docker_url for name in WEB], [made[name].address for name in WEB])
        yield made


@pytest.fixture
def lab(machines: Lab) -> Iterator[Lab]:
    """Give the hosts, whole again after each test."""
    yield machines
    machines.heal()
    for machine in machines.machines.values():
        if not machine.is_on():
            machine.start()
            machine.wait(90)
    with client(machines["web1"].docker_url) as asked:
        within(90).until(lambda: ready(asked) == len(WEB), "all nodes are ready again")
        for node in asked.nodes.list():
            if node.attrs["Spec"]["Availability"] != "active":
                node.update({**node.attrs["Spec"], "Availability": "active"})


@pytest.fixture
def farm(lab: Lab, state: Path) -> Iterator[Farm]:
    """Give a service with version 1.0 live on the Swarm."""
    with engine(lab[CONTROL]) as asked:
        folder = state / "s"
        folder.mkdir()
        made = Farm(folder, lab, asked, {"web": WEB})
        made.write(runtime="swarm")
        try:
            made.version("1.0")
            made.deploy("up", "--version", "1.0")
            yield made
        finally:
            made.close()


def running(farm: Farm, version: str) -> dict[str, str]:
    """Return the host of each instance of a version that runs and that the proxy finds up."""
    found = [e for e in farm.status()["environments"] if e["version"] == version]
    return {i["name"]: i["host"] for e in found for i in e["instances"] if i["state"] == "running" and i["up"]}


@pytest.mark.parametrize("way", [("canary",), ("bluegreen", "--bake", "1s"), ("rolling", "--for", "1s")])
def test_forward_and_back_without_a_failed_request(farm: Farm, way: tuple[str, ...]) -> None:
    farm.version("2.0")
    with Load(farm.url, MIX) as load:
        started(load)
        farm.deploy(*way, "--version", "2.0")
        load.mark("done")
        more(load, 60, "requests after the end")
        farm.deploy("rollback")
        load.mark("back")
        more(load, 60, "requests after the rollback")
        report = unfailing(load)
    assert set(report.after("done").by_version) >= {"2.0"}
    assert set(report.after("back").only("fresh", "busy", "post").by_version) == {"1.0"}


def test_a_node_lost_in_a_canary_is_made_up_for_elsewhere(farm: Farm, lab: Lab) -> None:
    farm.version("2.0")
    with Load(farm.url, AROUND) as load:
        started(load)
        with farm.start(*LONG) as deploy:
            farm.wait(lambda status: status["share"] > 0, "users are on the candidate")
            there = [host for version in ("1.0", "2.0") for host in running(farm, version).values()]
            assert len(there) == 6
            lost = max(WEB[1:], key=there.count)
            lab[lost].kill()
            load.mark("lost")
            at = time.monotonic()
            within(60).until(
                lambda: all(
                    len(hosts := running(farm, version)) == 3 and lost not in hosts.values()
                    for version in ("1.0", "2.0")
                ),
                "full strength on the other nodes",
            )
            print(f"{there.count(lost)} instances of {lost} serve elsewhere after {time.monotonic() - at:.1f} s")
            load.mark("whole")
            out, err = deploy.communicate(timeout=150)
        assert deploy.returncode == 0, out + err
        assert "and gets its requests there" in out + err
        more(load, 60, "requests after the end")
        report = load.stop()
    assert report.after("whole").failed == 0, report.after("whole").text()
    assert report.after("lost").failed <= 20, report.after("lost").text()  # what was in flight there


def test_a_node_lost_between_deploys_is_made_up_for_by_the_keeper(farm: Farm, lab: Lab) -> None:
    lost = next(host for host in running(farm, "1.0").values() if host != "web1")
    with Load(farm.url, AROUND) as load, farm.start("keep"):
        started(load)
        lab[lost].kill()
        load.mark("lost")
        at = time.monotonic()
        within(90).until(
            lambda: len(hosts := running(farm, "1.0")) == 3 and lost not in hosts.values(), "full strength again"
        )
        print(f"full strength by the keeper after {time.monotonic() - at:.1f} s")
        load.mark("whole")
        more(load, 60, "requests after that")
        report = load.stop()
    assert report.after("whole").failed == 0, report.after("whole").text()
    assert report.after("lost").failed <= 20, report.after("lost").text()


def test_a_foreign_update_in_the_middle_is_drift_and_rolls_back(farm: Farm, lab: Lab) -> None:
    farm.version("2.0")
    with Load(farm.url, AROUND) as load:
        started(load)
        with farm.start(*LONG) as deploy:
            farm.wait(lambda status: status["share"] > 0, "users are on the candidate")
            name = next(iter(running(farm, "2.0")))
            lab["web1"].run("docker", "service", "update", "--detach", "--env-add", "X=1", name)
            out, err = deploy.communicate(timeout=120)
        assert deploy.returncode == 4, out + err
        assert f"{name} is not what r2 says: it was changed at " in out + err
        load.mark("back")
        more(load, 60, "requests after the end")
        report = load.stop()
    assert report.after("back").failed == 0, report.after("back").text()
    assert set(report.after("back").by_version) == {"1.0"}


def test_a_drained_node_loses_its_instances_and_no_request(farm: Farm, lab: Lab) -> None:
    drained = next(host for host in running(farm, "1.0").values() if host != "web1")
    with farm.start("keep"):
        lab["web1"].run("docker", "node", "update", "--availability", "drain", drained)
        within(90).until(
            lambda: len(hosts := running(farm, "1.0")) == 3 and drained not in hosts.values(), "full strength again"
        )
    farm.version("2.0")
    farm.deploy("bluegreen", "--bake", "0", "--version", "2.0")
    assert drained not in running(farm, "2.0").values()
    assert len(running(farm, "2.0")) == 3


def test_without_a_quorum_users_are_served_on_and_an_emergency_moves_them(farm: Farm, lab: Lab) -> None:
    farm.version("2.0")
    farm.deploy("bluegreen", "--bake", "0", "--version", "2.0")
    left = "web1"
    with Load(farm.url, AROUND) as load:
        started(load)
        for name in WEB:
            if name != left:
                lab[name].run("systemctl", "stop", "docker.socket", "docker", check=False)
        shown = farm.wait(lambda status: status["problems"], "the status says so", 90)
        assert "the Swarm has no leader" in shown["problems"][0] or "unreachable" in shown["problems"][0]
        refused = farm.deploy("up", "--version", "1.0", expect=4)
        assert "unreachable" in refused.stderr or "no leader" in refused.stderr
        load.mark("alone")
        more(load, 60, "requests meanwhile")
        load.stop()
    lab[left].run("systemctl", "stop", "docker.socket", "docker", check=False)


def test_a_worker_alone_is_refused_before_anything_changes(farm: Farm, lab: Lab) -> None:
    lab["web1"].run("docker", "node", "demote", "web3")
    try:
        farm.inventory({"web": ["web3"]})
        farm.write(service=f"{farm.name}w")
        said = farm.deploy("up", "--version", "1.0", expect=2).stderr
        assert "web3 is a worker of its Swarm, and only a manager can be asked" in said
    finally:
        lab["web1"].run("docker", "node", "promote", "web3")

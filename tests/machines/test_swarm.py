"""A service on a Swarm of three nodes, under load: forward and back, nodes that are lost, changes by other hands."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.machines import Lab
from tests.load import Load
from tests.machines.farm import CONTROL, WEB, Farm, engine, lab_of_engines
from tests.machines.test_fleet import AROUND, more, started, there_and_back, unfailing
from tests.ports import free_port
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


def serving(farm: Farm) -> dict[str, str]:
    """Return the host of each instance that runs and that the proxy finds up."""
    found = [i for e in farm.status()["environments"] for i in e["instances"]]
    return {i["name"]: i["host"] for i in found if i["state"] == "running" and i["up"]}


def running(farm: Farm, version: str) -> dict[str, str]:
    """Return the hosts of those of a version."""
    return {name: host for name, host in serving(farm).items() if name in farm.instances(version)}


def full_strength_without(farm: Farm, lost: str, instances: int) -> float:
    """Wait until all instances serve on other hosts; return how long that took, the last look at them included."""
    began = time.monotonic()
    within(90).until(
        lambda: len(there := serving(farm)) == instances and lost not in there.values(), "full strength elsewhere"
    )
    return time.monotonic() - began


def leader(lab: Lab) -> str:
    """Return the node that leads."""
    with client(lab["web1"].docker_url) as asked:
        (leads,) = [n for n in asked.nodes.list() if n.attrs.get("ManagerStatus", {}).get("Leader")]
        return str(leads.attrs["Description"]["Hostname"])


@pytest.mark.parametrize("way", [("canary",), ("bluegreen", "--bake", "1s"), ("rolling", "--for", "1s")])
def test_forward_and_back_without_a_failed_request(farm: Farm, way: tuple[str, ...]) -> None:
    there_and_back(farm, way)


@pytest.mark.parametrize("leads", [False, True], ids=["a follower", "the leader"])
def test_a_node_lost_in_a_canary_is_made_up_for_elsewhere(farm: Farm, lab: Lab, leads: bool) -> None:
    farm.version("2.0")
    with Load(farm.url, AROUND) as load:
        started(load)
        with farm.start(*LONG) as deploy:
            farm.wait(lambda status: status["share"] > 0, "users are on the candidate")
            there = list(serving(farm).values())
            assert len(there) == 6
            first = leader(lab)
            lost = first if leads else max((name for name in WEB if name != first), key=there.count)
            lab[lost].kill()
            load.mark("lost")
            took = full_strength_without(farm, lost, 6)
            print(f"{lost}: {there.count(lost)} instances serve elsewhere after {took:.1f} s")
            load.mark("whole")
            out, err = deploy.communicate(timeout=150)
        assert deploy.returncode == 0, out + err
        assert "and gets its requests there" in out + err
        more(load, 60, "requests after the end")
        report = load.stop()
    assert report.after("whole").failed == 0, report.after("whole").text()
    assert report.after("lost").failed <= 20, report.after("lost").text()  # what was in flight there


def test_a_node_lost_between_deploys_is_made_up_for_by_the_keeper(farm: Farm, lab: Lab) -> None:
    lost = next(iter(serving(farm).values()))
    with Load(farm.url, AROUND) as load, farm.start("keep"):
        started(load)
        lab[lost].kill()
        load.mark("lost")
        print(f"full strength by the keeper after {full_strength_without(farm, lost, 3):.1f} s")
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
    drained = next(host for host in serving(farm).values() if host != "web1")
    with farm.start("keep"):
        lab["web1"].run("docker", "node", "update", "--availability", "drain", drained)
        full_strength_without(farm, drained, 3)
    farm.version("2.0")
    farm.deploy("bluegreen", "--bake", "0", "--version", "2.0")
    assert drained not in running(farm, "2.0").values()
    assert len(running(farm, "2.0")) == 3


def hang(lab: Lab, *names: str) -> None:
    """Let the engines of hosts hang, and with them the managers; their containers go on."""
    for name in names:
        lab[name].run("sh", "-c", "kill -STOP $(cat /run/docker.pid)")


def go_on(lab: Lab) -> None:
    for name in WEB:
        lab[name].run("sh", "-c", "kill -CONT $(cat /run/docker.pid)")


def test_without_a_quorum_users_are_served_on_and_nothing_begins(farm: Farm, lab: Lab) -> None:
    farm.version("2.0")
    with Load(farm.url, AROUND) as load:
        started(load)
        hang(lab, "web2", "web3")
        try:
            farm.wait(lambda status: "the Swarm has no leader" in str(status["problems"]), "the status says so", 90)
            refused = farm.deploy("bluegreen", "--bake", "0", "--version", "2.0", expect=4)
            assert "the Swarm" in refused.stderr
            more(load, 60, "requests meanwhile")
        finally:
            go_on(lab)
        unfailing(load)
    within(90).until(lambda: not farm.status()["problems"], "the managers have a leader again")
    farm.deploy("bluegreen", "--bake", "0", "--version", "2.0")


def test_an_emergency_needs_no_manager(farm: Farm, lab: Lab) -> None:
    farm.version("2.0")
    farm.deploy("bluegreen", "--bake", "0", "--version", "2.0")
    with Load(farm.url, AROUND) as load:
        started(load)
        hang(lab, *WEB)
        try:
            began = time.monotonic()
            farm.deploy("rollback")
            print(f"rolled back in {time.monotonic() - began:.1f} s, with all managers gone")
            load.mark("back")
            more(load, 60, "requests after the rollback")
        finally:
            go_on(lab)
        report = unfailing(load)
    assert set(report.after("back").by_version) == {"1.0"}


def test_a_worker_alone_is_refused_before_anything_changes(farm: Farm, lab: Lab) -> None:
    lab["web1"].run("docker", "node", "demote", "web3")
    try:
        farm.inventory({"web": ["web3"]})
        farm.write(service=f"{farm.name}w", traffic={"listen": f"127.0.0.1:{free_port()}"})
        said = farm.deploy("up", "--version", "1.0", expect=2).stderr
        assert "web3 is a worker of its Swarm, and only a manager can be asked" in said
    finally:
        lab["web1"].run("docker", "node", "promote", "web3")

"""A service on a Swarm of three nodes, under load: forward and back, nodes that are lost, changes by other hands."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.machines import Lab, Machine
from tests.load import Load
from tests.machines.farm import WEB, Farm
from tests.machines.swarm_lab import (
    farm_of_swarm,
    full_strength_without,
    go_on,
    hang,
    running,
    serving,
)
from tests.machines.test_fleet import AROUND, more, started, there_and_back, unfailing
from tests.ports import free_port
from tests.waiting import within

pytestmark = pytest.mark.live
LONG = ("canary", "--steps", "50", "--for", "40s", "--version", "2.0", "--output", "plain")


@pytest.fixture
def farm(nodes: Lab, state: Path) -> Iterator[Farm]:
    with farm_of_swarm(nodes, state) as made:
        yield made


@pytest.mark.parametrize("way", [("canary",), ("bluegreen", "--bake", "1s"), ("rolling", "--for", "1s")])
def test_forward_and_back_without_a_failed_request(farm: Farm, way: tuple[str, ...]) -> None:
    there_and_back(farm, way)


def test_a_node_lost_between_deploys_is_made_up_for_by_the_keeper(farm: Farm, nodes: Lab) -> None:
    lost = next(iter(serving(farm).values()))
    with Load(farm.url, AROUND) as load, farm.start("keep"):
        started(load)
        nodes[lost].kill()
        load.mark("lost")
        print(f"full strength by the keeper after {full_strength_without(farm, lost, 3):.1f} s")
        load.mark("whole")
        more(load, 60, "requests after that")
        report = load.stop()
    assert report.after("whole").failed == 0, report.after("whole").text()
    assert report.after("lost").failed <= 20, report.after("lost").text()


def test_a_foreign_update_in_the_middle_is_drift_and_rolls_back(farm: Farm, nodes: Lab) -> None:
    farm.version("2.0")
    with Load(farm.url, AROUND) as load:
        started(load)
        with farm.start(*LONG) as deploy:
            farm.wait(lambda status: status["share"] > 0, "users are on the candidate")
            name = next(iter(running(farm, "2.0")))
            nodes["web1"].run("docker", "service", "update", "--detach", "--env-add", "X=1", name)
            out, err = deploy.communicate(timeout=120)
        assert deploy.returncode == 4, out + err
        assert f"{name} is not what r2 says: it was changed at " in out + err
        load.mark("back")
        more(load, 60, "requests after the end")
        report = load.stop()
    assert report.after("back").failed == 0, report.after("back").text()
    assert set(report.after("back").by_version) == {"1.0"}


def test_a_drained_node_loses_its_instances_and_no_request(farm: Farm, nodes: Lab) -> None:
    drained = next(host for host in serving(farm).values() if host != "web1")
    with farm.start("keep"):
        nodes["web1"].run("docker", "node", "update", "--availability", "drain", drained)
        full_strength_without(farm, drained, 3)
    farm.version("2.0")
    farm.deploy("bluegreen", "--bake", "0", "--version", "2.0")
    assert drained not in running(farm, "2.0").values()
    assert len(running(farm, "2.0")) == 3


def test_without_a_quorum_users_are_served_on_and_nothing_begins(farm: Farm, nodes: Lab) -> None:
    farm.version("2.0")
    with Load(farm.url, AROUND) as load:
        started(load)
        hang(nodes, "web2", "web3")
        try:
            farm.wait(lambda status: "the Swarm has no leader" in str(status["problems"]), "the status says so", 90)
            refused = farm.deploy("bluegreen", "--bake", "0", "--version", "2.0", expect=4)
            assert "the Swarm" in refused.stderr
            more(load, 60, "requests meanwhile")
        finally:
            go_on(nodes)
        unfailing(load)
    within(90).until(lambda: not farm.status()["problems"], "the managers have a leader again")
    farm.deploy("bluegreen", "--bake", "0", "--version", "2.0")


def test_an_emergency_needs_no_manager(farm: Farm, nodes: Lab) -> None:
    farm.version("2.0")
    farm.deploy("bluegreen", "--bake", "0", "--version", "2.0")
    with Load(farm.url, AROUND) as load:
        started(load)
        hang(nodes, *WEB)
        try:
            began = time.monotonic()
            farm.deploy("rollback")
            print(f"rolled back in {time.monotonic() - began:.1f} s, with all managers gone")
            load.mark("back")
            more(load, 60, "requests after the rollback")
        finally:
            go_on(nodes)
        report = unfailing(load)
    assert set(report.after("back").by_version) == {"1.0"}


def is_worker(node: Machine) -> bool:
    """Return whether a node knows that it is a worker: its engine leaves the managers, and is of no Swarm meanwhile."""
    return node.run("docker", "info", "--format", "{{.Swarm.LocalNodeState}} {{.Swarm.ControlAvailable}}").stdout == (
        "active false\n"
    )


def test_a_worker_alone_is_refused_before_anything_changes(farm: Farm, nodes: Lab) -> None:
    nodes["web1"].run("docker", "node", "demote", "web3")
    try:
        within(60).until(lambda: is_worker(nodes["web3"]), "web3 knows that it is a worker")
        farm.inventory({"web": ["web3"]})
        farm.write(service=f"{farm.name}w", traffic={"listen": f"127.0.0.1:{free_port()}"})
        said = farm.deploy("up", "--version", "1.0", expect=2).stderr
        assert "web3 is a worker of its Swarm, and only a manager can be asked" in said
    finally:
        nodes["web1"].run("docker", "node", "promote", "web3")

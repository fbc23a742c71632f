"""Nodes and managers of a Swarm that are lost in the middle of a rollout: in each of its steps, and by a partition."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import Popen

import pytest

from tests.lab.machines import Lab
from tests.lab.machines.lab import CONTROLLER
from tests.live.afar import rest
from tests.live.told import Event, told
from tests.load import Load
from tests.machines.farm import WEB, Farm
from tests.machines.swarm_lab import (
    farm_of_swarm,
    full_strength_without,
    leader,
    part,
    running,
    serving,
)
from tests.machines.test_fleet import AROUND, more, started, unfailing
from tests.waiting import within

pytestmark = pytest.mark.live
STEPS = ("start", "healthy", "attach", "share", "watch", "promote", "remove")
STARTED, MOVED = "is started on another host", "gets its requests there"


@pytest.fixture
def farm(nodes: Lab, state: Path) -> Iterator[Farm]:
    with farm_of_swarm(nodes, state) as made:
        made.write(
            keep={"warm": "0s"},
            strategy={"canary": {"steps": [50], "for": "4s", "bake": "2s"}},
            health={"http": "/health", "interval": "200ms", "deadline": "60s"},
        )
        made.version("2.0")
        yield made


def until_begun(deploy: Popen[str], step: str) -> None:
    """Read what a rollout tells until a step of this kind begins."""
    assert deploy.stdout is not None
    assert any(e["event"] == "step.began" and e["step"] == step for e in told(deploy.stdout)), f"{step} never began"


def followed(events: list[Event], what: str = MOVED) -> list[float]:
    """Return the time at which instances got their requests elsewhere, Unix seconds."""
    return [float(e["at"]) for e in events if e["event"] == "note" and what in e["text"]]


@pytest.mark.parametrize("leads", [False, True], ids=["a follower", "the leader"])
@pytest.mark.parametrize("step", STEPS)
def test_a_node_killed_as_a_step_of_a_canary_begins(farm: Farm, nodes: Lab, step: str, leads: bool) -> None:
    there, first = list(serving(farm).values()), leader(nodes)
    lost = first if leads else max((name for name in WEB if name != first), key=there.count)
    with (
        Load(farm.url, AROUND) as load,
        farm.start("keep"),
        farm.start("canary", "--version", "2.0", "--output", "json") as deploy,
        ThreadPoolExecutor(1) as pool,
    ):
        started(load)
        until_begun(deploy, step)
        nodes[lost].kill()
        at = load.mark("lost")
        ending = pool.submit(rest, deploy, 0)
        try:
            whole = full_strength_without(farm, lost, 3, "stable")
        finally:
            events, _ = ending.result()
        full_strength_without(farm, lost, 3, "stable")
        load.mark("whole")
        more(load, 60, "requests after that")
        report = load.stop()
    kept = farm.status()["keeper"]
    moved = [f"started elsewhere after {then - at:.1f} s" for then in followed(events, STARTED)]
    moved += [f"followed after {then - at:.1f} s" for then in followed(events)]
    moved += [f"by the keeper after {kept['last_at'] - at:.1f} s"] if kept["last_at"] > at else []
    ended = float(next(e["at"] for e in events if e["event"] == "rollout.ended")) - at
    lost_requests = report.after("lost").failed
    print(
        f"{lost} killed at {step}{', the leader' * leads}: {', '.join(moved)}, seen whole after {whole:.1f} s,"
        f" the rollout ended after {ended:.1f} s, {lost_requests} requests lost"
    )
    assert report.after("whole").failed == 0, report.after("whole").text()
    assert lost_requests <= 20, report.after("lost").text()  # what was in flight there
    assert set(report.after("whole").by_version) == {"2.0"}
    assert [e["role"] for e in farm.status()["environments"]] == ["stable"], "nothing is left of 1.0"


@pytest.mark.parametrize("alone", ["a follower", "the leader"])
def test_a_partition_with_one_manager_alone_loses_no_request(farm: Farm, nodes: Lab, alone: str) -> None:
    """The proxy reaches all nodes, so what runs on the lost side serves until its successor does."""
    first = leader(nodes)
    cut_off = first if alone == "the leader" else next(name for name in WEB if name != first)
    others = [name for name in WEB if name != cut_off]
    with (
        Load(farm.url, AROUND) as load,
        farm.start("canary", "--for", "40s", "--version", "2.0", "--output", "json") as deploy,
        ThreadPoolExecutor(1) as pool,
    ):
        started(load)
        until_begun(deploy, "watch")
        part(nodes, [nodes[cut_off].address], [nodes[name].address for name in others])
        ending = pool.submit(rest, deploy, 0)
        print(f"{cut_off} alone: full strength elsewhere after {full_strength_without(farm, cut_off, 6):.1f} s")
        nodes.heal()
        events, _ = ending.result()
        more(load, 60, "requests after the end")
        unfailing(load)
    assert followed(events)
    within(90).until(lambda: not farm.status()["problems"], "the managers are one Swarm again")
    assert len(running(farm, "2.0")) == 3
    assert [e["role"] for e in farm.status()["environments"]] == ["stable"]


@pytest.mark.parametrize("alone", ["a follower", "the leader"])
def test_a_deploy_right_after_a_partition_waits_for_the_managers(farm: Farm, nodes: Lab, alone: str) -> None:
    first = leader(nodes)
    cut_off = first if alone == "the leader" else next(name for name in WEB if name != first)
    others = [name for name in WEB if name != cut_off]
    part(nodes, [nodes[cut_off].address], [nodes[name].address for name in others])
    with farm.start("keep"):
        full_strength_without(farm, cut_off, 3)
        nodes.heal()
        said = farm.deploy("bluegreen", "--bake", "0", "--version", "2.0")
        waited = "a leader may be elected" in said.stdout + said.stderr
        print(f"{cut_off} alone: {'an election was waited for' if waited else 'no election'}")
        within(120).until(lambda: len(running(farm, "2.0")) == 3, "all serve, wherever the managers have them at last")


def test_on_the_side_without_a_quorum_users_are_served_and_nothing_begins(farm: Farm, nodes: Lab) -> None:
    """Proxy, deployer and one manager are on the lost side; the other two start what ran there once more."""
    here = next(name for name in WEB if name != leader(nodes))
    others = [nodes[name].address for name in WEB if name != here]
    with Load(farm.url, AROUND) as load, farm.start("keep"):
        started(load)
        part(nodes, [CONTROLLER, nodes[here].address], others)
        load.mark("lost")
        farm.wait(lambda status: "no manager of the Swarm" in str(status["problems"]), "the status says so", 90)
        load.mark("said")
        farm.deploy("canary", "--version", "2.0", expect=4)
        more(load, 60, "requests meanwhile")
        load.mark("healed")
        nodes.heal()
        within(120).until(lambda: not farm.status()["problems"], "the managers have a quorum again")
        within(120).until(lambda: len(serving(farm)) == 3, "all serve again, wherever they are")
        load.mark("whole")
        more(load, 60, "requests after that")
        report = load.stop()
    print({mark: report.after(mark).failed for mark in ("lost", "said", "healed", "whole")})
    assert report.after("whole").failed == 0, report.after("whole").text()
    assert report.after("lost").failed <= 20, report.after("lost").text()  # what was in flight on the other side

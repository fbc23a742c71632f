"""What a manager of a Swarm says, and what it means: tasks, nodes, changes by others, and errors."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import docker.errors
import pytest
import requests

from deployer.app.status import is_up
from deployer.core.clock import Deadline, SystemClock
from deployer.core.errors import DriverFailed, HostsUnreachable
from deployer.drivers.ports import ELECTION_SECONDS
from deployer.drivers.runtime.docker.engine import Engine
from deployer.drivers.runtime.docker.fleet_host import FleetHost
from deployer.drivers.runtime.docker.runtime import DockerRuntime
from deployer.drivers.runtime.swarm import api
from deployer.drivers.runtime.swarm.images import SwarmImages
from deployer.drivers.runtime.swarm.managers import Managers, leaderless
from deployer.drivers.runtime.swarm.nodes import Links, Placing, placing
from deployer.drivers.runtime.swarm.options import Node, Standing, drift, made, moved, observed
from deployer.drivers.runtime.swarm.runtime import SwarmOwner, SwarmRuntime
from deployer.drivers.runtime.swarm.starting import PENDING_SECONDS, await_running
from deployer.drivers.runtime.swarm.view import SwarmView
from deployer.manifest.models import Manifest
from deployer.model import Instance, InstanceSpec, Release, Server
from tests.memory import FakeClock
from tests.waiting import within

LABELS = {
    "deployer.installation": "one",
    "deployer.service": "shop",
    "deployer.release": "2",
    "deployer.index": "1",
    "deployer.colour": "green",
    "deployer.rollout": "7",
    "deployer.config": "abc",
    "deployer.address": "21001",
}
NODES = {f"id{n}": Node(f"id{n}", f"web{n}", f"10.0.0.{n}", True) for n in (1, 2, 3)}


def service(**more: Any) -> dict[str, Any]:
    spec = {"Name": "shop-r2-1", "Labels": LABELS, "EndpointSpec": {"Ports": [{"PublishedPort": 21001}]}}
    return {"ID": "s1", "Spec": {**spec, **more.pop("spec", {})}, **more}


def task(second: int, node: str, state: str, desired: str = "running", at: int = 0, code: int = 0) -> dict[str, Any]:
    """Return a task that was made in that second, and whose state was heard of `at` another one."""
    status = {
        "State": state,
        "Timestamp": f"2026-01-01T00:00:{at or second:02}Z",
        "ContainerStatus": {"ExitCode": code},
    }
    made_at = f"2026-01-01T00:00:{second:02}Z"
    return {"ServiceID": "s1", "CreatedAt": made_at, "NodeID": node, "DesiredState": desired, "Status": status}


@pytest.mark.parametrize(
    ("tasks", "expected"),
    [
        ([task(1, "id1", "running")], ("running", "10.0.0.1:21001", 0, None)),
        ([task(1, "", "pending")], ("created", "0.0.0.0:21001", 0, None)),
        # The node was lost: its task is listed as running for good, and another one is on its way, then runs.
        ([task(1, "id1", "running", "shutdown"), task(9, "id2", "starting")], ("created", "10.0.0.2:21001", 0, None)),
        ([task(1, "id1", "running", "shutdown"), task(9, "id2", "running")], ("running", "10.0.0.2:21001", 0, None)),
        # It came back, and says that what was there has failed: long after that was replaced.
        (
            [task(1, "id1", "failed", "shutdown", at=30, code=137), task(9, "id2", "running")],
            ("running", "10.0.0.2:21001", 0, None),
        ),
        # It ended by itself; the next start waits, then runs.
        (
            [task(1, "id1", "failed", "shutdown", at=5, code=7), task(6, "id1", "ready", "ready")],
            ("exited", "10.0.0.1:21001", 1, 7),
        ),
        (
            [task(1, "id1", "failed", "shutdown", at=5, code=7), task(6, "id1", "running")],
            ("running", "10.0.0.1:21001", 1, None),
        ),
        # A node could not begin it: it lacked the image. It never ran, and so it did not end.
        (
            [task(1, "id1", "rejected", "shutdown", at=2), task(3, "id1", "running")],
            ("running", "10.0.0.1:21001", 0, None),
        ),
    ],
)
def test_the_state_of_an_instance_is_that_of_the_task_that_is_to_run(
    tasks: list[dict[str, Any]], expected: tuple[Any, ...]
) -> None:
    seen = observed(Standing.of(service(), tasks), NODES)
    assert (seen.state, seen.address, seen.restarts, seen.exit_code) == expected
    assert (seen.name, seen.release, seen.colour, seen.runtime_id) == ("shop-r2-1", 2, "green", "s1")


def test_tasks_of_other_services_are_not_its() -> None:
    other = {**task(3, "id3", "running"), "ServiceID": "s2"}
    assert observed(Standing.of(service(), [task(1, "id1", "running"), other]), NODES).host == "web1"


@pytest.mark.parametrize(
    "spec",
    [
        {"Name": "shop-debug"},
        {"EndpointSpec": {"Ports": [{"PublishedPort": 80}]}},
        {"Labels": {**LABELS, "deployer.release": "two"}},
        {"Labels": {}},
    ],
)
def test_a_copy_of_a_service_is_not_an_instance(spec: dict[str, Any]) -> None:
    assert made(service())
    assert not made(service(spec=spec))


def test_a_service_that_was_ever_updated_was_changed_by_somebody_else() -> None:
    assert drift(service()) == ""
    before = {"TaskTemplate": {"ContainerSpec": {"Image": "a", "Env": ["PASSWORD=x"]}, "ForceUpdate": 0}}
    after = {"TaskTemplate": {"ContainerSpec": {"Image": "b", "Env": ["PASSWORD=y"]}, "ForceUpdate": 0}}
    found = service(spec=after, PreviousSpec={**service()["Spec"], **before}, UpdatedAt="2026-01-01T12:00:00.5Z")
    text = drift({**found, "Version": {"Index": 42}})
    assert "changed at 2026-01-01T12:00:00Z by somebody else, version 42: Env, Image" in text
    assert "PASSWORD" not in text, "what changed may be a secret"


# -- moves


def on_lost_node(**template: Any) -> dict[str, Any]:
    """Return a service whose task ran on a node that went with the leader of the managers."""
    return service(spec={"Mode": {"Replicated": {"Replicas": 1}}, "TaskTemplate": template}, Version={"Index": 5})


GONE = {**NODES, "id1": Node("id1", "web1", "10.0.0.1", ready=False, lost=True)}
RAN = [task(1, "id1", "running")]


@pytest.mark.parametrize(
    ("found", "tasks", "nodes", "expected"),
    [
        (on_lost_node(), RAN, GONE, True),
        (on_lost_node(), RAN, NODES, False),
        (on_lost_node(), [task(1, "id2", "running")], GONE, False),
        (on_lost_node(), [task(1, "id1", "running", "shutdown"), task(9, "id2", "running")], GONE, False),
        # It is being moved: the next task is not there yet.
        (on_lost_node(ForceUpdate=1), RAN, GONE, False),
        (on_lost_node(ForceUpdate=1), [{**RAN[0], "Spec": {"ForceUpdate": 1}}], GONE, True),
        # Nodes that may not have it, or that a new leader has not heard of yet either.
        (on_lost_node(Placement={"Constraints": ["node.id!=id2"]}), RAN, GONE, True),
        (on_lost_node(Placement={"Constraints": ["node.id!=id2", "node.id!=id3"]}), RAN, GONE, False),
        (on_lost_node(), RAN, {"id1": GONE["id1"]}, False),
        # Only the Swarm knows what fits.
        (on_lost_node(Placement={"Constraints": ["node.labels.disk==ssd"]}), RAN, GONE, False),
        (on_lost_node(Resources={"Reservations": {"MemoryBytes": 1}}), RAN, GONE, False),
        (on_lost_node(Resources={"Reservations": {}}), RAN, GONE, True),
    ],
)
def test_what_ran_on_a_node_that_is_lost_with_the_leader_is_stranded(
    found: dict[str, Any], tasks: list[dict[str, Any]], nodes: dict[str, Node], expected: bool
) -> None:
    assert observed(Standing.of(found, tasks), nodes).stranded == expected


def test_a_node_is_lost_that_nobody_has_heard_of_since_the_election() -> None:
    heard = [
        ("unknown", {"Reachability": "unreachable"}, True),
        ("unknown", {"Reachability": "reachable", "Leader": True}, False),  # its own agent is about to report
        ("ready", {"Reachability": "unreachable"}, False),
        ("down", {"Reachability": "unreachable"}, False),  # the Swarm has given it up: it starts its tasks elsewhere
        ("unknown", None, False),  # a worker says nothing by another way
    ]
    said: list[dict[str, Any]] = [
        {
            "ID": f"id{n}",
            "Description": {"Hostname": f"web{n}"},
            "Spec": {"Availability": "active"},
            "Status": {"State": state, "Addr": "10.0.0.1"},
            "ManagerStatus": manager,
        }
        for n, (state, manager, _) in enumerate(heard)
    ]
    assert [node.lost for node in Links([], {}).nodes(said).values()] == [lost for _, _, lost in heard]


def after(found: dict[str, Any], arguments: dict[str, Any]) -> dict[str, Any]:
    """Return a service as the Swarm has it after an update."""
    spec = {**found["Spec"], "Labels": arguments["labels"], "TaskTemplate": arguments["task_template"]}
    spec["UpdateConfig"] = {**arguments["update_config"], "MaxFailureRatio": 0}
    return {**found, "Spec": spec, "PreviousSpec": found["Spec"]}


def test_a_move_is_no_change_by_somebody_else_and_hides_none() -> None:
    once = after(on_lost_node(), moved(on_lost_node()))
    twice = after(once, moved(once))
    assert (once["Spec"]["TaskTemplate"], twice["Spec"]["TaskTemplate"]) == ({"ForceUpdate": 1}, {"ForceUpdate": 2})
    assert [drift(once), drift(twice)] == ["", ""]

    def changed(found: dict[str, Any], **template: Any) -> dict[str, Any]:
        spec = {**found["Spec"], "TaskTemplate": {**found["Spec"]["TaskTemplate"], **template}}
        return {**found, "Spec": spec, "PreviousSpec": found["Spec"]}

    foreign = changed(once, ContainerSpec={"Image": "b"})
    assert "ContainerSpec" in drift(foreign)
    assert "ForceUpdate" in drift(changed(foreign, ForceUpdate=2)), "`docker service update --force` hides it not"
    assert not observed(Standing.of(foreign, [{**RAN[0], "Spec": {"ForceUpdate": 1}}]), GONE).stranded


class Changing:
    """A manager that has one service, which others change meanwhile, or not."""

    def __init__(self, said: str = "") -> None:
        self.api, self.said, self.given = self, said, list[tuple[Any, ...]]()

    def update_service(self, identity: str, version: int, **given: Any) -> None:
        if self.said:
            answer = requests.Response()
            answer.status_code = 500
            raise docker.errors.APIError("500 Server Error", response=answer, explanation=self.said)
        self.given.append((identity, version, given["task_template"]["ForceUpdate"]))


def test_a_service_is_updated_as_it_was_read() -> None:
    manager: Any = Changing()
    assert api.update(manager, on_lost_node(), moved(on_lost_node()))
    assert manager.given == [("s1", 5, 1)]
    overtaken: Any = Changing("rpc error: code = Unknown desc = update out of sequence")
    assert not api.update(overtaken, on_lost_node(), moved(on_lost_node()))
    other: Any = Changing("rpc error: code = InvalidArgument desc = no")
    with pytest.raises(docker.errors.APIError):
        api.update(other, on_lost_node(), moved(on_lost_node()))


def test_managers_without_a_leader_can_change_nothing() -> None:
    leads, follows = {"Leader": True, "Reachability": "reachable"}, {"Reachability": "unreachable"}
    unheard, ready = {"State": "unknown"}, {"State": "ready"}
    known: list[dict[str, Any]] = [
        {"ManagerStatus": leads, "Status": ready},
        {"ManagerStatus": follows, "Status": unheard},
    ]
    assert leaderless(known) == ""
    new = [{**node, "Status": unheard} for node in known]
    lost_before: dict[str, Any] = {"Status": {"State": "down"}}
    for unheard_of in (new, [*new, lost_before]):
        assert leaderless(unheard_of) == "the Swarm has a new leader, which has not heard from any node yet"
    alone = leaderless([{"ManagerStatus": {"Reachability": "reachable"}}, {"ManagerStatus": follows}, {}])
    assert alone.startswith("the Swarm has no leader: 1 of 2 managers are reachable")


class LostAnswer:
    """A manager that makes what it is told to, and another one that is told so again, as the first gave no answer."""

    def __init__(self) -> None:
        self.api, self.made, self.secrets_of = self, list[str](), list[str]()

    def place(self) -> Placing:
        return placing(NODES, {}, ())

    def change(self, _what: str, work: Callable[[Any], object]) -> None:
        for _ in range(2):
            work(self)

    def inspect_service(self, name: str) -> dict[str, Any]:
        if name not in self.made:
            raise docker.errors.NotFound(name)
        return service()

    def create_service(self, **given: Any) -> None:
        assert given["name"] not in self.made, "there is a service of that name"
        self.made.append(given["name"])

    def secrets(self, filters: Any) -> list[Any]:
        assert not self.made, "the secrets of what runs are looked for, to remove them"
        return []


def test_what_a_manager_made_that_gave_no_answer_is_not_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    manager, runtime = LostAnswer(), SwarmRuntime(SystemClock(), SwarmOwner("one"), [])
    monkeypatch.setattr(runtime, "_view", manager)
    monkeypatch.setattr(SwarmImages, "keep", lambda *_: "sha256:f")
    runtime._create(spec(), {}, within())
    assert manager.made == ["shop-r2-1"]


def spec() -> InstanceSpec:
    described = {"service": "shop", "image": "shop:1", "port": 80, "runtime": "swarm", "stop": {"grace": "10s"}}
    release = Release("shop", 2, "1.0", "shop:1", "sha256:f", Manifest.model_validate(described), config_hash="c")
    return InstanceSpec(release, "green", 1, rollout=7, address="127.0.0.1:21001")


@pytest.mark.parametrize(
    ("said", "waits"),
    [
        ("no suitable node (host-mode port already in use on 1 node)", PENDING_SECONDS + 10.0),
        ("no suitable node (insufficient resources on 1 node)", PENDING_SECONDS),
    ],
)
def test_a_start_waits_for_the_port_of_an_instance_that_is_ending_longer_than_for_a_node(
    said: str, waits: float
) -> None:
    waiting = task(1, "", "pending")
    waiting["Status"]["Err"] = said

    def start(fits_after: float) -> None:
        clock = FakeClock(at=0.0)

        def look() -> Standing:
            return Standing.of(service(), [task(1, "id1", "running") if clock.at >= fits_after else waiting])

        await_running(spec(), look, lambda: None, Deadline.after(clock, 60.0))

    start(waits - 1.0)
    with pytest.raises(DriverFailed, match="no node fits: no suitable node"):
        start(waits + 1.0)


LOST_LEADER = [
    "rpc error: code = Unknown desc = The swarm does not have a leader.",
    "rpc error: code = DeadlineExceeded desc = context deadline exceeded",
    "rpc error: code = Unavailable desc = error reading from server: read tcp 10.0.0.3:50110->10.0.0.2:2377: read:"
    " connection reset by peer",
]


@pytest.mark.parametrize("said", LOST_LEADER)
def test_a_manager_whose_leader_is_lost_is_as_if_it_were_silent(said: str) -> None:
    def ask(_client: object) -> None:
        answer = requests.Response()
        answer.status_code = 500
        raise docker.errors.APIError("500 Server Error", response=answer, explanation=said)

    client: Any = SimpleNamespace(api=SimpleNamespace(api_version="1.45"), close=lambda: None)
    clock, engine = SystemClock(), Engine(lambda *_: client, "tcp://10.0.0.3:2376")
    web3 = FleetHost("web3", engine, DockerRuntime(clock, "one", engine), clock)
    with pytest.raises(HostsUnreachable, match="web3: the Swarm has no leader: services: rpc error"):
        Managers([web3]).ask("services", ask)


@pytest.mark.parametrize(("elected", "patience"), [(12.0, 300.0), (3600.0, 300.0), (3600.0, 5.0)])
def test_managers_without_a_leader_get_the_time_to_elect_one(
    monkeypatch: pytest.MonkeyPatch, elected: float, patience: float
) -> None:
    clock, view, place = FakeClock(), SwarmView("one", [], [], {}), placing(NODES, {}, ())
    began, told = clock.monotonic(), list[str]()

    def look() -> Placing:
        if clock.monotonic() < began + elected:
            raise HostsUnreachable({"web1": "the Swarm has no leader", "web2": "the Swarm has no leader"})
        return place

    def tell(_kind: str, **data: Any) -> None:
        told.append(data["text"])

    monkeypatch.setattr(view, "place", look)
    with nullcontext() if elected < ELECTION_SECONDS else pytest.raises(HostsUnreachable):
        assert view.elected_place(Deadline.after(clock, patience), tell) == place
    assert clock.monotonic() - began <= min(ELECTION_SECONDS, patience)
    assert told == ["waiting up to 30 s, as a leader may be elected: the Swarm has no leader"]


def test_instances_stay_off_nodes_that_are_not_named() -> None:
    place = placing(NODES, {}, ["web1", "web3"])
    assert (sorted(place.ready), place.others) == (["id1", "id3"], ("id2",))
    assert place.unreached == ("web1", "web3")
    assert placing(NODES, {}, ()).others == ()


def test_no_node_that_takes_tasks_is_named() -> None:
    drained = {id: Node(id, node.name, node.address, False) for id, node in NODES.items()}
    with pytest.raises(DriverFailed, match="no node fits: none of web1, web2, web3 is ready"):
        placing(drained, {}, ())


def test_a_node_that_leads_may_not_know_its_own_address() -> None:
    said = {
        "ID": "id1",
        "Description": {"Hostname": "web1"},
        "Spec": {"Availability": "drain"},
        "Status": {"State": "ready", "Addr": "0.0.0.0"},
        "ManagerStatus": {"Addr": "10.0.0.1:2377"},
    }
    other = {**said, "ID": "id2", "Status": {"State": "down", "Addr": "10.0.0.2"}}
    nodes = Links([], {}).nodes([said, other])
    assert nodes["id1"] == Node("id1", "web1", "10.0.0.1", ready=False)
    assert (nodes["id2"].address, nodes["id2"].ready) == ("10.0.0.2", False)


def test_an_instance_that_moved_is_not_up_by_what_is_still_where_it_was() -> None:
    moved = Instance("shop", "blue", 1, 1, "shop-r1-1", "task", "10.0.0.3:80", "running")
    before, now = (Server(moved.name, f"10.0.0.{n}:80") for n in (2, 3))
    seen = [(before, True), (now, True), (now, False), None]
    assert [is_up(moved, known, moves=True) for known in seen] == [False, True, False, None]
    assert is_up(moved, (before, True), moves=False), "elsewhere the proxy may know an instance by another address"

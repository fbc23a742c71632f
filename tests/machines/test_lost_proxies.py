"""Three proxies of which two are enough: one is lost at each step of a canary, and users of the others see nothing."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests

from deployer.core.clock import Deadline, SystemClock
from deployer.core.errors import Exit
from deployer.core.undo import undone
from deployer.model import CLOCKS
from tests.conftest import state_folder
from tests.lab.machines import Lab
from tests.live.afar import rest
from tests.live.shop import Shop
from tests.load import Counters, Load, Options
from tests.machines.conftest import deploy, write_inventory
from tests.machines.edged import end_connections
from tests.machines.installed import install
from tests.machines.proxy_hosts import full, mend, whole
from tests.services import require

pytestmark = pytest.mark.live
CLOCK = SystemClock()
WEB, EDGE = ("web1", "web2"), ("edge1", "edge2", "edge3")
LOST, OTHERS = "edge3", ("edge1", "edge2")
PLAIN = Options(rate=40, kinds=("fresh", "busy", "post"))
LEASE = 10.0  # seconds
STEP: dict[str, Callable[[dict[str, Any]], bool]] = {
    "at its start": lambda e: e["event"] == "rollout.started",
    "while it is attached": lambda e: e["event"] == "step.began" and e["step"] == "attach",
    "with a share": lambda e: e["event"] == "traffic.changed" and 0 < e["share"] < 10000,
    "with everyone on it": lambda e: e["event"] == "traffic.changed" and e["share"] == 10000,
    "at the promotion": lambda e: e["event"] == "step.began" and e["step"] == "promote",
}


@contextmanager
def cut_off(lab: Lab) -> Iterator[None]:
    """Users and the deployer reach it no more."""
    lab.cut(LOST)
    try:
        yield
    finally:
        lab.heal()


@contextmanager
def unasked(lab: Lab) -> Iterator[None]:
    """Users reach it, and the deployer does not."""
    lab.drop(f"ip daddr {lab[LOST].address} tcp dport 22")
    try:
        yield
    finally:
        lab.heal()


@contextmanager
def killed(lab: Lab) -> Iterator[None]:
    """Its HAProxy is gone; its host is there."""
    lab[LOST].run("systemctl", "kill", "--signal=KILL", "haproxy")
    lab[LOST].run("systemctl", "stop", "haproxy")
    try:
        yield
    finally:
        lab[LOST].run("systemctl", "reset-failed", "haproxy", check=False)
        lab[LOST].run("systemctl", "start", "haproxy")


FAULTS: dict[str, Callable[[Lab], AbstractContextManager[None]]] = {
    "cut off": cut_off,
    "unasked": unasked,
    "killed": killed,
    "full": lambda lab: full(lab[LOST]),
}
SILENT = ("cut off", "killed")  # with these nobody serves the users of the lost one


class Edged(Shop):
    """A service on two machines behind three proxies, of which two are enough."""

    seconds = 600  # of a command: it asks five hosts, one of which may not answer, on a machine that is busy besides

    def __init__(self, folder: Path, lab: Lab) -> None:
        super().__init__(folder, "process", None)
        self.program, self.lab = "c", lab
        write_inventory(lab, folder / "inventory", {"web": WEB, "edge": EDGE})
        self.manifest |= {
            "runtime": "ansible",
            "verbs": "systemd",
            "hosts": "web",
            "inventory": "inventory",
            "replicas": 1,
        }
        self.manifest["strategy"] = {"canary": {"steps": [20], "for": "6s", "bake": "4s"}}
        proxies = {"hosts": "edge", "min": 2}
        self.manifest["traffic"] = {"listen": f"*:{self.port}", "proxies": proxies, "lease": f"{LEASE:g}s"}
        self.manifest["keep"] = {"warm": "0s"}
        self.write()
        self.urls = {name: f"http://{lab[name].address}:{self.port}" for name in EDGE}
        self.url = self.urls["edge1"]

    def close(self) -> None:
        try:
            super().close()
        finally:
            end_connections(self.state)

    def version_at(self, edge: str, within: float = 10.0) -> str:
        """The version that users of a proxy get; "" where nobody answers."""
        try:
            answer = requests.get(f"{self.urls[edge]}/version", timeout=within)
        except requests.RequestException:
            return ""
        return answer.text.strip() if answer.ok else ""

    def all_serve(self, version: str) -> None:
        """See that users of every proxy get a version."""
        assert [self.version_at(name) for name in EDGE] == [version] * len(EDGE)


@pytest.fixture(scope="module")
def machines() -> Iterator[Lab]:
    require("machines", "ansible", "haproxy", "gcc")
    services = {**dict.fromkeys(WEB, ()), **dict.fromkeys(EDGE, ("haproxy",))}
    with Lab(services) as made, made.entered(), tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_inventory(made, folder / "inventory", {"web": WEB, "edge": EDGE})
        deploy(folder, "hosts", "setup", "-i", "inventory", "--limit", "edge", "--yes")
        for edge in EDGE:
            install(made[edge])
        yield made


@contextmanager
def service(lab: Lab) -> Iterator[Edged]:
    """Yield a service of which all proxies have version 1.0; afterwards their hosts are whole again, or it is told."""
    with state_folder(Path("/tmp")) as state:
        folder = state / "s"
        folder.mkdir()
        made = Edged(folder, lab)
        try:
            made.version("1.0")
            made.deploy("up", "--version", "1.0")
            made.all_serve("1.0")
            yield made
        finally:
            mend(lab, EDGE)
            try:
                made.close()
            finally:
                whole(lab, EDGE)


class Succession:
    """A service that gets one version after the other; where one of them went wrong, the next one begins anew."""

    def __init__(self, lab: Lab) -> None:
        self._lab, self._stack = lab, ExitStack()
        self._edged: Edged | None = None
        self._number = 1

    @contextmanager
    def next(self) -> Iterator[tuple[Edged, str, str]]:
        """Yield the service, the version that all its proxies have, and the one that comes."""
        edged, self._edged = self._edged, None
        if edged is None:
            edged, self._number = self._stack.enter_context(service(self._lab)), 1
        former, self._number = self._number, self._number + 1
        with undone(self.close):
            edged.all_serve(f"{former}.0")
            edged.version(f"{self._number}.0")
            yield edged, f"{former}.0", f"{self._number}.0"
        self._edged = edged

    def close(self) -> None:
        """End the service; the next one that is asked for is another one."""
        self._edged = None
        self._stack.close()


@pytest.fixture(scope="module")
def succession(machines: Lab) -> Iterator[Succession]:
    made = Succession(machines)
    yield made
    made.close()


@pytest.fixture
def edged(machines: Lab, succession: Succession) -> Iterator[Edged]:
    succession.close()
    with service(machines) as made:
        made.version("2.0")
        yield made


def more(load: Load, requests: int, what: str) -> None:
    wanted = load.counters().answered + requests
    load.until(partial(_answered, wanted), what)


def _answered(wanted: int, now: Counters) -> bool:
    return now.answered >= wanted


@pytest.mark.long("a canary of three proxies, without one for a minute")
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("step", STEP)
def test_a_canary_ends_without_the_lost_one(succession: Succession, machines: Lab, step: str, fault: str) -> None:
    with succession.next() as (edged, former, newer):
        serves = {former, newer} if step == "at the promotion" else {former}  # it may be lost just after it
        with ExitStack() as stack:
            loads = {name: stack.enter_context(Load(edged.urls[name], PLAIN)) for name in OTHERS}
            for load in loads.values():
                more(load, 40, "the load runs")
            with edged.start("canary", "--version", newer, "--output", "json") as rollout:
                seen = up_to(rollout, STEP[step])
                with FAULTS[fault](machines):
                    over = Deadline.after(CLOCK, LEASE + CLOCKS)
                    events, _ = rest(rollout, Exit.DONE)
                    CLOCK.sleep(over.left())  # a share that it has ends by itself, whoever it cannot reach
                    after_the_end(edged, fault, serves)
            for load in loads.values():
                more(load, 20, "requests after the end")
            assert {name: load.stop().failed for name, load in loads.items()} == dict.fromkeys(OTHERS, 0)
        assert [e["proxy"] for e in seen + events if e["event"] == "proxy.lost"] == [LOST]
        assert f"{LOST} is lost" in ended(events)
        back(edged, serves, newer)


def up_to(rollout: subprocess.Popen[str], reached: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
    """Read what a rollout tells, up to a moment."""
    assert rollout.stdout is not None
    seen: list[dict[str, Any]] = []
    for line in rollout.stdout:
        seen.append(json.loads(line))
        if reached(seen[-1]):
            return seen
    raise AssertionError(f"it ended before that: {seen[-1:]}")


def ended(events: list[dict[str, Any]]) -> str:
    """The last line of a rollout."""
    return str(next(e["text"] for e in events if e["event"] == "rollout.ended"))


def after_the_end(edged: Edged, fault: str, serves: set[str]) -> None:
    """While it is lost: it is named, and its users get the former release, if they get anything."""
    assert f"the proxy of {LOST} is lost since" in edged.deploy("status").stdout
    if fault in SILENT:
        assert edged.version_at(LOST, within=2.0) == ""
    else:
        assert len(got := {edged.version_at(LOST) for _ in range(10)}) == 1
        assert got <= serves
    assert LOST in edged.deploy("doctor", expect=Exit.NEEDS_PERSON).stdout


def back(edged: Edged, serves: set[str], newer: str) -> None:
    """After its return: it serves what it had until it agrees with the others, and no user sees it change."""
    Deadline.after(CLOCK, 60).until(lambda: bool(edged.version_at(LOST)), "users reach it again")
    with Load(edged.urls[LOST], PLAIN) as load:
        more(load, 20, "the load runs")
        assert load.counters().by_version.keys() <= serves, "the former release still runs for it"
        edged.deploy("doctor", "--fix")
        edged.all_serve(newer)
        assert load.stop().failed == 0
    edged.deploy("doctor")


# -- an emergency while one is cut off


def emergency(edged: Edged, *arguments: str, expect: int) -> str:
    """Run `deploy` from a folder without a manifest, as whoever is woken up does; return what it says."""
    line = [*edged.command(*arguments), "--service", edged.name]
    done = subprocess.run(line, cwd="/", env=edged.environment(), capture_output=True, text=True, timeout=300)
    assert done.returncode == expect, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def test_a_rollback_says_that_users_of_the_lost_one_stay_on_what_it_leaves(edged: Edged, machines: Lab) -> None:
    edged.manifest["keep"] = {"warm": "1h"}
    edged.write()
    edged.deploy("bluegreen", "--bake", "0", "--version", "2.0")
    with ExitStack() as stack:
        loads = {name: stack.enter_context(Load(edged.urls[name], PLAIN)) for name in OTHERS}
        for load in loads.values():
            more(load, 40, "the load runs")
        with unasked(machines):
            said = emergency(edged, "rollback", "-m", "2.0 is slow", expect=Exit.NEEDS_PERSON)
            assert [edged.version_at(name) for name in EDGE] == ["1.0", "1.0", "2.0"]
        assert {name: load.stop().failed for name, load in loads.items()} == dict.fromkeys(OTHERS, 0)
    assert f"everyone is on r1 again (blue), but at {LOST}, which did not respond: users stay there on what" in said
    assert f"r1 (1.0) is live; {LOST} is lost: it serves r2 to its users until it is back" in said
    edged.deploy("doctor", "--fix")
    assert [edged.version_at(name) for name in EDGE] == ["1.0"] * 3


def test_from_a_candidate_users_of_the_lost_one_are_back_when_its_lease_ends(edged: Edged, machines: Lab) -> None:
    edged.write(strategy={"canary": {"steps": [{"share": 50, "for": "10m"}], "bake": "0s"}})
    with edged.start("canary", "--version", "2.0", "--output", "json") as rollout:
        up_to(rollout, STEP["with a share"])
        with unasked(machines):
            said = emergency(edged, "abort", expect=0)
            events, _ = rest(rollout, Exit.ABORTED)
            assert {edged.version_at(name) for name in EDGE for _ in range(10)} == {"1.0"}, "by its lease"
    assert f"but at {LOST}, which did not respond: users are back on stable there by " in said
    assert f"{LOST} is lost: it serves r1 to its users until it is back" in ended(events)
    edged.deploy("doctor", "--fix")
    edged.deploy("doctor")

"""Two proxies as one: what users of both meet while releases come and go, and when one of them is lost."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

import pytest
import requests

from deployer.core.clock import Deadline, SystemClock
from deployer.core.errors import Exit
from deployer.manifest.scale import FIRST_AT_ONCE
from tests.lab.machines import Lab
from tests.live.afar import rest, until
from tests.load import Counters, Load, Options, Report
from tests.machines.edged import EDGE, WEB, Edged, lab_of_edges
from tests.machines.farm import CONTROL, engine
from tests.machines.proxy_hosts import full
from tests.waiting import within

pytestmark = pytest.mark.live
CLOCK = SystemClock()
MIX = Options(rate=50, slow=1, websocket_may_move=True, websocket_may_be_cut=True)
PLAIN = Options(rate=50, kinds=("fresh", "busy", "post"))


def _answered(wanted: int, now: Counters) -> bool:
    return now.answered >= wanted


def healed(edged: Edged, lab: Lab) -> None:
    """Plug every cable in again, and wait until users reach each proxy."""
    lab.heal()
    for url in edged.urls.values():
        Deadline.after(CLOCK, 90).until(partial(answers, url), f"{url} answers")


def answers(url: str) -> bool:
    with suppress(requests.RequestException):
        return requests.get(f"{url}/version", timeout=10).ok
    return False


class Loads:
    """Users of both proxies."""

    def __init__(self, edged: Edged, options: Options = MIX) -> None:
        self._stack = ExitStack()
        self.each = {name: self._stack.enter_context(Load(url, options)) for name, url in edged.urls.items()}

    def __enter__(self) -> Loads:
        self.more(40, "the load runs")
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def more(self, requests: int, what: str) -> None:
        for load in self.each.values():
            wanted = load.counters().answered + requests
            load.until(partial(_answered, wanted), what)

    def mark(self, name: str) -> None:
        for load in self.each.values():
            load.mark(name)

    def unfailing(self) -> dict[str, Report]:
        reports = {name: load.stop() for name, load in self.each.items()}
        for name, report in reports.items():
            assert report.failed == 0, f"{name}: {report.text()}"
            assert report.sent > 100, f"{name}: {report.text()}"
        return reports


@pytest.fixture(scope="module")
def machines() -> Iterator[Lab]:
    with lab_of_edges() as made:
        yield made


@pytest.fixture
def lab(machines: Lab) -> Iterator[Lab]:
    yield machines
    machines.heal()


@pytest.fixture
def edged(lab: Lab, state: Path) -> Iterator[Edged]:
    with engine(lab[CONTROL]) as client:
        folder = state / "s"
        folder.mkdir()
        made = Edged(folder, lab, client)
        try:
            made.version("1.0")
            made.deploy("up", "--version", "1.0")
            yield made
        finally:
            lab.heal()
            made.close()


def versions(report: Report) -> set[str]:
    return set(report.only("fresh", "busy", "post").by_version)


@pytest.mark.parametrize(
    "way", [("canary",), ("bluegreen", "--bake", "1s"), ("rolling", "--for", "1s")], ids=lambda way: way[0]
)
def test_forward_and_back_without_a_failed_request_at_either(edged: Edged, way: tuple[str, ...]) -> None:
    edged.version("2.0")
    with Loads(edged) as loads:
        edged.deploy(*way, "--version", "2.0")
        loads.mark("done")
        loads.more(60, "requests after the end")
        edged.deploy("rollback")
        loads.mark("back")
        loads.more(60, "requests after the rollback")
        reports = loads.unfailing()
    for report in reports.values():
        assert versions(report.after("back")) == {"1.0"}
        assert "2.0" in report.after("done").by_version
    assert edged.live_at("edge1").split(",")[:2] == edged.live_at("edge2").split(",")[:2]


def agree(edged: Edged) -> str:
    """The stable colour and the share of both proxies, which are the same."""
    first, second = (edged.live_at(name).split(",")[:2] for name in EDGE)
    assert first == second
    return ",".join(first)


def held(edged: Edged) -> None:
    """Bring 2.0 to a part of the users, and leave it so."""
    edged.version("2.0")
    with Loads(edged, PLAIN) as loads:
        edged.deploy("canary", "--percent", "20", "--hold", "--version", "2.0")
        loads.unfailing()


def elsewhere(edged: Edged, *arguments: str, expect: int = 0) -> str:
    """Run `deploy` from a folder without a manifest; return what it says."""
    line = [*edged.command(*arguments), "--service", edged.name]
    done = subprocess.run(line, cwd="/", env=edged.environment(), capture_output=True, text=True, timeout=edged.seconds)
    assert done.returncode == expect, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


# -- what both say together


def test_what_users_of_both_proxies_see_counts_together(edged: Edged) -> None:
    edged.version("2.0", {"ERR": "0.6"})
    with Loads(edged, PLAIN) as loads:
        told = edged.told("canary", "--version", "2.0", expect=Exit.VERDICT)
        loads.more(20, "requests after the end")
        reports = [load.stop() for load in loads.each.values()]
    assert told.ended["outcome"] == "reverted"
    assert sum(report.failed for report in reports) <= 50 + sum(report.at_once for report in reports)
    assert agree(edged) == "blue,0"


def limits(edged: Edged, edge: str) -> set[str]:
    """Return how many requests at once a proxy gives an instance of the second release, as its file says it."""
    lines = (edged.lab[edge].root / "etc/haproxy/deployer.d/deployer.cfg").read_text().splitlines()
    return {line.split(" maxconn ")[1].split()[0] for line in lines if line.startswith(f"  server {edged.name}-r2-")}


def test_what_an_instance_answers_well_is_learned_from_both_and_both_give_it_as_many(edged: Edged) -> None:
    """Each has more than one instance gets of it, and all requests take as long: the number holds them back."""
    del edged.manifest["replicas"]
    edged.write(scale={"min": 2, "max": 2, "concurrency": "auto", "hold": "10m"})
    edged.version("2.0", {"LAT": "400"})
    edged.deploy("bluegreen", "--bake", "0", "--version", "2.0")
    first = {str(FIRST_AT_ONCE)}
    assert limits(edged, "edge1") == limits(edged, "edge2") == first
    with edged.start("keep"), Loads(edged, Options(kinds=("fresh",), rate=47)) as loads:
        within(900).until(
            lambda: limits(edged, "edge1") == limits(edged, "edge2") != first, "both are told another number", every=1
        )
        loads.unfailing()
    found = edged.status()["size"]["scale"]
    print(f"{found['concurrency']}: {found['learned']}")
    assert found["concurrency"] > FIRST_AT_ONCE
    assert limits(edged, "edge1") == {str(found["concurrency"])}
    edged.deploy("doctor")


# -- an emergency


def test_a_rollback_moves_the_users_of_both_before_anything_else(edged: Edged) -> None:
    edged.version("2.0")
    edged.deploy("bluegreen", "--bake", "0", "--version", "2.0")
    assert agree(edged) == "green,0"
    with Loads(edged, PLAIN) as loads:
        assert len(edged.kept()) == 2
        said = elsewhere(edged, "rollback", "-m", "2.0 is slow")
        loads.more(20, "requests after it")
        loads.unfailing()
    assert "everyone is on r1 again (blue); writing it down" in said
    assert agree(edged) == "blue,0"
    assert edged.events("history")[0]["rollouts"][0]["message"] == "2.0 is slow"


def test_a_budget_is_divided_and_a_rollback_of_a_share_takes_it_back_at_both(edged: Edged) -> None:
    held(edged)
    budgets = [int(edged.live_at(name).split(",")[4]) for name in EDGE]
    assert min(budgets) >= 25
    assert edged.status()["safety"]["budget"] == sum(budgets)
    assert agree(edged) == "blue,2000"
    said = elsewhere(edged, "rollback")
    assert "everyone is on stable again (blue)" in said
    assert agree(edged) == "blue,0"
    assert edged.get().text == "1.0\n"


def test_a_rollback_without_a_proxy_moves_the_users_of_the_others(edged: Edged, lab: Lab) -> None:
    for version in ("2.0", "3.0"):  # back is the green one then: no order of names helps
        edged.version(version)
        edged.deploy("bluegreen", "--bake", "0", "--version", version)
    lab.cut("edge2")
    said = elsewhere(edged, "rollback", expect=Exit.NEEDS_PERSON)
    assert "everyone is on r2 again (green), but at edge2, which did not respond: users stay there on what" in said
    assert "users of the reachable proxies are safe" in said
    assert edged.live_at("edge1").startswith("green,0")
    assert edged.live_at("edge2").startswith("blue,0")
    healed(edged, lab)
    assert "edge" in edged.deploy("doctor", expect=Exit.NEEDS_PERSON).stdout
    edged.deploy("rollback")
    assert agree(edged) == "green,0"
    edged.deploy("doctor")


# -- one of them is lost


def test_a_proxy_that_is_cut_off_while_a_candidate_has_users(edged: Edged, lab: Lab) -> None:
    edged.write(strategy={"canary": {"steps": [{"share": 20, "for": "30s"}], "bake": "0s"}})
    edged.version("2.0")
    with Load(edged.urls["edge1"], PLAIN) as load:
        load.until(lambda now: now.answered > 40, "the load runs")
        with edged.start("canary", "--version", "2.0", "--output", "json") as rollout:
            until(rollout, "traffic.changed")
            lab.cut("edge2")
            events, _ = rest(rollout, Exit.NEEDS_PERSON)
        assert load.stop().failed == 0
    assert "edge2" in events[-1]["text"]
    assert edged.live_at("edge1").startswith("blue,0"), "whoever can be asked is where it is safe"
    healed(edged, lab)
    with Loads(edged, PLAIN) as loads:
        edged.deploy("resume", expect=Exit.FAILED)
        loads.unfailing()
    assert agree(edged) == "blue,0"
    assert [len(edged.on(name)) for name in WEB] == [1, 1]
    edged.deploy("doctor")


def test_a_proxy_that_is_cut_off_before_the_shift_gets_nobody_moved(edged: Edged, lab: Lab) -> None:
    edged.version("2.0", {"START": "15000"})  # it is not ready before this test has pulled the cable
    with edged.start("canary", "--version", "2.0", "--output", "json") as rollout:
        until(rollout, "step.done")
        lab.cut("edge2")
        events, _ = rest(rollout, Exit.NEEDS_PERSON)
    assert all(not e["share"] for e in events if e["event"] == "traffic.changed")
    healed(edged, lab)
    edged.deploy("resume", expect=Exit.FAILED)
    assert agree(edged) == "blue,0"
    edged.deploy("doctor")


def test_a_proxy_whose_disk_is_full_moves_nobody_and_nor_does_the_other(edged: Edged, lab: Lab) -> None:
    edged.version("2.0")
    with Loads(edged, PLAIN) as loads:
        with full(lab["edge2"]):
            # Not even the way back can be written there: it stays to be done.
            said = edged.deploy("canary", "--version", "2.0", expect=Exit.NEEDS_PERSON).stderr
            assert edged.live_at("edge1").startswith("blue,0")
        edged.deploy("resume", expect=Exit.FAILED)
        loads.more(40, "requests after the end")
        loads.unfailing()
    assert "edge2: " in said
    assert "No space left on device" in said
    assert agree(edged) == "blue,0"
    edged.deploy("doctor")


# -- one of them is new, or not as it should be


def test_a_proxy_that_is_new_is_brought_to_where_the_other_is(lab: Lab, state: Path) -> None:
    with engine(lab[CONTROL]) as client:
        folder = state / "s"
        folder.mkdir()
        edged = Edged(folder, lab, client)
        try:
            edged.inventory({"web": WEB, "edge": EDGE[:1]})
            edged.version("1.0")
            edged.deploy("up", "--version", "1.0")
            edged.inventory({"web": WEB, "edge": EDGE})
            edged.deploy("bluegreen", "--bake", "0", "--version", "1.0")
            assert agree(edged) == "green,0"
            assert requests.get(f"{edged.urls['edge2']}/version", timeout=30).text == "1.0\n"
            edged.deploy("doctor")
        finally:
            edged.close()


def test_a_proxy_without_a_deployer_is_named_before_anything_changes(edged: Edged, lab: Lab) -> None:
    edged.version("2.0")
    program = lab["edge2"].root / "usr/local/bin/deploy"
    program.rename(program.with_name("gone"))
    try:
        refused = edged.deploy("canary", "--version", "2.0", expect=Exit.REFUSED).stderr
    finally:
        program.with_name("gone").rename(program)
    assert "edge2: there is no `deploy` there" in refused
    assert agree(edged) == "blue,0"

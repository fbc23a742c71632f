"""Two control hosts on one database: each sees what the other does, and finishes what the other could not."""

from __future__ import annotations

import copy
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from deployer.core.errors import Exit
from tests.lab.machines import Lab
from tests.live.test_one_hand import at_once
from tests.live.test_store import overtaken, paused
from tests.machines.edged import Edged, end_connections, lab_of_edges
from tests.machines.farm import CONTROL, engine
from tests.machines.test_proxies import PLAIN, Loads, agree
from tests.ports import free_port
from tests.postgres import Server
from tests.waiting import within

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def machines() -> Iterator[Lab]:
    with lab_of_edges() as made:
        yield made


@pytest.fixture
def pair(machines: Lab, state: Path, postgres: Server) -> Iterator[tuple[Edged, Edged]]:
    """Yield a service as two control hosts see it: two state folders, one store, one key."""
    with engine(machines[CONTROL]) as client:
        folder = state / "s"
        folder.mkdir()
        first = Edged(folder, machines, client)
        first.environ["DEPLOYER_STORE"] = postgres.schema()
        second = copy.copy(first)
        second.state = folder / "state2"
        second.state.mkdir(mode=0o700)
        try:
            first.version("1.0")
            first.deploy("up", "--version", "1.0")
            shutil.copy(first.state / "store.key", second.state / "store.key")
            yield first, second
        finally:
            machines.heal()
            end_connections(second.state)
            first.close()


@pytest.mark.long("fifty canaries at once, from two control hosts")
@pytest.mark.crowd
def test_of_fifty_canaries_at_once_from_two_hosts_one_runs(pair: tuple[Edged, Edged]) -> None:
    first, second = pair
    first.write(strategy={"canary": {"steps": [{"share": 50, "for": "10m"}], "bake": "1s"}})
    first.version("2.0")
    with at_once(first, "canary", "--version", "2.0", hosts=pair, seconds=400) as winner:
        second.wait(lambda status: status["share"] == 5000, "the one that runs has its share", 240)
        second.deploy("abort", "-m", "seen enough")
        assert winner.wait(timeout=120) == Exit.ABORTED
    for host in pair:
        history = host.events("history")[0]
        assert [row["outcome"] for row in history["rollouts"]] == ["reverted", "done"]
    with psycopg.connect(first.environ["DEPLOYER_STORE"]) as db:
        for left in ("locks", "ports where freed_at is null and release <> 1", "releases where number > 2"):
            assert db.execute(f"select * from {left}".encode()).fetchall() == [], left
        started = db.execute("select count(*) from audit where action = 'start'").fetchone()
    assert started == (2,)
    assert agree(first) == "blue,0"


@pytest.mark.long("an owner that is stopped at its write, and overtaken")
def test_who_was_overtaken_at_its_write_moves_nobody_at_any_proxy(pair: tuple[Edged, Edged]) -> None:
    first, second = pair
    first.write(strategy={"canary": {"steps": [{"share": 50, "for": "1s"}], "bake": "0s"}})
    first.version("2.0")
    with Loads(first, PLAIN) as loads:
        with overtaken(first, {}) as late:
            within(240).until(lambda: paused(late.pid), "it is stopped at its write")
            second.deploy("promote", "-m", "the other goes on")
            assert agree(first) == "green,0"
            (first.folder / "went-on").touch()
            os.kill(late.pid, signal.SIGCONT)
            _, err = late.communicate(timeout=240)
        assert late.returncode == Exit.LOCKED, err
        assert "was overtaken" in err
        loads.more(40, "requests after the end")
        loads.unfailing()
    assert agree(first) == "green,0"


@contextmanager
def serving(host: Edged) -> Iterator[None]:
    """Let a control host look after its services."""
    with host.start("serve", "--listen", f"127.0.0.1:{free_port()}"):
        yield


def test_who_is_killed_in_a_canary_is_followed_by_the_other(pair: tuple[Edged, Edged]) -> None:
    first, second = pair
    first.write(strategy={"canary": {"steps": [{"share": 50, "for": "40s"}], "bake": "1s"}})
    first.version("2.0")
    with serving(second), Loads(first, PLAIN) as loads:
        with first.start("canary", "--version", "2.0") as driven:
            second.wait(lambda status: status["share"] == 5000, "the other host sees half of the users on 2.0", 240)
            driven.kill()
        loads.mark("killed")
        second.wait(lambda status: status["rollout"] is None, "the other host finishes it", 400)
        loads.more(40, "requests after the end")
        for seen in loads.unfailing().values():
            assert "2.0" in seen.after("killed").by_version
    assert agree(first) == "green,0"
    assert [row["outcome"] for row in second.events("history")[0]["rollouts"]] == ["done", "done"]
    assert first.events("history") == second.events("history")
    report = first.deploy("report", "--format", "md").stdout  # with what the other host recorded
    assert "cannot be read" not in report
    second.deploy("rollback", "-m", "from the other host")
    assert agree(first) == "blue,0"

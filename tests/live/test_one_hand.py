"""One hand at a time, for real: fifty deploys at once, an owner that is frozen and overtaken, one that is released."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from deployer.core.clock import Deadline, SystemClock
from deployer.core.filelock import is_held
from deployer.store.locks import CHANGES, LEASE_SECONDS
from tests.live.conftest import Make
from tests.live.shop import Shop
from tests.load import Load, Options

pytestmark = pytest.mark.live

MANY = 50
QUIET = Options(rate=60, kinds=("fresh", "busy", "sticky", "post"))
REFUSED = (
    r"error: {service} is being changed by \S+@\S+ since \d\d:\d\d:\d\d: {strategy} of {version}"
    r" \(pid {pid} on \S+, .+, deployer \d+\.\d+\.\d+\)\n"
    r"  → wait for it, follow it with `deploy watch`, .*"
)


def rows(shop: Shop, query: str) -> list[Any]:
    with closing(sqlite3.connect(shop.state / "deployer.db")) as db:
        return db.execute(query).fetchall()


def dump(shop: Shop) -> list[str]:
    with closing(sqlite3.connect(shop.state / "deployer.db")) as db:
        return list(db.iterdump())


@contextmanager
def at_once(
    shop: Shop, *arguments: str, hosts: Sequence[Shop] = (), seconds: float = 150.0
) -> Iterator[subprocess.Popen[str]]:
    """Start fifty times the same command, wait until all but one were refused, each in full; yield the one that runs.

    They are given on several control `hosts` in turn, if there are more than this one.
    """
    among = hosts or (shop,)
    with ExitStack() as stack:
        started = [stack.enter_context(among[n % len(among)].start(*arguments)) for n in range(MANY)]
        soon = Deadline.after(SystemClock(), seconds)
        soon.until(lambda: sum(p.poll() is None for p in started) <= 1, "all but one are refused")
        (winner,) = [p for p in started if p.poll() is None]
        strategy = "canary" if arguments[0] == "up" else arguments[0]  # the one of the manifest
        version = arguments[-1]
        wanted = REFUSED.format(service=shop.name, strategy=strategy, version=re.escape(version), pid=winner.pid)
        for process in started:
            if process is not winner:
                said, trouble = process.communicate(timeout=60)
                assert process.returncode == 5, trouble
                assert said == ""
                assert re.fullmatch(wanted, trouble.strip()), trouble
        yield winner


@pytest.mark.long("fifty deploys at once")
@pytest.mark.crowd
def test_of_fifty_first_deploys_at_once_one_runs_and_the_rest_leave_nothing(make_shop: Make) -> None:
    """On an empty state folder: the store itself is made by one of them. Its health check passes only in a while."""
    shop = make_shop("process")
    shop.version("1.0")
    shop.write(health={"http": "/health", "interval": "2s", "rise": 100, "deadline": "10m"})
    with at_once(shop, "up", "--version", "1.0") as winner:
        shop.deploy("abort", "-m", "seen enough")
        assert winner.wait(timeout=120) == 6
    assert rows(shop, "select number, status from releases") == [(1, "failed")]
    assert rows(shop, "select number, outcome from rollouts") == [(1, "reverted")]
    assert rows(shop, "select count(*) from audit where action = 'start'") == [(1,)]
    assert rows(shop, "select * from locks") == []
    assert rows(shop, "select * from ports where freed_at is null") == []
    assert shop.status()["environments"] == []
    assert not is_held(shop.state / "locks" / f"{shop.name}.lock")
    assert not [p.name for p in shop.state.rglob(".*") if p.is_file() and "secrets" not in p.parts]


@pytest.mark.long("fifty deploys at once")
@pytest.mark.crowd
def test_of_fifty_canaries_at_once_one_runs_and_users_notice_nothing(process_shop: Shop) -> None:
    shop = process_shop
    shop.version("2.0")
    with (
        Load(shop.url, QUIET) as load,
        at_once(shop, "canary", "--percent", "10", "--for", "10m", "--version", "2.0") as winner,
    ):
        shop.deploy("promote")
        assert winner.wait(timeout=180) == 0, winner.stderr
        report = load.stop()
    assert report.failed == 0, report.text()
    assert rows(shop, "select number, version, status from releases") == [(1, "1.0", "good"), (2, "2.0", "good")]
    assert rows(shop, "select number, outcome from rollouts") == [(1, "done"), (2, "done")]
    assert len(rows(shop, "select * from ports where freed_at is null")) == 4


@pytest.mark.long("six deploys at once")
def test_services_do_not_wait_for_each_other(make_shop: Make) -> None:
    shops = [make_shop("process") for _ in range(6)]
    for shop in shops:
        shop.state = shops[0].state
        shop.version("1.0")
    with ExitStack() as stack:
        started = [stack.enter_context(shop.start("up", "--version", "1.0")) for shop in shops]
        for process in started:
            said, trouble = process.communicate(timeout=180)
            assert process.returncode == 0, said + trouble
    assert {shop.get().headers["X-Version"] for shop in shops} == {"1.0"}


# -- frozen and overtaken


def frozen(shop: Shop, owner: subprocess.Popen[str]) -> None:
    """Stop the owner, and let its last beat be as old as if it had been stopped for longer than its lease."""
    owner.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, owner.pid, os.WSTOPPED)  # a write to the disk that has begun ends first
    with closing(sqlite3.connect(shop.state / "deployer.db", timeout=10)) as db, db:
        done = db.execute("update locks set beat = ? where pid = ?", (time.monotonic() - LEASE_SECONDS - 1, owner.pid))
        assert done.rowcount == 1


def overtake(shop: Shop, owner: subprocess.Popen[str], *command: str) -> str:
    """Freeze the owner and run a command that overtakes it; return what it said.

    Where chance froze it in the middle of a change the command would say so and change nothing: it goes on to its end
    first. A thread that is about to begin one is not seen; then the command says so, and it is tried again.
    """
    soon = Deadline.after(SystemClock(), 120)
    while not soon.passed():
        try:
            frozen(shop, owner)
        except sqlite3.OperationalError:  # frozen in the middle of a write: nobody else can write then
            owner.send_signal(signal.SIGCONT)
            continue
        if not changes(shop):
            done = shop._run(*command)
            if done.returncode == 0:
                return done.stdout + done.stderr
            assert done.returncode == 5, done.stdout + done.stderr
            assert f"kill -CONT {owner.pid}" in done.stderr
        owner.send_signal(signal.SIGCONT)
        Deadline.after(SystemClock(), 30).until(lambda: not changes(shop), "the change is over", every=0.001)
    raise AssertionError("it is always in the middle of a change")


def changes(shop: Shop) -> bool:
    """Return whether anybody is in the middle of a change, or reads from the proxy, which nobody can change then."""
    mine = shop.state / "locks" / f"{shop.name}.lock"
    return is_held(shop.state / "proxy" / "lock") or is_held(mine, CHANGES, 2 * CHANGES)


def world(shop: Shop) -> dict[str, Any]:
    """All that an owner could change: the store, the proxy as it runs and its files, what stands."""
    status = shop.status()
    return {
        "store": dump(shop),
        "traffic": {key: status[key] for key in ("share", "lease", "baseline")},
        # What is open there is the users' doing.
        "environments": [{**there, "open": 0} for there in status["environments"]],
        "files": {p.name: p.read_text() for p in Path(shop.state, "proxy", "maps").iterdir()},
    }


def recorded(shop: Shop) -> list[bytes]:
    """The lines of the recording of the canary."""
    return (shop.state / "recordings" / "2.jsonl").read_bytes().splitlines()


@pytest.mark.long("a canary that is overtaken")
@pytest.mark.parametrize("command", ["abort", "promote", "resume"])
def test_who_was_frozen_and_overtaken_changes_nothing_when_it_goes_on(process_shop: Shop, command: str) -> None:
    shop = process_shop
    shop.version("2.0")
    with (
        Load(shop.url, QUIET) as load,
        shop.start("canary", "--percent", "10", "--for", "20s", "--version", "2.0") as owner,
    ):
        shop.wait(lambda s: s["share"] == 1000, "the canary has its share")
        overtake(shop, owner, command)
        before, lines = world(shop), recorded(shop)
        owner.send_signal(signal.SIGCONT)
        _, said = owner.communicate(timeout=120)
        report = load.stop()
    assert owner.returncode == 5, said
    assert re.search(
        r"this process was overtaken by \S+@\S+ \(\S+ \(pid \d+ on \S+\) sent no heartbeat for \d+ s\)", said
    ), said
    assert f"it changes nothing of {shop.name} any more" in said
    assert world(shop) == before
    assert recorded(shop)[: len(lines)] == lines
    assert len(recorded(shop)) <= len(lines) + 1, "it may have been frozen after it had asked whether it may write"
    assert report.failed == 0, report.text()
    assert shop.status()["stable_version"] == ("1.0" if command == "abort" else "2.0")
    assert [r for (r,) in rows(shop, "select action from audit")].count("overtake") == 1


@pytest.mark.long("a canary that loses its lock", every_change=True)
def test_who_loses_its_lock_stands_down_and_its_users_go_back(process_shop: Shop) -> None:
    shop = process_shop
    shop.live("1.1", lease="10s")
    shop.version("2.0")
    with (
        Load(shop.url, QUIET) as load,
        shop.start("canary", "--percent", "10", "--for", "10m", "--version", "2.0") as owner,
    ):
        shop.wait(lambda s: s["share"] == 1000, "the canary has its share")
        done = shop.deploy("release-lock", "-m", "ci-3 hangs in a pull")
        _, said = owner.communicate(timeout=120)
        shop.wait(lambda s: s["share"] == 0, "the lease is over")
        report = load.stop()
    assert f"the lock of {shop.name} was taken from " in done.stdout
    assert f"(pid {owner.pid} on " in done.stdout
    assert "canary of 2.0: ci-3 hangs in a pull\n" in done.stdout
    assert owner.returncode == 5, said
    assert re.search(r"this process was overtaken by \S+@\S+ \(ci-3 hangs in a pull\)", said), said
    assert report.failed == 0, report.text()
    shop.deploy("release-lock", "-m", "again", expect=2)
    shop.deploy("abort")
    assert shop.status()["stable_version"] == "1.1"
    taken = rows(shop, "select by, reason, detail from audit where action = 'release-lock'")
    assert [(reason, f"(pid {owner.pid} on " in detail) for _, reason, detail in taken] == [
        ("ci-3 hangs in a pull", True)
    ]

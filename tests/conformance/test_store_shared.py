"""One store for two hosts: two state folders, one PostgreSQL. Who changes a service is known by leases there."""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from unittest.mock import Mock

import pytest

from deployer.app.keeper.keeper import Keeper, Opener
from deployer.app.operations import AppContext
from deployer.core.clock import Deadline, SystemClock
from deployer.core.errors import Locked, LockLost, StoreFailed
from deployer.engine import RolloutResult
from deployer.planning.orders import StopRequest
from deployer.planning.release_record import home
from deployer.store import Lock, Store
from deployer.store.postgres import claims, connection, database
from deployer.store.postgres.shared import opened
from tests.house import Scene
from tests.memory import World
from tests.postgres import Bouncer, Server
from tests.programs import program

pytestmark = pytest.mark.xdist_group("postgres")

OWNER = """
import sys
from pathlib import Path
from deployer.core.clock import SystemClock
from deployer.store import Store
from deployer.store.postgres import claims
from deployer.store.postgres.shared import opened
claims.LAPSE_SECONDS, claims.BEAT_SECONDS = 1.0, 0.25
clock = SystemClock()
store = Store(Path(sys.argv[1]), clock, shared=opened(sys.argv[2], clock))
lock = store.locks.take("shop", "canary of 2.0")
print("taken", flush=True)
sys.stdin.readline()
try:
    with store.locks.changing(lock):
        print("changed", flush=True)
except Exception as error:
    print(type(error).__name__, error.message, flush=True)
"""


BOUNCED = pytest.param("pgbouncer", marks=pytest.mark.long("the same once more, a connection for each transaction"))


@pytest.fixture(params=["direct", BOUNCED])
def address(request: pytest.FixtureRequest) -> str:
    if request.param == "pgbouncer":
        bouncer: Bouncer = request.getfixturevalue("bouncer")
        return bouncer.address()
    postgres: Server = request.getfixturevalue("postgres")
    return postgres.schema()


@pytest.fixture
def hosts(address: str, state: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Store]]:
    """Yield a store for one more host each time: another state folder, the same database."""
    monkeypatch.setattr(claims, "LAPSE_SECONDS", 600.0)  # nothing lapses by itself on a busy machine
    with ExitStack() as undo:

        def another() -> Store:
            folder = state / f"host{len(list(state.iterdir()))}"
            folder.mkdir(mode=0o700)
            return undo.enter_context(closing(Store(folder, SystemClock(), shared=opened(address, SystemClock()))))

        yield another


@pytest.fixture
def owner(hosts: Callable[[], Store], address: str, state: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a process that has the lock of the shop, on another host."""
    hosts()
    with program(OWNER, str(state / "far"), address, says="taken") as process:
        yield process


def say(service: str, text: str, ended: RolloutResult | None) -> None:
    """Write nothing."""


def opener(house: AppContext) -> Opener:
    """Return a house that stays open."""

    @contextmanager
    def opened(_stop: StopRequest) -> Iterator[AppContext]:
        yield house

    return opened


def taken(store: Store) -> Lock:
    """Wait until the lock can be taken."""
    while True:
        try:
            return store.locks.take("shop", "rollback")
        except Locked:
            store.clock.sleep(0.05)


def test_a_lock_is_seen_from_the_other_host(hosts: Callable[[], Store]) -> None:
    one, two = hosts(), hosts()
    lock = one.locks.take("shop", "canary of 2.0")
    with pytest.raises(Locked, match=r"is being changed by .*canary of 2\.0"):
        two.locks.take("shop", "rollback")
    assert two.locks.read("shop") == one.locks.read("shop") == lock
    with one.locks.changing(lock):
        assert two.locks.is_changing(lock)
    assert not two.locks.is_changing(lock)
    one.locks.release(lock)
    second = two.locks.take("shop", "rollback")
    assert second.token == lock.token + 1
    with pytest.raises(LockLost, match="was overtaken by"):
        one.locks.verify(lock)


def test_a_claim_is_part_of_the_transaction_in_which_it_is_taken(hosts: Callable[[], Store]) -> None:
    one, two = hosts(), hosts()

    def fail() -> None:
        with one.database.transaction() as db:
            db.execute("insert into meta values ('a', '')")
            assert one.claims.claim("locks/shop.lock", 3).try_take()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert two.database.rows("select * from meta where key = 'a'") == []
    assert not two.claims.is_held("locks/shop.lock")


def test_a_lock_that_is_not_taken_to_the_end_leaves_the_former_token(
    hosts: Callable[[], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = hosts(), hosts()
    lock = one.locks.take("shop", "canary of 2.0")
    one.claims.close()  # as if that process had died
    with monkeypatch.context() as full:
        full.setattr(two.audit, "add", Mock(side_effect=StoreFailed("no space is left", "free some")))
        with pytest.raises(StoreFailed, match="no space"):
            two.locks.take("shop", "rollback")
    assert [row["token"] for row in one.database.rows("select token from locks")] == [lock.token]
    assert not one.claims.is_held("locks/shop.lock")
    assert two.locks.take("shop", "rollback").token == lock.token + 1


def test_a_living_owner_puts_off_the_end_of_its_lease(
    hosts: Callable[[], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "BEAT_SECONDS", 0.05)
    one, two = hosts(), hosts()
    one.locks.take("shop", "canary of 2.0")
    until = one.database.rows("select until from claims")[0]["until"]
    while not one.database.rows("select 1 from claims where until > ?", until):
        one.clock.sleep(0.05)
    with pytest.raises(Locked):
        two.locks.take("shop", "rollback")


def test_an_error_that_ends_the_renewing_is_raised_by_whoever_holds_a_claim(
    hosts: Callable[[], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = threading.Event()

    def bug(*_given: object) -> None:
        ended.set()
        raise ZeroDivisionError

    monkeypatch.setattr(claims, "BEAT_SECONDS", 0.01)
    put_off = claims._put_off
    monkeypatch.setattr(claims, "_put_off", bug)
    one = hosts()
    claim = one.claims.claim("keeper", 3)
    assert claim.try_take()
    assert ended.wait(30)
    with pytest.raises(ZeroDivisionError):
        Deadline.after(SystemClock(), 30).until(lambda: not claim.stands(), "the error")
    monkeypatch.setattr(claims, "_put_off", put_off)
    another = one.claims.claim("keeper", 4)
    assert another.try_take(), "it was told, and the process goes on"
    assert another.stands()
    assert not claim.stands(), "nobody put off its end"
    until = "select until from claims where at = 4"
    before = one.database.rows(until)[0]["until"]
    Deadline.after(SystemClock(), 30).until(lambda: one.database.rows(until)[0]["until"] > before, "a renewal")


def test_what_a_renewing_that_ended_held_is_told_to_the_next_who_claims(
    hosts: Callable[[], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "BEAT_SECONDS", 0.01)
    monkeypatch.setattr(claims, "_put_off", Mock(side_effect=ZeroDivisionError))
    one = hosts()
    claim = one.claims.claim("keeper", 3)
    assert claim.try_take()
    assert isinstance(one.claims, claims.LeaseClaims)
    thread = one.claims._renewing
    assert thread is not None
    Deadline.after(SystemClock(), 30).until(lambda: thread.error is not None, "the error")
    with pytest.raises(ZeroDivisionError):
        one.claims.claim("keeper", 4).try_take()
    assert not claim.stands()
    assert one.claims.claim("keeper", 4).try_take()


def test_a_killed_owner_is_followed_when_its_lease_is_over(
    hosts: Callable[[], Store], owner: subprocess.Popen[str]
) -> None:
    store = hosts()
    owner.kill()
    lock = taken(store)
    assert lock.token == 2
    assert "is gone, stopped or cut off" in store.audit_log.newest(1)[0].reason


def test_an_owner_that_was_stopped_past_its_lease_changes_nothing(
    hosts: Callable[[], Store], owner: subprocess.Popen[str]
) -> None:
    store = hosts()
    owner.send_signal(signal.SIGSTOP)
    taken(store)
    owner.send_signal(signal.SIGCONT)
    assert owner.stdin is not None
    assert owner.stdout is not None
    owner.stdin.write("\n")
    owner.stdin.flush()
    said = owner.stdout.readline()
    assert said.startswith("LockLost this process was overtaken by")
    assert "is gone, stopped or cut off" in said


def test_a_claim_outlives_a_database_that_restarts(hosts: Callable[[], Store], postgres: Server) -> None:
    one, two = hosts(), hosts()
    claim = one.claims.claim("locks/shop.nightly.job")
    assert claim.try_take()
    assert not two.claims.claim("locks/shop.nightly.job").try_take()
    postgres.stop("immediate")
    postgres.start()
    assert claim.stands() == two.claims.is_held("locks/shop.nightly.job")
    claim.let_go()
    assert two.claims.claim("locks/shop.nightly.job").try_take()


def test_what_is_shared_is_held_by_several_and_excludes_one(hosts: Callable[[], Store]) -> None:
    one, two = hosts(), hosts()
    first, second = one.claims.claim("keeper", 3, shared=True), two.claims.claim("keeper", 3, shared=True)
    assert first.try_take()
    assert second.try_take()
    assert not two.claims.claim("keeper").try_take()
    assert two.claims.claim("keeper", 4).try_take()
    assert [one.claims.is_held("keeper", *place) for place in ((), (2,), (3,), (0, 3), (0, 9))] == [
        True,
        False,
        True,
        False,
        True,
    ]
    first.let_go()
    second.let_go()
    with pytest.raises(StoreFailed, match="has been held by another command"):
        one.claims.claim("keeper", 4).take(0.1)


def test_of_fifty_starts_on_two_hosts_one_gets_it(hosts: Callable[[], Store], monkeypatch: pytest.MonkeyPatch) -> None:
    # Each of them waits for all before it; on a busy host that may take longer than a writer otherwise waits.
    monkeypatch.setattr(database, "BEGIN", database.BEGIN.replace(f"'{database.WRITE_SECONDS}s'", "'300s'"))
    monkeypatch.setattr(connection, "ANSWER_SECONDS", 310.0)
    stores = [hosts(), hosts()]
    got, refused = list[Lock](), list[Locked]()

    def start(store: Store) -> None:
        try:
            got.append(store.locks.take("shop", "canary of 2.0"))
        except Locked as error:
            refused.append(error)

    threads = [threading.Thread(target=start, args=(stores[n % 2],)) for n in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    assert (len(got), len(refused)) == (1, 49)
    assert all("is being changed by" in error.message for error in refused)


def test_of_two_keepers_on_two_hosts_one_keeps_what_both_reach_and_each_what_is_its_own(
    hosts: Callable[[], Store],
) -> None:
    first, second = hosts(), hosts()
    world = World()
    scene = Scene(first.folder, world, first)
    scene.deploy("1.0")  # its instances run on the first host
    here, there = (Keeper(opener(Scene(store.folder, world, store).house), say) for store in (first, second))
    there.look()
    here.look()
    assert [keeper.waits for keeper in (there, here)] == [False, True], (
        "one keeps what both reach: there is nothing yet"
    )
    assert first.claims.is_held(f"locks/keeper@{home(first.folder)}"), "and yet its own service is kept"
    there.stop()
    here.look()
    assert [here.waits] == [False]
    here.stop()

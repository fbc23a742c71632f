"""Which store a state folder works with: told once, remembered, never two; secrets, sealed by a key of the hosts."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import psycopg
import pytest

from deployer.app import operations
from deployer.app.operations.execution import locked
from deployer.app.wiring import open_house
from deployer.core.clock import SystemClock
from deployer.core.errors import DeployError, Refused, StoreDamaged, StoreFailed
from deployer.core.host import ServiceHosts
from deployer.core.secret import hide
from deployer.manifest.models import Manifest
from deployer.model import SecretText
from deployer.planning import reach
from deployer.store import Store, opening
from deployer.store.opening import VARIABLE, open_store, remembered, works_with_another
from deployer.store.rebuild import rebuilding
from tests.house import Scene
from tests.memory import World
from tests.postgres import Server

pytestmark = pytest.mark.xdist_group("postgres")

PASSWORD = "geheim-0815"
NAMES = frozenset({"TOKEN"})


@pytest.fixture(autouse=True)
def _nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)


@pytest.fixture
def address(postgres: Server) -> str:
    """Return an empty schema; the server lets everybody in, whatever their password."""
    return postgres.schema().replace("postgres@", f"postgres:{PASSWORD}@")


@pytest.fixture
def hosts(address: str, state: Path) -> Iterator[Callable[..., Store]]:
    """Open the store on a host: each has a state folder of its own."""
    with ExitStack() as undo:

        def on(name: str, url: str | None = address) -> Store:
            environ = {VARIABLE: url} if url else {}
            return undo.enter_context(closing(open_store(state / name, SystemClock(), environ)))

        yield on


def bring_key(state: Path, source: str, target: str) -> None:
    (state / target).mkdir(mode=0o700, exist_ok=True)
    shutil.copy(state / source / "store.key", state / target / "store.key")


# -- told once, remembered


def test_a_folder_remembers_its_database_and_not_the_password(hosts: Callable[..., Store], state: Path) -> None:
    first = hosts("a")
    again = hosts("a", None)
    assert again.secret("installation") == first.secret("installation")
    assert again.name == first.name
    assert not (state / "a" / "deployer.db").exists()
    for file in (state / "a").iterdir():
        assert file.stat().st_mode & 0o077 == 0
        assert PASSWORD not in file.read_text()
    assert hide(f"said {PASSWORD}") == "said ***", "no text of this process shows it"


def test_without_a_word_the_store_is_a_file(hosts: Callable[..., Store], state: Path) -> None:
    assert hosts("a", None).shared is None
    assert (state / "a" / "deployer.db").exists()
    assert not works_with_another(state / "a", {})


def test_another_store_is_refused_beside_one(hosts: Callable[..., Store], postgres: Server, state: Path) -> None:
    hosts("a", None)
    with pytest.raises(Refused, match="has a store of its own"):
        hosts("a")
    own = hosts("b").secret("installation")
    other = postgres.schema()
    with closing(open_store(state / "c", SystemClock(), {VARIABLE: other})) as theirs:
        Scene(state / "c", World(), theirs).deploy("1.0")
    with pytest.raises(Refused) as no:
        hosts("b", other)
    assert own in no.value.message
    assert "works with the store of installation" in no.value.message
    assert remembered(state / "b") == opening.SharedStore(hosts("b").name, own), "it is as it was"


def test_the_same_store_at_another_address_is_taken(hosts: Callable[..., Store], address: str, state: Path) -> None:
    hosts("a")
    moved = f"{address}&application_name=x"
    assert hosts("a", moved).name.endswith("application_name=x")
    known = remembered(state / "a")
    assert known is not None
    assert known.address.endswith("application_name=x")


def test_a_folder_is_not_one_of_two_databases_by_mistake_of_its_file(hosts: Callable[..., Store], state: Path) -> None:
    hosts("a")
    (state / "a" / "store.json").write_text("{")
    with pytest.raises(StoreDamaged, match=r"store\.json cannot be read"):
        hosts("a")


# -- what cannot be used


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql://me:geheim-0815@db/x", "is not the address of a store"),
        ("deployer.db", "is not the address of a store"),
        ("postgresql://me:geheim@0815@db/x", "cannot be read"),
        ("postgresql://me:geheim/0815@db/x", "cannot be read"),
        ("postgresql://me:geheim?0815@db/x", "cannot be read"),
        ("postgresql://me:geheim-0815@db/x?nonsense=1", "cannot be read: invalid URI query parameter"),
        ("postgresql://nobody:geheim-0815@/postgres?host={folder}", 'role "nobody" does not exist'),
        ("postgresql://postgres:geheim-0815@/absent?host={folder}", 'database "absent" does not exist'),
    ],
)
def test_what_is_no_store_is_said_without_its_password(url: str, said: str, postgres: Server, state: Path) -> None:
    with pytest.raises(DeployError) as failed:
        open_store(state / "a", SystemClock(), {VARIABLE: url.format(folder=postgres.folder)})
    told = f"{failed.value.message} {failed.value.hint} {failed.value.__cause__}"
    assert said in failed.value.message
    assert failed.value.hint
    assert "geheim" not in told
    assert not (state / "a" / "store.json").exists()


def test_a_database_that_does_not_answer_is_said(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployer.store.postgres.database.BACK_SECONDS", 0.2)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # not listening
        url = f"postgresql://me@127.0.0.1:{nobody.getsockname()[1]}/x"
        with pytest.raises(StoreFailed, match="cannot be used: connection") as failed:
            open_store(state, SystemClock(), {VARIABLE: url})
    assert "deploy rollback" in failed.value.hint


def test_a_user_without_rights_is_told_what_is_needed(postgres: Server, address: str, state: Path) -> None:
    with psycopg.connect(postgres.address(), autocommit=True) as admin:
        admin.execute("drop role if exists guest")
        admin.execute("create role guest login")
        admin.execute(f"grant usage on schema {address.rpartition('%3D')[2]} to guest".encode())
    with pytest.raises(StoreFailed, match="may not do that: permission denied") as failed:
        open_store(state, SystemClock(), {VARIABLE: address.replace("postgres:", "guest:")})
    assert "own the schema" in failed.value.hint


def test_what_it_needs_is_said_where_it_is_missing(
    hosts: Callable[..., Store], state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "_NEEDED", ("psycopg", "psycopg_of_nobody"))
    with pytest.raises(Refused, match="needs psycopg_of_nobody") as failed:
        hosts("a")
    assert "[postgresql]" in failed.value.hint
    assert not (state / "a").exists(), "nothing was changed"


# -- the key


def test_a_second_host_needs_the_key(hosts: Callable[..., Store], state: Path) -> None:
    hosts("a").vault.save("shop", 1, {"TOKEN": SecretText("opensesame-42")})
    with pytest.raises(Refused, match="does not have the key of the store") as failed:
        hosts("b")
    assert "copy it from a control host that has it" in failed.value.hint
    assert not (state / "b" / "store.json").exists()
    bring_key(state, "a", "b")
    there = hosts("b").vault
    assert there.load("shop", 1, NAMES)["TOKEN"].reveal() == "opensesame-42"
    assert there.kept("shop") == {1}
    assert there.services() == ("shop",)
    there.forget("shop", 1)
    with pytest.raises(Refused, match="cannot be read: the table sealed"):
        hosts("a").vault.load("shop", 1, NAMES)


def test_the_key_of_another_store_is_refused(hosts: Callable[..., Store], state: Path) -> None:
    hosts("a")
    (state / "b").mkdir(mode=0o700)
    (state / "b" / "store.key").write_text("ab" * 32)
    with pytest.raises(Refused, match="is not the key of the store"):
        hosts("b")
    assert (state / "b" / "store.key").exists(), "it may be that of another store"


def test_of_two_that_make_the_key_at_once_one_is_told_to_copy_it(
    hosts: Callable[..., Store], state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from deployer.store.postgres.vault import SealedVault

    make = SealedVault._make

    def slower(vault: SealedVault) -> bool:
        made = make(vault)
        monkeypatch.setattr(SealedVault, "_make", make)
        hosts("a")
        return made

    monkeypatch.setattr(SealedVault, "_make", slower)
    with pytest.raises(Refused, match="is not the key of the store"):
        hosts("b")
    assert not (state / "b" / "store.key").exists()
    bring_key(state, "a", "b")
    hosts("b")


def test_the_database_alone_tells_no_secret(hosts: Callable[..., Store], state: Path) -> None:
    store = hosts("a")
    for number, value in ((1, "opensesame-42"), (2, "opensesame-43")):
        store.vault.save("shop", number, {"TOKEN": SecretText(value)})
    tables = [
        row[0] for row in store.database.rows("select tablename from pg_tables where schemaname = current_schema()")
    ]
    everything = str([[tuple(row) for row in store.database.rows(f"select * from {table}")] for table in tables])
    assert "opensesame" not in everything
    assert (state / "a" / "store.key").read_text().strip() not in everything
    with store.database.transaction() as db:  # somebody gives a release the secrets of another
        db.execute("update sealed set text = (select text from sealed where release = 1) where release = 2")
    with pytest.raises(Refused, match="ValueError"):
        store.vault.load("shop", 2, NAMES)
    assert store.vault.load("shop", 1, NAMES)["TOKEN"].reveal() == "opensesame-42"


# -- what only one host reaches


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"runtime": "process", "command": ["x"]}, "state folder"),
        ({}, "its instances run on that host"),
        ({"runtime": "swarm"}, "its Swarm is the one of DOCKER_HOST"),
        ({"runtime": "swarm", "hosts": "web"}, "its proxy runs on that host"),
        ({"hosts": "web"}, "its proxy runs on that host"),
        ({"hosts": "web", "traffic": {"proxies": "edge"}}, ""),
        ({"hosts": "web", "port": None, "health": None}, "without a port"),
    ],
)
def test_what_is_reached_from_one_host_alone(more: dict[str, object], why: str) -> None:
    given = {k: v for k, v in {"service": "shop", "image": "shop:1", "port": 8080, **more}.items() if v is not None}
    said = reach.only_from_one(Manifest.model_validate(given))
    assert why in said
    assert bool(said) == bool(why)


def test_a_service_of_another_host_is_not_touched(
    hosts: Callable[..., Store], state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts("a")
    bring_key(state, "a", "b")
    manifest = Manifest.model_validate({"service": "shop", "image": "shop:1", "port": 8080})
    with Scene(state / "a", World(), hosts("a")).house as here, locked(here, "shop", "test") as lock:
        here.store.homes.note(lock, "web-1:/srv/deployer")
    with open_house(state / "b", store=hosts("b")) as there, pytest.raises(Refused, match="web-1:/srv/deployer") as no:
        there.wire(manifest, Path(), ServiceHosts())
    assert "docs/store.md" in no.value.hint


def test_a_deploy_notes_where_its_service_is(hosts: Callable[..., Store], state: Path) -> None:
    scene = Scene(state / "a", World(), hosts("a"))
    with scene.house as house:
        scene.deploy("1.0")
        assert house.store.homes.of("shop") == f"{socket.gethostname()}:{state / 'a'}"


# -- records that are gone


def test_records_that_are_gone_are_rebuilt_in_the_database(
    hosts: Callable[..., Store], address: str, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = Scene(state / "a", World(), hosts("a"))
    scene.deploy("1.0")
    own = scene.house.store.secret("installation")
    with psycopg.connect(address, autocommit=True) as admin:
        name = address.rpartition("%3D")[2]
        admin.execute(f"drop schema {name} cascade; create schema {name}".encode())
    with pytest.raises(StoreDamaged, match="are not in postgresql") as gone:
        hosts("a", None)
    assert "deploy adopt" in gone.value.hint
    monkeypatch.setenv(VARIABLE, address)
    with rebuilding(state / "a", SystemClock()) as made:
        scene = Scene(state / "a", scene.world, made.store)
        with scene.house as house:
            found = operations.survey(house, why=made.why)
            operations.adopt(house, found)
            assert made.put_in_place() == ()
    again = hosts("a", None)
    assert again.secret("installation") == own
    assert [release.version for release in again.releases.of("shop")] == ["1.0"]
    assert json.loads((state / "a" / "store.json").read_text())["installation"] == own

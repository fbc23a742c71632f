"""The store in PostgreSQL as users meet it: the same commands, the records elsewhere; and a database that goes away."""

from __future__ import annotations

import json
from collections.abc import Iterator

import psycopg
import pytest

from deployer.core.errors import Exit
from tests.live.conftest import Make
from tests.live.shop import Shop
from tests.load import Load, Options
from tests.postgres import Server, running
from tests.services import require

pytestmark = [pytest.mark.live, pytest.mark.xdist_group("postgres")]

PASSWORD, SECRET = "geheim-0815", "opensesame-42"
USERS = Options(rate=60, kinds=("fresh", "busy", "sticky"))


@pytest.fixture
def shop(make_shop: Make, postgres: Server) -> Shop:
    """Give a service whose store is told by the environment, with a password."""
    shop = make_shop("process")
    shop.environ["DEPLOYER_STORE"] = postgres.schema().replace("postgres@", f"postgres:{PASSWORD}@")
    for version in ("1.0", "2.0", "3.0"):
        shop.version(version)
    shop.write(secrets={"TOKEN": {"file": "token"}})
    (shop.folder / "token").write_text(SECRET)
    return shop


@pytest.mark.long("three releases of a real service")
def test_releases_come_and_go_with_the_records_in_a_database(shop: Shop) -> None:
    shop.deploy("up", "--version", "1.0")
    said = shop.deploy("bluegreen", "--bake", "0", "--version", "2.0", "--output", "json")
    assert shop.get().text.strip() == "2.0"
    url = shop.environ.pop("DEPLOYER_STORE")
    said.stdout += shop.deploy("rollback", "-m", "to see").stdout  # the folder knows its store
    assert shop.get().text.strip() == "1.0"
    history = shop.events("history")[0]
    assert [row["outcome"] for row in history["rollouts"]] == ["done", "done", "done"]
    doctor = shop.deploy("doctor").stdout
    assert "PostgreSQL" in doctor
    audit = shop.deploy("audit", "verify").stdout
    assert "each follows the one before" in audit or "records" in audit
    assert not (shop.state / "deployer.db").exists()
    assert not (shop.state / "secrets" / shop.name).exists()
    with psycopg.connect(url, autocommit=True) as db:
        tables = [row[0] for row in db.execute("select tablename from pg_tables where schemaname = current_schema()")]
        everything = str([db.execute(f"select * from {table}".encode()).fetchall() for table in tables])
    for where, text in (("the database", everything), ("what was said", said.stdout + said.stderr + doctor)):
        assert SECRET not in text, where
        assert PASSWORD not in text, where
    kept = [f for f in shop.state.rglob("*") if f.is_file() and PASSWORD.encode() in f.read_bytes()]
    assert not kept
    there = json.loads((shop.state / "store.json").read_text())
    assert there["address"] == url.replace(f":{PASSWORD}@", "@")


@pytest.fixture
def own_server() -> Iterator[Server]:
    """Give a server that a test may stop; it runs until the services of the test are taken down."""
    require("postgres")
    with running() as started:
        yield started


@pytest.mark.long("a rollout whose database goes away")
def test_a_database_that_goes_away_loses_nobody(own_server: Server, make_shop: Make) -> None:
    server = own_server
    shop = make_shop("process")
    shop.environ["DEPLOYER_STORE"] = server.schema()
    for version in ("1.0", "2.0"):
        shop.version(version)
    shop.deploy("bluegreen", "--bake", "0", "--version", "1.0")
    shop.write(strategy={"canary": {"steps": [{"share": 50, "for": "60s"}], "bake": "0s"}})
    with Load(shop.url, USERS) as load, shop.start("canary", "--version", "2.0") as rollout:
        shop.wait(lambda status: status["share"] == 5000, "half of the users are on 2.0")
        server.stop("immediate")
        _, err = rollout.communicate(timeout=150)
        assert rollout.returncode not in (0, Exit.INTERNAL), err
        assert "cannot be used" in err
        refused = shop.deploy("up", "--version", "2.0", expect=Exit.REFUSED)
        assert "see that it runs and is reached from here" in refused.stderr
        gone = shop.deploy("abort", expect=Exit.NEEDS_PERSON)
        assert "users are safe: they were moved before this" in gone.stderr
        assert {shop.get().text.strip() for _ in range(20)} == {"1.0"}
        server.start()
        shop.deploy("resume", expect=Exit.ABORTED)
        report = load.stop()
    assert report.failed == 0, report.text()
    assert shop.status()["share"] == 0

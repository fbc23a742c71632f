"""The store in PostgreSQL as users meet it: the same commands, the records elsewhere; and a database that goes away."""

from __future__ import annotations

import copy
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import psycopg
import pytest
import requests

from deployer.core.errors import Exit
from deployer.supervisor.proc import Process
from tests.live.conftest import Make
from tests.live.serving import server, token
from tests.live.shop import Shop
from tests.load import Load, Options
from tests.ports import free_port
from tests.postgres import Server, running
from tests.services import require
from tests.waiting import within

pytestmark = [pytest.mark.live, pytest.mark.xdist_group("postgres")]

PASSWORD, SECRET = "geheim-0815", "opensesame-42"
USERS = Options(rate=60, kinds=("fresh", "busy", "sticky"))


@pytest.fixture
def shop(make_shop: Make, postgres: Server) -> Shop:
    """Return a service whose store is told by the environment, with a password."""
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
    """Yield a server that a test may stop; it runs until the services of the test are taken down."""
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


@pytest.mark.long("two servers on one store")
def test_a_token_of_one_server_opens_the_other_until_it_is_revoked(shop: Shop) -> None:
    shop.write()
    other = copy.copy(shop)
    other.state = shop.folder / "state2"
    other.state.mkdir(mode=0o700)
    made = token(shop, "viewer")  # which makes the store, too
    shutil.copy(shop.state / "store.key", other.state / "store.key")
    ports = free_port(), free_port()

    def status(port: int) -> int:
        answer = requests.get(
            f"http://127.0.0.1:{port}/api/v1/services", headers={"Authorization": f"Bearer {made}"}, timeout=30
        )
        return answer.status_code

    with server(shop, ports[0]), server(other, ports[1]):
        assert status(ports[0]) == 200
        within(60).until(lambda: status(ports[1]) == 200, "the other server knows the token", every=0.5)
        other.deploy("token", "revoke", "viewer")
        assert status(ports[1]) == 401
        within(60).until(lambda: status(ports[0]) == 401, "the first one refuses it", every=0.5)


STOPPED = """\
import os, signal, sys
from deployer.drivers.traffic.haproxy import division, driver
from deployer.drivers.traffic.proxies import proxy_group
def stopping(real):
    def late(self, service, live, *rest):
        if live.share == 5000 and not os.path.exists("went-on"):
            os.kill(os.getpid(), signal.SIGSTOP)  # the fence was passed; nothing is written yet
        return real(self, service, live, *rest)
    return late
for kind in (driver.HAProxyTraffic, proxy_group.ProxyGroup):
    kind.set_traffic = stopping(kind.set_traffic)
if "PLANTED" in os.environ:
    division.refuse_older = lambda *_given: None
from deployer.start import main
sys.argv[0] = "deploy"
sys.exit(main())
"""


@pytest.mark.long("an owner that is stopped at its write, overtaken, and goes on")
@pytest.mark.parametrize("planted", [False, True])
def test_who_was_overtaken_at_its_write_moves_nobody(shop: Shop, planted: bool) -> None:
    shop.deploy("up", "--version", "1.0")
    shop.write(strategy={"canary": {"steps": [{"share": 50, "for": "1s"}], "bake": "0s"}})
    state = shop.state / "proxy" / "maps" / "state.map"
    with overtaken(shop, {"PLANTED": "1"} if planted else {}) as late:
        within(60).until(lambda: paused(late.pid), "it is stopped at its write")
        ended = shop.deploy("promote", "-m", "the other goes on")  # 8 s later at the earliest
        assert "2.0" in shop.get().text, ended.stderr
        before = state.read_text()
        (shop.folder / "went-on").touch()
        os.kill(late.pid, signal.SIGCONT)
        _, err = late.communicate(timeout=120)
    if planted:
        assert state.read_text() != before, "what the check is for"
        return
    assert state.read_text() == before
    assert late.returncode == Exit.LOCKED, err
    assert "was overtaken" in err
    assert {shop.get().text.strip() for _ in range(20)} == {"2.0"}
    assert shop.status()["share"] == 0


@contextmanager
def overtaken(shop: Shop, environ: Mapping[str, str]) -> Iterator[subprocess.Popen[str]]:
    """Start a canary of 2.0 that is stopped as it gives half of the users."""
    command = [sys.executable, "-c", STOPPED, "canary", "--version", "2.0", "--state", str(shop.state)]
    with subprocess.Popen(
        command,
        cwd=shop.folder,
        env={**shop.environment(), **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def paused(pid: int) -> bool:
    """Return whether a process is stopped."""
    found = Process.of(pid)
    return found is not None and found.paused()

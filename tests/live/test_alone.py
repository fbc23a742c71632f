"""Services of which two must never run at once, for real: a PostgreSQL on one data folder, a worker that writes."""

from __future__ import annotations

import itertools
import json
import os
import pwd
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.live.conftest import Make
from tests.live.shop import Shop
from tests.services import require
from tests.waiting import within

pytestmark = pytest.mark.live

PROGRAMS = Path(__file__).parent / "programs"
SQL_SECONDS = 60


# -- a PostgreSQL


@pytest.fixture
def database(make_shop: Make) -> Shop:
    """Return a PostgreSQL of one data folder, with version 1.0 live by recreate."""
    require("postgres")
    shop = make_shop("process")
    # A stop of PostgreSQL waits for its clients unless it is told not to: SIGINT is its fast shutdown.
    shop.write(
        replicas=1,
        health={"tcp": True, "deadline": "30s"},
        traffic={"mode": "tcp", "listen": f"127.0.0.1:{shop.port}"},
        stop={"signal": "SIGINT", "drain": "1s", "grace": "30s"},
    )
    _initialise(shop)
    for version in ("1.0", "2.0", "3.0"):
        _version(shop, version)
    shop.deploy("recreate", "--version", "1.0")
    sql(shop, "create table visits (version text)")
    return shop


def _as_postgres() -> list[str]:
    """PostgreSQL refuses to run as root."""
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []


def _data(shop: Shop) -> Path:
    return shop.folder / "data"


def _binary(name: str) -> str:
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(found[-1])


def _initialise(shop: Shop) -> None:
    data = _data(shop)
    data.mkdir()
    if os.geteuid() == 0:
        owner = pwd.getpwnam("postgres")
        os.chown(data, owner.pw_uid, owner.pw_gid)
        for folder in (data, *data.parents):  # a stranger has to get there
            if folder.stat().st_uid == 0 and folder != Path("/"):
                folder.chmod(folder.stat().st_mode | 0o011)
    made = [*_as_postgres(), _binary("initdb"), "-D", str(data), "-U", "postgres", "-A", "trust", "--no-sync"]
    subprocess.run(made, check=True, capture_output=True, timeout=120, cwd="/")


def _version(shop: Shop, version: str) -> None:
    """Make a version of the database: another setting of the same server."""
    target = shop.folder / "releases" / version
    target.mkdir(parents=True)
    words = [*_as_postgres(), _binary("postgres"), "-D", str(_data(shop)), "-c", f"cluster_name={version}"]
    options = '-p "$PORT" -h 127.0.0.1 -c unix_socket_directories= -c logging_collector=off'
    (target / "run").write_text(f"cd / && exec {shlex.join(words)} {options}\n")


def sql(shop: Shop, text: str) -> str:
    """Ask through the proxy. A server that listens, which is its health check, may still be reading its files."""
    asked = ["psql", "-h", "127.0.0.1", "-p", str(shop.port), "-U", "postgres", "-XAtc", text]
    soon = within(SQL_SECONDS)
    while True:
        done = subprocess.run(asked, capture_output=True, text=True, timeout=SQL_SECONDS, check=False)
        if done.returncode == 0:
            return done.stdout.strip()
        assert "the database system is starting up" in done.stderr, done.stderr
        soon.check("the database has started", done.stderr)
        soon.clock.sleep(0.1)


def visit(shop: Shop) -> str:
    """Write into the table; return which version does it."""
    sql(shop, "insert into visits values (current_setting('cluster_name'))")
    return sql(shop, "show cluster_name")


def refused(shop: Shop) -> list[str]:
    """What servers wrote who found another one on their data folder."""
    logs = [path.read_text(errors="replace") for path in shop.state.rglob("*log*") if path.is_file()]
    return [line for text in logs for line in text.splitlines() if "postmaster.pid" in line and "exists" in line]


@pytest.mark.long("a database, three releases of it and the way back", every_change=True)
def test_a_database_goes_back_with_its_data(database: Shop) -> None:
    shop = database
    assert visit(shop) == "1.0"
    shop.deploy("recreate", "--version", "2.0")
    assert visit(shop) == "2.0"
    said = shop.deploy("rollback", "-m", "2.0 is slow").stdout
    assert "one of the two must not run beside another release" in said or "r1 (1.0) is live" in said
    assert visit(shop) == "1.0"
    assert sql(shop, "select string_agg(version, ' ') from visits") == "1.0 2.0 1.0"
    shop.deploy("recreate", "--version", "3.0")
    assert visit(shop) == "3.0"
    assert refused(shop) == [], "no server ever found another one at work"
    (environment,) = shop.status()["environments"]
    assert environment["role"] == "stable"


@pytest.mark.long("a database")
def test_a_canary_of_a_database_is_refused(database: Shop) -> None:
    said = database.deploy("canary", "--version", "2.0", expect=2).stderr
    assert "r1 (1.0) must not run beside another release" in said
    assert "deploy recreate --once" in said
    assert visit(database) == "1.0"


# -- a worker


@pytest.fixture
def worker(make_shop: Make) -> Shop:
    """Return a worker that writes into one file, with version 2.0 live by recreate, and 1.0 before it."""
    shop = make_shop("process")
    shop.write(replicas=1, stop={"drain": "1s", "grace": "5s"})
    for version in ("1.0", "2.0", "3.0"):
        target = shop.folder / "releases" / version
        target.mkdir(parents=True)
        shutil.copy(PROGRAMS / "writer.py", target / "main.py")
        settings = f"VERSION={version} WRITES_TO={shlex.quote(str(shop.folder / 'written'))}"
        (target / "run").write_text(f"{settings} exec {shlex.quote(sys.executable)} -u main.py\n")
    for version in ("1.0", "2.0"):
        shop.deploy("recreate", "--version", version)
    return shop


def written(shop: Shop) -> list[str]:
    """Who wrote, in order, each once for each time that it was at work."""
    lines = (shop.folder / "written").read_text().splitlines()
    assert [line for line in lines if line.endswith("IS NOT ALONE")] == []
    return [version for version, _ in itertools.groupby(line.split()[0] for line in lines)]


@pytest.mark.long("five rollouts")
def test_a_worker_goes_back_and_never_writes_twice(worker: Shop) -> None:
    worker.deploy("rollback")
    assert written(worker) == ["1.0", "2.0", "1.0"]
    worker.deploy("recreate", "--version", "3.0")
    worker.deploy("rollback", "--to", "1")
    assert written(worker) == ["1.0", "2.0", "1.0", "3.0", "1.0"]


@pytest.mark.long("a rollback that is killed and ended by the next")
@pytest.mark.parametrize("how", ["resume", "abort"])
def test_a_rollback_that_is_killed_when_the_live_one_is_gone(worker: Shop, how: str) -> None:
    with worker.start("rollback", "--output", "json") as process:
        assert process.stdout is not None
        for line in process.stdout:
            event = json.loads(line)
            if (event["event"], event.get("step")) == ("step.done", "remove"):
                process.send_signal(signal.SIGKILL)
                break
    worker.deploy(how)
    assert written(worker)[:2] == ["1.0", "2.0"]
    assert worker.get().text == ("1.0" if how == "resume" else "2.0")
    written(worker)


@pytest.mark.long("four rollouts")
def test_a_store_that_is_lost_keeps_the_promise(worker: Shop) -> None:
    for file in worker.state.glob("deployer.db*"):
        file.unlink()
    worker.deploy("adopt", "--yes")
    assert "must not run beside another release" in worker.deploy("canary", "--version", "3.0", expect=2).stderr
    worker.deploy("recreate", "--version", "3.0")
    worker.deploy("rollback")
    assert written(worker) == ["1.0", "2.0", "3.0", "2.0"]

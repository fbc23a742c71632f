"""The page on migrations, typed as it is, on a real PostgreSQL under load: expand, promote, roll back, contract."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from tests.documents import REPOSITORY, blocks
from tests.live.conftest import Make
from tests.live.shop import DEPLOY, Shop
from tests.live.test_docs import follow, typed
from tests.load import Load, Options
from tests.ports import free_port
from tests.services import require

pytestmark = [pytest.mark.live, pytest.mark.xdist_group("docs")]

PAGE = REPOSITORY / "docs" / "migrations.md"
PROGRAM = Path(__file__).parent / "programs" / "people.py"
USERS = Options(kinds=("fresh", "sticky"), rate=30)
QUICK = {"steps": [20], "for": "3s", "bake": "1s"}


def _binary(name: str) -> str:
    return str(sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))[-1])


def _as_postgres() -> list[str]:
    """PostgreSQL refuses to run as root."""
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []


@contextmanager
def database(folder: Path) -> Iterator[dict[str, str]]:
    """Run a PostgreSQL with an empty table; yield the variables by which its clients find it."""
    data, port = folder / "pg", free_port()
    data.mkdir()
    if os.geteuid() == 0:
        owner = pwd.getpwnam("postgres")
        os.chown(data, owner.pw_uid, owner.pw_gid)
        for above in data.parents:  # a stranger has to get there
            if above.stat().st_uid == 0 and above != Path("/"):
                above.chmod(above.stat().st_mode | 0o011)
    made = [*_as_postgres(), _binary("initdb"), "-D", str(data), "-U", "postgres", "-A", "trust", "--no-sync"]
    subprocess.run(made, check=True, capture_output=True, timeout=120, cwd="/")
    options = f"-p {port} -h 127.0.0.1 -c unix_socket_directories="
    control = [*_as_postgres(), _binary("pg_ctl"), "-D", str(data), "-w", "-t", "60", "-l", str(data / "log")]
    subprocess.run([*control, "-o", options, "start"], check=True, capture_output=True, timeout=120, cwd="/")
    env = {"PGHOST": "127.0.0.1", "PGPORT": str(port), "PGUSER": "postgres", "PGDATABASE": "postgres"}
    try:
        sql(env, "create table person (id bigserial primary key, name text)")
        yield env
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], check=True, capture_output=True, timeout=120, cwd="/")


def sql(env: dict[str, str], text: str, *more: str) -> str:
    command = ["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", *more, "-c", text]
    done = subprocess.run(command, env={**os.environ, **env}, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def people(make_shop: Make) -> Iterator[tuple[Shop, dict[str, str]]]:
    """Yield the service of the page with 1.0 live, and its database."""
    require("postgres", "django", "haproxy")  # psycopg comes with Django
    shop = make_shop("process")
    with database(shop.folder) as env:
        for version in ("1.0", "2.0"):
            place = shop.folder / "releases" / version
            place.mkdir(parents=True)
            shutil.copy(PROGRAM, place / "people.py")
            (place / "run").write_text(f"export VERSION={version}; exec /usr/bin/python3 people.py\n")
        for block in blocks(PAGE):
            if block.language == "sh":
                (name,) = block.marks
                file = shop.folder / name
                file.parent.mkdir(exist_ok=True)
                file.write_text(block.text)
                file.chmod(0o755)
        (section,) = (yaml.safe_load(b.text)["migrate"] for b in blocks(PAGE) if b.language == "yaml")
        shop.environ = env
        health = {"http": "/health", "interval": "500ms", "timeout": "10s", "deadline": "90s"}  # Python starts slowly
        shop.write(env=env, health=health, strategy={"canary": QUICK}, stop={"drain": "5s", "grace": "1s"}, replicas=1)
        shop.deploy("up", "--version", "1.0")
        shop.write(migrate=section)
        yield shop, env
        shop.close()  # while its database is there


@pytest.mark.long("two canaries, a rollback and a contract on a PostgreSQL under load")
def test_the_page_is_typed_and_no_request_is_lost(people: tuple[Shop, dict[str, str]]) -> None:
    shop, env = people
    environment = {**shop.environment(), "DEPLOYER_STATE": str(shop.state)}
    environment["PATH"] = f"{Path(DEPLOY).parent}:{environment['PATH']}"
    with Load(shop.url, USERS) as load:
        load.until(lambda now: now.answered > 30, "the load runs")
        follow("docs/migrations.md", typed("docs/migrations.md"), shop.folder, environment, {})
        seen = load.counters().answered
        load.until(lambda now: now.answered > seen + 30, "requests after the contract")
        report = load.stop()
    assert report.failed == 0, report.text()
    assert set(report.by_version) == {"1.0", "2.0"}
    assert sql(env, "select count(*) from person where first || ' ' || last is distinct from 'Ada Lovelace'") == "0"
    assert int(sql(env, "select count(*) from person")) >= sum(report.by_version.values())
    said = shop.deploy("rollback", "--to", "1", "--force", expect=2).stderr
    assert "cannot come back: the contract of r3 has begun" in said
    restored(shop, env)


def restored(shop: Shop, env: dict[str, str]) -> None:
    """The first backup, by its id, is the database of before."""
    (oldest, *_) = sorted((shop.folder / "backups").iterdir())
    sql(env, "create database before")
    twin = {**env, "PGDATABASE": "before"}
    subprocess.run(
        ["psql", "-q", "-v", "ON_ERROR_STOP=1", "-f", str(oldest)],
        env={**os.environ, **twin},
        check=True,
        capture_output=True,
        timeout=60,
    )
    columns = sql(twin, "select column_name from information_schema.columns where table_name = 'person' order by 1")
    assert columns.split() == ["id", "name"]

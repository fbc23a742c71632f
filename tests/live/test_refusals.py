"""What is refused, and that nothing changes by it: a table of what people mistype, misplace and forget.

A case is an entry of refusals/*.yml: what is different from a good deploy, the command, and what it must say:

    - name: a domain that another service has
      manifest: {traffic: {domains: [shop.example.com]}}     # laid over the manifest of a good deploy
      files: {strategies/mine.py: "import nothing"}          # beside the manifest
      env: {DEPLOYER_PORTS: nine}
      needs: a taken port                                    # something of PREPARED, that fills in words like <taken>
      run: canary --version 3.0
      exit: 2                                                # the default
      says: [both claim shop.example.com]                    # each somewhere on stderr
      hint: give one of them                                 # behind an arrow; "" where the sentence says it all

The service of all cases has 1.0 live, 2.0 was rolled back, 3.0 lies ready.
"""

from __future__ import annotations

import re
import shlex
import shutil
import socket
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.forked import FORKS
from tests.live.certificates import certificate
from tests.live.shop import Shop
from tests.ports import free_port
from tests.services import require

pytestmark = [pytest.mark.live, pytest.mark.xdist_group("refusals")]

HERE = Path(__file__).parent
TABLES = ("services", "releases", "rollouts", "journal", "control_requests", "ports", "locks")
LEASE = re.compile(rb"( (?:blue|green),[1-9]\d*,)\d+")  # of a share: a canary that another process drives renews it
WITHIN = 60.0  # seconds for a command to be refused


@dataclass(frozen=True)
class Case:
    """One thing that must be refused."""

    name: str
    run: str
    says: tuple[str, ...]
    hint: str
    exit: int = 2
    manifest: Mapping[str, Any] = field(default_factory=dict)
    text: str = ""  # the whole manifest
    files: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    needs: str = ""


CASES = [
    Case(**{**case, "says": tuple(case["says"])})
    for file in sorted((HERE / "refusals").glob("*.yml"))
    for case in yaml.safe_load(file.read_text())
]


# -- the service


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    """Yield a service with 1.0 live and 2.0 rolled back."""
    require("haproxy")
    folder = Path(tempfile.mkdtemp(prefix="dp", dir="/tmp"))
    shop = Shop(folder, "process", None)
    shop.manifest["traffic"]["domains"] = ["localhost", "127.0.0.1"]
    shop.manifest["replicas"] = 1
    shop.manifest["judge"] = {"requests": 0}  # nobody sends requests here, and a canary must get to its hold
    try:
        shop.write()
        for version in ("1.0", "2.0", "3.0"):
            shop.version(version)
        shop.deploy("up", "--version", "1.0")
        shop.deploy("bluegreen", "--bake", "0", "--version", "2.0")
        shop.deploy("rollback")
        yield shop
    finally:
        shop.close()
        shutil.rmtree(folder)


def remembered(shop: Shop) -> dict[str, list[str]]:
    """Read what the store knows, but for events."""
    with closing(sqlite3.connect(f"file:{shop.state}/deployer.db?mode=ro", uri=True)) as db:
        db.row_factory = sqlite3.Row
        found = {table: [dict(row) for row in db.execute(f"select * from {table}")] for table in TABLES}
    for lock in found["locks"]:
        del lock["beat"]  # which the process that drives the canary writes all the time
    return {table: sorted(map(repr, rows)) for table, rows in found.items()}


def running(shop: Shop) -> dict[str, str]:
    """Read which processes run for it."""
    return {p.parent.name: p.read_text() for p in (shop.state / "processes").glob("*/status.json")}


def told(shop: Shop) -> dict[str, bytes]:
    """Read what the proxy was told: config, maps, services."""
    files = [p for p in (shop.state / "proxy").rglob("*") if p.suffix in {".cfg", ".map", ".json"}]
    return {str(p.relative_to(shop.state)): LEASE.sub(rb"\1", p.read_bytes()) for p in files}


def everything(shop: Shop) -> dict[str, Any]:
    return {"store": remembered(shop), "processes": running(shop), "proxy": told(shop)}


# -- what some cases need


@contextmanager
def taken_port(shop: Shop, folder: Path) -> Iterator[dict[str, str]]:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield {"taken": str(other.getsockname()[1])}


@contextmanager
def silent_engine(shop: Shop, folder: Path) -> Iterator[dict[str, str]]:
    """An engine that takes connections and never answers."""
    with socket.socket(socket.AF_UNIX) as engine:
        engine.bind(str(folder / "engine.sock"))
        engine.listen(64)
        yield {"engine": f"unix://{folder}/engine.sock"}


@contextmanager
def docker_engine(shop: Shop, folder: Path) -> Iterator[dict[str, str]]:
    require("docker")
    yield {}


@contextmanager
def held_canary(shop: Shop, folder: Path) -> Iterator[dict[str, str]]:
    """A canary of 3.0 that waits for a person."""
    shop.deploy("canary", "--percent", "10", "--for", "200ms", "--hold", "--version", "3.0", expect=HELD)
    try:
        yield {}
    finally:
        shop.deploy("abort")


def watches(shop: Shop) -> bool:
    """Return whether the step in progress is one that watches: what was before it is written down."""
    with closing(sqlite3.connect(f"file:{shop.state}/deployer.db?mode=ro", uri=True)) as db:
        return bool(db.execute("select 1 from journal where state = 'begun' and until > 0").fetchall())


@contextmanager
def running_canary(shop: Shop, folder: Path) -> Iterator[dict[str, str]]:
    """A canary of 3.0 that another process drives."""
    with shop.start("canary", "--percent", "10", "--for", "10m", "--version", "3.0") as process:
        shop.wait(lambda status: status["share"] == 1000, "the canary has its share")
        shop.wait(lambda _: watches(shop), "it watches, and writes nothing until that ends")
        try:
            yield {"pid": str(process.pid)}
        finally:
            shop.deploy("abort")


@contextmanager
def broken_store(shop: Shop, folder: Path) -> Iterator[dict[str, str]]:
    state = folder / "broken"
    state.mkdir()
    (state / "deployer.db").write_bytes(b"not a database, but long enough to look at" * 50)
    yield {"state": str(state)}


@contextmanager
def newer_store(shop: Shop, folder: Path) -> Iterator[dict[str, str]]:
    state = folder / "newer"
    state.mkdir()
    with closing(sqlite3.connect(state / "deployer.db")) as db:
        db.execute("pragma user_version = 99")
    yield {"state": str(state)}


@contextmanager
def certificates(shop: Shop, folder: Path) -> Iterator[dict[str, str]]:
    """A good certificate, and one with the key of another."""
    mine, other = (certificate(folder / f"{name}.pem", f"{name}.example.com") for name in ("mine", "other"))
    end = b"-----END CERTIFICATE-----\n"
    chain, key = mine.read_bytes().split(end)[0] + end, other.read_bytes().split(end)[1]
    (folder / "mixed.pem").write_bytes(chain + key)
    yield {"tls": f"127.0.0.1:{free_port()}"}


@contextmanager
def team_folder(shop: Shop, folder: Path) -> Iterator[dict[str, str]]:
    """The folder for a team's proxy, but no proxy."""
    (folder / "conf.d").mkdir()
    (folder / "main.cfg").write_text("global\n  maxconn 100\n")
    yield {"folder": str(folder)}


@contextmanager
def nothing(shop: Shop, folder: Path) -> Iterator[dict[str, str]]:
    yield {}


PREPARED: dict[str, Callable[[Shop, Path], AbstractContextManager[dict[str, str]]]] = {
    "": nothing,
    "a taken port": taken_port,
    "an engine that never answers": silent_engine,
    "a Docker engine": docker_engine,
    "a held canary": held_canary,
    "a running canary": running_canary,
    "a broken store": broken_store,
    "a store of a newer version": newer_store,
    "certificates": certificates,
    "a folder for a team's proxy": team_folder,
}
HELD = 0


# -- a case


def laid_over(base: Any, over: Any) -> Any:
    """Merge mappings; a key without a value is removed."""
    if not (isinstance(base, dict) and isinstance(over, dict)):
        return over
    merged = {**base, **{key: laid_over(base.get(key), value) for key, value in over.items()}}
    return {key: value for key, value in merged.items() if value is not None}


def filled(value: Any, words: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: filled(inner, words) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [filled(inner, words) for inner in value]
    if isinstance(value, str):
        for word, meant in words.items():
            value = value.replace(f"<{word}>", meant)
    return value


def arranged(case: Case, shop: Shop, folder: Path, words: Mapping[str, str]) -> None:
    """Write the manifest and the other files of a case."""
    (folder / "releases").symlink_to(shop.folder / "releases")
    if case.text != "none":
        manifest = laid_over(shop.manifest, filled(case.manifest, words))
        (folder / "deploy.yml").write_text(filled(case.text, words) or yaml.safe_dump(manifest, sort_keys=False))
    for name, content in case.files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(filled(content, words))
        if content.startswith("#!"):
            file.chmod(0o755)


def command(case: Case, shop: Shop, folder: Path, words: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    arguments = shlex.split(filled(case.run, words))
    if "--state" not in arguments:
        arguments = shop.command(*arguments)[1:]
    environment = {**shop.environment(), **filled(dict(case.env), words)}
    return FORKS.run([shop.command()[0], *arguments], cwd=folder, env=environment, timeout=WITHIN)


def test_the_table_is_not_empty_and_names_are_unique() -> None:
    names = [case.name for case in CASES]
    assert len(names) >= 40
    assert len(names) == len(set(names))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
def test_refused_and_nothing_changed(case: Case, shop: Shop, state: Path) -> None:
    with PREPARED[case.needs](shop, state) as more:
        words = {"service": shop.name, "port": str(shop.port), "free": str(free_port()), **more}
        arranged(case, shop, state, words)
        before = everything(shop)
        done = command(case, shop, state, words)
        said = f"deploy {case.run}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert done.returncode == case.exit, said
        assert "Traceback" not in done.stderr, said
        assert "internal error" not in done.stderr, said
        assert "error: " in done.stderr, said
        for sentence in filled(case.says, words):
            assert sentence in done.stderr, f"{sentence!r} is missing in: {said}"
        hints = [line.partition("→")[2] for line in done.stderr.splitlines() if "→" in line]
        assert not case.hint or any(filled(case.hint, words) in hint for hint in hints), said
        after = everything(shop)
        assert after == before, {key: (before[key], after[key]) for key in before if before[key] != after[key]}
    assert shop.get().headers["X-Version"] == "1.0"

"""Records the history: a store made by the real command on real processes and a real HAProxy.

    python -m tests.histories.record           # as root; writes tests/histories/recorded, about two minutes
    python -m tests.histories.record migrated  # adds this service to what was recorded; all else stays as it is

What is in it: every strategy and every kind of step, rollouts that ended well and badly, and one rollout each that is
held, and whose process was killed while it watched, while it waited for people, on its way back, and after its commit
point. Later versions must read all of it and bring what is in progress to its right end (test_histories.py). Until the
first release a change of the schema or a new kind of step records it again; after it this one stays as it is.

    store.sql        the store, as SQL
    world.json       what stood and who got which share when it was recorded, by service
    told.json        what `deploy show` told of each rollout
    secrets/, recordings/    what is beside the store, as it was
"""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
import shutil
import signal
import socket
import sqlite3
import sys
from collections.abc import Callable, Collection, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import yaml

from deployer.app import queries
from deployer.app.wiring import open_house
from deployer.core.clock import SystemClock
from deployer.model import PLACES
from deployer.store import Store
from tests.histories import replayed
from tests.live.shop import Shop
from tests.load import Load, Options

TARGET = Path(__file__).parent / "recorded"
FOLDER, HOST = Path("/tmp/history"), "build-1"  # as they stand in the histories
ENVIRONMENT = {"SUDO_USER": "dana", "TOKEN": "a secret of a test"}
QUICK = {"steps": [10, 50], "for": "1s", "bake": "1s"}
WORKER = {"port": None, "health": {"running": "0.5s"}, "traffic": None, "judge": {}, "command": ["/bin/sleep", "1000"]}
SLOW = {"steps": [{"share": 10, "for": "600s"}]}
PLAYBOOK = """
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.debug: {msg: "rolled onto {{ deployer_rollout }}"}
"""
ROLLOUT = ("number", "strategy", "origin", "release", "version", "outcome", "exit", "by", "message")
STEP = ("phase", "n", "kind", "state", "text", "error")
Event = dict[str, Any]


def service(folder: Path, name: str, **manifest: Any) -> Shop:
    """Return a service of the one state folder with versions 1.0 and 2.0."""
    shop = Shop(folder / name, "process", None)
    shop.folder.mkdir()
    shop.state, shop.name = folder / "state", name
    shop.manifest |= {"service": name, "judge": {"requests": 0}, **manifest}
    shop.write()
    for version in ("1.0", "2.0"):
        shop.version(version)
    return shop


def killed(shop: Shop, when: Callable[[Event], bool], *arguments: str) -> None:
    """Run a command and kill it with SIGKILL at the first event that is meant."""
    with shop.start(*arguments, "--output", "json") as process:
        assert process.stdout is not None
        for line in process.stdout:
            if when(json.loads(line)):
                process.kill()
                break
    rollout = shop.status()["rollout"]
    assert rollout, f"{shop.name}: {arguments} came to its end before it was killed"
    assert rollout["outcome"] == "", rollout


# -- the services


def finished(shop: Shop) -> None:
    """Every strategy, every kind of step, every kind of end."""
    (shop.folder / "roll.yml").write_text(PLAYBOOK)
    shop.write(smoke=[{"get": "/version", "expect": 200}], update=["roll.yml"], secrets=["TOKEN"], keep={"releases": 2})
    shop.version("3.0", {"HEALTH": "0"})
    with Load(shop.url, Options(rate=20, kinds=("fresh", "sticky"))) as load:
        load.until(lambda now: now.answered > 20, "the load runs")
        shop.deploy("canary", "--version", "2.0", "-m", "by canary")
        shop.deploy("rollback", "-m", "2.0 was slow")
        shop.deploy("canary", "--baseline", "fresh", "--steps", "10", "--version", "2.0")
        load.stop()
    shop.deploy("bluegreen", "--bake", "0", "--version", "1.0")
    shop.deploy("rolling", "--for", "0s", "--version", "2.0")
    shop.deploy("recreate", "--version", "1.0")
    shop.write(health={**shop.manifest["health"], "deadline": "1s"})
    shop.deploy("recreate", "--version", "3.0", expect=4)


def held(shop: Shop) -> None:
    """A canary that waits for a person."""
    shop.deploy("canary", "--percent", "10", "--hold", "--version", "2.0")


def watching(shop: Shop) -> None:
    """A canary whose process was killed while it watched."""
    shop.write(strategy={"canary": SLOW})
    killed(shop, lambda e: e["event"] == "sample", "canary", "--version", "2.0")


def returning(shop: Shop) -> None:
    """A canary whose process was killed on its way back."""
    shop.write(
        strategy={"canary": {"steps": [{"share": 10, "for": "1s"}]}}, judge={"requests": 10**6, "undecided": "revert"}
    )
    killed(shop, lambda e: e["event"] == "rollout.rolling_back", "canary", "--for", "1s", "--version", "2.0")


def promoted(shop: Shop) -> None:
    """A deploy whose process was killed after its commit point, with the former release still to be removed."""
    shop.write(keep={"warm": "0s"})
    after = {"event": "step.began", "phase": "forward", "step": "remove"}
    killed(shop, lambda e: after.items() <= e.items(), "bluegreen", "--bake", "0", "--version", "2.0")


def working(shop: Shop) -> None:
    """A service without a port: its canary watches instances, and its former release ends its work."""
    shop.deploy("canary", "--for", "1s", "--bake", "0", "--version", "2.0")


def asking(shop: Shop) -> None:
    """A canary that waited for two people, one of whom has approved, when its process was killed."""
    consent = {"by": ["dana", "ben"], "count": 2, "own": True, "within": "23d"}
    step = {"share": 10, "for": "1s", "approve": consent}
    shop.write(strategy={"canary": {"steps": [step], "bake": "1s"}})
    killed(shop, lambda e: e["event"] == "approval.asked", "canary", "--version", "2.0")
    shop.deploy("approve", "-m", "it looks good")


def migrated(shop: Shop) -> None:
    """A release with a migration, which has come to its contract; a worker, whose former instances do not stay."""
    expand, contract = {"run": ["/bin/echo", "altered"], "in": "instance"}, {"run": ["/bin/echo", "dropped"]}
    backup = {"run": ["/bin/echo", "backup-17"]}
    shop.write(migrate={"backup": backup, "expand": [expand], "contract": [contract]})
    shop.deploy("bluegreen", "--bake", "0", "--version", "2.0")
    shop.deploy("migrate", "contract", "-m", "1.0 is not needed any more")


def released(shop: Shop) -> None:
    """Two workers as one release; the other one stands beside this one from its first deploy on."""
    file = {"release": "pair", "services": {shop.name: ".", OTHER: f"../{OTHER}"}}
    (shop.folder / "release.yml").write_text(yaml.safe_dump(file))
    shop.deploy("release", "canary", "--for", "1s", "--bake", "0", "--version", "2.0", "-m", "both at once")


def slept(shop: Shop) -> None:
    """A service that slept while nobody came, and was woken."""
    with shop.start("keep") as keeper:
        shop.wait(lambda status: bool(status["size"]["asleep"]) and not status["rollout"], "it sleeps")
        keeper.send_signal(signal.SIGTERM)
        keeper.wait(30)
    assert shop.get().status_code == 200


OTHER = "released-too"
SLEEPY = {"replicas": None, "scale": {"min": 0, "max": 2, "concurrency": 50, "idle": "1s"}}
ADDED: dict[str, tuple[Callable[[Shop], None], dict[str, Any], tuple[str, ...]]] = {
    "migrated": (migrated, WORKER, ()),
    "released": (released, WORKER, (OTHER,)),
    "slept": (slept, SLEEPY, ()),
}


# -- writing it down


def world_of(state: Path, names: Collection[str] = ()) -> dict[str, Any]:
    """Read what runs and what the proxy does, by service."""
    world = {}
    with open_house(state) as house:
        for name in names or queries.services(house):
            drivers = queries.drivers_of(house, name)
            live = drivers.traffic.read(name)
            world[name] = {
                "live": dataclasses.asdict(live) if live else None,
                "instances": [dataclasses.asdict(i) for i in drivers.runtime.instances(name)],
                "servers": {p: [dataclasses.asdict(s) for s, _ in drivers.traffic.servers(name, p)] for p in PLACES},
            }
    return world


def told_of(shop: Shop, state: Path, after: int = 0) -> list[Any]:
    """Return what `deploy show` tells of each rollout, those after a number."""
    with closing(sqlite3.connect(state / "deployer.db")) as db:
        count = db.execute("select max(number) from rollouts").fetchone()[0]
    shown = (shop.events("show", str(number))[0] for number in range(after + 1, count + 1))
    return [
        {
            **{key: view["rollout"][key] for key in ROLLOUT},
            "steps": [[step[key] for key in STEP] for step in view["steps"]],
        }
        for view in shown
    ]


def dump(state: Path) -> str:
    with closing(sqlite3.connect(state / "deployer.db")) as db:
        version = db.execute("pragma user_version").fetchone()[0]
        return "\n".join([f"PRAGMA user_version = {version};", *db.iterdump()]) + "\n"


def lines(data: Any, depth: int) -> str:
    """Return JSON with a line for each entry down to a depth, and what is deeper on one line."""
    if depth == 0 or not isinstance(data, dict | list) or not data:
        return json.dumps(data, sort_keys=True)
    if isinstance(data, dict):
        inner = [f"{json.dumps(key)}: {lines(value, depth - 1)}" for key, value in sorted(data.items())]
        return "{\n" + ",\n".join(inner) + "\n}"
    return "[\n" + ",\n".join(lines(value, depth - 1) for value in data) + "\n]"


def write(state: Path, target: Path, told: list[Any], world: dict[str, Any]) -> None:
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    (target / "store.sql").write_text(dump(state))
    (target / "world.json").write_text(lines(world, 3) + "\n")
    (target / "told.json").write_text(lines(told, 3) + "\n")
    shutil.copytree(state / "secrets", target / "secrets")
    shutil.copytree(state / "recordings", target / "recordings")


def to_present(state: Path, empty: Path) -> None:
    """Add to a store the tables and columns that its schema has now: it is edited in place until the first release."""
    Store(empty, SystemClock()).close()
    with closing(sqlite3.connect(state / "deployer.db")) as db, closing(sqlite3.connect(empty / "deployer.db")) as new:
        there = {name for (name,) in db.execute("select name from sqlite_master")}
        for name, made in new.execute("select name, sql from sqlite_master where sql is not null order by rowid"):
            if name not in there and name != "sqlite_sequence":
                db.execute(made)
        for (table,) in new.execute("select name from sqlite_master where type = 'table' and name not like 'sqlite%'"):
            known = {row[1] for row in db.execute(f"pragma table_info({table})")}
            for _, name, kind, needed, default, _ in new.execute(f"pragma table_info({table})"):
                if name not in known:
                    rule = f"{'not null ' * needed}default {default}"
                    db.execute(f"alter table {table} add column {name} {kind} {rule}")
        db.commit()


def with_others(name: str) -> list[Shop]:
    """Make a service of `ADDED` and those beside it, and have happen what it is about."""
    act, manifest, others = ADDED[name]
    shops = [service(FOLDER, each, **manifest) for each in (name, *others)]
    for shop in shops:
        shop.deploy("up", "--version", "1.0", "-m", "the first")
    act(shops[0])
    return shops


def added(name: str) -> list[Any]:
    """Record one more service beside what was recorded before."""
    state = FOLDER / "state"
    for folder in (state, FOLDER / "empty"):
        folder.mkdir(mode=0o700)
    replayed.restore(state)
    to_present(state, FOLDER / "empty")
    before, world = replayed.told(), json.loads((TARGET / "world.json").read_text())
    shops = with_others(name)
    try:
        told = [*before, *told_of(shops[0], state, len(before))]
        write(state, TARGET, told, {**world, **world_of(state, [shop.name for shop in shops])})
    finally:
        for shop in shops:
            shop.close()
        shutil.rmtree(FOLDER)
    return told


def main(names: Sequence[str] = ()) -> int:
    """Record, in place of what was recorded before."""
    if socket.gethostname() != HOST:  # the machine's own name is nobody's business
        again = f"hostname {HOST} && exec {shlex.join([sys.executable, '-m', 'tests.histories.record', *names])}"
        os.execvpe("unshare", ["unshare", "--uts", "sh", "-c", again], {**os.environ, **ENVIRONMENT})
    FOLDER.mkdir(mode=0o700)
    if names:
        (name,) = names
        sys.stdout.write(f"{TARGET}: {len(added(name))} rollouts\n")
        return 0
    shops: list[Shop] = []
    try:
        shops.append(service(FOLDER, "finished", strategy={"canary": QUICK}))
        shops += [service(FOLDER, name) for name in ("held", "watching", "returning", "promoted")]
        shops.append(service(FOLDER, "working", **WORKER))
        for shop in shops:
            shop.deploy("up", "--version", "1.0", "-m", "the first")
        for shop, act in zip(shops, (finished, held, watching, returning, promoted, working), strict=True):
            act(shop)
        shops.append(service(FOLDER, "asking"))
        shops[-1].deploy("up", "--version", "1.0", "-m", "the first")
        asking(shops[-1])
        for name in ADDED:
            shops += with_others(name)
        told = told_of(shops[0], FOLDER / "state")
        write(FOLDER / "state", TARGET, told, world_of(FOLDER / "state"))
        shops[4].deploy("resume")  # past its commit point: it can neither be aborted nor taken down as it is
    finally:
        for shop in shops:
            shop.close()
        shutil.rmtree(FOLDER)
    sys.stdout.write(f"{TARGET}: {len(told)} rollouts\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

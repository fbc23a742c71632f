"""What the store and the folders beside it hold, as any text: read back, or refused with a sentence."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deployer.drivers.runtime.process import record
from deployer.drivers.traffic.haproxy import live_value, spec
from deployer.planning import release_record
from deployer.planning.plan import Plan
from deployer.store import records
from deployer.store.vault import Vault
from deployer.supervisor import spec as process
from deployer.supervisor import status
from tests.fuzz.target import REPOSITORY, refusals

SEEDS = (REPOSITORY / "tests" / "golden" / "plans",)
WEIGHT = 2

_folder = Path(tempfile.mkdtemp(prefix="dp", dir="/tmp"))
atexit.register(shutil.rmtree, _folder, ignore_errors=True)
_NAMES = ("spec.json", "status.json", "instance.json", "shop.json", "state.map")
(_folder / "secrets" / "shop").mkdir(parents=True)


def check(data: bytes) -> None:
    """The first byte says what the rest is taken for."""
    readers = (_plan, _row, _files, _map, _carried)
    text = data[1:].decode(errors="replace")
    with refusals():
        readers[(data[0] if data else 0) % len(readers)](text)


def _plan(text: str) -> None:
    plan = Plan.from_json(text)
    assert Plan.from_json(plan.to_json()) == plan
    plan.problem()
    for step in (*plan.forward, *plan.back):
        step.explain()


def _row(text: str) -> None:
    entry: dict[str, Any] = dict.fromkeys(("phase", "n", "state", "began_at", "until", "ended_at"), 0)
    reads: tuple[Callable[[], object], ...] = (
        lambda: records.read_entry({**entry, "detail": text}),  # type: ignore[arg-type]
        lambda: records.read_release({**RELEASE, "manifest": text}),  # type: ignore[arg-type]
        lambda: records.read_rollout({**ROLLOUT, "plan": text}).checked(),  # type: ignore[arg-type]
    )
    for read in reads:
        with refusals():
            read()


def _files(text: str) -> None:
    for name in _NAMES:
        (_folder / name).write_text(text)
    (_folder / "secrets" / "shop" / "r1.json").write_text(text)
    reads: tuple[Callable[[], object], ...] = (
        lambda: process.load(_folder),
        lambda: status.load(_folder),
        lambda: record.load(_folder),
        lambda: spec.load(_folder, "shop"),
        lambda: Vault(_folder / "secrets").load("shop", 1, frozenset({"A"})),
    )
    for read in reads:
        with refusals():
            read()


def _map(text: str) -> None:
    (_folder / "state.map").write_text(text)
    for key, value in live_value.load(_folder / "state.map").items():
        assert "\n" not in key
        with refusals():
            assert live_value.decode(key, value)
        assert live_value.spent(value) >= 0


def _carried(text: str) -> None:
    try:
        release = release_record.read(text)
    except ValueError:
        return
    assert release_record.read(release_record.write(release)) == release


RELEASE = {
    "service": "shop",
    "number": 1,
    "version": "1.0",
    "image": "shop:1",
    "image_id": "sha256:1",
    "config_hash": "h",
    "git": "",
    "created_at": 0.0,
    "created_by": "",
    "message": "",
    "status": "new",
}
ROLLOUT = {
    "number": 1,
    "service": "shop",
    "strategy": "canary",
    "origin": 0,
    "release": 1,
    "phase": "forward",
    "outcome": "",
    "exit": 0,
    "text": "",
    "folder": "",
    "started_at": 0.0,
    "started_by": "",
    "message": "",
    "ended_at": None,
}

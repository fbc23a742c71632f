"""What tenants have used, added up for a bill."""

from __future__ import annotations

import calendar
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deployer.app.guest_account import GuestAccount
from deployer.app.guests import bill
from deployer.app.operations.evict import admit, evict
from deployer.app.operations.guest_keeping import see_to
from deployer.core.errors import Refused
from deployer.drivers.ports.guests import GuestUse
from deployer.views import tables
from tests.house import Scene

GIB = 1024**3
BEGAN = float(calendar.timegm((2026, 11, 30, 23, 50, 0)))
KEY = ("acme", "web1")


def use(cpu: float, memory: int = GIB) -> dict[tuple[str, str], GuestUse]:
    return {KEY: GuestUse(cpu, memory, 3)}


def test_processor_time_and_memory_are_added_up(tmp_path: Path) -> None:
    account = GuestAccount(tmp_path)
    for minute in range(4):
        account.add(use(100 + minute * 30.0), BEGAN + minute * 60)
    found = account.read("2026-11")[KEY]
    assert found.cpu_seconds == pytest.approx(90)
    assert found.memory_hours == pytest.approx(3 / 60)


def test_looks_that_follow_quickly_are_left_out(tmp_path: Path) -> None:
    account = GuestAccount(tmp_path)
    for second in (0, 5, 59):
        account.add(use(second), BEGAN + second)
    assert account.read("2026-11")[KEY].cpu_seconds == 0
    account.add(use(60), BEGAN + 60)
    assert account.read("2026-11")[KEY].cpu_seconds == 60


def test_a_counter_that_began_anew_is_counted_from_nothing(tmp_path: Path) -> None:
    account = GuestAccount(tmp_path)
    for minute, counter in enumerate((100, 130, 20)):
        account.add(use(counter), BEGAN + minute * 60)
    assert account.read("2026-11")[KEY].cpu_seconds == 50


def test_memory_is_not_counted_while_nobody_looked(tmp_path: Path) -> None:
    account = GuestAccount(tmp_path)
    account.add(use(0), BEGAN - 7200)
    account.add(use(500), BEGAN)
    found = account.read("2026-11")[KEY]
    assert (found.cpu_seconds, found.memory_hours) == (500, 0)


def test_a_month_goes_on_where_the_one_before_ended(tmp_path: Path) -> None:
    account = GuestAccount(tmp_path)
    for minute in range(13):
        account.add(use(minute * 10.0), BEGAN + minute * 60)
    assert account.read("2026-11")[KEY].cpu_seconds == pytest.approx(90)
    assert account.read("2026-12")[KEY].cpu_seconds == pytest.approx(30)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "guests").mkdir()
    (tmp_path / "guests" / "2026-11.json").write_text("[{}]")
    with pytest.raises(Refused, match=r"2026-11.json cannot be read"):
        GuestAccount(tmp_path).read("2026-11")


@pytest.fixture
def scene(state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    file = tmp_path / "tenants.yml"
    file.write_text("tenants: {acme: {cpus: 1, memory: 256m, services: 2}, beta: {cpus: 1, memory: 128m}}")
    monkeypatch.setenv("DEPLOYER_TENANTS", str(file))
    made = Scene(state)
    with made.house:
        for service, tenant in (("blog", "acme"), ("wiki", "beta")):
            given: dict[str, Any] = {"service": service, "image": f"{service}:1", "tenant": tenant}
            made.deploy("1.0", manifest=given)
        yield made


def test_the_bill_has_what_was_used_and_how_often_each_was_evicted(scene: Scene) -> None:
    month = time.strftime("%Y-%m", time.gmtime(scene.house.clock.now()))
    for _ in range(3):
        see_to(scene.house, ("blog", "wiki"), lambda _ended: None)
        scene.world.clock.sleep(61)
    evict(scene.house, "acme", "we need it")
    admit(scene.house, "acme", "")
    evict(scene.house, "acme", "again")
    found = {each.tenant: each for each in bill(scene.house, month).tenants}
    assert (found["acme"].evictions, found["beta"].evictions) == (2, 0)
    assert found["beta"].memory_hours > 0
    text = tables.render(bill(scene.house, month), 0)
    assert text.splitlines()[0] == "month,tenant,host,cpu_seconds,memory_gib_hours,evictions"
    assert text.splitlines()[1].startswith(f"{month},acme,,")
    assert bill(scene.house, "2001-01").tenants == ()

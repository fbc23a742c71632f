"""Work on hosts: batches, drains, what is recorded; the playbook is played by the test."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from deployer.app import maintenance
from deployer.app.inventory import InventoryHosts, read
from deployer.app.maintenance import HostWork, Maintenance
from deployer.app.operations import DrainTerms
from deployer.core.clock import Deadline, SystemClock
from deployer.core.errors import Refused, StepFailed
from deployer.core.host import Host
from deployer.drivers.hosts.playbook_progress import PlaybookRun, PlaySummary, Rolled
from deployer.manifest.target import Target
from tests.memory import PaperPulse
from tests.unit.test_farm import HOSTS, Farm

PROXY = Host("edge1", "192.0.2.9", "ssh", "edge1.example.com")
WEB = frozenset(host.name for host in HOSTS)
Play = Callable[[str, Mapping[str, Any]], StepFailed | None]


def inventory(*hosts: Host, web: frozenset[str] = WEB) -> InventoryHosts:
    place = Path("/srv/hosts.yml")
    return InventoryHosts(place, "", place.parent, hosts, "web", "edge", web, frozenset({PROXY.name}), False)


@pytest.fixture
def farm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Farm:
    monkeypatch.setattr("deployer.engine.walk.LeaseRenewer", PaperPulse)
    made = Farm(tmp_path)
    made.bring("1.0")
    return made


@pytest.fixture
def work(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Maintenance]:
    """Return a work on the farm whose playbook is a function of the hosts and the variables."""

    def make(play: Play, hosts: InventoryHosts | None = None, **more: Any) -> Maintenance:
        def roll(run: PlaybookRun, *_: object) -> Rolled:
            return Rolled(
                {name: PlaySummary({"ok": 1}) for name in run.limit.split(",")}, play(run.limit, run.variables)
            )

        monkeypatch.setattr(maintenance, "roll", roll)
        done = HostWork("update", "update.yml", {"update_serial": 1}, 1, DrainTerms(), "monthly", **more)
        deadline = Deadline.after(farm.house.clock, 3600)
        return Maintenance(farm.house, hosts or inventory(*reversed(HOSTS), PROXY), done, deadline)

    return make


def audit(farm: Farm) -> list[tuple[str, str, str]]:
    newest = farm.house.store.audit_log.newest(2, "")
    return [(record.action, record.result, record.detail) for record in reversed(newest)]


def test_hosts_are_taken_one_after_the_other_without_users_meanwhile(
    farm: Farm, work: Callable[..., Maintenance]
) -> None:
    taken: list[str] = []

    def play(limit: str, variables: dict[str, Any]) -> None:
        taken.append(limit)
        here = {i.name for i in farm.world.instances.values() if i.host == limit}
        assert farm.world.drained == here
        assert variables == {"deployer_web": "web", "deployer_edge": "edge", "update_serial": 1}

    made = work(play)
    made.run()
    assert taken == ["web1", "web2", "web3", "edge1"], "instances first"
    assert farm.world.drained == set()
    assert set(made.tallies) == set(taken)
    assert audit(farm) == [
        ("hosts-update", "begun", "web1, web2, web3, edge1 of /srv/hosts.yml"),
        ("hosts-update", "done", "web1, web2, web3, edge1"),
    ]


def test_after_a_host_that_fails_the_others_are_not_changed(farm: Farm, work: Callable[..., Maintenance]) -> None:
    taken: list[str] = []

    def play(limit: str, _: dict[str, Any]) -> StepFailed | None:
        taken.append(limit)
        return StepFailed("web2: apt failed") if limit == "web2" else None

    made = work(play)
    with pytest.raises(StepFailed, match="apt failed"):
        made.run()
    assert taken == ["web1", "web2"]
    assert set(made.tallies) == {"web1", "web2"}, "what was done is told all the same"
    assert audit(farm)[1] == ("hosts-update", "failed", "web1 done; not done: web2, web3, edge1: web2: apt failed")
    assert farm.told("note")[-1]["text"] == "web1 done; not done: web2, web3, edge1"


def test_what_would_leave_too_little_is_refused_before_anything(
    farm: Farm, work: Callable[..., Maintenance], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = work(lambda *_: pytest.fail("it was played"))
    monkeypatch.setattr(HostWork, "batches", lambda _self, hosts: [hosts])
    with pytest.raises(Refused, match="cannot be taken out of rotation"):
        made.run()
    assert "hosts-update" not in [action for action, _, _ in audit(farm)]


def test_an_inventory_without_a_part_is_refused(work: Callable[..., Maintenance]) -> None:
    with pytest.raises(Refused, match=r"no host of /srv/hosts\.yml is in web or edge"):
        work(lambda *_: None, inventory(Host("other", "192.0.2.7", "ssh", "other"), web=frozenset())).run()


def test_without_an_inventory_it_is_this_host(tmp_path: Path) -> None:
    found = read(Target(file=tmp_path / "deploy.yml"), None, "", {}, SystemClock())
    assert [host.connection for host in found.with_a_part()] == ["local"]

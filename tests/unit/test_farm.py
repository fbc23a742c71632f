"""Instances on hosts of an inventory, and hosts that fall silent at the worst moment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deployer.app import doctor, operations
from deployer.app.status import status_of
from deployer.core.errors import Exit, HostsUnreachable, Refused
from deployer.core.host import Host, Meant
from deployer.engine import RolloutResult
from deployer.views.tables import render
from tests.house import Scene, adopt, lose
from tests.memory import PaperPulse, World

WHY = "ssh: connect to host 192.0.2.3 port 22: No route to host"
HOSTS = tuple(Host(f"web{n}", f"192.0.2.{n}", "ssh", f"web{n}.example.com", user="deploy") for n in (1, 2, 3))
TWINS = tuple(Host(f"green{n}", f"198.51.100.{n}", "ssh", f"green{n}.example.com") for n in (1, 2))
STEPS = {"strategy": {"canary": {"for": "10s", "bake": "5s"}}, "judge": {"requests": 5}}


class Farm(Scene):
    """A house whose services stand on hosts."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.hosts: tuple[Host, ...] = HOSTS
        self.twin: tuple[Host, ...] = ()
        self.house.find = lambda _manifest, _folder: Meant(self.hosts, self.twin)

    def bring(self, version: str, strategy: str = "bluegreen", **more: object) -> RolloutResult:
        return self.deploy(version, strategy, manifest={"hosts": "web", "replicas": 2, **STEPS, **more})

    def on(self, place: str) -> list[tuple[str, str]]:
        """Name and host of everything in a place, in the order of names: they are started beside each other."""
        return sorted((i.name, i.host) for i in self.world.instances.values() if i.colour == place)

    def fall_silent(self, at: str, host: str = "web3") -> None:
        """Let a host give no answer from the moment on at which a driver is called."""

        def tick(what: str) -> None:
            if what.startswith(at):
                self.world.silent[host] = WHY

        self.world.tick = tick

    def status(self) -> str:
        return render(status_of(self.house, "shop"), self.world.clock.now())

    def differences(self) -> list[str]:
        return [f.text for f in doctor.examine(self.house, None).findings if f.what == "shop" and f.level != "ok"]


@pytest.fixture
def farm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Farm:
    monkeypatch.setattr("deployer.engine.walk.LeaseRenewer", PaperPulse)
    return Farm(tmp_path)


@pytest.fixture
def live(farm: Farm) -> Farm:
    """Return a farm with version 1.0 on three hosts, and 2.0 after it: green is stable, blue is warm."""
    assert farm.bring("1.0").exit is Exit.DONE
    assert farm.bring("2.0").exit is Exit.DONE
    return farm


# -- where instances stand


def test_replicas_stand_on_each_host_at_its_address(farm: Farm) -> None:
    assert farm.bring("1.0").exit is Exit.DONE
    assert farm.on("blue") == [
        ("shop-r1-1", "web1"),
        ("shop-r1-2", "web2"),
        ("shop-r1-3", "web3"),
        ("shop-r1-4", "web1"),
        ("shop-r1-5", "web2"),
        ("shop-r1-6", "web3"),
    ]
    addresses = {i.name: i.address.partition(":")[0] for i in farm.world.instances.values()}
    assert {addresses[name] for name, host in farm.on("blue") if host == "web2"} == {"192.0.2.2"}
    ports = [i.address.rpartition(":")[2] for i in farm.world.instances.values()]
    assert len(set(ports)) == 6, "a port is given once over all hosts"


def test_a_release_keeps_its_hosts_and_nothing_is_read_to_resume_or_to_go_back(live: Farm) -> None:
    assert live.house.store.releases.get("shop", 1).hosts == HOSTS

    def gone(*_: object) -> Meant:
        raise AssertionError("the inventory was read")

    live.house.find = gone
    assert operations.rollback(live.house, "shop").exit is Exit.DONE
    assert live.live.stable == "blue"
    assert "web2" in live.status()


def test_the_events_and_the_status_name_the_hosts(live: Farm) -> None:
    started = live.told("rollout.started")[-1]
    assert started["plan"]["forward"][0]["hosts"] == ("web1", "web2", "web3")
    assert started["steps"][0] == "start 6 instances of r2 as green, 2 on each of web1, web2, web3"
    view = status_of(live.house, "shop")
    assert [i.host for i in view.environments[0].instances] == ["web1", "web2", "web3"] * 2
    lines = live.status().splitlines()
    assert lines[2].split()[:4] == ["release", "role", "instance", "host"]


def test_the_same_release_on_other_hosts_is_not_the_same(live: Farm) -> None:
    assert live.bring("2.0").rollout == 0
    live.hosts = (*HOSTS, Host("web4", "192.0.2.4", "ssh", "web4"))
    assert live.bring("2.0").rollout == 3
    assert {host for _, host in live.on("blue")} == {"web1", "web2", "web3", "web4"}


def test_a_rolling_release_is_spread_at_every_moment(live: Farm) -> None:
    seen: list[list[str]] = []
    # Of the warm release, which makes room first, instances are removed beside each other, in no order.
    live.world.tick = lambda _what: seen.append([host for name, host in live.on("blue") if "-r3-" in name])
    assert live.bring("3.0", "rolling").exit is Exit.DONE
    assert all(abs(hosts.count("web1") - hosts.count("web3")) <= 1 for hosts in seen)
    assert len(live.on("blue")) == 6
    assert live.on("green") == []


def test_from_this_host_to_hosts_and_back(farm: Farm) -> None:
    farm.hosts = ()
    assert farm.deploy("1.0", "bluegreen").exit is Exit.DONE
    assert {host for _, host in farm.on("blue")} == {""}
    farm.hosts = HOSTS
    assert farm.bring("2.0").exit is Exit.DONE
    assert {host for _, host in farm.on("green")} == {"web1", "web2", "web3"}
    assert operations.rollback(farm.house, "shop").exit is Exit.DONE
    assert farm.live.stable == "blue"


# -- a twin on hosts of its own


def test_blue_and_green_change_roles_on_their_own_hosts(farm: Farm) -> None:
    farm.twin = TWINS
    own: dict[str, Any] = {"twin": {"hosts": "web_green"}}
    for version in ("1.0", "2.0", "3.0"):
        assert farm.bring(version, **own).exit is Exit.DONE
    assert {host for _, host in farm.on("blue")} == {"web1", "web2", "web3"}
    assert {host for _, host in farm.on("green")} == {"green1", "green2"}
    assert len(farm.on("green")) == 4
    assert operations.rollback(farm.house, "shop").exit is Exit.DONE
    assert farm.live.stable == "green"


def test_a_cold_rollback_stands_where_its_colour_does(farm: Farm) -> None:
    farm.twin = TWINS
    own: dict[str, Any] = {"twin": {"hosts": "web_green"}, "keep": {"warm": "0s"}}
    for version in ("1.0", "2.0"):
        assert farm.bring(version, **own).exit is Exit.DONE
    assert operations.rollback(farm.house, "shop").exit is Exit.DONE
    assert farm.live.stable == "blue"
    assert {host for _, host in farm.on("blue")} == {"web1", "web2", "web3"}


def test_a_host_in_both_groups_is_refused(farm: Farm) -> None:
    farm.twin = (HOSTS[0], *TWINS)
    with pytest.raises(Refused, match="web1: in both"):
        farm.bring("1.0", twin={"hosts": "web_green"})


def test_more_instances_than_there_are_numbers_are_refused(farm: Farm) -> None:
    farm.hosts = tuple(Host(f"m{n}", "192.0.2.1", "ssh", "m") for n in range(6000))
    with pytest.raises(Refused, match="12000 instances"):
        farm.bring("1.0")


# -- silent before traffic moves: everything goes back


def test_a_silent_host_stops_a_deploy_before_it_begins(live: Farm) -> None:
    live.world.silent["web3"] = WHY
    with pytest.raises(HostsUnreachable, match="web3 is unreachable: ssh: connect") as failed:
        live.bring("3.0")
    assert failed.value.exit is Exit.FAILED
    assert "inventory" in failed.value.hint
    assert live.house.store.rollouts.of("shop")[0].number == 2
    assert live.on("blue")[0][0] == "shop-r1-1"


@pytest.mark.parametrize("at", ["before ensure shop-r3-3", "after ensure shop-r3-6", "before attach"])
def test_a_host_lost_before_traffic_moves_ends_it_and_all_goes_back(live: Farm, at: str) -> None:
    live.fall_silent(at)
    ending = live.bring("3.0", "canary")
    assert (ending.outcome, ending.exit) == ("reverted", Exit.FAILED)
    assert ("web3 is unreachable" in ending.text) == ("ensure" in at), "else it is the proxy that found it first"
    assert (live.live.stable, live.live.share) == ("green", 0)
    assert [name for name, host in live.on("blue") if host != "web3"] == []
    assert live.told("host.unreachable")[0] == {"host": "web3", "text": f"web3 is unreachable: {WHY}"}


def test_what_was_left_on_a_lost_host_is_removed_when_it_is_back(live: Farm) -> None:
    live.fall_silent("before attach")
    live.bring("3.0", "canary")
    left = [name for name, _ in live.on("blue")]
    assert left == ["shop-r3-3", "shop-r3-6"]
    assert any("shop-r3-3 on web3, shop-r3-6 on web3" in n["text"] for n in live.told("note"))
    held = {(p.release, p.index) for p in live.house.store.ports.of("shop")}
    assert {(3, 3), (3, 6)} <= held, "their addresses are not given to others"
    assert any(text == f"web3 is unreachable: {WHY}" for text in live.differences())

    live.world.tick = lambda _what: None
    live.world.silent.clear()
    doctor.fix(live.house, None)
    assert live.on("blue") == []
    assert not {(3, 3), (3, 6)} & {(p.release, p.index) for p in live.house.store.ports.of("shop")}
    assert live.differences() == []


def test_a_lost_host_keeps_nobody_from_refilling_the_others(live: Farm) -> None:
    """A rolling release that cannot go on gives back what it has replaced, but for what stood on the lost host."""
    live.fall_silent("before ensure shop-r3-5")
    ending = live.bring("3.0", "rolling")
    assert (ending.outcome, ending.exit) == ("reverted", Exit.FAILED)
    assert {host for name, host in live.on("green") if host != "web3"} == {"web1", "web2"}
    assert len([1 for _, host in live.on("green") if host != "web3"]) == 4


# -- silent, and spared


def test_a_release_goes_without_a_host_that_it_can_spare(live: Farm) -> None:
    live.world.silent["web3"] = WHY
    assert live.bring("3.0", max_unavailable=1).exit is Exit.DONE
    assert {host for _, host in live.on("blue") if host != "web3"} == {"web1", "web2"}
    assert len(live.world.up("shop", "blue")) == 4
    (note,) = (n["text"] for n in live.told("note") if "goes without it" in n["text"])
    assert note == f"web3 is unreachable, and the release goes without it: {WHY}"
    assert "without web3, unreachable at the time" in live.told("rollout.started")[-1]["plan"]["notes"]
    assert live.bring("3.0", max_unavailable=1).text.endswith("nothing to do"), "as long as it is unreachable"


def test_a_host_that_was_spared_gets_its_instances_with_the_next_deploy(live: Farm) -> None:
    live.world.silent["web3"] = WHY
    live.bring("3.0", max_unavailable=1)
    live.world.silent.clear()
    assert live.bring("3.0", max_unavailable=1).exit is Exit.DONE
    assert len(live.world.up("shop", live.live.stable)) == 6
    assert {host for _, host in live.on(live.live.stable)} == {"web1", "web2", "web3"}
    doctor.fix(live.house, None)  # of what stood there before
    assert live.differences() == []


def test_more_silent_hosts_than_can_be_spared_stop_a_deploy(live: Farm) -> None:
    live.world.silent.update({"web2": WHY, "web3": WHY})
    with pytest.raises(HostsUnreachable, match="web2 is unreachable"):
        live.bring("3.0", max_unavailable=1)
    assert live.bring("3.0", max_unavailable=2).exit is Exit.DONE


def test_one_host_is_never_spared(live: Farm) -> None:
    live.world.silent.update(dict.fromkeys(("web1", "web2", "web3"), WHY))
    with pytest.raises(HostsUnreachable, match="web1 is unreachable"):
        live.bring("3.0", max_unavailable=3)


@pytest.mark.parametrize("at", ["before ensure shop-r3-3", "after ensure shop-r3-3"])
@pytest.mark.parametrize("strategy", ["canary", "bluegreen", "rolling"])
def test_a_host_lost_while_a_release_is_started_is_left_out_if_it_can_be_spared(
    live: Farm, at: str, strategy: str
) -> None:
    live.fall_silent(at)
    ending = live.bring("3.0", strategy, max_unavailable=1)
    assert ending.exit is Exit.DONE, ending.text
    assert [m["host"] for m in live.told("host.unreachable")] == ["web3"]
    assert len(live.world.up("shop", live.live.stable)) == 4


def test_what_was_spared_at_the_start_is_not_spared_again(live: Farm) -> None:
    live.world.silent["web2"] = WHY
    live.fall_silent("before ensure shop-r3-2")
    ending = live.bring("3.0", "canary", max_unavailable=1)
    assert (ending.outcome, ending.exit) == ("reverted", Exit.FAILED)
    assert "web3 is unreachable" in ending.text
    assert (live.live.stable, live.live.share) == ("green", 0)


# -- silent later: routed around


def test_a_host_lost_while_users_are_on_the_candidate_is_routed_around(live: Farm) -> None:
    live.fall_silent("after set_traffic Live(stable='green', share=500")
    ending = live.bring("3.0", "canary")
    assert (ending.outcome, ending.exit) == ("done", Exit.DONE)
    assert [m["host"] for m in live.told("host.unreachable")] == ["web3"]
    assert len(live.world.up("shop", "blue")) == 4


def test_status_shows_the_hosts_that_answer_and_names_the_one_that_does_not(live: Farm) -> None:
    live.world.silent["web3"] = WHY
    text = live.status()
    assert f"problem: web3 is unreachable: {WHY}" in text
    rows = [line.split() for line in text.splitlines() if "shop-r2-" in line]
    states = {row[-5]: (row[-4], row[-2], row[-1]) for row in rows}
    assert states["shop-r2-1"] == ("web1", "running", "up")
    assert states["shop-r2-3"] == ("web3", "unknown", "down")
    assert "r2 (2.0) is live for everyone" in text


def test_doctor_blames_the_host_and_cures_nothing_on_it(live: Farm) -> None:
    live.world.silent["web3"] = WHY
    before = dict(live.world.servers)
    doctor.fix(live.house, None)
    assert live.differences() == [f"web3 is unreachable: {WHY}"] + [
        text for text in live.differences() if "web3" not in text
    ]
    assert live.world.servers == before
    assert {p.host for p in live.house.store.ports.of("shop")} == {"web1", "web2", "web3"}


def test_a_rollback_goes_without_a_lost_host(live: Farm) -> None:
    live.world.silent["web3"] = WHY
    ending = operations.rollback(live.house, "shop")
    assert ending.exit is Exit.DONE
    assert live.live.stable == "blue"
    assert len(live.world.up("shop", "blue")) == 4


def test_a_cold_rollback_goes_without_a_lost_host(farm: Farm) -> None:
    for version in ("1.0", "2.0"):
        farm.bring(version, keep={"warm": "0s"})
    farm.world.silent["web3"] = WHY
    ending = operations.rollback(farm.house, "shop")
    assert ending.exit is Exit.DONE
    assert {host for name, host in farm.on("blue") if "-r1-" in name} == {"web1", "web2"}
    assert farm.live.stable == "blue"
    notes = farm.told("rollout.started")[-1]["plan"]["notes"]
    assert any("without web3" in note for note in notes)


def test_a_host_out_of_the_inventory_is_waited_for_no_more(live: Farm) -> None:
    live.world.silent["web3"] = WHY
    live.hosts = HOSTS[:2]
    assert live.bring("3.0").exit is Exit.DONE
    assert live.bring("4.0").exit is Exit.DONE
    assert {host for _, host in live.on(live.live.stable) if host != "web3"} == {"web1", "web2"}
    assert any("web3 is unreachable, and is not needed" in n["text"] for n in live.told("note"))


def test_hosts_that_cannot_be_asked_are_not_left_while_users_are_on_them(
    live: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the way to them is cut: the proxy still reaches what stands there."""
    live.hosts = (Host("web4", "192.0.2.4", "ssh", "web4"),)
    live.world.silent.update(dict.fromkeys(("web1", "web2", "web3"), WHY))
    monkeypatch.setattr(World, "well", lambda _world, instance: instance.state == "running")
    with pytest.raises(HostsUnreachable, match="web1 is unreachable"):
        live.bring("3.0")
    assert live.live.stable == "green"


def test_what_is_hidden_on_a_silent_host_gets_no_users_of_another_release_when_it_is_back(farm: Farm) -> None:
    farm.twin = TWINS
    own: dict[str, Any] = {"twin": {"hosts": "web_green"}}
    farm.bring("1.0", **own)
    farm.bring("2.0", **own)  # green is stable, blue is warm on web1, web2, web3
    farm.world.silent.update(dict.fromkeys(("web1", "web2", "web3"), WHY))
    farm.hosts = (Host("web4", "192.0.2.4", "ssh", "web4"),)
    assert farm.bring("3.0", **own).exit is Exit.DONE
    farm.world.silent.clear()
    assert all("-r3-" in name for name in farm.world.up("shop", "blue"))


def test_down_says_what_may_still_stand_and_ends_when_called_again(live: Farm) -> None:
    live.world.silent["web3"] = WHY
    with pytest.raises(HostsUnreachable, match="web3"):
        operations.down(live.house, "shop")
    assert {i.host for i in live.world.instances.values()} == {"web3"}
    live.world.silent.clear()
    operations.down(live.house, "shop")
    assert live.world.instances == {}
    assert live.house.store.ports.of("shop") == ()


# -- the store is lost


def test_adopt_finds_what_stands_on_the_hosts_of_the_inventory(live: Farm, tmp_path: Path) -> None:
    lose(live.house)
    house, found = adopt(tmp_path, live.world, meant=Meant(HOSTS))
    assert [one.records.service for one in found.services] == ["shop"]
    assert house.store.releases.get("shop", 2).hosts == HOSTS
    assert {p.host for p in house.store.ports.of("shop")} == {"web1", "web2", "web3"}
    assert operations.rollback(house, "shop").exit is Exit.DONE


def test_adopt_refuses_to_forget_what_users_are_on(live: Farm, tmp_path: Path) -> None:
    lose(live.house)
    for server in live.world.servers["shop", "green"].values():
        host = live.world.instances[server.name].host
        if host == "web3":
            live.world.silent["web3"] = WHY
    with pytest.raises(Refused, match="which no runtime shows: web3 is unreachable"):
        adopt(tmp_path, live.world, meant=Meant(HOSTS))

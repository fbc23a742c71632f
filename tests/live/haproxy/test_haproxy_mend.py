"""Where a proxy and its files differ: every kind of it is found, and put right without losing a request."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from deployer.core.errors import DriverFailed
from deployer.emergency import endpoint, value_edits
from deployer.model import Live
from tests.live.client import Load, get
from tests.live.proxies import Bench
from tests.live.upstream import Upstream
from tests.waiting import within

pytestmark = pytest.mark.live

LIVE = Live("blue", 2500, 0, 5, warm=1)


@pytest.fixture
def both(bench: Bench, blue: Upstream, green: Upstream) -> Bench:
    """Return a proxy with an upstream in each colour, and 25% for the candidate."""
    bench.both(blue, green)
    bench.set_traffic(LIVE)
    assert bench.traffic.inspection.drift("shop") == ()
    return bench


def put_at_worker(bench: Bench, text: str) -> None:
    """Write a live value as somebody with the socket can: to the running proxy alone."""
    maps = bench.root / "maps" / "state.map"
    for worker in bench.workers():
        bench.master.ask(f"@!{worker} set map {maps} shop {text}")


def edit(path: Path, change: Callable[[str], str]) -> None:
    path.write_text(change(path.read_text()))


Spoil = Callable[[Bench], object]
SPOILS: dict[str, tuple[str, Spoil]] = {
    "config edited": ("haproxy.cfg was edited", lambda b: edit(b.root / "haproxy.cfg", lambda t: t + "# mine\n")),
    "config gone": ("haproxy.cfg is missing", lambda b: (b.root / "haproxy.cfg").unlink()),
    "map edited": ("options.map was edited", lambda b: edit(b.root / "maps" / "options.map", lambda _t: "")),
    "map gone": ("options.map is missing", lambda b: (b.root / "maps" / "options.map").unlink()),
    "token gone": ("preview route, is missing", lambda b: (b.root / "preview.token").unlink()),
    "token open": ("open to other users", lambda b: (b.root / "preview.token").chmod(0o644)),
    "worker torn": ("its files say rollout 5", lambda b: put_at_worker(b, "blue,0,0,4,0,0,0,0")),
    "worker strange": ("nothing that can be read", lambda b: put_at_worker(b, "mauve")),
    "values gone": ("no live value", lambda b: (b.root / "maps" / "state.map").unlink()),
    "value strange": (
        "no live value",
        lambda b: edit(b.root / "maps" / "state.map", lambda t: t.replace("shop blue", "shop mauve")),
    ),
    "server gone": ("the running proxy has not", lambda b: forget_at_worker(b, "shop_green", "g1")),
}


def forget_at_worker(bench: Bench, backend: str, name: str) -> None:
    """Have the running proxy forget a server; it refuses while one connection is still ending."""

    def forgotten(worker: int) -> bool:
        for command in ("set server {} state maint", "shutdown sessions server {}", "del server {}"):
            bench.master.ask(f"@!{worker} {command.format(f'{backend}/{name}')}")
        return name not in bench.master.ask(f"@!{worker} show servers state {backend}").split()

    within().until(lambda: all(forgotten(worker) for worker in bench.workers()), f"the proxy forgets {name}")


@pytest.mark.parametrize("what", SPOILS)
def test_what_differs_is_found_and_put_right_and_no_request_is_lost(both: Bench, what: str) -> None:
    said, spoil = SPOILS[what]
    with Load(both.port, connections=4) as load:
        spoil(both)
        faults = [fault.text for fault in both.traffic.inspection.drift("shop")]
        assert any(said in text for text in faults), faults
        assert all(fault.repairable for fault in both.traffic.inspection.drift("shop"))
        both.traffic.upkeep.repair("shop", within())
        enough = load.answered + 100
        within().until(lambda: load.answered > enough, "the load goes on")
    assert both.traffic.inspection.drift("shop") == ()
    assert both.traffic.read("shop") == LIVE
    assert load.failures == [] or what == "worker strange", "the fault itself: no value names a side"
    kept = [path.read_text() for path in both.root.glob("haproxy.cfg.aside-*")]
    assert any(text.endswith("# mine\n") for text in kept) == (what == "config edited")


LOST: dict[str, Spoil] = {
    "values gone": lambda b: (b.root / "maps" / "state.map").unlink(),
    "value gone": lambda b: edit(b.root / "maps" / "state.map", lambda t: t.replace("shop ", "# shop ")),
    "config broken": lambda b: edit(b.root / "haproxy.cfg", lambda t: t + "\nfrontend mine\n  bind nowhere\n"),
    "map broken": lambda b: (b.root / "maps" / "options.map").unlink(),
}


@pytest.mark.parametrize("what", LOST)
def test_a_proxy_that_was_restarted_with_spoiled_files_serves_again_from_the_records(both: Bench, what: str) -> None:
    LOST[what](both)
    both.kill_master()
    both.traffic.upkeep.repair("shop", within(40), {"shop": Live("blue", rollout=5)})
    assert get(both.port).who in ("b1", "g1")
    live = both.traffic.read("shop")
    assert live is not None
    assert (live.stable, live.rollout) == ("blue", 5)
    assert both.traffic.inspection.drift("shop") == ()
    asides = [path.read_text() for path in both.root.glob("*.aside-*")]
    assert any("frontend mine" in text for text in asides) == (what == "config broken")


@pytest.fixture
def lost_by_team(team: Bench, blue: Upstream, green: Upstream) -> Bench:
    """Return a team's proxy that does not run, with a service of ours."""
    team.both(blue, green)
    team.set_traffic(Live("green", rollout=5))
    team.end_team()
    return team


def test_a_teams_proxy_that_cannot_start_as_the_map_is_lost_can_start_again(lost_by_team: Bench) -> None:
    team = lost_by_team
    team.traffic.parts.home.state.unlink()
    assert team.start_team().wait(60) != 0
    with pytest.raises(DriverFailed, match="missing or edited, and have been written again") as failed:
        team.traffic.upkeep.repair("shop", within(40), {"shop": Live("green", rollout=5)})
    assert failed.value.hint == "start your HAProxy, then repeat this command"
    team.start_team()
    within().until(team.master.answers, "the team's proxy comes up")
    team.traffic.upkeep.repair("shop", within(40), {"shop": Live("blue", rollout=4)})
    assert team.traffic.read("shop") == Live("green", rollout=5)
    assert team.traffic.inspection.drift("shop") == ()
    assert get(team.port).who == "g1"


def test_a_teams_proxy_that_started_without_its_live_values_gets_them_again(lost_by_team: Bench) -> None:
    team = lost_by_team
    team.traffic.parts.home.state.write_text("")
    team.start_team()
    within().until(team.master.answers, "the team's proxy comes up")
    with pytest.raises(DriverFailed, match="do not agree"):
        team.traffic.read("shop")
    team.traffic.upkeep.repair("shop", within(40), {"shop": Live("green", rollout=5)})
    assert team.traffic.read("shop") == Live("green", rollout=5)
    assert team.traffic.inspection.drift("shop") == ()
    assert get(team.port).who == "g1"


def test_a_teams_proxy_that_just_does_not_run_is_said_to(lost_by_team: Bench) -> None:
    with pytest.raises(DriverFailed, match=r"team\.sock") as failed:
        lost_by_team.traffic.upkeep.repair("shop", within(40), {})
    assert "written again" not in str(failed.value)
    lost_by_team.start_team()
    within().until(lost_by_team.master.answers, "the team's proxy comes up")


@pytest.mark.long("a proxy that is asked until a deadline", every_change=True)
def test_a_proxy_whose_master_socket_is_gone_is_said_to_serve_and_is_started_again(both: Bench) -> None:
    (both.root / "master.sock").unlink()
    assert get(both.port).who in ("b1", "g1")
    with pytest.raises(DriverFailed, match=r"serves its users, but the file of its master socket, .*, is gone"):
        both.traffic.read("shop")
    both.traffic.upkeep.repair("shop", within(40))
    assert both.traffic.read("shop") == LIVE
    assert both.traffic.inspection.drift("shop") == ()
    assert get(both.port).who in ("b1", "g1")


@pytest.mark.parametrize(
    ("change", "then"),
    [(value_edits.taken_back, Live("blue", 0, 0, 5, warm=1)), (value_edits.gone_back, Live("green", 0, 0, 5))],
    ids=["abort", "rollback"],
)
def test_users_whom_an_emergency_moved_stay_where_they_are(
    both: Bench, change: Callable[[list[str]], str], then: Live
) -> None:
    """It writes to the workers first; a full disk keeps it from writing the file."""
    parts = value_edits.fields((both.root / "maps" / "state.map").read_text().split("shop ")[1].splitlines()[0])
    assert parts is not None
    put_at_worker(both, change(parts))
    assert any("its files say" in fault.text for fault in both.traffic.inspection.drift("shop"))
    both.traffic.upkeep.repair("shop", within())

    assert both.traffic.read("shop") == then
    assert both.traffic.inspection.drift("shop") == ()


def test_nobody_is_moved_to_where_nothing_is_up(both: Bench, green: Upstream) -> None:
    """The files say that everyone is on green, the proxy has them on blue, and green is down."""
    both.set_traffic(Live("green", 0, 0, 6))
    green.stop()
    within().until(lambda: not both.traffic.servers("shop", "green")[0][1], "the proxy sees it")
    put_at_worker(both, "blue,0,0,4,0,0,0,0")
    with pytest.raises(DriverFailed, match="no server of green is up"):
        both.traffic.upkeep.repair("shop", within())

    assert get(both.port).who == "b1"


def test_a_reload_does_not_forget_values_that_the_file_has_lost(both: Bench) -> None:
    """Somebody deletes the file, and the next deploy reloads."""
    (both.root / "maps" / "state.map").unlink()
    with Load(both.port, connections=4) as load:
        both.traffic.configure(both.release(timeouts={"response": "61s"}), "green", within())
        enough = load.answered + 100
        within().until(lambda: load.answered > enough, "the load goes on")
    assert load.failures == []
    assert both.traffic.read("shop") == LIVE


def test_a_spec_that_cannot_be_read_is_written_anew_once_it_is_away(
    both: Bench, blue: Upstream, green: Upstream
) -> None:
    path = both.root / "services" / "shop.json"
    path.write_text("{")
    (fault,) = both.traffic.inspection.drift("shop")
    assert not fault.repairable
    assert "move it away" in fault.remedy
    path.unlink()
    both.put("blue", blue)
    both.put("green", green)

    assert both.traffic.read("shop") == LIVE, "nobody is moved by it"
    assert both.traffic.inspection.drift("shop") == ()


def test_what_belongs_to_the_team_is_not_touched(team: Bench, blue: Upstream, green: Upstream) -> None:
    team.both(blue, green)
    main = (team.folder / "main.cfg").read_bytes()
    beside = team.folder / "conf.d" / "theirs.cfg"
    beside.write_text("# theirs\n")
    (team.folder / "conf.d" / "deployer" / "maps" / "options.map").unlink()
    team.traffic.upkeep.repair("shop", within())

    assert team.traffic.inspection.drift("shop") == ()
    assert (team.folder / "main.cfg").read_bytes() == main
    assert beside.read_text() == "# theirs\n"
    assert get(team.team_port).status == 200


def test_the_card_of_a_service_is_written_again(both: Bench) -> None:
    path = Path(endpoint.path(str(both.folder), "shop"))
    wanted = path.read_text()
    for spoil in (path.unlink, lambda: path.write_text("socket /elsewhere\n")):
        spoil()
        (fault,) = both.traffic.inspection.drift("shop")
        assert "emergency card of shop" in fault.text
        both.traffic.upkeep.repair("shop", within())
        assert both.traffic.inspection.drift("shop") == ()
        assert path.read_text() == wanted

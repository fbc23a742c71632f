"""A service that sleeps while nobody comes: when it does, what is refused, and what an adjustment makes of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployer.app import operations
from deployer.app.doctor import services
from deployer.app.keeper.load_watch import LOOK_SECONDS, LoadWatch, followed
from deployer.app.keeper.outlook import unattended
from deployer.app.operations import adjust
from deployer.app.status import status_of
from deployer.core.errors import Exit, Refused
from deployer.drivers.ports.sleeping import Wake
from deployer.drivers.sleeping.wakes import MOST_SECONDS, Wakes
from deployer.drivers.traffic.haproxy.layout import Home
from deployer.drivers.traffic.haproxy.render import render
from deployer.drivers.traffic.haproxy.spec import configured
from deployer.drivers.traffic.haproxy.spec_facts import SpecFacts
from deployer.manifest.models import Manifest
from deployer.model import Load, Server
from deployer.planning.plan import Plan
from deployer.planning.scaling import GAP_SECONDS, IdleTime, LoadHistory
from deployer.views.keeper import wanted
from tests.house import Scene
from tests.memory import Crash
from tests.unit.test_haproxy_render import having, spec

GOLDEN = Path(__file__).parent.parent / "golden" / "haproxy_sleep"
SCALE = {"min": 0, "max": 4, "concurrency": 10, "idle": "10s", "hold": "3s"}


class Sleepy(Scene):
    """A scene whose service sleeps after ten seconds, and the watch of it."""

    scale: ClassVar[dict[str, Any]] = SCALE

    def __init__(self, state: Path) -> None:
        super().__init__(state)
        self.deploy("1.0")
        self.watch = self.watched()

    def deploy(self, version: str, strategy: str = "bluegreen", **more: Any) -> Any:
        return super().deploy(version, strategy, manifest={"replicas": 1, "scale": self.scale}, **more)

    def watched(self) -> LoadWatch:
        release = followed(self.house, "shop")
        assert release is not None
        return LoadWatch(self.house, release)

    def pass_by(self, seconds: float, requests: int = 0) -> list[str]:
        """Let time pass with so many requests at once; return what was done."""
        self.world.open["shop", self.live.stable] = requests
        said = []
        for _ in range(round(seconds / LOOK_SECONDS)):
            self.world.clock.sleep(LOOK_SECONDS)
            if (ended := self.watch.look()) is not None:
                said.append(ended.text)
        return said

    def states(self) -> dict[str, str]:
        return {name: i.state for name, i in self.world.instances.items()}


@pytest.fixture
def shop(state: Path) -> Sleepy:
    return Sleepy(state)


# -- when it sleeps


def test_it_sleeps_after_the_time_in_which_nobody_came(shop: Sleepy) -> None:
    assert shop.pass_by(9) == []
    shop.pass_by(1, requests=1)
    assert shop.pass_by(9) == []
    assert shop.pass_by(2) == ["nobody came for 10 s: done"]
    assert shop.states() == {"shop-r1-1": "exited"}
    assert shop.pass_by(20) == []
    assert shop.world.attended > 2, "and somebody is there who wakes it"
    status = status_of(shop.house, "shop")
    assert (status.stable, status.problems) == (1, tuple(p for p in status.problems if "`scale`" in p))
    assert status.size is not None
    assert wanted(status.size).endswith("wakes with the next request")


def test_more_than_one_instance_goes_down_to_one_first(shop: Sleepy) -> None:
    assert shop.pass_by(5, requests=25)[0].endswith("done")
    said = shop.pass_by(20)
    assert said[-1] == "nobody came for 10 s: done"
    assert set(shop.states().values()) == {"exited"}
    assert len(shop.states()) == 1


def test_who_comes_while_it_goes_to_sleep_keeps_it_awake(shop: Sleepy) -> None:
    shop.world.impatient = True
    shop.pass_by(11)
    assert shop.states() == {"shop-r1-1": "running"}
    assert any("stays awake" in note["text"] for note in shop.told("note"))


@given(st.lists(st.tuples(st.sampled_from([0.25, 1.0, 5.0, 40.0]), st.booleans()), min_size=1, max_size=200))
def test_nobody_is_put_to_sleep_to_whom_somebody_came_within_the_time(looks: list[tuple[float, bool]]) -> None:
    idle, now, wakers, last = IdleTime(), 0.0, 0, 0.0
    for seconds, came in looks:
        now += seconds
        if seconds > GAP_SECONDS or came:
            last = now
        wakers += came
        idle.add(now, Load(wakers=wakers))
        last = max(last, looks[0][0])
        assert idle.seconds() == pytest.approx(now - last)


def test_an_open_connection_is_somebody_and_one_look_is_not() -> None:
    idle = IdleTime()
    for at, open_ in ((0.0, 0), (10.0, 1), (11.0, 0)):  # as a health check from outside that just is there
        idle.add(at, Load(open=open_))
    assert idle.seconds() == 11.0
    for at in (12.0, 13.0, 14.0):
        idle.add(at, Load(open=1))
    assert idle.seconds() == 0.0


@given(st.integers(0, 200), st.integers(0, 5))
def test_a_service_that_is_awake_has_an_instance(requests: int, size: int) -> None:
    scale = Manifest.model_validate({"service": "a", "image": "a", "port": 1, "scale": SCALE}).scale
    assert scale is not None
    history = LoadHistory(scale)
    for at in range(100):
        history.add(float(at), Load(requests, requests))
    assert 1 <= history.wanted(size).instances <= 4


def test_where_no_keeper_runs_it_is_said_what_that_means_for_a_service_that_sleeps(shop: Sleepy) -> None:
    assert unattended(shop.house, "shop") == (
        "nothing does what `scale` of shop asks for between deploys: `deploy serve` does (docs/keeper.md); "
        "without it the service does not go to sleep, but a sleeping one still wakes"
    )


@pytest.mark.parametrize("becomes", ["exited", "paused"])
@pytest.mark.parametrize("when", ["before sleep", "after sleep"])
def test_a_sleep_whose_keeper_was_killed_is_finished_by_the_next_one(shop: Sleepy, when: str, becomes: Any) -> None:
    def killed(what: str) -> None:
        if what == when:
            raise Crash

    shop.world.sleeps_as, shop.world.tick = becomes, killed
    with pytest.raises(Crash):
        shop.pass_by(11)
    assert shop.house.store.rollouts.in_progress("shop") is not None
    shop.world.tick = lambda _what: None
    assert operations.resume(shop.house, "shop", reason="its process was gone").outcome == "done"
    assert shop.states() == {"shop-r1-1": becomes}
    assert shop.pass_by(11) == []


# -- while it sleeps


def test_what_is_paused_keeps_its_memory_and_says_so(shop: Sleepy) -> None:
    shop.world.sleeps_as = "paused"
    shop.pass_by(11)
    assert shop.states() == {"shop-r1-1": "paused"}
    assert adjust.keep(shop.house, "shop") is None
    size = status_of(shop.house, "shop").size
    assert size is not None
    assert " (paused: it keeps its memory), wakes with the next request" in wanted(size)
    found = services.service(shop.house, "shop")
    assert [f.text for f in found if "`scale`" not in f.text] == []
    assert shop.deploy("2.0").outcome == "done"
    operations.rollback(shop.house, "shop", reason="it was bad")
    assert shop.states() == {"shop-r1-1": "running", "shop-r2-1": "running"}


def test_an_adjustment_leaves_alone_what_sleeps(shop: Sleepy) -> None:
    shop.pass_by(11)
    assert adjust.keep(shop.house, "shop") is None
    assert shop.states() == {"shop-r1-1": "exited"}


def test_doctor_finds_nothing_wrong_with_what_sleeps(shop: Sleepy) -> None:
    shop.pass_by(11)
    found = services.service(shop.house, "shop")
    assert [f.text for f in found if "`scale`" not in f.text] == []


def test_a_person_who_wants_a_size_wakes_it(shop: Sleepy) -> None:
    shop.pass_by(11)
    adjust.scale(shop.house, "shop", 2, 0.0, "sale")
    assert shop.states() == {"shop-r1-1": "running", "shop-r1-2": "running"}
    assert shop.world.asleep == {}


def test_a_deploy_meanwhile_starts_and_the_new_release_sleeps_later(shop: Sleepy) -> None:
    shop.pass_by(11)
    assert shop.deploy("2.0", "canary").outcome == "done"
    assert shop.states() == {"shop-r2-1": "running"}
    notes = shop.house.store.rollouts.of("shop")[0].plan.notes
    assert notes == ("no stable release is running, so nothing is shared or compared",)
    shop.watch = shop.watched()
    assert shop.pass_by(11) == ["nobody came for 10 s: done"]
    assert shop.states() == {"shop-r2-1": "exited"}


def test_the_same_release_is_not_deployed_again_while_it_sleeps(shop: Sleepy) -> None:
    shop.pass_by(11)
    shop.deploy("1.0")
    assert shop.states() == {"shop-r1-1": "exited"}


def test_a_start_that_failed_is_told(shop: Sleepy) -> None:
    shop.pass_by(11)
    at = shop.world.clock.now() + 1
    shop.world.wakes.append(Wake(at, 2.0, error="shop-r1-1 is gone", failed=1, next=at + 1))
    assert list(shop.watch.woken()) == ["a request came, but the service did not start: shop-r1-1 is gone"]
    assert list(shop.watch.woken()) == []
    assert any("shop-r1-1 is gone" in problem for problem in status_of(shop.house, "shop").problems)
    shop.world.wakes.append(Wake(at, 2.0, error="shop-r7-1 is gone", failed=1, next=at + 1, of="shop-r7-1"))
    assert not any("is gone" in problem for problem in status_of(shop.house, "shop").problems), "another release"


def test_a_plan_that_sleeps_is_read_as_it_was_written(shop: Sleepy) -> None:
    shop.pass_by(11)
    plan = shop.house.store.rollouts.of("shop", adjustments=True)[0].plan
    assert Plan.from_json(plan.to_json()) == plan
    assert [step.explain() for step in plan.forward] == ["r1 (blue) sleeps: the next request starts it"]
    assert [step.kind for step in plan.back] == ["start", "healthy", "attach"]


# -- starts that fail


def test_the_pause_after_starts_that_fail_grows_and_ends_with_one_that_does_not(tmp_path: Path) -> None:
    wakes = Wakes(tmp_path, "shop")
    assert wakes.rests_for(0.0) == 0.0
    pauses = []
    for _ in range(9):
        wakes.add((0.0, 100.0), "no")
        pauses.append(wakes.rests_for(100.0))
    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]
    assert wakes.rests_for(-1e9) == MOST_SECONDS, "a clock that was set does not keep it asleep"
    wakes.add((0.0, 1.0, 3.0, 100.0), "")
    assert wakes.rests_for(100.0) == 0.0
    last = wakes.all()[-1]
    assert (last.start, last.health, last.seconds) == (1.0, 2.0, 100.0)


# -- the manifest


@pytest.mark.parametrize(
    ("more", "key"),
    [
        ({"traffic": {"haproxy": {"config": "/c", "socket": "/s", "main": []}}}, "traffic.haproxy"),
        ({"traffic": {"affinity": "instance"}}, "traffic.affinity"),
        ({"health": {"command": ["true"]}}, "health"),
        ({"strategy": "recreate"}, "strategy"),
        ({"stop": {"grace": "30s"}}, "stop.grace"),
        ({"hosts": "web", "inventory": "hosts"}, "hosts"),
        ({"traffic": {"mode": "tcp"}, "scale": {**SCALE, "wake": {"not": ["/up"]}}}, "scale.wake"),
    ],
)
def test_what_cannot_sleep_yet_is_refused(more: dict[str, Any], key: str) -> None:
    base = {"service": "shop", "image": "a", "port": 1, "scale": SCALE}
    with pytest.raises(ValueError, match=f"{key}: with `scale.min: 0`"):
        Manifest.model_validate({**base, **more})
    Manifest.model_validate({**base, **more, "scale": {**SCALE, "min": 1}})


def test_only_what_sleeps_can_be_paused() -> None:
    base = {"service": "shop", "image": "a", "port": 1}
    with pytest.raises(ValueError, match=r"sleep: with `min: 1` it never sleeps"):
        Manifest.model_validate({**base, "scale": {**SCALE, "min": 1, "sleep": "pause"}})
    given = Manifest.model_validate({**base, "scale": {**SCALE, "sleep": "pause"}})
    assert Manifest.model_validate(given.record()) == given
    assert configured(None, "shop", given, None).blue.pauses
    assert not spec("shop", scale=SCALE).blue.pauses


def test_recreate_is_refused_from_the_command_line_too(shop: Sleepy) -> None:
    with pytest.raises(Refused, match="sleeps while nobody comes"):
        shop.deploy("2.0", "recreate")


def test_the_manifest_is_recorded_as_it_was_written() -> None:
    scale = {**SCALE, "wake": {"not": ["/healthz", "Uptime Robot"]}}
    given = Manifest.model_validate({"service": "shop", "image": "a", "port": 1, "scale": scale})
    assert Manifest.model_validate(given.record()) == given


# -- the proxy


def test_the_golden_files() -> None:
    """Set GOLDEN=write to write them anew; read the difference before you commit it."""
    scale = {**SCALE, "wake": {"not": ["/healthz", "Uptime Robot"]}}
    awake = having(spec("shop", listen="*:8080", scale=scale), Server("shop-r1-1", "127.0.0.1:21001"))
    db = having(spec("db", mode="tcp", listen="*:5432", scale=SCALE), Server("db-r1-1", "127.0.0.1:21002"))
    for name, specs in {
        "awake": (awake, db),
        "asleep": tuple(s.with_side("blue", s.blue.sleeping(1.7e9)) for s in (awake, db)),
    }.items():
        files = render(specs, Home(Path("/state/proxy"), Path("/state/proxy/haproxy.cfg")), own=True)
        if os.environ.get("GOLDEN") == "write":
            (GOLDEN / f"{name}.cfg").write_text(files.config)
        assert (GOLDEN / f"{name}.cfg").read_text() == files.config
    structures = {render((s,), Home(Path("/p"), Path("/p/c")), own=True).structure for s in (awake, asleep_of(awake))}
    assert len(structures) == 1, "no reload to sleep, and none to wake"


def test_the_waker_of_a_service_of_grpc_is_spoken_to_by_http2_after_a_reload() -> None:
    home = Home(Path("/p"), Path("/p/c"))
    plain, grpc = (render((spec("shop", scale=SCALE, protocol=each),), home, own=True) for each in ("http1", "h2"))
    wakers = [[line for line in each.config.splitlines() if "server waker" in line] for each in (plain, grpc)]
    assert [["proto h2" in line for line in each] for each in wakers] == [[False, False], [True, True]]
    assert plain.structure != grpc.structure


def asleep_of(known: Any) -> Any:
    return known.with_side("blue", known.blue.sleeping(1.7e9))


def test_the_facts_of_a_side_that_sleeps(tmp_path: Path) -> None:
    known = having(spec("shop", scale=SCALE), Server("shop-r1-1", "127.0.0.1:21001"))
    (tmp_path / "shop.json").write_text(asleep_of(known).model_dump_json())
    assert SpecFacts(tmp_path, "shop").asleep() == {"blue": 1.7e9}
    assert asleep_of(known).blue.awake() == known.blue
    assert known.with_side("blue", asleep_of(known).blue.without(["shop-r1-1"])).blue.asleep == 0.0, "nothing sleeps"


def test_another_release_begins_without_the_pause_of_one_that_did_not_start(tmp_path: Path) -> None:
    before, now = Wakes(tmp_path, "shop", "shop-r1-1"), Wakes(tmp_path, "shop", "shop-r2-1")
    for _ in range(5):
        before.add((0.0, 100.0), "no")
    assert before.rests_for(100.0) == 16.0
    assert now.rests_for(100.0) == 0.0
    now.add((0.0, 100.0), "no")
    assert now.rests_for(100.0) == 1.0
    assert [wake.failed for wake in now.all()][-2:] == [5, 1]


def test_a_rollback_to_a_release_that_sleeps_wakes_it(shop: Sleepy) -> None:
    shop.deploy("2.0")
    shop.watch = shop.watched()
    shop.pass_by(11)
    operations.rollback(shop.house, "shop", reason="it was bad")
    assert shop.states() == {"shop-r1-1": "running", "shop-r2-1": "exited"}
    assert operations.rollback(shop.house, "shop", to=2, force=True).outcome == "done"
    plan = shop.house.store.rollouts.of("shop")[0].plan
    assert plan.notes == ("back to r2 (2.0): its environment is asleep: it is woken first",)
    assert [step.kind for step in plan.forward][:4] == ["start", "healthy", "attach", "promote"]
    assert shop.states() == {"shop-r1-1": "running", "shop-r2-1": "running"}
    assert (shop.live.stable, shop.world.asleep) == ("green", {})


def test_a_rollback_from_a_release_that_sleeps_gives_users_the_one_before(shop: Sleepy) -> None:
    shop.deploy("2.0")
    shop.watch = shop.watched()
    shop.pass_by(11)
    assert shop.states() == {"shop-r1-1": "running", "shop-r2-1": "exited"}
    ended = operations.rollback(shop.house, "shop", reason="it was bad")
    assert (ended.outcome, ended.exit) == ("done", Exit.DONE)
    assert (shop.live.stable, shop.house.store.services.get("shop").stable) == ("blue", 1)
    assert shop.world.up("shop", "blue") == ["shop-r1-1"]

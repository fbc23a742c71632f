"""A rollout goes on with enough proxies: the lost one is named, gets nothing, and agrees before it takes part again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from deployer.core.clock import Deadline, SystemClock
from deployer.core.errors import (
    DeadlinePassed,
    DeployError,
    DriverFailed,
    LockHeld,
    NoServerUp,
    Refused,
    Unreachable,
)
from deployer.drivers.certificates import supplied
from deployer.drivers.ports import CertificateProxy
from deployer.drivers.traffic.haproxy.endpoint_files import Cards
from deployer.drivers.traffic.proxies.lost_proxies import LostProxies
from deployer.drivers.traffic.proxies.members import Members
from deployer.drivers.traffic.proxies.prompt_calls import LONGEST_WAIT, longest_wait
from deployer.drivers.traffic.proxies.proxy_group import AGAIN_SECONDS, ProxyGroup
from deployer.emergency import lost as written
from deployer.engine.lease_renewer import LONGEST_SECONDS
from deployer.engine.traffic_control import TrafficControl
from deployer.manifest.models import Manifest
from deployer.manifest.tls import AutoTls
from deployer.model import CLOCKS, Live, LostProxy, Server
from deployer.planning.certificates import ServedCertificate
from deployer.planning.steps import Share
from tests.memory import FakeClock
from tests.paper_proxy import BLUE, MANIFEST, RELEASE, Paper

KEEP = 3600.0
EVERYTHING = ("check", "configure", "read", "set_traffic", "introduce", "attach", "drain", "detach", "servers", "spent")


class Three:
    """Three proxies on paper, of which two are enough."""

    def __init__(self, folder: Path, least: int | None = 2) -> None:
        self.clock, self.folder, self.least = FakeClock(), folder, least
        self.each = {name: Paper(name) for name in ("a", "b", "c")}
        self.cards = Cards(folder, "the card\n")
        self.one = self.opened()

    def opened(self) -> ProxyGroup:
        """The group as another process opens it: it knows what is written down, and nothing else."""
        ledger = LostProxies(self.folder, self.clock, KEEP)
        self.members = Members(dict(self.each), self.clock, ledger, self.least)  # type: ignore[arg-type]
        return ProxyGroup(self.members, self.clock, self.cards)

    def share(self) -> Live:
        return replace(BLUE, share=2000, lease=int(self.clock.now()) + 30, budget=50)

    def set_traffic(self, live: Live, given: Live | None = None) -> None:
        self.one.set_traffic("shop", live, self.deadline, given)

    def silence(self, name: str, error: DeployError | None = None) -> None:
        self.each[name].fails = dict.fromkeys((*EVERYTHING, "join", "drift"), error or Unreachable(f"{name}: silent"))

    def lost(self) -> dict[str, LostProxy]:
        return {proxy.name: proxy for proxy in self.one.lost("shop")}

    @property
    def deadline(self) -> Deadline:
        return Deadline.after(self.clock, 5)

    @property
    def lives(self) -> list[Live | None]:
        return [paper.live for paper in self.each.values()]


@pytest.fixture
def three(tmp_path: Path) -> Three:
    return Three(tmp_path)


# -- a rollout goes on


@pytest.mark.parametrize(
    "error",
    [Unreachable("c: silent"), DriverFailed("c: No space left on device"), Refused("c: there is no `deploy` there")],
)
def test_a_share_is_given_by_those_that_are_left(three: Three, error: DeployError) -> None:
    three.silence("c", error)
    share = three.share()
    three.set_traffic(share)
    assert three.one.read("shop") == share
    assert [live and (live.share, live.budget) for live in three.lives] == [(2000, 25), (2000, 25), (0, 0)]
    assert three.lost()["c"].why == error.message
    assert three.lost()["c"].values == (BLUE,)
    assert three.opened().lost("shop") == three.one.lost("shop"), "every process knows"


def test_one_that_fails_in_the_midst_of_a_change_may_have_either(three: Three) -> None:
    three.each["c"].fails["set_traffic"] = Unreachable("c: silent")
    share = three.share()
    three.set_traffic(share)
    (before, after) = three.lost()["c"].values
    assert (before, after.share, after.lease) == (BLUE, 2000, share.lease)
    assert three.one.read("shop") == share, "its part of the budget is the others'"


def test_a_lost_one_is_asked_nothing_any_more(three: Three) -> None:
    three.silence("c")
    three.one.configure(RELEASE, "green", three.deadline)
    three.one.attach("shop", "green", [Server("green-1", "10.0.0.1:80")], three.deadline)
    three.each["c"].calls.clear()
    three.set_traffic(three.share())
    three.one.detach("shop", "blue", ["blue-1"], three.deadline)
    assert three.one.spent("shop") == 0
    assert three.each["c"].calls == []


def test_what_all_refuse_is_no_loss(three: Three) -> None:
    for name in three.each:
        three.silence(name, Refused(f"{name}: no"))
    with pytest.raises(Refused, match="a: no"):
        three.one.configure(RELEASE, "green", three.deadline)
    assert three.lost() == {}


def test_a_server_that_is_down_at_one_of_them_is_no_loss(three: Three) -> None:
    three.each["c"].down.add("green")
    with pytest.raises(NoServerUp, match="c: no server of green of shop is up"):
        three.set_traffic(three.share())
    assert three.lost() == {}
    assert three.lives == [BLUE, BLUE, BLUE]


def test_fewer_than_are_needed_move_nobody(three: Three) -> None:
    three.silence("c")
    three.set_traffic(three.share())
    three.silence("b")
    with pytest.raises(Unreachable, match="b: silent"):
        three.set_traffic(replace(three.share(), share=5000))
    assert [live and live.share for live in three.lives] == [2000, 2000, 0]


def test_rolling_back_is_done_where_it_can_be_however_few_are_left(three: Three) -> None:
    three.set_traffic(three.share())
    three.silence("b")
    three.silence("c")
    with pytest.raises(Unreachable, match=r"[bc]: silent"):
        three.set_traffic(BLUE)
    assert three.each["a"].live == BLUE


def test_with_all_needed_which_is_the_default_nothing_is_spared(tmp_path: Path) -> None:
    three = Three(tmp_path, least=None)
    three.silence("c")
    with pytest.raises(Unreachable, match="c: silent"):
        three.set_traffic(three.share())
    assert three.lives == [BLUE, BLUE, BLUE]
    assert three.lost() == {}


def test_more_than_there_are_cannot_be_needed(three: Three) -> None:
    many = Manifest.model_validate(
        {**MANIFEST.record(), "hosts": "web", "traffic": {"proxies": {"hosts": "edge", "min": 4}}}
    )
    with pytest.raises(Refused, match="4 proxies are needed, and edge has 3"):
        three.one.inspection.check(many, three.deadline)


# -- requests


def test_the_stream_of_a_lost_one_is_not_waited_for_and_is_opened_again(three: Three) -> None:
    with three.one.samples("shop") as samples:
        three.silence("c")
        three.each["c"].fails["check_stream"] = Unreachable("c: the request stream has said nothing for 10 s")
        samples.take()
        three.set_traffic(three.share())
        assert samples.take().share == 2000, "that of the others"
        three.each["c"].fails.clear()
        three.one.upkeep.bring_back("shop", three.deadline)
        assert len(three.each["c"].feeds) == 1
        samples.take()
        assert len(three.each["c"].feeds) == 2


def test_a_stream_of_too_few_breaks(three: Three) -> None:
    with three.one.samples("shop") as samples:
        three.each["b"].fails["check_stream"] = three.each["c"].fails["check_stream"] = Unreachable("silent")
        with pytest.raises(Unreachable):
            samples.take()


# -- what it may still serve


def test_a_share_ends_by_its_lease_and_stable_only_by_the_time_that_instances_are_kept(three: Three) -> None:
    share = three.share()
    three.set_traffic(share)
    three.silence("c")
    three.set_traffic(Live("green", rollout=7))
    began, proxy = three.clock.now(), three.lost()["c"]
    assert proxy.sends_to("green") == share.lease + CLOCKS
    assert proxy.sends_to("blue") == began + KEEP
    assert proxy.sends_to("baseline") == 0


def test_a_share_without_a_lease_has_no_other_end_either(three: Three) -> None:
    three.set_traffic(replace(three.share(), lease=0))
    three.silence("c")
    three.set_traffic(BLUE)
    assert three.lost()["c"].sends_to("green") == three.lost()["c"].kept_until


def test_what_a_killed_process_was_changing_is_what_a_lost_one_may_have(three: Three) -> None:
    promoted = Live("green", rollout=7)

    def killed(service: str, live: Live, deadline: Deadline, given: Live | None = None) -> None:
        three.each["a"].live = three.each["b"].live = live
        raise KeyboardInterrupt

    three.each["a"].set_traffic = killed  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        three.set_traffic(promoted)
    del three.each["a"].set_traffic
    three.silence("c")
    three.one = three.opened()
    three.set_traffic(replace(promoted, warm=3))
    assert set(three.lost()["c"].values) >= {BLUE, promoted}


def test_what_is_written_down_can_be_read_again_or_is_damaged(three: Three) -> None:
    three.silence("c", Unreachable("c: ssh:  connect to host\n10.0.0.3"))
    three.set_traffic(three.share())
    assert three.lost()["c"].why == "c: ssh: connect to host 10.0.0.3"
    Path(written.path(str(three.folder), "shop")).write_text("lost c yesterday blue why\n")
    with pytest.raises(DriverFailed, match="is damaged"):
        three.one.lost("shop")


# -- back


def back(three: Three) -> None:
    three.each["c"].fails.clear()


@pytest.mark.parametrize(
    "touch",
    [
        lambda three: three.one.configure(RELEASE, "blue", three.deadline),
        lambda three: three.one.upkeep.repair("shop", three.deadline),
        lambda three: three.one.upkeep.bring_back("shop", three.deadline),
        lambda three: three.one.retry_lost("shop", three.deadline),
    ],
    ids=["configure", "repair", "bring_back", "retry_lost"],
)
def test_one_that_responds_again_is_brought_to_where_the_others_are(
    three: Three, touch: Callable[[Three], object]
) -> None:
    three.silence("c")
    three.set_traffic(three.share())
    back(three)
    three.clock.sleep(AGAIN_SECONDS)
    assert three.each["c"].live == BLUE, "it gets nothing by itself"
    touch(three)
    assert three.each["c"].joined == three.each["a"].text
    assert three.lost() == {}
    three.set_traffic(three.share())
    assert [live and live.share for live in three.lives] == [2000] * 3
    assert sum(live.budget for live in three.lives if live) == 50


def test_it_joins_with_the_certificates_of_the_others(three: Three) -> None:
    three.silence("c")
    three.set_traffic(three.share())
    three.one.certificates.install([ServedCertificate("shop.example.com", "thumb", "PEM")], three.deadline)
    back(three)
    three.each["c"].installed.clear()
    three.one.upkeep.bring_back("shop", three.deadline)
    assert three.each["c"].installed == ["shop.example.com"]
    assert three.each["c"].calls.index("install") < three.each["c"].calls.index("join")


def test_another_process_brings_it_back_with_the_certificates_that_are_kept(three: Three) -> None:
    three.silence("c")
    three.set_traffic(three.share())
    back(three)
    kept = SimpleNamespace(served=lambda domain, _auto: ServedCertificate(domain, "thumb", "PEM"))
    another = supplied(cast("CertificateProxy", three.opened()), kept, AutoTls(), ("shop.example.com",))  # type: ignore[arg-type]
    assert another.upkeep.bring_back("shop", three.deadline) == ("c",)
    calls = three.each["c"].calls
    assert calls.index("install") < calls.index("join")


def test_one_that_is_back_gets_the_next_certificate_too(three: Three) -> None:
    three.silence("c")
    three.each["c"].fails["install"] = Unreachable("c: silent")
    three.set_traffic(three.share())
    certificate = ServedCertificate("shop.example.com", "thumb", "PEM")
    three.one.certificates.install([certificate], three.deadline)
    back(three)
    three.one.upkeep.bring_back("shop", three.deadline)
    three.one.certificates.install([replace(certificate, domain="www.example.com")], three.deadline)
    assert three.each["c"].installed == ["shop.example.com", "www.example.com"]


def test_one_that_a_later_owner_moved_joins_all_the_same(three: Three) -> None:
    three.silence("c")
    three.set_traffic(replace(three.share(), token=35))
    back(three)
    three.each["c"].live = replace(BLUE, token=40)  # and was killed before it came to the others
    three.one.upkeep.bring_back("shop", three.deadline)
    assert three.lost() == {}
    assert three.each["c"].live.token == 40


def test_one_that_cannot_join_stays_lost(three: Three) -> None:
    three.silence("c")
    three.set_traffic(three.share())
    back(three)
    three.each["c"].fails["join"] = DriverFailed("c: does not pass the check")
    assert three.one.upkeep.bring_back("shop", three.deadline) == ()
    assert list(three.lost()) == ["c"]


def test_one_that_has_no_room_for_a_certificate_stays_lost_and_holds_nobody_up(three: Three) -> None:
    three.silence("c")
    three.set_traffic(three.share())
    three.one.certificates.install([ServedCertificate("shop.example.com", "thumb", "PEM")], three.deadline)
    back(three)
    three.each["c"].fails["install"] = DriverFailed("c: No space left on device")
    three.one.retry_lost("shop", three.deadline)
    assert list(three.lost()) == ["c"]
    assert "join" not in three.each["c"].calls


def test_what_a_lost_one_takes_to_join_is_no_more_than_half_of_the_time(three: Three) -> None:
    three.silence("c")
    three.set_traffic(three.share())
    back(three)

    def in_vain(service: str, text: str, live: Live, deadline: Deadline) -> None:
        three.clock.sleep(deadline.left())
        raise DeadlinePassed("green-1 does not pass the proxy's check", "does a firewall let it through?")

    three.each["c"].join = in_vain  # type: ignore[method-assign]
    deadline = Deadline.after(three.clock, 20)
    three.one.retry_lost("shop", deadline)
    assert deadline.left() == 10
    assert list(three.lost()) == ["c"]
    three.one.retry_lost("shop", deadline)
    assert deadline.left() == 10, "it was tried just now"
    three.clock.sleep(AGAIN_SECONDS)
    three.one.retry_lost("shop", Deadline.after(three.clock, 20))
    assert three.each["c"].calls.count("read") == 3


def test_a_lost_one_learns_what_is_known_from_whoever_responds(three: Three) -> None:
    three.silence("c")
    three.set_traffic(three.share())
    back(three)
    three.each["a"].fails["spec"] = Unreachable("a: silent")
    assert three.one.upkeep.bring_back("shop", three.deadline) == ("c",)
    assert three.each["c"].joined == three.each["b"].text


def test_a_lost_one_is_not_tried_at_each_renewal(three: Three) -> None:
    three.silence("c")
    share = three.share()
    three.set_traffic(share)
    three.each["c"].calls.clear()
    three.set_traffic(replace(share, lease=share.lease + 8), share)
    assert three.each["c"].calls == []


# -- one that says nothing


@contextmanager
def hanging(three: Three, *calls: str) -> Iterator[None]:
    """Have one of them say nothing to these calls."""
    over = threading.Event()
    three.each["c"].hangs = dict.fromkeys(calls, over)
    try:
        yield
    finally:
        over.set()


@pytest.mark.parametrize(("call", "seconds"), [("read", 0.05), ("set_traffic", 1)])
def test_a_lease_is_renewed_at_the_others_while_one_says_nothing(three: Three, call: str, seconds: float) -> None:
    share = three.share()
    three.set_traffic(share)
    renewed = replace(share, lease=share.lease + 8, share=3000)
    three.members.prompt.wait = seconds
    with hanging(three, call):
        three.set_traffic(renewed, share)
        assert [live and (live.share, live.lease) for live in three.lives[:2]] == [(3000, renewed.lease)] * 2
        assert three.one.read("shop") == renewed
    assert three.lost()["c"].why == f"c: no response within {seconds} s after others had responded"


def test_one_that_was_not_heard_yet_is_waited_for(three: Three) -> None:
    three.members.prompt.wait = 0.0
    with hanging(three, "read"):
        done = threading.Thread(target=three.set_traffic, args=(three.share(),))
        done.start()
        Deadline.after(SystemClock(), 20).until(lambda: "read" in three.each["c"].calls, "it is asked")
        assert three.lives == [BLUE, BLUE, BLUE]
        three.members.prompt.wait = LONGEST_WAIT
    done.join(20)
    assert [live and live.share for live in three.lives] == [2000] * 3


def test_one_that_says_nothing_is_waited_for_where_all_are_needed(tmp_path: Path) -> None:
    three = Three(tmp_path, least=None)
    three.set_traffic(three.share())
    three.members.prompt.wait = 0.0
    grown = replace(three.share(), share=5000)
    with hanging(three, "set_traffic"):
        done = threading.Thread(target=three.set_traffic, args=(grown,))
        done.start()
        Deadline.after(SystemClock(), 20).until(lambda: three.lives[1] != three.lives[2], "the others have it")
        assert done.is_alive()
    done.join(20)
    assert [live and live.share for live in three.lives] == [5000] * 3


def test_the_others_wait_for_a_part_of_their_lease() -> None:
    assert [longest_wait(lease) for lease in (0, 6, 300)] == [LONGEST_WAIT, 2, LONGEST_WAIT]
    for lease in (2.0, 10.0, 30.0):
        assert longest_wait(lease) + min(lease, LONGEST_SECONDS) / 4 < lease - 0.8, "with the pause between renewals"


def test_a_lease_is_renewed_while_a_lost_one_is_tried_again(three: Three) -> None:
    rollout = SimpleNamespace(service="shop", number=7, plan=SimpleNamespace(colour="green"), phase="forward")
    settings = Manifest.model_validate({**MANIFEST.record(), "traffic": {"budget": False}}).traffic
    control = TrafficControl(
        three.one,
        rollout,  # type: ignore[arg-type]
        settings,
        three.clock,
        lambda _kind, **_said: None,
        served=True,
    )
    control.write(replace(three.share(), budget=0), three.deadline)
    three.silence("c")
    three.one.read("shop")
    control.renew_lease()
    three.clock.sleep(AGAIN_SECONDS / 2)
    control.renew_lease()
    assert list(three.lost()) == ["c"]
    back(three)
    with hanging(three, "join"):
        grows = threading.Thread(target=control.give, args=(Share(share=5000, deadline=5), three.deadline))
        grows.start()
        Deadline.after(SystemClock(), 20).until(lambda: "join" in three.each["c"].calls, "it is tried again")
        three.clock.sleep(8)
        control.renew_lease()
        ends = int(three.clock.now() + 30)
        assert [live and (live.share, live.lease) for live in three.lives[:2]] == [(2000, ends)] * 2
    grows.join(20)
    assert [live and live.share for live in three.lives] == [5000] * 3


# -- a lock that is held at one of them

HELD = LockHeld("c: /proxy/lock is held by process 4711 (stopped): not within 2 s", "end it (kill -9)")


@pytest.mark.parametrize("call", ["read", "set_traffic", "configure", "attach"])
def test_one_whose_lock_is_held_for_too_long_is_lost_with_that_reason(three: Three, call: str) -> None:
    three.each["c"].fails = {call: HELD}
    three.one.configure(RELEASE, "green", three.deadline)
    three.one.attach("shop", "green", [Server("green-1", "10.0.0.1:80")], three.deadline)
    three.set_traffic(three.share())
    assert [live and live.share for live in three.lives] == [2000, 2000, 0]
    assert three.lost()["c"].why == HELD.message


def test_a_lock_that_is_held_at_too_many_of_them_is_no_loss(three: Three) -> None:
    for name in ("b", "c"):
        three.each[name].fails = {"read": HELD}
    with pytest.raises(LockHeld, match="4711"):
        three.set_traffic(three.share())
    assert three.lives == [BLUE] * 3


def test_one_that_says_nothing_is_lost_before_a_work_that_takes_its_time(three: Three) -> None:
    three.set_traffic(three.share())
    three.members.prompt.wait = 0.05
    with hanging(three, "read", "attach"):
        three.one.attach("shop", "green", [Server("green-1", "10.0.0.1:80")], three.deadline)
        assert list(three.lost()) == ["c"]
        assert "attach" not in three.each["c"].calls


def test_a_server_that_does_not_get_up_at_one_of_them_is_no_loss(three: Three) -> None:
    three.each["c"].fails["attach"] = DeadlinePassed("c: green-1 does not pass the proxy's check within 20 s")
    with pytest.raises(DeadlinePassed, match="green-1"):
        three.one.attach("shop", "green", [Server("green-1", "10.0.0.1:80")], three.deadline)
    assert three.lost() == {}


def test_it_is_named_with_what_is_to_be_done(three: Three) -> None:
    three.cards.write("shop")
    three.silence("c", Unreachable("c: silent", "see why"))
    three.set_traffic(three.share())
    (found,) = three.one.inspection.drift("shop")
    assert found.text.startswith("c is lost since ")
    assert found.text.endswith("and does not have what the others have: c: silent")
    assert (found.repairable, found.remedy) == (False, "see why")
    back(three)
    (found,) = three.one.inspection.drift("shop")
    assert found.text.endswith("; it responds again")
    assert found.repairable
    three.one.upkeep.repair("shop", three.deadline)
    assert three.one.inspection.drift("shop") == ()


def test_one_that_has_left_the_group_is_forgotten(three: Three) -> None:
    three.silence("c")
    three.set_traffic(three.share())
    del three.each["c"]
    assert three.opened().lost("shop") == ()


def test_down_asks_lost_ones_too(three: Three) -> None:
    three.silence("c")
    three.set_traffic(three.share())
    back(three)
    three.one.forget("shop", three.deadline)
    assert three.lives == [None, None, None]
    assert three.lost() == {}

"""Several proxies as one: what is divided, what agrees, who is put back, and what is said over a channel."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployer.core import errors
from deployer.core.clock import Deadline, SystemClock
from deployer.core.errors import DriverFailed, LockLost, Refused, TakenBack, Unreachable
from deployer.core.host import Host
from deployer.drivers.traffic.haproxy.endpoint_files import Cards
from deployer.drivers.traffic.haproxy.identity import new_key
from deployer.drivers.traffic.haproxy.spec import Spec, configured
from deployer.drivers.traffic.proxies import consensus, protocol
from deployer.drivers.traffic.proxies.budget_split import divided
from deployer.drivers.traffic.proxies.channel import ProxyChannel
from deployer.drivers.traffic.proxies.members import Members
from deployer.drivers.traffic.proxies.proxy_group import ProxyGroup
from deployer.drivers.traffic.proxies.proxy_pool import PREPARED
from deployer.drivers.traffic.proxies.remote_proxy import RemoteProxy
from deployer.emergency import agent, endpoint, file_lock, group, lost, remote_endpoint
from deployer.emergency.move import Moved
from deployer.manifest.models import Manifest
from deployer.model import DIFFERS, INITIAL, Colour, InstanceLoad, Live, Load, Server
from deployer.transport.reachability import AGAIN_SECONDS
from tests.memory import FakeClock
from tests.paper_proxy import BLUE, MANIFEST, RELEASE, Paper

LEASE = 1_700_000_030
AT = time.strftime("%H:%M:%S", time.localtime(LEASE))
SHARE = replace(BLUE, share=2000, lease=1_700_000_030, budget=50)


# -- the budget


@given(st.integers(1, 1_000_000), st.lists(st.integers(0, 1_000_000), min_size=1, max_size=9))
def test_the_parts_of_a_budget_add_up_and_nobody_has_none(budget: int, spent: list[int]) -> None:
    given_ = {f"edge{n}": each for n, each in enumerate(spent)}
    if budget < len(spent):
        with pytest.raises(ValueError, match="cannot be divided"):
            divided(budget, given_)
        return
    parts = divided(budget, given_)
    assert list(parts) == list(given_)
    assert sum(parts.values()) == budget
    assert min(parts.values()) >= 1
    if sum(spent) + len(spent) <= budget:
        assert all(parts[name] > given_[name] for name in parts), "who has spent less than his part goes on"


def test_what_is_left_is_divided_not_what_was_given() -> None:
    assert divided(50, {"a": 0, "b": 0}) == {"a": 25, "b": 25}
    assert divided(50, {"a": 25, "b": 5}) == {"a": 35, "b": 15}
    assert divided(51, {"a": 0, "b": 0}) == {"a": 26, "b": 25}


# -- what they do as one


def test_all_that_do_the_same_are_one_with_the_budget_of_all() -> None:
    assert consensus.one({"a": replace(SHARE, budget=20), "b": replace(SHARE, budget=30)}) == SHARE
    assert consensus.differing({"a": replace(SHARE, budget=20), "b": SHARE}) == {}


def test_of_those_that_differ_most_count() -> None:
    more = replace(SHARE, share=5000)
    assert consensus.one({"a": more, "b": more, "c": SHARE}).share == 5000
    assert consensus.one({"a": more, "b": SHARE}).share == 2000, "among equals the smaller share"


@pytest.mark.parametrize("stable", ["blue", "green"])
@pytest.mark.parametrize("others", [1, 2])
def test_what_an_emergency_did_at_one_of_them_wins(stable: Colour, others: int) -> None:
    promoted = Live(stable, rollout=7, warm=3)
    back = Live(promoted.candidate, rollout=7)
    for before, moved in ((promoted, back), (SHARE, replace(SHARE, share=0, lease=0))):
        values = {"moved": moved} | {f"silent{n}": before for n in range(others)}
        assert consensus.one(values) == replace(moved, budget=sum(live.budget for live in values.values()))


def test_what_differs_is_said() -> None:
    assert consensus.differing({"a": SHARE, "b": BLUE}) == {
        "a": "rollout 7: stable is blue, 2000 bp to green",
        "b": "rollout 7: stable is blue",
    }


# -- made on all, or on none


class Two:
    """Two proxies on paper, and what stands for both."""

    def __init__(self, folder: Path) -> None:
        self.clock = FakeClock()
        self.a, self.b = Paper("a"), Paper("b")
        self.cards = Cards(folder, "the card\n")
        both = {"a": self.a, "b": self.b}
        self.one = ProxyGroup(Members(both, self.clock), self.clock, self.cards)  # type: ignore[arg-type]

    def set_traffic(self, live: Live, given: Live | None = None) -> None:
        self.one.set_traffic("shop", live, self.deadline, given)

    @property
    def deadline(self) -> Deadline:
        return Deadline.after(self.clock, 5)


@pytest.fixture
def two(tmp_path: Path) -> Two:
    return Two(tmp_path)


def test_a_share_is_given_by_all_with_the_budget_divided(two: Two) -> None:
    two.a.spends = 10
    two.set_traffic(SHARE)
    assert (two.a.live, two.b.live) == (replace(SHARE, budget=25), replace(SHARE, budget=25)), (
        "spent in another rollout"
    )
    two.set_traffic(SHARE, SHARE)
    assert (two.a.live, two.b.live) == (replace(SHARE, budget=30), replace(SHARE, budget=20))
    assert two.one.read("shop") == SHARE
    assert two.one.spent("shop") == 10


@pytest.mark.parametrize("newer", ["a", "b"])
def test_where_one_has_a_later_owner_the_other_gets_back_what_it_had(two: Two, newer: str) -> None:
    mine, others = (two.b, two.a) if newer == "a" else (two.a, two.b)
    others.live, mine.live = replace(BLUE, token=35), replace(BLUE, token=33)
    with pytest.raises(LockLost, match="later owner of the lock"):
        two.set_traffic(replace(SHARE, token=34))
    assert (mine.live, others.live) == (BLUE, BLUE)
    assert two.one.read("shop").token == 35  # type: ignore[union-attr]


@pytest.mark.parametrize("failing", ["a", "b"])
def test_where_one_refuses_the_other_gets_back_what_it_had(two: Two, failing: str) -> None:
    bad, good = (two.a, two.b) if failing == "a" else (two.b, two.a)
    bad.fails["set_traffic"] = DriverFailed("no")
    with pytest.raises(DriverFailed, match="no; the others have what they had"):
        two.set_traffic(SHARE)
    assert good.live == BLUE
    assert bad.live == BLUE


def test_one_that_cannot_be_put_back_is_named(two: Two) -> None:
    two.b.fails["set_traffic"] = DriverFailed("no")
    took = two.a.set_traffic

    def once(service: str, live: Live, deadline: Deadline, given: Live | None = None) -> None:
        took(service, live, deadline, given)
        two.a.fails["set_traffic"] = Unreachable("gone")

    two.a.set_traffic = once  # type: ignore[method-assign]
    with pytest.raises(DriverFailed, match="no; a could not be put back"):
        two.set_traffic(SHARE)


def test_nobody_is_moved_while_one_does_not_answer(two: Two) -> None:
    two.b.fails["read"] = Unreachable("b: silent")
    with pytest.raises(Unreachable, match="b: silent"):
        two.set_traffic(SHARE)
    assert "set_traffic" not in two.a.calls


def test_nobody_is_moved_to_where_one_of_them_finds_nobody(two: Two) -> None:
    two.b.down.add("green")
    with pytest.raises(DriverFailed, match="b: no server of green of shop is up"):
        two.set_traffic(SHARE)
    assert "set_traffic" not in two.a.calls


def test_on_the_way_back_whoever_answers_is_taken_there(two: Two) -> None:
    two.set_traffic(SHARE)
    two.b.fails = dict.fromkeys(("read", "set_traffic"), Unreachable("b: silent"))
    with pytest.raises(Unreachable, match="b: silent"):
        two.set_traffic(BLUE)
    assert two.a.live == BLUE


def test_an_emergency_at_one_of_them_counts_for_all(two: Two) -> None:
    two.set_traffic(SHARE)
    two.b.live = replace(two.b.live or BLUE, share=0, lease=0)
    with pytest.raises(TakenBack):
        two.set_traffic(replace(SHARE, share=5000), SHARE)
    assert two.a.live == replace(SHARE, budget=25), "put back, and rolled back by whoever hears of it"


def test_a_server_is_up_that_all_find_up(two: Two) -> None:
    assert [up for _, up in two.one.servers("shop", "blue")] == [True]
    two.b.down.add("blue")
    assert [up for _, up in two.one.servers("shop", "blue")] == [False]


def test_a_server_gets_as_many_requests_at_once_as_each_gives_it(two: Two) -> None:
    def gets() -> list[int]:
        return [server.concurrency for server, _ in two.one.servers("shop", "blue")]

    two.a.gives = two.b.gives = 12
    assert gets() == [12]
    two.b.gives = 16
    assert gets() == [DIFFERS], "one of them was not told"


def test_what_one_of_them_refuses_is_configured_nowhere(two: Two) -> None:
    two.b.fails["check"] = Refused("b: taken")
    with pytest.raises(Refused, match="b: taken"):
        two.one.configure(RELEASE, "green", two.deadline)
    assert "configure" not in two.a.calls


def test_one_that_is_new_joins_before_anything_changes(two: Two) -> None:
    two.a.live = SHARE
    setattr(two.b, "live", None)  # noqa: B010 -- mypy would take it for None from here on
    two.one.configure(RELEASE, "green", two.deadline)
    assert two.b.joined == two.a.text
    assert two.b.live == replace(SHARE, budget=1), "the budget is with the others until it is divided again"
    assert two.cards.right("shop")


def test_all_sign_cookies_with_one_key(two: Two) -> None:
    """A client that comes in at another proxy is the same one, also where one of them had a key of its own."""
    two.one.configure(RELEASE, "green", two.deadline)
    assert two.a.keys == two.b.keys
    assert len(two.a.keys[0]) == len(new_key())
    two.a.text, two.b.text = (
        configured(None, "shop", MANIFEST, None).model_copy(update={"key": new_key()}).model_dump_json() for _ in "ab"
    )
    two.one.configure(RELEASE, "green", two.deadline)
    assert two.a.keys[1] == two.b.keys[1] == Spec.model_validate_json(two.a.text).key


def test_both_new_are_both_begun(two: Two) -> None:
    two.a.live = two.b.live = None
    assert two.one.read("shop") is None
    two.one.configure(RELEASE, "green", two.deadline)
    assert two.one.read("shop") == INITIAL
    two.one.forget("shop", two.deadline)
    assert two.one.inspection.services() == ()
    assert not two.cards.right("shop")


def test_a_budget_that_cannot_be_divided_is_refused(two: Two) -> None:
    few = Manifest.model_validate({**MANIFEST.record(), "traffic": {"budget": 1}})
    with pytest.raises(Refused, match="1 cannot be divided among 2 proxies"):
        two.one.inspection.check(few, two.deadline)


def test_what_differs_is_found_and_mended(two: Two) -> None:
    two.cards.write("shop")
    assert two.one.inspection.drift("shop") == ()
    two.a.live = SHARE
    assert [f.text for f in two.one.inspection.drift("shop")] == [
        "a has rollout 7: stable is blue, 2000 bp to green, others do not",
        "b has rollout 7: stable is blue, others do not",
    ]
    two.one.upkeep.repair("shop", two.deadline)
    assert two.a.live == two.b.live == BLUE
    two.b.live = None
    assert [f.text for f in two.one.inspection.drift("shop")] == ["b does not know shop"]
    two.b.fails["drift"] = Unreachable("b: silent", "see why")
    (silent,) = two.one.inspection.drift("shop")
    assert (silent.text, silent.repairable, silent.remedy) == ("b: silent", False, "see why")


def test_what_one_has_lost_the_other_has(two: Two) -> None:
    two.a.live = SHARE
    two.b.fails["read"] = DriverFailed("b: the proxy's workers do not agree about shop: nothing")
    two.one.upkeep.repair("shop", two.deadline, {"shop": BLUE})
    assert (two.a.live, two.b.live) == (SHARE, replace(SHARE, budget=1))


def test_what_all_have_lost_is_as_the_records_say(two: Two) -> None:
    for each in (two.a, two.b):
        each.fails["read"] = DriverFailed(f"{each.name}: the proxy's workers do not agree about shop: nothing")
    recorded = Live("green", rollout=7)
    two.one.upkeep.repair("shop", two.deadline, {"shop": recorded})
    assert two.a.live == two.b.live == recorded


def test_drains_add_up(two: Two) -> None:
    assert two.one.drain("shop", "blue", ["blue-1"], two.deadline) == 4
    two.one.introduce("shop", "blue", [Server("blue-1", "10.0.0.1:80")], two.deadline)
    two.one.attach("shop", "blue", [Server("blue-1", "10.0.0.1:80")], two.deadline)
    two.one.detach("shop", "blue", ["blue-1"], two.deadline)
    assert two.a.calls == two.b.calls == ["drain", "introduce", "attach", "detach"]


# -- what is said over a channel

ERRORS = [
    errors.TakenBack("gone", "who"),
    errors.Refused("no", "mend it"),
    errors.DeadlinePassed("late"),
    errors.LockHeld("held", "end it"),
    errors.DriverFailed("odd", "why", log=("one", "two")),
    errors.Unreachable("silent"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda e: type(e).__name__)
def test_an_error_arrives_as_what_it_was_with_its_host(error: errors.DeployError) -> None:
    there = protocol.raised(protocol.read(protocol.line(protocol.trouble(error))), "edge1")
    assert (type(there), there.message, there.hint) == (type(error), f"edge1: {error.message}", error.hint)
    assert getattr(there, "log", ()) == getattr(error, "log", ())


@pytest.mark.parametrize("kind", ["Exit", "Mapping", "nothing", "DeployError", "ManifestRefused"])
def test_an_error_of_an_unknown_kind_is_still_one(kind: str) -> None:
    assert protocol.raised({"kind": kind, "message": "x"}, "edge1").message == "edge1: x"


def test_arguments_and_results_are_the_same_at_the_other_end() -> None:
    given_ = {"service": "shop", "live": SHARE, "given": None}
    assert (
        protocol.decoded("set_traffic", protocol.read(protocol.line(protocol.encoded("set_traffic", given_)))) == given_
    )
    given_ = {"release": protocol.ReleaseMessage.of(RELEASE), "place": None, "key": new_key(), "chain_key": ""}
    told = protocol.decoded("configure", protocol.encoded("configure", given_))
    assert told["release"].release().manifest == MANIFEST
    more = {"hosts": "web", "traffic": {"proxies": "edge"}, "scale": {"max": 4, "concurrency": "auto"}}
    learns = replace(RELEASE, manifest=Manifest.model_validate({**MANIFEST.record(), **more}), learned=12)
    there = protocol.ReleaseMessage.of(learns).release()
    assert there.manifest == learns.manifest
    assert there.scale
    assert there.scale.each == 12
    servers = ((Server("a", "10.0.0.1:80"), True),)
    assert protocol.result("servers", protocol.CALLS["servers"].result.dump_python(servers, mode="json")) == servers
    load = Load(instances={"a": InstanceLoad(3, 40, 1) + InstanceLoad(2, 30)})
    told = protocol.result("load", protocol.CALLS["load"].result.dump_python({"blue": load}, mode="json"))
    assert told["blue"].instances == {"a": InstanceLoad(5, 70, 1, (3, 2))}
    with pytest.raises(DriverFailed, match="cannot be read"):
        protocol.result("drain", "many")
    with pytest.raises(ValueError, match="set_traffic takes"):
        protocol.decoded("set_traffic", {})


# -- a channel to an agent, with a shell in place of ssh


@pytest.fixture
def way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Host]:
    """Return a host whose ssh runs a command here."""

    def make(command: str) -> Host:
        program = tmp_path / "bin" / "ssh"
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\n{command}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(program.parent), prepend=":")
        return Host("edge1", "10.0.0.1", "ssh", "edge1")

    return make


AGENT = f"exec {sys.executable} -m deployer.start proxy --stdio"


@pytest.mark.parametrize(
    ("command", "error", "said"),
    [
        ("echo 'sh: deploy: not found' >&2; exit 127", Refused, "edge1: there is no `deploy` there"),
        ("echo \"Error: No such command 'proxy'.\" >&2; exit 2", Refused, "edge1: deployer is too old there"),
        (
            "echo 'Permission denied (publickey).' >&2; exit 255",
            Unreachable,
            "edge1: it refuses this user and key: P",
        ),
        ("echo hello; exit 0", Unreachable, "edge1: `deploy proxy --stdio` ended with 0"),
        (AGENT, Refused, "edge1: /etc/nowhere is not a folder"),
    ],
)
def test_why_there_is_no_channel(
    way: Callable[[str], Host], command: str, error: type[errors.DeployError], said: str
) -> None:
    settings = PREPARED.model_copy(update={"config": "/etc/nowhere"})
    proxy = RemoteProxy(way(command), settings, SystemClock())
    with pytest.raises(error, match=said):
        proxy.read("shop")
    proxy.close()


def test_a_channel_is_opened_as_fast_as_the_deadline_wants_and_a_silent_host_is_tried_in_the_background(
    way: Callable[[str], Host], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deployer.drivers.traffic.proxies.remote_calls.MORE", 0.2)
    clock, started = FakeClock(), tmp_path / "started"
    proxy = RemoteProxy(way(f"echo once >> {started}; exec sleep 60"), PREPARED, clock)
    try:
        with pytest.raises(Unreachable, match=r"edge1: no response within 0\.3 s"):
            proxy.set_traffic("shop", BLUE, Deadline.after(clock, 0.1))
        with pytest.raises(Unreachable, match=r"edge1: no response within 0\.3 s"):
            proxy.spent("shop")
        assert started.read_text() == "once\n", "it was just found silent"
        clock.at += AGAIN_SECONDS
        with pytest.raises(Unreachable, match=r"edge1: no response within 0\.3 s"):
            proxy.spent("shop")
        Deadline.after(SystemClock(), 20).until(lambda: started.read_text().count("once") == 2, "it is tried again")
    finally:
        proxy.close()


def test_another_version_is_refused_by_either_side(way: Callable[[str], Host], tmp_path: Path) -> None:
    old = f"{sys.executable} -c \"import sys, deployer; deployer.__version__ = '0.0.1'; import deployer.start as start;"
    old += " sys.argv = ['deploy', 'proxy', '--stdio']; sys.exit(start.main())\""
    with pytest.raises(Refused, match=r"deployer is .* here, and 0\.0\.1 there"):
        ProxyChannel(way(f"exec {old}"), PREPARED, SystemClock())


@pytest.fixture
def bare(state: Path) -> Path:
    """Return a folder that is there, of a proxy that does not run."""
    folder = state / "conf"
    folder.mkdir()
    return folder


def test_calls_go_there_and_back(way: Callable[[str], Host], bare: Path) -> None:
    settings = PREPARED.model_copy(update={"config": str(bare), "socket": str(bare / "none.sock")})
    proxy = RemoteProxy(way(f"echo welcome to edge1; {AGENT}"), settings, SystemClock())
    try:
        assert proxy.read("shop") is None
        assert proxy.inspection.services() == ()
        with pytest.raises(DriverFailed, match="edge1: the proxy does not know shop"):
            proxy.set_traffic("shop", SHARE, Deadline.after(SystemClock(), 5))
        with (
            pytest.raises(Unreachable, match="edge1: the proxy does not know shop"),
            proxy.membership.stream("shop", Fed()),
        ):
            pass
        assert proxy.membership.spec("shop") is None
    finally:
        proxy.close()
    with pytest.raises(Unreachable, match="closed"):
        proxy.read("shop")


class Fed:
    """Takes lines."""

    def feed(self, lines: Sequence[bytes]) -> None:
        raise AssertionError(lines)

    def miss(self, lines: int) -> None:
        raise AssertionError(lines)


def test_a_channel_that_breaks_is_told_to_who_waits_and_opened_again(
    way: Callable[[str], Host], bare: Path, tmp_path: Path
) -> None:
    settings = PREPARED.model_copy(update={"config": str(bare), "socket": str(bare / "none.sock")})
    pid = tmp_path / "pid"
    proxy = RemoteProxy(way(f"echo $$ > {pid}; {AGENT}"), settings, SystemClock())
    try:
        assert proxy.inspection.services() == ()
        first = int(pid.read_text())
        subprocess.run(["kill", "-STOP", str(first)], check=True, timeout=5)
        failed: list[str] = []

        def ask() -> None:
            try:
                proxy.inspection.services()
            except Unreachable as error:
                failed.append(error.message)

        asking = threading.Thread(target=ask)
        asking.start()
        subprocess.run(["kill", "-KILL", str(first)], check=True, timeout=5)
        asking.join(10)
        assert failed
        assert failed[0].startswith("edge1: the connection broke")
        assert proxy.inspection.services() == ()
        assert int(pid.read_text()) != first
    finally:
        proxy.close()


# -- an emergency over ssh


def fars(tmp_path: Path, *said: str) -> list[endpoint.Far]:
    """Proxies whose ssh is a shell, and whose `deploy` says this and then does what it is told."""
    made = []
    for n, text in enumerate(said, 1):
        program = tmp_path / f"edge{n}"
        program.write_text(f"#!/bin/sh\n{text}\n")
        program.chmod(0o755)
        made.append(endpoint.Far(f"edge{n}", [str(program)], endpoint.Card("/s", "/m", "/l")))
    return made


def go(tmp_path: Path, ready: str) -> str:
    """Write what is ready, wait for the word, keep that it came, and write that it is done."""
    return f'echo ready {ready}; read word || exit 1; echo "$@" >> {tmp_path}/moved; echo moved'


def moved(tmp_path: Path) -> int:
    file = tmp_path / "moved"
    return len(file.read_text().splitlines()) if file.exists() else 0


def test_all_are_moved_once_all_mean_the_same(tmp_path: Path) -> None:
    both = fars(tmp_path, go(tmp_path, "blue 1 0"), go(tmp_path, "blue 1 0"))
    done, unknown, _ = group.move(both, str(tmp_path), "shop", "rollback")
    assert done is not None
    assert (done.colour, done.release, done.trial, unknown, moved(tmp_path)) == ("blue", 1, False, [], 2)
    assert (tmp_path / "moved").read_text().splitlines()[0] == "deploy proxy --move rollback shop /s /m /l"


@pytest.mark.parametrize("other", ["ready green 1 0", "ready blue 2 0", "none nothing there is plain", "nonsense"])
def test_none_is_moved_where_they_do_not_mean_the_same(tmp_path: Path, other: str) -> None:
    both = fars(tmp_path, go(tmp_path, "blue 1 0"), f"echo {other}; read word && touch {tmp_path}/moved")
    assert group.move(both, str(tmp_path), "shop", "rollback") == (None, [], "")
    assert moved(tmp_path) == 0


def test_a_candidate_is_taken_back_wherever_it_has_users(tmp_path: Path) -> None:
    three = fars(tmp_path, go(tmp_path, "blue 0 1"), go(tmp_path, "green 1 0"), "echo none nothing there is plain")
    done, unknown, _ = group.move(three, str(tmp_path), "shop", "rollback")
    assert done is not None
    assert (done.colour, done.trial, unknown, moved(tmp_path)) == ("blue", True, [], 1), (
        "no release before it goes, too"
    )


@pytest.mark.parametrize("silent", ["exit 255", "echo ready blue 1 0; read word; exit 1"])
def test_one_that_is_silent_keeps_nobody_from_moving_the_others(tmp_path: Path, silent: str) -> None:
    done, unknown, users = group.move(
        fars(tmp_path, go(tmp_path, "blue 1 0"), silent), str(tmp_path), "shop", "rollback"
    )
    assert done is not None
    assert (unknown, moved(tmp_path)) == (["edge2"], 1)
    assert users == ", but at edge2, which did not respond: users stay there on what they had until it is back"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (f"blue,2000,{LEASE},7,50,0,0,0", f"users are back on stable there by {AT} at the latest, when the lease ends"),
        (
            "blue,2000,0,7,50,0,0,0",
            "a part of the users stays there on the candidate until it is back, as its share has no lease",
        ),
    ],
)
def test_what_users_of_a_silent_proxy_get_is_said_and_written_down(tmp_path: Path, value: str, said: str) -> None:
    one, two = fars(tmp_path, go(tmp_path, f"blue 0 1 {value}"), "exit 255")
    done, unknown, users = group.move([one, two], str(tmp_path), "shop", "rollback")
    assert done is not None
    assert unknown == ["edge2"]
    assert users == f", but at edge2, which did not respond: {said}"
    found, _ = lost.read(str(tmp_path), "shop")
    assert [(each.name, each.values, each.why) for each in found.values()] == [
        ("edge2", [value], "no response to `deploy rollback`")
    ]
    again, unknown, users = group.move([one, two], str(tmp_path), "shop", "rollback")
    assert again is not None
    assert (unknown, users) == (["edge2"], ", but at edge2, lost before: `deploy status` shows more")


def test_two_that_write_down_a_lost_proxy_at_once_leave_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rollout has read the list, and an emergency wants to write: it waits until the rollout has written, too."""
    read, wants, take = threading.Event(), threading.Event(), file_lock.take

    def taken(path: str, within: float, *, make: bool = False) -> int | None:
        if read.is_set():
            wants.set()
        return take(path, within, make=make)

    monkeypatch.setattr("deployer.emergency.file_lock.take", taken)
    rollout = threading.Thread(target=lost.change, args=(str(tmp_path), "shop", slowly(read, wants)))
    rollout.start()
    assert read.wait(20)
    lost.add(str(tmp_path), "shop", "edge2", ["-"], "no response", 2.0)
    rollout.join(20)
    assert sorted(lost.read(str(tmp_path), "shop")[0]) == ["edge1", "edge2"]


def slowly(read: threading.Event, goes_on: threading.Event) -> Callable[..., tuple[dict[str, lost.Lost], str]]:
    """Add edge1 to what was read under the lock, but not before an event."""
    times = []

    def edit(found: dict[str, lost.Lost], before: str) -> tuple[dict[str, lost.Lost], str]:
        times.append(found)
        if len(times) == 2:  # the first time it is looked whether there is anything to write
            read.set()
            assert goes_on.wait(20)
        return {**found, "edge1": lost.Lost("edge1", 1.0, ["-"], "full")}, before

    return edit


def test_an_emergency_does_not_wait_for_one_that_is_stopped_and_that_one_loses_nothing_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(lost, "HELD_SECONDS", 0.05)
    read, goes_on = threading.Event(), threading.Event()
    stopped = threading.Thread(target=lost.change, args=(str(tmp_path), "shop", slowly(read, goes_on)))
    stopped.start()
    assert read.wait(20)
    done, unknown, _ = group.move(fars(tmp_path, go(tmp_path, "blue 1 0"), "exit 255"), str(tmp_path), "shop", "abort")
    assert done is not None
    assert unknown == ["edge2"]
    held = f"shop: process {os.getpid()} held the list of lost proxies too long and was not waited for\n"
    assert capsys.readouterr().err == held
    assert list(lost.read(str(tmp_path), "shop")[0]) == ["edge2"]
    goes_on.set()
    stopped.join(20)
    assert list(lost.read(str(tmp_path), "shop")[0]) == ["edge2", "edge1"], "it has found that, and begun again"


def test_a_card_of_several_is_read_as_it_was_written(tmp_path: Path) -> None:
    (tmp_path / endpoint.FOLDER).mkdir()
    path = Path(endpoint.path(str(tmp_path), "shop"))
    both = fars(tmp_path, "true", "true")
    path.write_text("".join(each.text() for each in both))
    read = endpoint.read_far(str(tmp_path), "shop")
    assert [(each.name, each.way, each.card.text()) for each in read] == [
        (each.name, each.way, each.card.text()) for each in both
    ]
    assert endpoint.read(str(tmp_path), "shop") is None, "which would be one here"
    for broken in (
        "",
        "way x\n",
        "proxy a\nsocket /s\n",
        "proxy a\nway ssh\nsocket /s; rm\nmap /m\nlock /l\n",
        "x y\n",
    ):
        path.write_text(broken)
        assert endpoint.read_far(str(tmp_path), "shop") == []


def test_what_is_asked_there_is_checked_there(tmp_path: Path) -> None:
    def there(*arguments: str) -> tuple[int, str]:
        line = [sys.executable, "-m", "deployer.start", "proxy", "--move", *arguments]
        done = subprocess.run(line, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30)
        return done.returncode, done.stdout + done.stderr

    none = str(tmp_path / "none")
    assert there("promote", "shop", none, none, none) == (1, "none what is asked cannot be read\n")
    assert there("abort", "../shop", none, none, none) == (1, "none what is asked cannot be read\n")
    assert there("abort")[0] == 2
    code, said = there("abort", "shop", none, none, none)
    assert (code, said.startswith("none ")) == (1, True)


class Plain:
    """A move at a proxy that is plain: what the agent there has looked at."""

    moved = Moved("blue", 0, True)
    value = "green,500,1764000030,17,60,4,500,0"

    def __init__(self) -> None:
        self.made = 0

    def go(self) -> Moved:
        self.made += 1
        return self.moved


def test_a_proxy_whose_caller_is_cut_off_lets_go_of_its_lock_and_moves_nobody(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    plain = Plain()
    monkeypatch.setattr(agent, "look", lambda *_asked: plain)
    monkeypatch.setattr(agent, "WORD_WITHIN", 0.05)
    words = ["abort", "shop", "/s", "/m", "/l"]
    inward, caller = os.pipe()
    with os.fdopen(inward), os.fdopen(caller, "w") as asks:  # a cable that was pulled ends no connection
        assert agent.answer(words, inward) == 1
        told = capfd.readouterr().out.splitlines()
        assert told == [f"ready blue 0 1 {Plain.value}", "none nobody said go within 0.05 s"]
        assert plain.made == 0
        asks.write("go\n")
        asks.flush()
        assert agent.answer(words, inward) == 0
        assert (plain.made, capfd.readouterr().out.splitlines()[1:]) == (1, ["moved"])


def test_the_word_is_waited_for_longer_than_anybody_takes_to_say_it() -> None:
    assert agent.WORD_WITHIN > remote_endpoint.LOOK_WITHIN

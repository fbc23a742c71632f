"""What users see of a candidate that fails, behind the shield."""

from __future__ import annotations

import http.client
import json
import multiprocessing
import socket
import stat
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from deployer.core.response_kinds import EMPTY
from deployer.judge import Verdicts
from deployer.manifest.judge import Judge
from deployer.model import Live
from tests.live.client import Load, get
from tests.live.proxies import Bench
from tests.live.seen import Seen
from tests.live.upstream import Upstream
from tests.services import require
from tests.waiting import within

pytestmark = pytest.mark.live

ALL = Live("blue", 10000, 0, 1)  # everyone gets the candidate


def test_nobody_sees_a_candidate_that_fails_half_of_its_answers_and_all_of_it_is_counted(
    bench: Bench, blue: Upstream, green: Upstream
) -> None:
    with Upstream("g2") as second:
        bench.both(blue, green)
        bench.put("green", second)
        bench.set_traffic(ALL)
        green.fails_every = second.fails_every = 2
        with bench.traffic.samples("shop") as samples:
            seen = Counter(get(bench.port).status for _ in range(200))
            told = Seen(samples)
            within().until(lambda: told.requests() >= 200, "all are told")
    assert seen == {200: 200}
    assert blue.users == 100
    assert (told.stable, told.candidate, told.candidate_errors, told.shielded) == (0, 200, 100, 100)


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_each_status_of_a_failed_instance_is_repeated(
    bench: Bench, blue: Upstream, green: Upstream, status: int
) -> None:
    bench.both(blue, green)
    bench.set_traffic(ALL)
    assert get(bench.port, f"/status/{status}").status == status, "stable says so too"
    assert (green.hits[f"/status/{status}"], blue.hits[f"/status/{status}"]) == (1, 1)


def test_a_post_is_not_repeated_unless_it_is_listed(bench: Bench, blue: Upstream, green: Upstream) -> None:
    bench.both(blue, green)
    bench.set_traffic(ALL)
    green.failing = True
    assert get(bench.port, method="POST").status == 500
    assert get(bench.port, method="HEAD").status == 200
    bench.put("green", green, shield={"methods": ["GET", "POST"]})
    bench.set_traffic(ALL)
    assert get(bench.port, method="POST").who == "b1"
    assert get(bench.port, method="PUT").status == 500


def test_it_can_be_switched_off(bench: Bench, blue: Upstream, green: Upstream) -> None:
    bench.both(blue, green, shield=False)
    bench.set_traffic(ALL)
    green.failing = True
    assert get(bench.port).status == 500
    assert blue.users == 0
    assert "shield" not in bench.config()


@pytest.mark.long("requests that wait as long as they may", every_change=True)
def test_a_candidate_that_is_gone_and_one_that_closes_without_a_word(
    bench: Bench, blue: Upstream, green: Upstream
) -> None:
    bench.both(blue, green)
    bench.set_traffic(ALL)
    green.stop()
    with Load(bench.port) as load:
        within().until(lambda: not bench.traffic.servers("shop", "green")[0][1], "the proxy sees that green is down")
        enough = load.answered + 50
        within().until(lambda: load.answered >= enough, "the load goes on")
    assert load.failures == []


def test_what_takes_longer_than_its_time_out_is_answered_by_stable_which_has_all_its_time(
    bench: Bench, blue: Upstream, green: Upstream
) -> None:
    bench.both(blue, green, shield={"timeout": "1s"})
    bench.set_traffic(ALL)
    began = time.monotonic()
    assert get(bench.port, "/slow?ms=1200").who == "b1"
    assert time.monotonic() - began >= 2.2
    assert get(bench.port, "/slow?ms=100").who == "g1"
    green.hangs = True
    assert get(bench.port).who == "b1"
    assert get(bench.port, "/slow?ms=1200", method="POST").who == "g1", "no shield, no time-out of it"


def test_requests_that_chose_the_candidate_see_what_it_answers(bench: Bench, blue: Upstream, green: Upstream) -> None:
    bench.both(blue, green, force={"header": "x-side"})
    bench.set_traffic(ALL)
    green.failing = True
    assert get(bench.port, headers={"x-side": "candidate"}).status == 500
    assert get(bench.port, headers=bench.traffic.preview("shop")[1]).status == 500
    assert get(bench.port).status == 200


def test_an_upgrade_is_not_repeated(bench: Bench, blue: Upstream, green: Upstream) -> None:
    bench.both(blue, green)
    bench.set_traffic(ALL)
    green.failing = True
    assert get(bench.port, headers={"Connection": "Upgrade", "Upgrade": "example/1"}).status == 500


def test_without_an_instance_of_stable_the_candidates_own_answer_is_passed_on(bench: Bench, green: Upstream) -> None:
    bench.put("green", green)
    bench.set_traffic(ALL)
    green.failing = True
    assert get(bench.port).status == 500


def test_the_instances_see_the_same_request_as_without_it(bench: Bench, blue: Upstream, green: Upstream) -> None:
    bench.both(blue, green, sticky=True)
    spoofed = {"X-Forwarded-For": "6.6.6.6", "X-Forwarded-Extra": "x", "Forwarded": "for=6.6.6.6"}
    bench.set_traffic(Live("blue", 0, 0, 1))
    plain = json.loads(get(bench.port, "/headers", spoofed).body)
    bench.set_traffic(ALL)
    answer = get(bench.port, "/headers", spoofed)
    assert answer.who == "g1"
    assert json.loads(answer.body) == plain
    assert plain["x-forwarded-for"] == "127.0.0.1"
    with socket.create_connection(("127.0.0.1", bench.port)) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        text = b"".join(iter(lambda: connection.recv(65536), b"")).lower()
    assert text.count(b"set-cookie:") == 1


def test_its_connections_are_kept(bench: Bench, blue: Upstream, green: Upstream) -> None:
    bench.both(blue, green)
    bench.set_traffic(ALL)
    worker = bench.master.current(within())[0]

    def accepted() -> int:
        info = bench.master.run(worker, "show info")
        return next(int(row.split(": ")[1]) for row in info.splitlines() if row.startswith("CumConns:"))

    before = accepted()
    for _ in range(100):
        get(bench.port)
    assert accepted() - before <= 115, "100 of clients, and a few of the proxy to itself"


def test_ten_reloads_under_load_lose_nothing_and_blame_nobody(bench: Bench, blue: Upstream, green: Upstream) -> None:
    bench.both(blue, green)
    bench.set_traffic(Live("blue", 5000, 0, 6))
    with bench.traffic.samples("shop") as samples:
        with Load(bench.port, connections=6) as load:
            for n in range(10):
                bench.traffic.configure(bench.release(timeouts={"response": f"{61 + n}s"}), "green", within())
                enough = load.answered + 200
                within().until(lambda: load.answered > enough, "the load goes on")  # noqa: B023 -- called at once
        told = Seen(samples)
        within().until(lambda: told.requests() >= load.answered, "the stream tells every request")
    assert load.failures == []
    assert (told.requests(), told.lost) == (load.answered, 0)
    assert (told.candidate, told.candidate_errors, told.shielded) == (load.seen["g1"], 0, 0)


def test_a_killed_proxy_comes_back_with_it(bench: Bench, blue: Upstream, green: Upstream) -> None:
    bench.both(blue, green)
    bench.set_traffic(ALL)
    before = bench.workers()
    bench.kill_master()
    within().until(lambda: bench.master.answers() and bench.workers() != before, "the proxy comes back")
    green.failing = True
    within().until(lambda: _who(bench) == "b1", "it answers")


def test_an_empty_response_behind_it_is_known_as_one(bench: Bench, blue: Upstream, green: Upstream) -> None:
    bench.both(blue, green)
    bench.set_traffic(Live("blue", 5000, 0, 1))
    with bench.traffic.samples("shop") as samples:
        seen = [get(bench.port, "/empty").body for _ in range(20)]
        told = samples.take()

        def all_told() -> bool:
            nonlocal told
            told += samples.take()
            return told.stable.requests + told.candidate.requests == len(seen)

        within().until(all_told, "all of them are told")
    assert set(seen) == {""}
    assert told.candidate.requests
    assert (told.stable.kinds[EMPTY], told.candidate.kinds[EMPTY]) == (told.stable.requests, told.candidate.requests)


def _who(bench: Bench) -> str:
    try:
        return get(bench.port).who
    except OSError:
        return ""


def test_its_sockets_are_files_that_nobody_else_can_open_and_go_with_the_service(
    bench: Bench, blue: Upstream, green: Upstream
) -> None:
    """Another user could take an abstract name first: deploys would fail, and after a restart every service."""
    bench.both(blue, green)
    first = sockets(bench)
    assert len(first) == 3
    assert {stat.filemode(path.stat().st_mode) for path in first} == {"srw-------"}
    assert bench.root.stat().st_mode & 0o077 == 0
    assert "abns@" not in bench.config()
    bench.both(blue, green, service="other", domains=["other.example.com"])
    assert sockets(bench) == first, "all services share them"
    bench.traffic.forget("other", within())
    assert sockets(bench) == first


def sockets(bench: Bench) -> set[Path]:
    return set(bench.root.glob("s-*"))


def test_a_teams_proxy_in_a_chroot_and_of_another_user_has_it_too(
    state: Path, program: Path, blue: Upstream, green: Upstream
) -> None:
    require("root")
    jail = state / "jail"
    jail.mkdir(mode=0o755)
    team = Bench(state, program, team=True, settings=f"  chroot {jail}\n  user nobody  # as Debian's has\n")
    try:
        team.both(blue, green)
        team.set_traffic(ALL)
        green.failing = True
        assert {get(team.port).who for _ in range(20)} == {"b1"}
        found = list(jail.glob("s-*"))
        assert {(path.owner(), stat.filemode(path.stat().st_mode)) for path in found} == {("nobody", "srw-------")}
    finally:
        team.close()


def test_a_teams_proxy_has_it_too(team: Bench, blue: Upstream, green: Upstream) -> None:
    team.both(blue, green)
    team.set_traffic(ALL)
    green.failing = True
    with Load(team.port) as load:
        within().until(lambda: load.answered > 100, "answers come")
        assert team.master.reload(within()) == ()
        enough = load.answered + 100
        within().until(lambda: load.answered > enough, "answers come")
    assert load.failures == []
    assert set(load.seen) == {"b1"}


def kept(port: int) -> bool:
    """Ask again and again over one connection, as a browser does; return whether no header of ours came along."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    plain = True
    for _ in range(60):
        connection.request("GET", "/")
        response = connection.getresponse()
        response.read()
        plain &= response.getheader("x-deployer-time") is None
    connection.close()
    return plain


def spin() -> None:
    while True:
        pass


@contextmanager
def busy_cores() -> Iterator[None]:
    """Keep every core busy with something else than the proxy."""
    hogs = [multiprocessing.get_context("spawn").Process(target=spin) for _ in range(multiprocessing.cpu_count())]
    for hog in hogs:
        hog.start()
    try:
        yield
    finally:
        for hog in hogs:
            hog.kill()
            hog.join()


def test_an_equal_candidate_behind_the_shield_is_not_slower_on_busy_cores(
    bench: Bench, blue: Upstream, green: Upstream
) -> None:
    """The way through the shield is one hop more, and no time of the release."""
    bench.both(blue, green)
    config = Judge.model_validate({"alpha": 0.001, "latency": {"add": 0, "warmup": {"requests": 0, "for": "1s"}}})
    verdicts = Verdicts(config, sticky=False)
    verdicts.begin(5000, 10000)
    bench.set_traffic(Live("blue", 5000, 0, 1))
    slower, candidate = [], 0
    with busy_cores(), bench.traffic.samples("shop") as samples, ThreadPoolExecutor(4) as pool:
        for look in range(25):
            assert all(pool.map(kept, [bench.port] * 4))
            sample = samples.take()
            candidate += sum(sample.candidate.latency)
            verdict = verdicts.observe(sample, float(look))
            slower += [verdict.text] if verdict.kind == "worse" else []
    assert candidate > 2000
    assert not slower, slower[0]


def test_a_body_is_as_large_behind_the_shield_as_beside_it(bench: Bench, blue: Upstream, green: Upstream) -> None:
    bench.both(blue, green)
    bench.set_traffic(Live("blue", 5000, 0, 1))
    with bench.traffic.samples("shop") as samples:
        assert all(kept(bench.port) for _ in range(3))
        sample = samples.take()

        def all_told() -> bool:
            nonlocal sample
            sample += samples.take()
            return sample.stable.requests + sample.candidate.requests == 3 * 60

        within().until(all_told, "all of them are told")
    sizes = [{i for i, count in enumerate(side.kinds) if count} for side in (sample.stable, sample.candidate)]
    assert sizes[0] == sizes[1]
    assert len(sizes[0]) == 1

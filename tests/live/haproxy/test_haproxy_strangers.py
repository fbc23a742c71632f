"""What a few addresses can do: give few failures to the evidence, and spend a part of a budget."""

from __future__ import annotations

import select
import socket
from collections.abc import Sequence
from contextlib import ExitStack, closing
from ipaddress import ip_address

import pytest

from deployer.model import Live, Waiting
from tests.live.client import get
from tests.live.proxies import Bench
from tests.live.upstream import TcpUpstream, Upstream
from tests.waiting import within

pytestmark = pytest.mark.live

LIMIT = 20
SHARED = Live("blue", 5000, 0, 5, LIMIT)
FAILS = "/status/500"  # in every release
STRANGER = "127.0.0.66"
USERS = [f"127.0.1.{n}" for n in range(1, 101)]


class Lines:
    """The lines of a service."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []

    def feed(self, lines: Sequence[bytes]) -> None:
        self.lines += lines

    def miss(self, lines: int) -> None:
        raise AssertionError(f"{lines} lines are missing")

    def addresses(self) -> list[str]:
        """Return the addresses, as the lines have them."""
        return [word.split(",")[1] for line in self.lines for word in line.decode().split() if word.count(",") == 1]


def addresses(bench: Bench, *asked: tuple[str, dict[str, str]]) -> list[str]:
    """Ask from some addresses with some headers; return the addresses of who asked, as the lines have them."""
    found = Lines()
    with bench.traffic.membership.stream("shop", found) as stream:
        for n, (source, headers) in enumerate(asked, 1):
            get(bench.port, headers=headers, source=source)

            def told(n: int = n) -> bool:
                stream.check()
                return len(found.addresses()) >= n

            within().until(told, "the line comes")
    return found.addresses()


def test_a_line_has_the_address_only_while_there_is_a_share(bench: Bench, blue: Upstream, green: Upstream) -> None:
    bench.both(blue, green, sticky=True)
    assert addresses(bench, (STRANGER, {})) == ["-"]
    bench.set_traffic(SHARED)
    asked = (STRANGER, USERS[0], STRANGER)
    assert addresses(bench, *((source, {}) for source in asked)) == [
        ip_address(one).packed.hex().upper() for one in asked
    ]


def test_a_forwarded_address_is_believed_from_a_trusted_proxy_only(
    bench: Bench, blue: Upstream, green: Upstream
) -> None:
    bench.both(blue, green, trusted_proxies=["127.0.0.8/31"])
    bench.set_traffic(SHARED)
    real, claimed = "10.1.2.3", {"x-forwarded-for": "192.0.2.1, 10.1.2.3"}
    direct, forged, passed, twice, bare = addresses(
        bench,
        (STRANGER, {}),
        (STRANGER, claimed),
        ("127.0.0.8", claimed),
        ("127.0.0.9", {"x-forwarded-for": f"{real}, 127.0.0.8"}),
        ("127.0.0.9", {}),
    )
    assert direct == forged
    assert passed == twice == ip_address(real).packed.hex().upper()
    assert len({direct, passed, bare}) == 3


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_one_address_with_what_fails_everywhere_spends_no_budget(
    bench: Bench, blue: Upstream, green: Upstream, method: str
) -> None:
    bench.both(blue, green)
    bench.set_traffic(SHARED)
    for user in USERS:
        assert get(bench.port, source=user).status == 200
        assert get(bench.port, FAILS, method=method, source=STRANGER).status == 500
    # Of some fifty failures on the candidate: mostly two to seven, as the sides are drawn; once in a long while more.
    assert bench.traffic.spent("shop") < LIMIT
    assert {get(bench.port, source=user).who for user in USERS} == {"b1", "g1"}, "the share is still open"


def test_a_bad_release_costs_the_budget_whatever_the_number_of_addresses(
    bench: Bench, blue: Upstream, green: Upstream
) -> None:
    for rollout, many in enumerate((1, 2, 5, 100), 5):
        bench.both(blue, green, shield=False)
        bench.set_traffic(Live("blue", 5000, 0, rollout, LIMIT))
        green.failing = True
        seen = [get(bench.port, method="POST", source=USERS[n % many]).status for n in range(100)]
        green.failing = False
        assert LIMIT <= seen.count(500) <= LIMIT + 5, f"{many} addresses"


def test_what_stable_failed_too_is_no_failure_of_the_candidate_and_says_so_to_nobody(
    bench: Bench, blue: Upstream, green: Upstream
) -> None:
    bench.both(blue, green)
    bench.set_traffic(Live("blue", 10000, 0, 5, LIMIT))
    for user in USERS[:30]:
        answer = get(bench.port, FAILS, source=user)
        assert answer.status == 500
        assert not [name for name in answer.headers if name.startswith("x-deployer")]
    assert bench.traffic.spent("shop") == 0
    green.failing = True
    assert get(bench.port).who == "b1"
    blue.failing = True
    assert get(bench.port, method="POST").status == 500
    assert bench.traffic.spent("shop") == 1


@pytest.mark.long("it waits until a time-out", every_change=True)
def test_who_has_the_headers_of_a_response_does_not_wait_for_it(bench: Bench, blue: Upstream, green: Upstream) -> None:
    """A stranger reads which release answers, and may hold open what it likes."""
    bench.both(blue, green, sticky=False)
    bench.set_traffic(SHARED)
    with ExitStack() as held, bench.traffic.samples("shop") as samples:
        for _ in range(20):
            assert held.enter_context(closing(asked(bench.port, "/half"))).recv(12) == b"HTTP/1.1 200"
        blue.hangs = green.hangs = True
        waiting = {held.enter_context(closing(asked(bench.port, "/"))) for _ in range(8)}
        seen: list[int] = []

        def told() -> bool:
            if found := samples.take().waiting:
                seen.append(found.stable + found.candidate)
            return len(waiting) in seen

        within().until(told, "what waits is counted")
        assert max(seen) == len(waiting)


@pytest.mark.parametrize("sticky", [False, True])
def test_a_tcp_candidate_that_accepts_and_hangs_is_seen(bench: Bench, sticky: bool) -> None:
    with TcpUpstream("b1") as blue, TcpUpstream("g1") as green, ExitStack() as held:
        bench.both(blue, green, mode="tcp", sticky=sticky)
        bench.set_traffic(Live("blue", 5000, 0, 1))
        with bench.traffic.samples("shop") as samples:
            for _ in range(20):
                served = held.enter_context(connected(bench.port, "127.0.2.1"))
                served.sendall(b"x")
                assert served.recv(100)
            green.hangs = True
            asking = {
                n: [held.enter_context(connected(bench.port, f"127.0.1.{n}")) for _ in "ab"] for n in range(1, 31)
            }
            for connection in (each for both in asking.values() for each in both):
                connection.sendall(b"x")

            def told() -> bool:
                hung = [n for n, both in asking.items() for connection in both if not readable(connection)]
                # Each address of a sticky service was one toss, for both of its connections.
                return samples.take().waiting == Waiting(0.5, 0, len(set(hung) if sticky else hung)) and len(hung) > 5

            within().until(told, "what hangs is counted, and nothing else", every=0.3)


def readable(connection: socket.socket) -> bool:
    return bool(select.select([connection], [], [], 0)[0])


def connected(port: int, source: str) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=10, source_address=(source, 0))


def asked(port: int, path: str) -> socket.socket:
    """Return a connection on which something was asked for."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=10)
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    return connection

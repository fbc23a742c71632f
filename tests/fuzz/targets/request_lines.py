"""Lines of the proxy's ring as they come from its socket, cut anywhere: counted, or passed over."""

from __future__ import annotations

from deployer.drivers.traffic.haproxy.request_counter import RequestCounter
from deployer.drivers.traffic.haproxy.request_stream import RingConnection, _pid
from tests.fuzz.targets.proxy_answers import Saying

WEIGHT = 3
END_OF_HEAD = b"\n\n"


def check(data: bytes) -> None:
    """Read a head, then lines in pieces of a size that the first byte says."""
    size = 1 + (data[0] if data else 0)
    chunks = [data[at : at + size] for at in range(1, len(data), size)]
    tally = RequestCounter("shop")
    line = RingConnection(Saying(chunks))  # type: ignore[arg-type]
    try:
        assert _pid(line._head()) >= 0
    except ConnectionResetError:
        return
    tally.feed(line.begun())
    while (lines := line.read()) is not None:
        tally.feed(lines)
    _consistent(tally, len(data))


def _consistent(tally: RequestCounter, most: int) -> None:
    sample = tally.take(500)
    sides = (sample.stable, sample.candidate, sample.rest)
    assert all(0 <= side.errors <= side.requests <= most for side in sides)
    assert all(sum(side.latency) <= side.requests for side in sides)
    assert 0 <= sample.shielded <= sample.candidate.errors
    assert sample.lost >= 0
    for coins in (*sample.coins, *(c for _, many in sample.routes for c in many)):
        assert 0 < coins.p < 1
        assert coins.stable.requests + coins.candidate.requests <= most

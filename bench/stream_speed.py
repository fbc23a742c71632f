"""How many lines of the request stream a second the reader takes in, beside a loop that only splits them.

python -m bench.stream_speed [LINES]
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable

from deployer.drivers.traffic.haproxy.request_counter import RequestCounter

CHUNK = 2000  # lines that one read of the socket gives under load


def lines(count: int, *, sticky: bool) -> list[bytes]:
    """Make lines as the proxy writes them at a share of 10 %: 1 % errors, answers of some ms, three routes."""
    rng = random.Random(7)
    made = []
    for _ in range(count):
        roll = rng.randrange(1_000_000)
        side = b"green" if roll < 100_000 else b"-"
        how = b"shield" if side == b"green" else b"-"
        status = b"200" if rng.random() > 0.01 else b"500"
        facts = (
            b"shop",
            side,
            b"blue,1000,1764000000,7,60,0,0,0",
            how,
            rng.choice((b"-", b"0", b"1")),
            status,
            b"--",
            b"0",
        )
        client = b"%d" % roll if sticky else b"-"
        made.append(b" ".join((*facts, client, b"%d" % int(rng.lognormvariate(9, 1)), b"180", b"5180")))
    return made


def rate(count: int, work: Callable[[], None]) -> float:
    """Return lines a second of this process, the best of three: other work on the machine slows it less so."""
    seconds = []
    for _ in range(3):
        began = time.process_time()
        work()
        seconds.append(time.process_time() - began)
    return count / min(seconds)


def main(count: int) -> None:
    """Print the table."""
    for sticky in (False, True):
        made = lines(count, sticky=sticky)
        chunks = [made[i : i + CHUNK] for i in range(0, count, CHUNK)]

        def split(chunks: list[list[bytes]] = chunks) -> None:
            for chunk in chunks:
                for line in chunk:
                    line.split()

        def tally(chunks: list[list[bytes]] = chunks) -> None:
            counted = RequestCounter("shop")
            for chunk in chunks:
                counted.feed(chunk)
            counted.take(1000)

        floor, ours = rate(count, split), rate(count, tally)
        kind = "clients keep their side" if sticky else "each request thrown"
        print(f"{kind:24} split alone {floor:10,.0f} lines/s   tally {ours:10,.0f} lines/s   {ours / floor:.2f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 500_000)

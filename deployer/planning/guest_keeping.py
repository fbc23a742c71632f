"""Which guests have to go, and which may come back: their owner's need, their terms, the room there is. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

CALM_SECONDS = 60.0  # after an eviction, before a guest comes back
_MIB = 1024 * 1024


@dataclass(frozen=True)
class SeenGuest:
    """A guest as it was seen: `memory` is what it may use on each of its `hosts`, `use` what it uses there.

    `evicted` is the moment, 0 where it may run; then `by_person` says who wanted it, `until` up to when (0: not said),
    and `not_before` when it may be let in again at the earliest, as it did not get healthy. `refused` says why its
    terms do not let it run now, `stopped` why a host of it has stopped it by itself.
    """

    service: str
    tenant: str
    hosts: tuple[str, ...]
    memory: int
    reserve: int
    use: Mapping[str, int]
    refused: str = ""
    stopped: str = ""
    evicted: float = 0.0
    by_person: bool = False
    until: float = 0.0
    not_before: float = 0.0


@dataclass(frozen=True)
class GuestMove:
    """That a guest has to go, or may come back, and why."""

    service: str
    what: Literal["evict", "admit"]
    why: str


def moves(guests: Sequence[SeenGuest], room: Mapping[str, int], now: float) -> tuple[GuestMove, ...]:
    """Return what is to be done with guests, given how many bytes of memory each host can still give."""
    return (*_over(guests), *leaving(guests, room, {}), *_back(guests, room, now))


def leaving(
    guests: Sequence[SeenGuest], room: Mapping[str, int], need: Mapping[str, int], whose: str = "its owner"
) -> Iterator[GuestMove]:
    """Yield who has to go so that each host can give its owner what that needs, and the reserve beside it.

    Those who use most go first, no more of them than needed, with all services of their tenant there; who uses nothing
    stays, as nothing is won.
    """
    gone: set[str] = set()
    staying = [each for each in guests if not each.evicted and not each.refused and not each.stopped]
    for host in sorted(room):
        here = [each for each in staying if host in each.hosts]
        reserve = max((each.reserve for each in here), default=0)
        short = need.get(host, 0) + reserve - room[host]
        by_use = sorted({each.tenant: each.use.get(host, 0) for each in here}.items(), key=lambda found: -found[1])
        for tenant, used in by_use:
            if short <= 0 or not used:
                break
            short -= used
            where = host or "this host"
            why = f"{whose} needs memory: {where} has {_mib(room[host])} left, and {_mib(reserve)} stay free"
            if need.get(host):
                why = f"{whose} needs {_mib(need[host])} on {where}, which has {_mib(room[host])} left"
            for each in here:
                if each.tenant == tenant and each.service not in gone:
                    gone.add(each.service)
                    yield GuestMove(each.service, "evict", why)


def _over(guests: Iterable[SeenGuest]) -> Iterator[GuestMove]:
    for each in guests:
        if (why := each.refused or each.stopped) and not each.evicted:
            yield GuestMove(each.service, "evict", why)


def _back(guests: Sequence[SeenGuest], room: Mapping[str, int], now: float) -> Iterator[GuestMove]:
    """Yield who may come back: one tenant after the other, as far as the room goes for all that each may use."""
    left, counted = dict(room), set[tuple[str, str]]()
    for each in sorted(guests, key=lambda guest: guest.evicted):
        if not each.evicted or each.refused or now < each.not_before:
            continue
        if each.by_person:
            if each.until and now >= each.until:
                yield GuestMove(each.service, "admit", "the time is over for which it was evicted")
            continue
        asked = {host: each.memory for host in each.hosts if (each.tenant, host) not in counted}
        fits = all(left.get(host, -1) >= bytes_ + each.reserve for host, bytes_ in asked.items())
        if now >= each.evicted + CALM_SECONDS and fits:
            counted |= {(each.tenant, host) for host in asked}
            left |= {host: left[host] - bytes_ for host, bytes_ in asked.items()}
            yield GuestMove(each.service, "admit", "there is room again")


def _mib(number: int) -> str:
    return f"{number / _MIB:,.0f} MiB"

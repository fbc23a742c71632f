"""A stream in which a client keeps its side: a few clients ask much, and some fail again and again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from random import Random

from bench.traffic.draws import arrivals
from bench.traffic.reader import PER_BP, ROLLS, Answer, Reader
from bench.traffic.world import Clients, Tick, World


@dataclass
class Client:
    """Somebody who asks; a bad one fails every second time."""

    roll: int
    bad: bool
    until: float
    asked: int = 0


class Crowd:
    """The clients of a rollout. Who leaves is followed by somebody new."""

    def __init__(self, clients: Clients, dice: Random) -> None:
        self._clients, self._dice = clients, dice
        self._there = [self._somebody(0.0) for _ in range(clients.number)]
        # Zipf's law without its first places: the busiest of 2,000 asks for a twentieth of everything.
        self._weights = list(accumulate(1 / (k + 3) for k in range(clients.number)))

    def _somebody(self, now: float) -> Client:
        dice = self._dice
        until = now + dice.expovariate(1 / self._clients.stay)
        return Client(dice.randrange(ROLLS), dice.random() < self._clients.bad, until)

    def asking(self, now: float, number: int) -> list[Client]:
        """Return who asks next, `number` times."""
        places = self._dice.choices(range(len(self._there)), cum_weights=self._weights, k=number)
        return [self._present(place, now) for place in places]

    def _present(self, place: int, now: float) -> Client:
        if self._there[place].until < now:
            self._there[place] = self._somebody(now)
        return self._there[place]


@dataclass(frozen=True)
class Look:
    """What was answered between two looks; `harmful` tells of each answer whether the candidate made it bad."""

    at: float
    share: int
    following: int
    answers: list[Answer]
    harmful: list[bool]


def sticky(world: World, dice: Random) -> Iterator[Tick]:
    """Make up the requests of one rollout whose clients keep their sides."""
    reader = Reader()
    for look in looks(world, dice):
        for answer in look.answers:
            reader.read(answer, look.share)
        yield Tick(look.at, reader.take(look.share), look.following, sum(look.harmful))


def looks(world: World, dice: Random) -> Iterator[Look]:
    """Make up answers, look by look; the same dice make the same ones."""
    if world.clients is None:
        raise ValueError(f"{world.about}: clients that keep their sides must be described")
    stable_rate, pace = world.weather(dice), world.pace(dice)
    crowd = Crowd(world.clients, dice)
    service = Service(world, dice)
    for number in range(round(world.seconds / world.tick)):
        begin = number * world.tick
        asking = crowd.asking(begin, arrivals(dice, world.rps * world.tick))
        now = Now(begin, world.share(begin), stable_rate(begin), pace(begin))
        answered = [service.answer(client, now) for client in asking]
        answers, harmful = [a for a, _ in answered], [h for _, h in answered]
        yield Look(begin + world.tick, now.share, world.following(begin), answers, harmful)


@dataclass(frozen=True)
class Now:
    """What holds for both sides between two looks: share in basis points, stable's error rate, how slow all is."""

    at: float
    share: int
    rate: float
    pace: float


class Service:
    """Both sides of it, as they answer clients."""

    def __init__(self, world: World, dice: Random) -> None:
        self._fault, self._dice, self._usual = world.fault, dice, world.latencies
        self._slowed = world.fault.times(world.latencies)

    def answer(self, client: Client, now: Now) -> tuple[Answer, bool]:
        """Return the answer, and whether the candidate made it bad."""
        candidate = client.roll < now.share * PER_BP
        ill = candidate and self._fault.there(now.at)
        client.asked += 1
        failed = client.bad and client.asked % 2 == 0
        failed = failed or self._dice.random() < (self._fault.rate(now.rate) if ill else now.rate)
        bucket = None if failed else (self._slowed if ill else self._usual).one(self._dice, now.pace)
        return Answer(client.roll, bucket), candidate and (failed or (ill and self._fault.slower > 1))

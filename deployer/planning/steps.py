"""The closed vocabulary of steps: each is an intent, safe to repeat, with a deadline in seconds.

A step says what must be so, not which command to run; whoever carries it out looks at the world first.
`explain()` is the sentence that `deploy plan` prints.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from deployer.core.amounts import percent as percent
from deployer.core.amounts import span as span

Colour = Literal["blue", "green"]
_ROLES = ("", "viewer", "operator", "admin")  # of tokens of the server, each with the rights of those before
MOST_NAMED = 5  # hosts that a sentence names
Place = Literal["blue", "green", "baseline"]  # a baseline: fresh instances of the stable release, to compare with


def _listed(names: Sequence[str], last: str) -> str:
    return f"{', '.join(names[:-1])} {last} {names[-1]}" if len(names) > 1 else names[0]


def named(hosts: tuple[str, ...]) -> str:
    """Name hosts; of many the first and the last: `12 hosts (web01 … web12)`."""
    if len(hosts) > MOST_NAMED:
        return f"{len(hosts)} hosts ({hosts[0]} … {hosts[-1]})"
    return ", ".join(hosts)


@dataclass(frozen=True, kw_only=True)
class Step:
    """One intent with the time it may take."""

    deadline: float

    @property
    def kind(self) -> str:
        """Name of the step in plans, journals and events."""
        return type(self).__name__.lower()

    def explain(self) -> str:
        """Return in one sentence what will be so afterwards."""
        raise NotImplementedError(self.kind)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data; `kinds.from_dict` reads it back."""
        return {"kind": self.kind, **asdict(self)}


@dataclass(frozen=True, kw_only=True)
class Start(Step):
    """So many instances of the release run in the colour, with their addresses.

    They are dealt out to the `hosts`, hosts of the inventory, by turns (`model.spread`); without any they stand on
    this one. `spare` of the hosts may be silent, then and until the others are healthy.
    """

    release: int
    colour: Place
    instances: int
    hosts: tuple[str, ...] = ()
    spare: int = 0

    def explain(self) -> str:
        """Return in one sentence what will be so afterwards."""
        what = f"start {self.instances} instance{'s' * (self.instances > 1)} of r{self.release} as {self.colour}"
        used = self.hosts[: self.instances]
        if len(used) < 2:
            return f"{what} on {used[0]}" if used else what
        each, rest = divmod(self.instances, len(used))
        number = f"{each} or {each + 1}" if rest else str(each)
        return f"{what}, {number} on each of {named(used)}"


@dataclass(frozen=True, kw_only=True)
class Play(Step):
    """Playbooks are rolled over the instances of a colour (`when` says on which occasion), or a command is run.

    A command, `run`, runs on this host, or `inside` one of the instances.
    """

    when: Literal["update", "before", "after", "backup", "rehearse", "expand", "contract"]
    playbooks: tuple[str, ...] = ()
    release: int
    colour: Colour
    run: tuple[str, ...] = ()
    inside: bool = False

    @property
    def what(self) -> str:
        """What is run, in words."""
        return " ".join(self.run) if self.run else ", ".join(self.playbooks)

    def explain(self) -> str:
        """Return in one sentence what will be so afterwards."""
        if not self.run:
            return f"run {self.what} ({self.when}) on {self.colour}"
        where = f"in an instance of {self.colour}" if self.inside else "on this host"
        return f"run `{self.what}` ({self.when}) {where}, {span(self.deadline)} at most"


@dataclass(frozen=True, kw_only=True)
class Healthy(Step):
    """Gate: each instance of the colour passes its health check, asked directly."""

    release: int
    colour: Place

    def explain(self) -> str:
        """Return in one sentence what will be so afterwards."""
        return f"every instance of {self.colour} passes its health check within {span(self.deadline)}"


@dataclass(frozen=True, kw_only=True)
class Attach(Step):
    """The proxy knows the instances of the colour and its own checks passed; the share is not touched.

    `partial`: those on hosts that give no answer may be missing, for users to have the others.
    """

    release: int
    colour: Place
    partial: bool = False

    def explain(self) -> str:
        """Return in one sentence what will be so afterwards."""
        return f"register {self.colour} in the proxy; its traffic does not change yet"


@dataclass(frozen=True, kw_only=True)
class Smoke(Step):
    """Gate: the smoke tests of the release pass through the proxy's preview route."""

    release: int
    colour: Colour

    def explain(self) -> str:
        """Return in one sentence what will be so afterwards."""
        return f"smoke tests of r{self.release} pass through the proxy, before any user"


@dataclass(frozen=True, kw_only=True)
class Share(Step):
    """The candidate gets this part of the traffic, in basis points, and the baseline its own.

    `leased` lets it run out if the deployer dies.
    """

    share: int
    leased: bool = True
    baseline: int = 0

    def explain(self) -> str:
        """Return in one sentence what will be so afterwards."""
        if not self.share:
            return "all users are on the stable release"
        beside = f", {percent(self.baseline)} to the baseline" if self.baseline else ""
        return f"{percent(self.share)} of the traffic goes to the candidate{beside}"


@dataclass(frozen=True, kw_only=True)
class Watch(Step):
    """Gate: the candidate is compared with the stable release and must not be worse.

    With `seconds` for so long; fewer than `requests` candidate requests at the end is `inconclusive`. Without, until it
    is proven no worse than the margins allow before it gets `following` of the traffic (basis points), `least`
    seconds long at least; what is not shown by the deadline is `inconclusive`. With `seconds` and `early` it ends by
    whichever comes first. At a full share only the absolute limit holds. `against` says what it is compared with.
    """

    seconds: float
    share: int
    release: int
    colour: Colour
    requests: int = 0
    following: int = 10000
    least: float = 0.0
    against: Literal["stable", "baseline"] = "stable"
    early: bool = False

    @property
    def proves(self) -> bool:
        """Whether the step ends when the candidate is proven no worse."""
        return self.early or not self.seconds

    def explain(self) -> str:
        """Return in one sentence what will be so afterwards."""
        whom = {"stable": "stable", "baseline": "the baseline"}[self.against]
        with_whom = f"compared with {whom}" if self.share < 10000 else "against the absolute error limit"
        if self.seconds and not self.early:
            return f"watch {percent(self.share)} for {span(self.seconds)}, {with_whom}"
        end = f"{span(self.seconds)} at most" if self.early else f"inconclusive after {span(self.deadline)}"
        return f"watch {percent(self.share)} until proven no worse than {whom}, {end}"


@dataclass(frozen=True, kw_only=True)
class Observe(Step):
    """Gate: the instances of a candidate that gets no requests run for so long, none ends or is started again.

    `instances` are there by then `of` all; metrics of the manifest must be within their limits meanwhile. What they do
    not say by the deadline is `inconclusive`.
    """

    seconds: float
    release: int
    colour: Colour
    instances: int
    of: int

    @property
    def what(self) -> str:
        """The instances that are watched, in words."""
        all_of_them = f"{self.of} instance{'s' * (self.of > 1)} of r{self.release}"
        return f"{self.instances} of {all_of_them}" if self.instances < self.of else all_of_them

    def explain(self) -> str:
        """Return in one sentence what will be so afterwards."""
        return f"watch {self.what} for {span(self.seconds)}: exits, restarts and metrics"


@dataclass(frozen=True, kw_only=True)
class Approve(Step):
    """Gate: people let it go on.

    With a `count` it waits until so many different ones of those named in `by`, or of whoever has the `role`, say
    `deploy approve`; whoever started the rollout only where it may be their `own`. At the deadline it is `expired`.
    Without, it holds: anybody says `deploy resume`, `deploy promote` or `deploy abort`, and the command ends meanwhile.
    `instances` says how far a candidate has come that has no share of any requests.
    """

    share: int
    count: int = 0
    by: tuple[str, ...] = ()
    role: str = ""
    own: bool = False
    expired: Literal["revert", "hold"] = "revert"
    instances: str = ""

    @property
    def where(self) -> str:
        """How far the candidate has come by then, in words."""
        return self.instances or percent(self.share)

    def explain(self) -> str:
        """Return in one sentence what will be so afterwards."""
        if not self.count:
            return f"hold at {self.where} until `deploy resume`, `deploy promote` or `deploy abort`"
        after = {"revert": "it is rolled back", "hold": "it is paused"}[self.expired]
        limit = f"{span(self.deadline)} at most; then {after}"
        return f"wait at {self.where} for the approval of {self.whose()}, {limit}"

    def whose(self, count: int = 0) -> str:
        """Return whose approval it takes: `anna and ben`, `2 of anna, ben and carl`, `one of anna or an admin`."""
        count = count or self.count
        roles = {"operator": ("an operator", "operators"), "admin": ("an admin", "admins")}
        if not self.by:
            return roles[self.role][0] if count == 1 else f"{count} {roles[self.role][1]}"
        people = [*self.by, *([roles[self.role][0]] if self.role else [])]
        if count == 1:
            return _listed(people, "or")
        if count == len(people) and not self.role:
            return _listed(people, "and")
        return f"{count} of {_listed([*self.by, *([roles[self.role][1]] if self.role else [])], 'and')}"

    def allows(self, person: str, role: str, starter: str) -> str:
        """Return why a person with a role ("" for none) may not approve; "" where they may."""
        known = {name.casefold() for name in self.by}
        if person.casefold() not in known and not (self.role and _ROLES.index(role) >= _ROLES.index(self.role)):
            return f"{person} is not asked: it needs the approval of {self.whose()}"
        if not self.own and person.casefold() == starter.casefold():
            return f"{person} started it, and may not approve what they started"
        return ""


@dataclass(frozen=True, kw_only=True)
class Promote(Step):
    """The commit point: the colour is the stable one for the proxy, the release the live one for the store."""

    release: int
    colour: Colour

    def explain(self) -> str:
        """Return in one sentence what will be so afterwards."""
        return f"promote: r{self.release} ({self.colour}) is the stable release from here on"


@dataclass(frozen=True, kw_only=True)
class Remove(Step):
    """All but the first `keep` instances of the colour are drained, forgotten by the proxy, stopped and removed.

    `release` 0 means whatever runs in the colour. `drain` is how long running requests get. A colour that users
    are on is never emptied, unless `outage` says that the strategy means it (recreate): the step fails instead.
    """

    colour: Place
    release: int = 0
    keep: int = 0
    drain: float = 30.0
    outage: bool = False

    def explain(self) -> str:
        """Return in one sentence what will be so afterwards."""
        what = f"r{self.release} ({self.colour})" if self.release else f"everything in {self.colour}"
        left = f", {self.keep} stay{'s' * (self.keep == 1)}" if self.keep else ""
        gap = "; users get 503 until the other release takes over" if self.outage else ""
        return f"drain (up to {span(self.drain)}), then remove {what}{left}{gap}"


@dataclass(frozen=True, kw_only=True)
class Stop(Remove):
    """The same for instances that get no requests: each ends its work within `grace`, the rest is cut off."""

    drain: float = 0.0
    grace: float

    def explain(self) -> str:
        """Return in one sentence what will be so afterwards."""
        what = f"r{self.release} ({self.colour})" if self.release else f"everything in {self.colour}"
        left = f", {self.keep} stay{'s' * (self.keep == 1)}" if self.keep else ""
        gap = "; nothing runs until the other release is started" if self.outage else ""
        return f"stop {what}{left}; it has {span(self.grace)} to finish its work{gap}"


@dataclass(frozen=True, kw_only=True)
class Sleep(Step):
    """The instances of the colour are stopped where they are, or paused, and the next request starts them again.

    Where somebody comes meanwhile, or requests go on beyond `drain`, they run on.
    """

    release: int
    colour: Colour
    drain: float
    grace: float

    def explain(self) -> str:
        """Return in one sentence what will be so afterwards."""
        return f"r{self.release} ({self.colour}) sleeps: the next request starts it"


@dataclass(frozen=True, kw_only=True)
class Handover(Step):
    """No WebSocket or tcp session is open on a release that users have left: their clients connect again.

    They are closed in portions, spread over `seconds`; 0 is at once. Requests are left alone.
    """

    release: int
    colour: Place
    seconds: float

    def explain(self) -> str:
        """Return in one sentence what will be so afterwards."""
        how = f"within {span(self.seconds)}, a few at a time" if self.seconds else "at once"
        return f"close WebSockets and tcp sessions on r{self.release} ({self.colour}) {how}"


@dataclass(frozen=True, kw_only=True)
class Warm(Step):
    """The former environment stays ready for a rollback, for `seconds`; afterwards the next command may remove it."""

    release: int
    colour: Colour
    seconds: float

    def explain(self) -> str:
        """Return in one sentence what will be so afterwards."""
        return f"keep r{self.release} ({self.colour}) running for {span(self.seconds)} for instant rollback"


@dataclass(frozen=True, kw_only=True)
class Pause(Step):
    """What is kept warm gets no processor time: out of the proxy, it keeps its memory, and a rollback has it go on.

    What is open beyond `drain` is cut. Where somebody gave it users meanwhile, or it cannot be paused, it runs on.
    """

    release: int
    colour: Colour
    drain: float

    def explain(self) -> str:
        """Return in one sentence what will be so afterwards."""
        return f"pause r{self.release} ({self.colour}): it keeps its memory, and a rollback has it go on first"


@dataclass(frozen=True, kw_only=True)
class Prune(Step):
    """Images of releases older than the last `keep` are removed; only what we brought, never what is in use."""

    keep: int

    def explain(self) -> str:
        """Return in one sentence what will be so afterwards."""
        return f"prune images older than the last {self.keep} releases"

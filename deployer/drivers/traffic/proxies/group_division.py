"""How the users of a service are divided at several proxies: one live value, written to all of them or to none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace

from deployer.core.clock import Clock, Deadline
from deployer.core.errors import DeployError, DriverFailed, NoServerUp
from deployer.drivers.traffic.proxies import consensus
from deployer.drivers.traffic.proxies.budget_split import divided
from deployer.drivers.traffic.proxies.members import GroupMember, Members
from deployer.model import COLOURS, Live, Place
from deployer.transport.fanout import Answers

BACK_SECONDS = 10.0  # to give the others what they had when one has failed


class GroupDivision:
    """The live values of services, at all members of a group."""

    def __init__(self, members: Members, clock: Clock) -> None:
        self._members = members
        self._clock = clock

    def write(self, service: str, live: Live, given: Live | None, deadline: Deadline) -> None:
        """Write the value to all, and read it back; where one cannot take it, the others get back what they had.

        But not on the way back to stable, which is the safe direction: there every proxy goes that can, and the error
        is raised afterwards. Lost ones get nothing, and neither does one that fails where enough others do not.
        """
        left = self._members.left(service)  # one may come back meanwhile
        before = self._members.prompt.read(left, service)
        safe = _is_safe(live, before.ok)
        if not safe:
            self._members.enough(service, before, at_once=True)
            self._refuse_nowhere(service, live)
        known = {name: was for name, was in before.ok.items() if was is not None}
        was = consensus.one(known) if known else None
        present = [name for name in self._members.left(service) if name in left]
        parts = self._divided(service, live, before.ok, present)
        with nullcontext() if safe else self._written_down(service, was, live):
            tried = self._members.prompt.given(
                parts, lambda m, part: m.set_traffic(service, part, self._members.prompt.by(deadline), given)
            )
            had = {
                name: [v for v in (before.ok.get(name) or was, parts.get(name)) if v] for name in self._members.names
            }
            self._settle(service, live, tried, before, had, safe=safe)
        if tried.failed and live.budget:  # the parts of those that are lost by this are the others'
            self.write(service, live, given, deadline)

    @contextmanager
    def _written_down(self, service: str, was: Live | None, live: Live) -> Iterator[None]:
        """Have written down, before users are moved, which proxies are lost and what they may have."""
        self._members.write_down(service, dict.fromkeys(self._members.names, [was] if was else []))
        with self._members.changing(service, was, live):
            yield

    def _settle(
        self,
        service: str,
        live: Live,
        tried: Answers[str, None],
        before: Answers[str, Live | None],
        had: Mapping[str, Sequence[Live]],
        *,
        safe: bool,
    ) -> None:
        """Leave out those that did not take a value; where they cannot be spared, put back the others, and raise."""
        failed = {**before.failed, **tried.failed}
        try:
            self._members.enough(service, Answers(tried.ok, failed), at_once=True)
        except DeployError as error:
            if not safe and tried.failed:
                former = {name: was for name in tried.ok if (was := before.ok[name])}
                self._put_back(service, {name: replace(was, token=live.token) for name, was in former.items()}, error)
            raise
        self._members.write_down(service, had)
        if not failed and not self._members.spares:
            self._members.are_back(service, tried.ok)

    def _divided(
        self, service: str, live: Live, before: Mapping[str, Live | None], present: Sequence[str]
    ) -> dict[str, Live]:
        """Return each proxy's part of the budget; what was spent in this rollout stays with who spent it."""
        names = present if live.budget else list(before)
        if not live.budget:
            return dict.fromkeys(names, live)
        same = {name for name, was in before.items() if was is not None and was.rollout == live.rollout and was.budget}
        spent = dict.fromkeys(names, 0)
        if same:
            found = self._members.prompt.on(self._members.some(same), lambda member: member.spent(service))
            known = self._members.enough(service, found, at_once=True)
            spent = {name: known.get(name, 0) for name in names if name in known or name not in same}
        try:
            return {name: replace(live, budget=part) for name, part in divided(live.budget, spent).items()}
        except ValueError as error:
            raise DriverFailed(str(error), "raise traffic.budget, or set it to false") from None

    def _refuse_nowhere(self, service: str, live: Live) -> None:
        """Raise NoServerUp unless every proxy has a server that is up wherever users are to go.

        With all users on stable and no server up on either side, nothing is lost by that.
        """
        places = dict.fromkeys((*COLOURS, *live.used))

        def up(member: GroupMember) -> dict[Place, bool]:
            return {place: any(is_up for _, is_up in member.servers(service, place)) for place in places}

        for name, found in self._members.ask(service, up).items():
            missing = [place for place in live.used if not found[place]]
            if missing and (live.share or any(found[colour] for colour in COLOURS)):
                raise NoServerUp(
                    f"{name}: no server of {missing[0]} of {service} is up, users are not sent there",
                    "`deploy status` shows why",
                )

    def _put_back(self, service: str, former: Mapping[str, Live], error: DeployError) -> None:
        """Restore the value of those that took a new one, as one of the others could not, and raise that."""
        deadline = Deadline.after(self._clock, BACK_SECONDS)
        stuck = self._members.prompt.given(
            former, lambda member, live: member.set_traffic(service, live, self._members.prompt.by(deadline))
        ).failed
        now = f"{', '.join(stuck)} could not be put back" if stuck else "the others have what they had"
        raise type(error)(f"{error.message}; {now}", error.hint)


def _is_safe(live: Live, before: Mapping[str, Live | None]) -> bool:
    """Return whether a value gives users to nobody who had none: stable stays, or the candidate gets no more."""
    return live.share == live.baseline == 0 and all(was is None or was.stable == live.stable for was in before.values())

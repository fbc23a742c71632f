"""How a proxy comes to where the others of its group are: one that is new, and one that was lost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from deployer.core.clock import Deadline
from deployer.core.errors import DriverFailed
from deployer.drivers.traffic.haproxy.identity import new_key
from deployer.drivers.traffic.haproxy.spec import Spec
from deployer.drivers.traffic.proxies import consensus
from deployer.drivers.traffic.proxies.members import Members, refuse
from deployer.model import Live
from deployer.planning.certificates import ServedCertificate
from deployer.transport.fanout import Answers


class GroupJoining:
    """Makes proxies serve what those serve that have been here all the time."""

    def __init__(self, members: Members) -> None:
        self._members = members

    def bring_back(self, service: str, given: Sequence[ServedCertificate], deadline: Deadline) -> tuple[str, ...]:
        """Bring those that are left out, and respond again, to where the others are; return their names."""
        away = {name: self._members.every[name] for name in self._members.away(service)} if self._members.spares else {}
        values = self._members.some_values(self._members.left(service), service) if away else {}
        if not values:
            return ()
        back = self._members.prompt.read(away, service).ok
        token = consensus.newest({**values, **{name: live for name, live in back.items() if live}})
        if given:
            able = self._members.tried(
                self._members.some(back), lambda member: member.certificates.install(given, deadline)
            )
            back = {name: back[name] for name in able.ok}
        joined = self._joined(service, back, values, deadline, token).ok if back else {}
        self._members.are_back(service, joined)
        return tuple(joined)

    def welcome(self, service: str, deadline: Deadline) -> None:
        """Bring a proxy that is new to where the others are, before anything changes."""
        values = self._members.values(service)
        new = [name for name in self._members.present(service) if values and name not in values]
        if new:
            tried = self._joined(service, new, values, deadline)
            self._members.enough(service, Answers({**dict.fromkeys(values), **tried.ok}, tried.failed))

    def _joined(
        self, service: str, names: Iterable[str], values: Mapping[str, Live], deadline: Deadline, token: int = 0
    ) -> Answers[str, None]:
        """Make proxies serve the service as those that have these values, by the newest token that was seen."""
        known = self._members.prompt.on(self._members.some(values), lambda member: member.membership.spec(service))
        text = next(filter(None, known.ok.values()), None)
        if text is None:
            refuse(known)
            raise DriverFailed(f"{', '.join(values)}: {service} is not known any more", "`deploy doctor` shows more")
        agreed = consensus.joining(values)
        live = dict.fromkeys(names, replace(agreed, token=max(agreed.token, token)))
        return self._members.each(
            live, lambda member, joining: member.membership.join(service, text, joining, deadline)
        )

    def key(self, service: str) -> str:
        """Return the key with which all of them sign cookies: that of the first one that has one, or a new one."""
        texts = self._members.ask(service, lambda member: member.membership.spec(service)).values()
        return next(filter(None, (Spec.model_validate_json(text).key for text in texts if text)), "") or new_key()

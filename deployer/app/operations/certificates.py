"""Certificates of services with `tls: auto`: ordered when they are due, kept, shown by every proxy.

An order may take a minute and its authority may be down, so it is not made under the lock of the service: nobody's
deploy waits for it. Each domain has a lock of its own, with the same fence: of two who want the same certificate, one
orders it. A proxy changes under the lock of its folder, as always.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from deployer.app.homes import is_elsewhere
from deployer.app.operations.context import AppContext
from deployer.app.operations.execution import hands, locked
from deployer.core.clock import Deadline
from deployer.core.errors import DeployError, Exit, Locked, Refused
from deployer.core.secret import hide
from deployer.planning import certificates as planning
from deployer.planning.orders import RolloutResult
from deployer.store import AuditEntry, Lock

if TYPE_CHECKING:
    from deployer.manifest.models import Manifest
    from deployer.manifest.tls import AutoTls
    from deployer.model import Release
    from deployer.planning.certificates import CertificateFacts, OrderHistory

ORDER_SECONDS = 180.0
PROXY_SECONDS = 30.0
ASK_SECONDS = 30.0  # for when the authority would like a renewal
State = Literal["kept", "due", "issued", "waiting", "failed"]


@dataclass(frozen=True)
class DomainResult:
    """What became of the certificate of a domain; `due` is one that a dry run would have ordered."""

    service: str
    domain: str
    state: State
    text: str
    hint: str = ""

    @property
    def sentence(self) -> str:
        """Return it in one line; most errors name the domain themselves."""
        named = self.text if self.domain in self.text else f"{self.domain}: {self.text}"
        return named + (f" → {self.hint}" if self.hint else "")


@dataclass(frozen=True)
class AutoDomain:
    """A domain whose certificate is got by itself, with the release that its users are on."""

    service: str
    domain: str
    release: Release
    auto: AutoTls
    port: int  # of the plain entry

    @property
    def lock(self) -> str:
        """Name its lock; no service has a dot in its name."""
        return f"certificate.{self.domain.replace('*', '_')}"


def auto_domains(house: AppContext, services: Sequence[str] = ()) -> Iterator[AutoDomain]:
    """Yield the domains of what is live, of all services where none is named."""
    for record in house.store.services.all():
        if not record.stable or (services and record.name not in services) or is_elsewhere(house.store, record.name):
            continue
        release = house.store.releases.get(record.name, record.stable)
        tls = release.manifest.traffic.tls
        if tls is None or tls.auto is None:
            continue
        port = int(release.manifest.traffic.listen.rpartition(":")[2])
        for domain in release.manifest.traffic.domains:
            yield AutoDomain(record.name, domain, release, tls.auto, port)


def renew(
    house: AppContext, domain: str = "", *, services: Sequence[str] = (), dry_run: bool = False
) -> Iterator[DomainResult]:
    """Order what is due; a `domain` that is named is ordered whether it is due or not. One that fails stops no other.

    For `services` that are named, whose deploy is about to end, an authority is not asked when it would like a renewal:
    it may be down, and what is kept is good without it.
    Raise Refused for a domain that no live service has with `tls: auto`.
    """
    every = list(auto_domains(house, services))
    chosen = [one for one in every if not domain or one.domain == domain]
    if domain and not chosen:
        known = ", ".join(sorted({one.domain for one in every})) or "none"
        raise Refused(f"no live service has {domain} with `tls: auto`", f"domains with it: {known}")
    for one in chosen:
        try:
            yield _renew(house, one, asked=bool(domain), dry_run=dry_run, look=not services)
        except Locked as error:
            yield DomainResult(one.service, one.domain, "waiting", error.message, error.hint)
        except DeployError as error:
            yield DomainResult(one.service, one.domain, "failed", error.message, error.hint)


def announce(house: AppContext, manifest: Manifest) -> None:
    """Report, before a deploy, how the domains of a manifest will get their first certificates."""
    tls = manifest.traffic.tls
    if tls is None or tls.auto is None:
        return
    if new := [domain for domain in manifest.traffic.domains if house.certificates.kept(domain) is None]:
        of = f"{', '.join(new)}: {'a certificate is' if len(new) == 1 else 'certificates are'} ordered"
        way = f"by {'DNS' if tls.auto.dns else 'HTTP'}, from {urlsplit(tls.auto.directory).hostname}"
        house.tell(manifest.service, f"{of} {way}, when the release is live; until then there is a placeholder")


def certified(house: AppContext, result: RolloutResult, service: str) -> RolloutResult:
    """Return the ending of an order that brought a release out, after its certificates were ordered where they are due.

    The release is live, whatever becomes of them.
    """
    if result.exit != Exit.DONE or result.outcome != "done":
        return result
    said = [one for one in renew(house, services=(service,)) if one.state != "kept"]
    for one in said:
        house.tell(service, one.sentence)
    wrong = [one.domain for one in said if one.state in ("failed", "waiting")]
    if not wrong:
        return result
    first = [domain for domain in wrong if house.certificates.kept(domain) is None]
    late = [domain for domain in wrong if domain not in first]
    lines = [f"no certificate yet for {', '.join(first)}"] if first else []
    lines += [f"the certificate is not renewed yet for {', '.join(late)}"] if late else []
    return replace(result, text="\n".join([result.text, *(f"{line}: `deploy certs` says why" for line in lines)]))


def bring(house: AppContext, domain: str, certificate: str, key: str) -> DomainResult:
    """Keep a certificate that a person has, and have every proxy show it. Raise Refused for one that is unfit."""
    one = next((each for each in auto_domains(house) if each.domain == domain), None)
    if one is None:
        raise Refused(f"no live service has {domain} with `tls: auto`", "`deploy certs` lists the domains")
    with _ordering(house, one) as lock:
        facts = house.certificates.keep(domain, certificate, key)
        house.certificates.remember(domain, planning.OrderHistory())
        _install(house, one, lock)
        _record(house, one, lock, f"imported: {_described(facts)}")
    return DomainResult(one.service, domain, "issued", f"imported: {_described(facts)}")


# -- one domain


def _renew(house: AppContext, one: AutoDomain, *, asked: bool, dry_run: bool, look: bool) -> DomainResult:
    keeper, now = house.certificates, house.clock.now()
    facts, history = keeper.kept(one.domain), keeper.history(one.domain)
    if facts and look and not dry_run:
        history = _suggested(house, one, history)
    due = planning.renewal_at(facts, history.suggestion) if facts else 0.0
    if facts and due > now and not asked:
        return _kept(house, one, facts, due, dry_run=dry_run)
    if history.wait_until > now:
        return _waits(one, history, history.wait_until)
    at = planning.order_at(facts, history)
    if at > now and not asked:
        return _waits(one, history, at)
    if dry_run:
        return DomainResult(one.service, one.domain, "due", f"would be ordered from {one.auto.directory}")
    with _ordering(house, one) as lock:
        fresh = keeper.kept(one.domain)
        if fresh is None or fresh == facts:  # else another process was faster
            fresh = _order(house, one, lock)
        _install(house, one, lock)
    return DomainResult(one.service, one.domain, "issued", _described(fresh))


def _order(house: AppContext, one: AutoDomain, lock: Lock) -> CertificateFacts:
    """Order and keep a certificate; each order is counted before it begins. Raise OrderFailed, and Refused."""
    keeper, longer = house.certificates, one.auto.dns.longest if one.auto.dns else 0.0
    deadline = Deadline.after(house.clock, ORDER_SECONDS + longer)
    why, hint = keeper.elsewhere(one.domain, one.auto, one.port, deadline)
    history = keeper.history(one.domain)
    if why:  # no order is made, so none has failed; why not is told by `deploy certs`, until one is made
        keeper.remember(one.domain, replace(history, why=why, hint=hint))
        raise Refused(why, hint)
    history = planning.begun(history, house.clock.now())
    keeper.remember(one.domain, history)
    try:
        facts = keeper.order(one.domain, one.auto, deadline)
    except DeployError as error:
        error.message, error.hint = hide(error.message), hide(error.hint)  # it may repeat what a program said
        wait = float(getattr(error, "wait_until", 0.0))
        keeper.remember(one.domain, planning.failed(history, error.message, error.hint, wait))
        raise
    keeper.remember(one.domain, planning.OrderHistory())
    _record(house, one, lock, _described(facts))
    return facts


def _install(house: AppContext, one: AutoDomain, lock: Lock) -> None:
    """Have every proxy show what is kept."""
    if there := hands(house, lock, house.drivers(one.release)).certificates:
        there.install([house.certificates.served(one.domain, one.auto)], Deadline.after(house.clock, PROXY_SECONDS))


def _kept(house: AppContext, one: AutoDomain, facts: CertificateFacts, at: float, *, dry_run: bool) -> DomainResult:
    """See that every proxy shows what is kept: an earlier process may have died before they did."""
    there = house.drivers(one.release).certificates
    shown = there.shown(one.service) if there else {}
    serials = {house.certificates.facts(by[one.domain]).serial for by in shown.values() if one.domain in by}
    history = house.certificates.history(one.domain)
    over = bool(history.failures) and history.wait_until <= house.clock.now()
    if (serials != {facts.serial} or over) and not dry_run:
        with _ordering(house, one) as lock:
            _install(house, one, lock)
            if over:
                house.certificates.remember(one.domain, replace(history, failures=0, why="", hint=""))
    return DomainResult(one.service, one.domain, "kept", f"{_described(facts)}; renewed from {_day(at)}")


def _suggested(house: AppContext, one: AutoDomain, history: OrderHistory) -> OrderHistory:
    """Return the history with what the authority suggests; what cannot be asked now is asked another time."""
    now = house.clock.now()
    if history.suggestion.ask_again > now:
        return history
    try:
        found = house.certificates.suggestion(one.domain, one.auto, Deadline.after(house.clock, ASK_SECONDS))
    except DeployError as error:
        house.tell(one.service, f"{error.message}: {one.domain} is renewed with a third of its life left")
        found = replace(history.suggestion, ask_again=now + planning.FIRST_PAUSE)
    history = replace(history, suggestion=found)
    house.certificates.remember(one.domain, history)
    return history


@contextmanager
def _ordering(house: AppContext, one: AutoDomain) -> Iterator[Lock]:
    """Hold the lock of a domain. Raise Locked when another process has it."""
    try:
        with locked(house, one.lock, f"certificate of {one.domain}") as lock:
            yield lock
    except Locked as error:
        held = house.store.locks.read(one.lock)
        who = f"{held.owner} ({held.where})" if held else "another process"
        raise Locked(f"the certificate of {one.domain} is being ordered by {who}", "wait for it") from error


def _record(house: AppContext, one: AutoDomain, lock: Lock, what: str) -> None:
    entry = AuditEntry("certificate", one.service, release=one.release.number, detail=f"{one.domain}: {what}")
    house.store.audit.record(entry, lock)


def _waits(one: AutoDomain, history: OrderHistory, until: float) -> DomainResult:
    orders = "1 order failed" if history.failures == 1 else f"{history.failures} orders failed"
    text = f"{orders}, the next one is made after {_moment(until)}; the last one: {history.why}"
    hint = (
        history.hint
        if history.wait_until
        else f"{history.hint or 'fix that'}; to try now: `deploy certs renew {one.domain}`"
    )
    return DomainResult(one.service, one.domain, "waiting", text, hint)


def _described(facts: CertificateFacts) -> str:
    return f"issued by {facts.issuer}, valid until {_day(facts.ends)}, serial {facts.serial}"


def _day(at: float) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(at))


def _moment(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at))

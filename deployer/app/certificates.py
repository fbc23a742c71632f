"""The certificates of all live services: what is kept, what each proxy shows, when each ends, and who hears of that."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from deployer.app.operations import AppContext
from deployer.app.operations.certificates import AutoDomain, auto_domains
from deployer.core.errors import DeployError, Refused
from deployer.model import Release
from deployer.planning import certificates as planning
from deployer.planning.certificates import CertificateFacts, OrderHistory
from deployer.views.data import CertificateRow, CertificatesView

LATE = planning.DAY / 4  # after which a renewal that is due is overdue


@dataclass(frozen=True)
class CertificateEnd:
    """When a certificate ends, as files of this host say; `failures` are orders that failed one after the other."""

    service: str
    domain: str
    ends: float
    failures: int = 0


def listed(house: AppContext) -> CertificatesView:
    """List the certificates of all live services, read from each proxy; what cannot be read is said in its row."""
    return CertificatesView(tuple(row for release in _with_tls(house) for row in rows(house, release)))


def ends(house: AppContext) -> Iterator[CertificateEnd]:
    """Yield the ends of the certificates of all live services. Nothing is asked of a proxy.

    A file of a user's own that is not here, or cannot be read, is left out. Raise Refused where the libraries of the
    extra `tls` are missing and there is a certificate of ours.
    """
    for release in _with_tls(house):
        traffic, name = release.manifest.traffic, release.service
        if traffic.tls and traffic.tls.auto:
            for domain in traffic.domains:
                if facts := house.certificates.kept(domain):
                    yield CertificateEnd(name, domain, facts.ends, house.certificates.history(domain).failures)
        elif traffic.tls and traffic.proxies.local:
            for path in map(Path, traffic.tls.certificates or ()):
                if facts := _read(house, path):
                    yield CertificateEnd(name, facts.names[0] if facts.names else path.name, facts.ends)


def rows(house: AppContext, release: Release) -> Iterator[CertificateRow]:
    """Yield a row for each certificate of a release that is live."""
    problem = ""
    shown: Mapping[str, Mapping[str, str]] = {}
    try:
        if there := house.drivers(release).certificates:
            shown = there.shown(release.service)
    except DeployError as error:
        problem = error.message
    auto = {one.domain: one for one in auto_domains(house, (release.service,))}
    for domain in release.manifest.traffic.domains or ("",):
        try:
            read = {name: house.certificates.facts(by[domain]) for name, by in shown.items() if domain in by}
            yield _row(house, release.service, domain, read, auto.get(domain), problem)
        except DeployError as error:
            source = "auto" if domain in auto else "yours"
            yield CertificateRow(release.service, domain, source, "", "", 0.0, 0.0, problem=error.message)


def warn(house: AppContext) -> None:
    """Notify the recipients of a service, once each, of a certificate that ends within 14, 7 and 3 days."""
    for row in listed(house).certificates:
        key = row.domain or row.service
        history = house.certificates.history(key)
        if row.warning in (history.warned, 0):
            if history.warned and not row.warning:
                house.certificates.remember(key, replace(history, warned=0))
            continue
        text = warned(row)
        house.tell(row.service, text)
        house.announcer.warn(row.service, text)
        house.certificates.remember(key, replace(history, warned=row.warning))


def warned(row: CertificateRow) -> str:
    """Return a sentence: a certificate ends soon, and why it was not renewed."""
    which = f"the certificate of {row.domain}" if row.domain else f"the certificate of {row.service}"
    if row.days_left <= 0:
        when = "has ended"
    else:
        when = f"ends in {row.days_left:.0f} days" if row.days_left >= 1.5 else "ends within a day"
    return f"{which} {when}" + (f": {row.problem}" if row.problem else "")


def _row(
    house: AppContext,
    service: str,
    domain: str,
    read: Mapping[str, CertificateFacts],
    auto: AutoDomain | None,
    problem: str,
) -> CertificateRow:
    now = house.clock.now()
    kept = house.certificates.kept(domain) if auto else None
    history = house.certificates.history(domain) if auto else OrderHistory()
    first = kept or min(read.values(), key=lambda facts: facts.ends, default=None)
    serials = {facts.serial for facts in read.values()}
    problems = [problem] if problem else []
    if auto and history.why:
        problems.append(history.why.removeprefix(f"{domain}: "))
    if first and serials - {first.serial}:
        problems.append("not every proxy shows the newest certificate")
    due = planning.renewal_at(kept, history.suggestion) if kept else 0.0
    row = CertificateRow(
        service=service,
        domain=domain,
        source=("placeholder" if kept is None else "auto") if auto else "yours",
        issuer=first.issuer if first else "",
        serial=first.serial if first else "",
        ends=first.ends if first else 0.0,
        days_left=max(0.0, (first.ends - now) / planning.DAY) if first else 0.0,
        renews_at=planning.order_at(kept, history) if auto and kept else 0.0,
        proxies={name: facts.serial for name, facts in read.items()},
        problem="; ".join(problems),
    )
    if first is None or row.source == "placeholder":
        return row
    overdue = bool(kept) and now > due + LATE
    return replace(row, warning=planning.warning(first, now, renewed=auto is not None, overdue=overdue))


def _read(house: AppContext, path: Path) -> CertificateFacts | None:
    """Return what a certificate of a user's own says; None where it cannot be read: `deploy doctor` says why."""
    try:
        return house.certificates.facts(path.read_text(encoding="utf-8", errors="replace"))
    except (OSError, Refused):
        return None


def _with_tls(house: AppContext) -> Iterator[Release]:
    for record in house.store.services.all():
        if record.stable:
            release = house.store.releases.get(record.name, record.stable)
            if release.manifest.traffic.tls:
                yield release

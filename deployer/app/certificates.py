"""The certificates of all live services: what is kept, what each proxy shows, and when each ends."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from deployer.app.operations import AppContext
from deployer.app.operations.certificates import AutoDomain, auto_domains
from deployer.core.errors import DeployError
from deployer.model import Release
from deployer.planning import certificates as planning
from deployer.planning.certificates import CertificateFacts, OrderHistory
from deployer.views.data import CertificateRow, CertificatesView


def listed(house: AppContext) -> CertificatesView:
    """List the certificates of all live services, read from each proxy; what cannot be read is said in its row."""
    return CertificatesView(tuple(row for release in _with_tls(house) for row in rows(house, release)))


def rows(house: AppContext, release: Release) -> Iterator[CertificateRow]:
    """Give a row for each certificate of a release that is live."""
    problem = ""
    shown: Mapping[str, Mapping[str, str]] = {}
    try:
        shown = house.drivers(release).traffic.certificates(release.service)
    except DeployError as error:
        problem = error.message
    auto = {one.domain: one for one in auto_domains(house, (release.service,))}
    for domain in release.manifest.traffic.domains or ("",):
        read = {name: house.certificates.facts(by[domain]) for name, by in shown.items() if domain in by}
        yield _row(house, release.service, domain, read, auto.get(domain), problem)


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
    if auto and history.failures:
        problem = f"{problem}; {history.why}".lstrip("; ")
    serials = {facts.serial for facts in read.values()}
    if first and serials - {first.serial}:
        problem = f"{problem}; not every proxy shows the same certificate".lstrip("; ")
    return CertificateRow(
        service=service,
        domain=domain,
        source=("placeholder" if kept is None else "auto") if auto else "yours",
        issuer=first.issuer if first else "",
        serial=first.serial if first else "",
        ends=first.ends if first else 0.0,
        days_left=max(0.0, (first.ends - now) / planning.DAY) if first else 0.0,
        renews_at=planning.order_at(kept, history) if auto and kept else 0.0,
        proxies={name: facts.serial for name, facts in read.items()},
        problem=problem,
    )


def _with_tls(house: AppContext) -> Iterator[Release]:
    for record in house.store.services.all():
        if record.stable:
            release = house.store.releases.get(record.name, record.stable)
            if release.manifest.traffic.tls:
                yield release

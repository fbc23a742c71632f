"""`deploy doctor --fix`: what is safe is put right, under the lock of its service, and looked at again."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from deployer.app.doctor.examination import differences
from deployer.app.doctor.finding import Discrepancy
from deployer.app.doctor.garbage import leftovers
from deployer.app.doctor.host import this_host
from deployer.app.doctor.services import service
from deployer.app.operations import AppContext
from deployer.app.operations.execution import locked
from deployer.app.queries import services
from deployer.core.errors import DeployError
from deployer.manifest.models import Manifest
from deployer.store import AuditEntry, Lock
from deployer.views.data import DoctorView, Finding


def fix(house: AppContext, manifest: Manifest | None, folder: Path = Path()) -> DoctorView:
    """Put right what is safe, then look at everything again: what was done comes first, then what is so now."""
    told: list[Finding] = []
    for name in services(house):
        told += _service(house, name)
    told += _treat(house, lambda: [*this_host(house, manifest, folder), *leftovers(house)], None)
    after = differences(house, manifest, folder)
    return DoctorView((*told, *(d.finding() for d in after)))


def _service(house: AppContext, name: str) -> list[Finding]:
    """Treat a service under its lock; one that somebody works at is left alone."""
    if not _curable(service(house, name)):
        return []
    try:
        with locked(house, name, "doctor --fix") as lock:
            return _treat(house, lambda: service(house, name, lock), lock)
    except DeployError as error:
        return [Finding("bad", name, f"nothing was fixed: {error.message}", error.hint)]


def _treat(house: AppContext, look: Callable[[], list[Discrepancy]], lock: Lock | None) -> list[Finding]:
    """Carry out one cure after the other, each on a fresh look; none is tried twice."""
    told: list[Finding] = []
    tried: set[str] = set()
    while todo := [d for d in _curable(look()) if d.cure and d.cure.text not in tried]:
        first = todo[0]
        if first.cure is None:
            break
        tried.add(first.cure.text)
        told.append(_carry_out(house, first, look, lock))
    return told


def _carry_out(
    house: AppContext, difference: Discrepancy, look: Callable[[], list[Discrepancy]], lock: Lock | None
) -> Finding:
    finding = difference.finding()
    if difference.cure is None:
        return finding
    house.tell(difference.what, f"{difference.text}: {difference.cure.text}")
    try:
        difference.cure.do(lock)
    except DeployError as error:
        return replace(finding, level="bad", text=f"{difference.text}; not fixed: {error.message}", remedy=error.hint)
    still = [d for d in look() if d.text == difference.text]
    if still:
        return replace(finding, level="bad", text=f"{difference.text}; it is still so after: {difference.cure.text}")
    house.store.audit.record(
        AuditEntry("fix", difference.what if lock else "", detail=difference.text, reason=difference.cure.text), lock
    )
    return replace(finding, level="fixed", remedy="")


def _curable(found: Iterable[Discrepancy]) -> list[Discrepancy]:
    return [d for d in found if d.cure is not None]

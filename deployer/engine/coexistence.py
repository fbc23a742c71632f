"""Which releases may run at the same time: one that must be alone never runs beside another, whoever starts it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from deployer.core.errors import Refused, StepFailed
from deployer.drivers.ports import Running
from deployer.model import Place, Release
from deployer.store import Port

STOP_IT = "`deploy doctor` shows what is running; `deploy recreate` stops it before it starts another release"


def refuse_company(
    release: Release, place: Place, there: Running, ports: Iterable[Port], find: Callable[[int], Release]
) -> None:
    """Raise StepFailed if something of a service runs beside which a release must not be started in a place.

    What holds one of the `ports` on a host that does not respond may run there. A release that `find` does not know
    counts as one that may have company, unless this one may not.
    """
    beside = {i.name: i.release for i in there.instances if (i.release, i.colour) != (release.number, place)}
    hidden = {
        f"{release.service}-r{p.release}-{p.index} (on {p.host or 'this host'}, which does not respond)": p.release
        for p in ports
        if p.host in there.silent and p.release != release.number
    }
    for name, number in {**beside, **hidden}.items():
        if release.alone or _alone(number, find):
            whose = release.name if release.alone else f"r{number}"
            raise StepFailed(
                f"r{release.number} is not started beside {name}: {whose} must not run beside another release", STOP_IT
            )


def _alone(number: int, find: Callable[[int], Release]) -> bool:
    try:
        return find(number).alone
    except Refused:
        return False

"""Restoring the data that a bundle brings, before the first instance starts; data that is there already stays."""

from __future__ import annotations

from dataclasses import dataclass

from deployer.app.operations.context import AppContext
from deployer.app.operations.deploy_request import DeployRequest
from deployer.app.operations.execution import locked
from deployer.app.operations.restored import Restored, RestoredData
from deployer.bundle.contents import Data
from deployer.bundle.reader import Bundle
from deployer.core.clock import Deadline
from deployer.core.errors import Refused
from deployer.core.undo import undone
from deployer.drivers.ports.data import SavedData, ServiceData

RESTORE_SECONDS = 3600.0
KEEP, OVERWRITE = "keep", "overwrite"  # what becomes of data that is there already


@dataclass(frozen=True)
class _Task:
    """Data of a bundle that is to be restored; `begun` says that part of it is there, from a restore that was killed."""

    saved: Data
    begun: bool


def restore(house: AppContext, bundle: Bundle, request: DeployRequest, image: str, choice: str) -> None:
    """Restore the data of a bundle where none is, and with OVERWRITE also where some is; with KEEP none.

    What was restored before is left alone. Raise Refused, and restore nothing, where data is in the way.
    """
    service, brought = bundle.contents.service, bundle.contents.data_parts
    if choice and not brought:
        raise Refused(f"{bundle.path} has no data", "leave --data out")
    if not brought:
        return
    if choice == KEEP:
        house.tell(service, f"the data in {bundle.path} is left there: --data {KEEP}")
        return
    loaded = request.loaded
    with locked(house, service, "restore its data"):
        target, deadline = house.data(loaded.manifest, loaded.folder), Deadline.after(house.clock, RESTORE_SECONDS)
        _refuse_other_kind(target, brought)
        places = [
            place for saved in brought if (place := _place(house, bundle, target, saved, image, choice, deadline))
        ]
        for place in places:
            _restore(house, bundle, target, place, image, choice, deadline)


def _refuse_other_kind(target: ServiceData, brought: tuple[Data, ...]) -> None:
    if other := [data.name for data in brought if data.kind != target.kind]:
        raise Refused(f"the data {', '.join(other)} was not saved of this runtime", "make the bundle again")


def _place(
    house: AppContext, bundle: Bundle, target: ServiceData, saved: Data, image: str, choice: str, deadline: Deadline
) -> _Task | None:
    """Return what is to be done with one of them, None for what is here. Raise Refused where data is in the way."""
    known, overwrite = RestoredData(house, bundle.contents.service).all().get(saved.name), choice == OVERWRITE
    done = known is not None and known.whole and known.digest == saved.part.digest and not overwrite
    begun = known is not None and not known.whole
    if done and saved.kind == "playbook":
        return None
    free = begun or target.is_free(saved.name, image, deadline, overwrite=overwrite)
    if done and not free:
        return None
    if not bundle.has(saved.part.digest):
        raise Refused(
            f"the data of {saved.name} is not in {bundle.path}", "deploy the bundle that was named by --since"
        )
    if not free:
        raise Refused(
            f"there is data for {saved.name} already, and {bundle.path} brings some",
            "deployer removes nothing of a folder: empty it by hand"
            if overwrite
            else f"--data {KEEP} deploys with the data that is there, --data {OVERWRITE} replaces it",
        )
    return _Task(saved, begun)


def _restore(
    house: AppContext, bundle: Bundle, target: ServiceData, place: _Task, image: str, choice: str, deadline: Deadline
) -> None:
    service, saved, known = bundle.contents.service, place.saved, RestoredData(house, bundle.contents.service)
    name, digest = saved.name, saved.part.digest
    house.tell(service, f"restoring the data of {name}: {saved.part.size:,} bytes")
    if saved.kind == "mount":  # a playbook writes beside what it replaces
        known.set(name, Restored(digest, whole=False))

    def forget() -> None:
        if saved.kind == "mount" and target.is_free(name, image, deadline, overwrite=False):
            known.set(name, None)

    with undone(forget):
        what = SavedData(digest, lambda: bundle.chunks(digest))
        target.restore(name, image, what, deadline, overwrite=choice == OVERWRITE, begun=place.begun)
    known.set(name, Restored(digest, whole=True))

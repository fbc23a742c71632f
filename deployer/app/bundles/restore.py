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
from deployer.drivers.ports.data import Restoring, SavedData, ServiceData

RESTORE_SECONDS = 3600.0
KEEP, OVERWRITE = "keep", "overwrite"  # what becomes of data that is there already


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
        restoring = _Restoring(house, bundle, target, image, choice == OVERWRITE, deadline)
        for saved in [saved for saved in brought if restoring.is_needed(saved)]:
            restoring.restore(saved)


def _refuse_other_kind(target: ServiceData, brought: tuple[Data, ...]) -> None:
    if other := [data.name for data in brought if data.kind != target.kind]:
        raise Refused(
            f"the data {', '.join(other)} was saved from another runtime",
            "deploy it with the runtime that it has in the bundle, or leave the data out: `--data keep`",
        )


@dataclass(frozen=True)
class _Restoring:
    """A restore of a bundle's data; `image` is one that the engine has."""

    house: AppContext
    bundle: Bundle
    target: ServiceData
    image: str
    overwrite: bool
    deadline: Deadline

    @property
    def known(self) -> RestoredData:
        return RestoredData(self.house, self.bundle.contents.service)

    def _begun(self, saved: Data) -> bool:
        """Return whether part of it is there, from a restore that was killed."""
        known = self._here(saved)
        return known is not None and not known.whole

    def _done(self, saved: Data) -> bool:
        known = self._here(saved)
        return known is not None and known.whole and known.digest == saved.part.digest and not self.overwrite

    def _here(self, saved: Data) -> Restored | None:
        """Return what was restored into what the service mounts today; it may have mounted something else before."""
        known = self.known.all().get(saved.name)
        return known if known is not None and known.source == self.target.source(saved.name) else None

    def is_needed(self, saved: Data) -> bool:
        """Return whether it is not here yet. Raise Refused where other data is in the way."""
        if self._done(saved) and saved.kind == "playbook":
            return False
        begun = self._begun(saved)
        free = begun or self.target.is_free(saved.name, self.image, self.deadline, overwrite=self.overwrite)
        if self._done(saved) and not free:
            return False
        if not self.bundle.has(saved.part.digest):
            raise Refused(
                f"the data of {saved.name} is not in {self.bundle.path}", "deploy the bundle that was named by --since"
            )
        if not free:
            raise Refused(
                f"there is data for {saved.name} already, and {self.bundle.path} brings some",
                "deployer removes nothing of a folder: empty it by hand"
                if self.overwrite
                else f"--data {KEEP} deploys with the data that is there, --data {OVERWRITE} replaces it",
            )
        return True

    def restore(self, saved: Data) -> None:
        """Restore it, and record that it is whole; what has failed is recorded as begun only if part of it is left."""
        name, digest, begun = saved.name, saved.part.digest, self._begun(saved)
        self.house.tell(self.bundle.contents.service, f"restoring the data of {name}: {saved.part.size:,} bytes")
        source = self.target.source(name)
        how = Restoring(
            self.overwrite, begun, lambda: self.known.set(name, Restored(digest, whole=False, source=source))
        )

        def forget() -> None:
            if saved.kind == "mount" and self.target.is_free(name, self.image, self.deadline, overwrite=False):
                self.known.set(name, None)

        with undone(forget):
            what = SavedData(digest, saved.part.size, lambda: self.bundle.chunks(digest))
            self.target.restore(name, self.image, what, self.deadline, how)
        self.known.set(name, Restored(digest, whole=True, source=source))

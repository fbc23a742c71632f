"""What load is usual of a service from now on, by what the keeper recorded in former weeks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deployer.model import Release
from deployer.model.load import SLOT_SECONDS
from deployer.store.loads import Loads

if TYPE_CHECKING:
    from deployer.planning.prediction import UsualLoad

KNOWN_SECONDS = SLOT_SECONDS / 2  # of five minutes that must have been watched, else it is not known what they had


class UsualLoads:
    """Answers for a release whose size follows its load; asks the store once in five minutes."""

    def __init__(self, loads: Loads, release: Release) -> None:
        self._loads, self._release = loads, release
        self._usual: UsualLoad | None = None
        self._read = -1.0  # the beginning of the five minutes for which that was read

    def at(self, now: float) -> UsualLoad | None:
        """Return what is usual until an instance that is started now serves, and `hold` more.

        None where too little is known, or the manifest wants no prediction.
        """
        scale, begins = self._release.manifest.scale, now // SLOT_SECONDS * SLOT_SECONDS
        if scale is None or not scale.predict:
            return None
        if self._read != begins:
            from deployer.planning.prediction import usual_load

            lead = scale.hold + self._release.manifest.health.deadline
            self._usual, self._read = usual_load(now, lead, scale.clock, self._seen), begins
        return self._usual

    def _seen(self, at: float) -> float | None:
        rows = self._loads.of(self._release.service, at, at + SLOT_SECONDS)
        seconds = sum(row.seconds for row in rows)
        return sum(row.busy for row in rows) / seconds if seconds >= KNOWN_SECONDS else None

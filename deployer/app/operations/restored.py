"""What was restored of a service's data: kept in the state folder, so that nothing is restored twice or by half."""

from __future__ import annotations

import json
from dataclasses import dataclass

from deployer.app.operations.context import AppContext
from deployer.core import files
from deployer.core.errors import Refused, StoreFailed

FOLDER = "data"  # in the state folder


@dataclass(frozen=True)
class Restored:
    """Data that was restored: its digest, whether all of it was, and into what (a volume, a folder)."""

    digest: str
    whole: bool
    source: str


class RestoredData:
    """What was restored of the data of one service, by its names."""

    def __init__(self, house: AppContext, service: str) -> None:
        self.file = house.store.folder / FOLDER / f"{service}.json"

    def all(self) -> dict[str, Restored]:
        """Return all of it."""
        try:
            return {name: Restored(**said) for name, said in json.loads(self.file.read_text("utf-8")).items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise Refused(f"{self.file} cannot be read: {error}", "remove it: what is in place then stays") from None

    def set(self, name: str, restored: Restored | None) -> None:
        """Record what became of one of them; None is nothing. Raise StoreFailed."""
        others = {other: said for other, said in self.all().items() if other != name}
        every = others | ({name: restored} if restored else {})
        text = json.dumps({name: vars(said) for name, said in every.items()}, sort_keys=True)
        try:
            files.folder(self.file.parent)
            files.replace(self.file, text)
        except OSError as error:
            raise StoreFailed(f"{self.file} cannot be written: {error.strerror}", "is the disk full?") from None


def refuse_half_restored(house: AppContext, service: str) -> None:
    """Raise Refused where a restore of the service's data was begun and did not end."""
    found = RestoredData(house, service)
    if half := [name for name, said in found.all().items() if not said.whole]:
        raise Refused(
            f"{service}: the restore of {', '.join(half)} was interrupted, and only part of the data is there",
            f"do it again: `deploy up --from FILE`; or, where the data is right now, remove {found.file}",
        )

"""What a release of runtime `ansible` is made of: its files or the name of an image, and verbs of somebody's own."""

from __future__ import annotations

from dataclasses import dataclass

from deployer.drivers.runtime.artifacts import KIND

NAME = "name:"
_VERBS = "verbs:"


@dataclass(frozen=True)
class Pinned:
    """The two parts of an image id: `what` is a snapshot or `name:…`, `verbs` a snapshot, "" for shipped ones."""

    what: str
    verbs: str = ""

    @classmethod
    def parse(cls, image_id: str) -> Pinned:
        """Read an image id."""
        what, _, verbs = image_id.partition(f"+{_VERBS}")
        return cls(what, KIND + verbs if verbs else "")

    def __str__(self) -> str:
        return f"{self.what}+{_VERBS}{self.verbs.removeprefix(KIND)}" if self.verbs else self.what

    @property
    def files(self) -> str:
        """Snapshot of its files; "" where the image is a name."""
        return self.what if self.what.startswith(KIND) else ""

    @property
    def snapshots(self) -> set[str]:
        """Return all snapshots that it needs."""
        return {each for each in (self.files, self.verbs) if each}

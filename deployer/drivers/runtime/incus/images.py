"""Images of Incus: what a reference means now, and keeping exactly those that a rollback may need."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from typing import Any

from deployer.core.errors import DriverFailed, ImageGone, Refused
from deployer.drivers.ports import Image
from deployer.drivers.runtime.incus.api import Incus, at
from deployer.model import Release

SHORTEST = 12  # characters of a fingerprint that name an image


class IncusImages:
    """The images of one installation, each kept by an alias of ours: DEPLOYER-STORE/SERVICE/FINGERPRINT."""

    def __init__(self, incus: Incus, installation: str) -> None:
        self._incus = incus
        self._prefix = f"deployer-{hashlib.sha256(installation.encode()).hexdigest()[:12]}/"

    def resolve(self, reference: str) -> tuple[Image, str]:
        """Pin an alias or a fingerprint, and say of which kind it is. Raise Refused where Incus has no such image."""
        alias = self._incus.get(f"image {reference}", at("images", "aliases", reference))
        fingerprint = str(alias["target"]) if alias else reference
        image = None
        if alias or (len(fingerprint) >= SHORTEST and set(fingerprint) <= set("0123456789abcdef")):
            image = self._incus.get(f"image {reference}", at("images", fingerprint))
        if image is None:
            raise Refused(
                f"image: Incus has no image {reference} in the project {self._incus.project}",
                f"bring it there: `incus image import FILE --alias {reference}`, or `incus image copy REMOTE:NAME "
                f"local: --alias {reference}`",
            )
        return Image(reference, str(image["fingerprint"])), str(image["type"])

    def kind(self, release: Release) -> str:
        """Return of which kind the image of a release is. Raise ImageGone where Incus does not have it any more."""
        image = self._incus.get(f"image of {release.name}", at("images", release.image_id))
        if image is None:
            raise ImageGone(
                f"the image of {release.name}, {release.image_id[:SHORTEST]}, is gone from Incus",
                "import it again, or deploy another release",
            )
        return str(image["type"])

    def keep(self, release: Release) -> None:
        """Keep the image of a release until its releases are gone."""
        alias = self._alias(release)
        body = {"name": alias, "target": release.image_id, "description": f"kept by deploy for {release.service}"}
        try:
            self._incus.change(f"alias {alias}", "POST", at("images", "aliases"), body, self._incus.soon())
        except DriverFailed:
            if self._ours().get(alias) != release.image_id:  # else another instance of it has made the alias before
                raise

    def unneeded(self, keep: Sequence[Release], used: Collection[str]) -> tuple[str, ...]:
        """Name the aliases of ours on images that no release in `keep` and no instance has."""
        needed = {release.image_id for release in keep} | set(used)
        return tuple(sorted(name for name, target in self._ours().items() if target not in needed))

    def dropped(self, drop: Sequence[Release], keep: Sequence[Release], used: Collection[str]) -> tuple[str, ...]:
        """Name those aliases of ours that only releases in `drop` need."""
        old = {self._alias(release) for release in drop}
        return tuple(name for name in self.unneeded(keep, used) if name in old)

    def remove(self, aliases: Sequence[str]) -> tuple[str, ...]:
        """Take these aliases away, and with the last one of an image the image; return what was taken away."""
        ours = self._ours()
        for alias in aliases:
            target = ours.get(alias)
            self._incus.change(f"alias {alias}", "DELETE", at("images", "aliases", alias), None, self._incus.soon())
            image = self._incus.get(f"image of {alias}", at("images", target)) if target else None
            if image is not None and not image["aliases"]:
                self._incus.change(f"image of {alias}", "DELETE", at("images", str(target)), None, self._incus.soon())
        return tuple(aliases)

    def _alias(self, release: Release) -> str:
        return f"{self._prefix}{release.service}/{release.image_id[:SHORTEST]}"

    def _ours(self) -> dict[str, str]:
        known: list[dict[str, Any]] = self._incus.get("images", f"{at('images', 'aliases')}?recursion=1") or []
        return {each["name"]: each["target"] for each in known if each["name"].startswith(self._prefix)}

"""The images of releases on the nodes whose engine is reached: copied there, kept, and removed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from deployer.core.clock import Deadline
from deployer.core.errors import ImageGone, Refused
from deployer.core.events import Tell
from deployer.drivers.ports import Image
from deployer.drivers.runtime.docker import images
from deployer.drivers.runtime.docker.fleet import answers, refuse_lost
from deployer.drivers.runtime.docker.fleet_host import FleetHost
from deployer.drivers.runtime.docker.image_distribution import ImageDistribution
from deployer.drivers.runtime.swarm.nodes import Links, Placing
from deployer.model import Release
from deployer.planning.steps import named

PUSH = "push it to a registry, or name a group of the inventory with all nodes in `hosts`"


class SwarmImages:
    """Images on nodes; what no link reaches gets them from a registry."""

    def __init__(self, installation: str, engines: Sequence[FleetHost], links: Links) -> None:
        self._installation, self._engines, self._links = installation, tuple(engines), links
        self._supply = ImageDistribution(next((engine for engine in engines if not engine.name), None))
        self._kept: set[tuple[str, str]] = set()  # node and image

    def pin(self, place: Placing, reference: str, deadline: Deadline, tell: Tell) -> Image:
        """Pin a reference and bring the image to every node that is reached.

        Raise Refused where a node can have none.
        """
        first = next(iter(place.links.values()), self._engines[0])
        image = self._supply.pin(first, reference, deadline, tell)
        if place.unreached and not image.names:
            nodes = ", ".join(place.unreached)
            raise Refused(
                f"image {reference} is in no registry, and is not copied to {nodes}: no link to an engine there", PUSH
            )
        links = {engine.name: engine for engine in place.links.values()}
        missing = answers(links, lambda engine: self._supply.is_missing(engine, image))
        lacking = {name: links[name] for name, is_missing in missing.items() if is_missing}
        if lacking:
            tell("note", text=f"bringing {reference} to {named(tuple(lacking))}")
            answers(lacking, lambda engine: self._supply.bring(engine, image, deadline))
        return image

    def keep(self, place: Placing, release: Release, deadline: Deadline) -> str:
        """See that each node that is reached has the image of a release, and keeps it; return how nodes are to name it.

        By its id, which no node looks up anywhere; where some are not reached, by the digest that they pull.
        """
        lacking = {e.name: e for e in place.links.values() if (e.name, release.image_id) not in self._kept}
        answers(lacking, lambda engine: self._keep(engine, release, deadline))
        self._kept |= {(name, release.image_id) for name in lacking}
        engine = next(iter(place.links.values()), None)
        if not place.unreached or engine is None:
            return release.image_id
        image = engine.read(lambda _runtime: images.of_release(engine.engine, release))
        return image.names[0] if image and image.names else release.image_id

    def _keep(self, engine: FleetHost, release: Release, deadline: Deadline) -> None:
        try:
            engine.do(lambda _runtime: self._tag(engine, release))
        except ImageGone as gone:
            if not self._supply.restore(engine, release, self._engines, deadline):
                raise gone
            engine.do(lambda _runtime: self._tag(engine, release))

    def _tag(self, engine: FleetHost, release: Release) -> None:
        with engine.engine.client(f"image of {release.name}") as client:
            images.Shelf(engine.engine, self._installation).keep(client, release)

    def check(self, release: Release) -> None:
        """Raise ImageGone when no node that is reached has the image of the release."""
        refuse_lost(self._reached(), release)

    def prune(self, keep: Sequence[Release], drop: Sequence[Release]) -> tuple[str, ...]:
        """Remove images of `drop` that no release in `keep` and no container of that node has."""
        return self._on_all(lambda engine: engine.read(lambda runtime: runtime.prune(keep, drop)))

    def garbage(self, keep: Sequence[Release]) -> tuple[str, ...]:
        """Name the tags of ours on images that no release in `keep` and no container has."""
        return self._on_all(lambda engine: engine.read(lambda runtime: runtime.garbage(keep)))

    def collect_garbage(self, keep: Sequence[Release]) -> tuple[str, ...]:
        """Take these tags away, and with the last one of an image the image."""
        return self._on_all(lambda engine: engine.read(lambda runtime: runtime.collect_garbage(keep)))

    def _reached(self) -> dict[str, FleetHost]:
        return {engine.name: engine for engine in self._links.by_node().values()}

    def _on_all(self, work: Callable[[FleetHost], tuple[str, ...]]) -> tuple[str, ...]:
        given = answers(self._reached(), work)
        return tuple(f"{n} on {host}" if host else n for host, names in given.items() for n in names)

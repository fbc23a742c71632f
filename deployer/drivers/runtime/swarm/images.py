"""The images of releases on the nodes whose engine is reached: copied there, kept, and removed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from deployer.core.clock import Deadline
from deployer.core.errors import HostsUnreachable, ImageGone, Refused, StepFailed
from deployer.core.events import Tell
from deployer.drivers.ports import Image
from deployer.drivers.runtime.docker import images
from deployer.drivers.runtime.docker.fleet import refuse_lost
from deployer.drivers.runtime.docker.fleet_host import FleetHost, answers
from deployer.drivers.runtime.docker.image_distribution import ImageDistribution
from deployer.drivers.runtime.swarm.nodes import Links, Placing
from deployer.model import Release
from deployer.planning.steps import named

LOGIN = "`docker login` here as a user who may pull it, or name a group of the inventory with all nodes in `hosts`"
PUSH = "push it to a registry, or name a group of the inventory with all nodes in `hosts`"


class SwarmImages:
    """Images on nodes; what no link reaches gets them from a registry."""

    def __init__(self, installation: str, engines: Sequence[FleetHost], links: Links) -> None:
        self._installation, self._engines, self._links = installation, tuple(engines), links
        self._supply = ImageDistribution(next((engine for engine in engines if not engine.name), None))
        self._kept: dict[tuple[str, str], tuple[str, ...]] = {}  # by engine and image: the names with a digest there

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
        if place.unreached:
            self._refuse_unoffered(place, first, image, deadline)
        links = {engine.name: engine for engine in place.links.values()}
        missing = answers(links, lambda engine: self._supply.is_missing(engine, image))
        lacking = {name: links[name] for name, is_missing in missing.items() if is_missing}
        if lacking:
            tell("note", text=f"bringing {reference} to {named(tuple(lacking))}")
            answers(lacking, lambda engine: self._supply.bring(engine, image, deadline))
        return image

    def _refuse_unoffered(self, place: Placing, first: FleetHost, image: Image, deadline: Deadline) -> None:
        """Raise Refused where its registry does not give an image to who has the credentials of here."""
        try:
            first.do(lambda _runtime: images.look_up(first.engine, image.names[0], deadline))
        except HostsUnreachable:
            raise
        except StepFailed as error:
            nodes = ", ".join(place.unreached)
            raise Refused(f"{nodes} would have to pull {image.names[0]}, and cannot: {error.message}", LOGIN) from error

    def keep(self, place: Placing, release: Release, deadline: Deadline) -> str:
        """See that each node that is reached has the image of a release, and keeps it; return how nodes are to name it.

        By a digest that all of them know it by, or, where some are not reached, any of them: a node that lacks it
        pulls it, also one that joins later. Else by its id, which no node looks up anywhere.
        """
        keepers = {e.name: e for e in place.links.values()} or self._holders(release)
        lacking = {name: e for name, e in keepers.items() if (name, release.image_id) not in self._kept}
        kept = answers(lacking, lambda engine: self._keep(engine, release, deadline))
        self._kept |= {(name, release.image_id): names for name, names in kept.items()}
        known = [self._kept[name, release.image_id] for name in keepers]
        every = [name for names in known for name in names]
        common = [name for name in every if place.unreached or all(name in names for names in known)]
        return common[0] if common else release.image_id

    def _holders(self, release: Release) -> dict[str, FleetHost]:
        """Return the engines in reach that have an image, such as that of a manager that takes no tasks."""
        engines = {engine.name: engine for engine in self._engines}
        has = answers(engines, lambda e: e.read(lambda _runtime: images.of_release(e.engine, release)), least=1)
        return {name: engines[name] for name, image in has.items() if image is not None}

    def _keep(self, engine: FleetHost, release: Release, deadline: Deadline) -> tuple[str, ...]:
        try:
            engine.do(lambda _runtime: self._tag(engine, release))
        except ImageGone as gone:
            if not self._supply.restore(engine, release, self._engines, deadline):
                raise gone
            engine.do(lambda _runtime: self._tag(engine, release))
        image = engine.read(lambda _runtime: images.of_release(engine.engine, release))
        return image.names if image else ()

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

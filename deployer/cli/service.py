"""Which service a command means: --service, the manifest's, or the only one there is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from deployer.cli.options import Common
from deployer.cli.values import service
from deployer.core.errors import Refused
from deployer.manifest.peek import service_of as service_of_manifest

if TYPE_CHECKING:
    from deployer.app.operations import AppContext


def service_of(common: Common, house: AppContext) -> str:
    """Name the service that a command means, of those in a state folder."""
    found = meant(common, lambda: [s.name for s in house.store.services()])
    if not found:
        raise Refused(
            f"nothing was deployed from {house.store.folder} yet", "`deploy up` deploys, --state names another folder"
        )
    return found


def meant(common: Common, services: Callable[[], Sequence[str]]) -> str:
    """Name the service that a command means, of `services`; nothing where there are none.

    The manifest is only peeked at: a broken one must not stop an emergency command.
    """
    if common.service is not None:
        return service(common.service)
    peeked = service_of_manifest(common.file, common.destination or "")
    if peeked:
        return service(peeked)
    known = services()
    if len(known) > 1:
        raise Refused(f"there are {len(known)} services here: {', '.join(known)}", "say which one with --service NAME")
    return known[0] if known else ""

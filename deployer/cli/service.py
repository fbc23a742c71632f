"""Which service a command means: --service, the manifest's, or the only one there is."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from deployer.cli.options import Common
from deployer.cli.words import service
from deployer.errors import Refused
from deployer.operations import House

_MOST = 1024 * 1024  # bytes of a manifest


def service_of(common: Common, house: House) -> str:
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
    peeked = _peek(common)
    if peeked:
        return peeked
    known = services()
    if len(known) > 1:
        raise Refused(f"there are {len(known)} services here: {', '.join(known)}", "say which one with --service NAME")
    return known[0] if known else ""


def _peek(common: Common) -> str:
    import yaml

    try:
        with common.file.open("rb") as file:
            data = yaml.safe_load(file.read(_MOST))
    except FileNotFoundError:
        return ""
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        why = str(error).partition("\n")[0] or type(error).__name__
        raise Refused(f"{common.file} cannot be read: {why}", "name the service with --service NAME") from None
    name = data.get("service") if isinstance(data, dict) else None
    if not isinstance(name, str):
        return ""
    return service(f"{name}-{common.destination}" if common.destination else name)

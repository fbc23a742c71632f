"""Which service a command means: --service, the manifest's, or the only one there is."""

from __future__ import annotations

from deployer.cli.options import Common
from deployer.errors import Refused
from deployer.operations import House


def service_of(common: Common, house: House) -> str:
    """Name the service. The manifest is only peeked at: a broken one must not stop an emergency command."""
    if common.service:
        return common.service
    known = [s.name for s in house.store.services()]
    peeked = _peek(common)
    if peeked:
        return peeked
    if len(known) == 1:
        return known[0]
    if not known:
        raise Refused(
            f"nothing was deployed from {house.store.folder} yet", "`deploy up` deploys, --state names another folder"
        )
    raise Refused(f"there are {len(known)} services here: {', '.join(known)}", "say which one with --service NAME")


def _peek(common: Common) -> str:
    import yaml

    try:
        data = yaml.safe_load(common.file.read_text())
    except FileNotFoundError:
        return ""
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise Refused(f"{common.file} cannot be read: {error}", "name the service with --service NAME") from None
    name = data.get("service") if isinstance(data, dict) else None
    if not isinstance(name, str):
        return ""
    return f"{name}-{common.destination}" if common.destination else name

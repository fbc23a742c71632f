"""What can be refused of a deploy before anything is touched: by its request, the manifest and the records."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from deployer.app.operations.context import AppContext
from deployer.app.operations.deploy_request import DeployRequest
from deployer.app.operations.guests import admitted
from deployer.app.operations.restored import refuse_half_restored
from deployer.app.releases import built_version, version_of
from deployer.core.errors import Refused
from deployer.manifest.freeze import frozen_until, local_time
from deployer.model import SecretText
from deployer.store import AuditEntry, Store

if TYPE_CHECKING:
    from deployer.manifest.load import Loaded
    from deployer.manifest.models import Manifest
    from deployer.planning.strategy import Strategy


@dataclass(frozen=True)
class CheckedRequest:
    """A request of which all is right that can be seen before anything is touched."""

    request: DeployRequest
    strategy: Strategy
    options: Any
    secrets: dict[str, SecretText]

    @property
    def service(self) -> str:
        """The service to be deployed."""
        return self.request.loaded.manifest.service

    @property
    def purpose(self) -> str:
        """What its lock is held for."""
        return f"{self.strategy.name} of {version_of(self.request.loaded.manifest, self.request.version)}"


def check(house: AppContext, request: DeployRequest) -> CheckedRequest:
    """Refuse what can be refused before anything is touched."""
    request, strategy, options = planned_by(house, request)
    _not_frozen(house, request)
    refuse_half_restored(house, request.loaded.manifest.service)
    return CheckedRequest(request, strategy, options, request.secrets())


def planned_by(house: AppContext, request: DeployRequest) -> tuple[DeployRequest, Strategy, Any]:
    """Load the strategy of a request, and refuse what is wrong with either."""
    from deployer.planning.strategy import load as load_strategy
    from deployer.planning.strategy import own_root

    strategy = load_strategy(request.strategy, own_root(request.loaded.manifest, request.loaded.folder))
    given = {**request.loaded.manifest.strategy_options(request.strategy), **request.options}
    options = strategy.parse(given)
    return fit(house, request), strategy, options


def fit(house: AppContext, request: DeployRequest) -> DeployRequest:
    """Refuse what the manifest alone shows."""
    loaded = _anchored(request.loaded)
    _same_house(house.store, loaded.manifest)
    loaded = admitted(house, loaded)
    version = built_version(
        loaded.manifest, loaded.folder, loaded.files, request.version or loaded.manifest.version, dirty=request.dirty
    )
    try:
        loaded.manifest.image_for(version)
    except ValueError as error:
        raise Refused(f"{loaded.manifest.service}: {error}", "see `image:` and `version:` in the manifest") from None
    return replace(request, loaded=loaded, version=version)


def _anchored(loaded: Loaded) -> Loaded:
    """Make paths absolute that a release must find again, whatever folder the next command is started in."""
    traffic = loaded.manifest.traffic
    if traffic.tls is None or traffic.tls.certificates is None:
        return loaded
    paths = tuple(str(loaded.folder / path) for path in traffic.tls.certificates)
    tls = traffic.tls.model_copy(update={"certificates": paths})
    anchored = traffic.model_copy(update={"tls": tls})
    return replace(loaded, manifest=loaded.manifest.model_copy(update={"traffic": anchored}))


def _same_house(store: Store, manifest: Manifest) -> None:
    number = store.services.get(manifest.service).stable
    if not number:
        return
    stable = store.releases.get(manifest.service, number).manifest
    for what, old, new in (
        ("runtime", stable.runtime, manifest.runtime),
        ("traffic.haproxy", stable.traffic.haproxy, manifest.traffic.haproxy),
        ("traffic.mode", stable.traffic.mode, manifest.traffic.mode),
        ("having a port", stable.port is not None, manifest.port is not None),
        ("tenant", stable.tenant, manifest.tenant),
    ):
        if old != new:
            raise Refused(
                f"{manifest.service}: {what} cannot change in a rollout",
                "take the service down first (`deploy down`), or deploy under another name and move the domain",
            )


def _not_frozen(house: AppContext, request: DeployRequest) -> None:
    manifest = request.loaded.manifest
    until = frozen_until(manifest.freeze, local_time(house.clock.now()))
    if until is None:
        return
    if request.override_freeze:
        house.tell(manifest.service, f"the freeze until {until:%a %H:%M} is overridden: {request.override_freeze}")
        house.store.audit.record(
            AuditEntry(
                "override-freeze", manifest.service, detail=f"until {until:%a %H:%M}", reason=request.override_freeze
            )
        )
        return
    raise Refused(
        f"{manifest.service} is frozen until {until:%a %d %b %H:%M}",
        'wait, or deploy anyway: --override-freeze "reason"',
    )

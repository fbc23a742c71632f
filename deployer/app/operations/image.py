"""The image of a deploy: built, pinned, and proven to be signed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from deployer.app.operations.context import AppContext
from deployer.app.operations.deploy_request import DeployRequest
from deployer.app.work_tree import git_revision
from deployer.core.clock import Deadline
from deployer.core.errors import Refused
from deployer.core.events import Event, Tell
from deployer.drivers.ports import PIN, Drivers, Image
from deployer.manifest.runtimes import OF_ENGINES
from deployer.model import SecretText, Signature
from deployer.planning.recipes import PROXY_SECONDS
from deployer.store import AuditEntry

PULL_SECONDS = 900.0
VERIFY_SECONDS = 60.0


def pinned_image(
    house: AppContext, request: DeployRequest, drivers: Drivers, secrets: Mapping[str, SecretText]
) -> Image:
    """Pin the image, after the proxy said that it can do what the manifest wants."""
    manifest = request.loaded.manifest
    drivers.inspection.check(manifest, Deadline.after(house.clock, PROXY_SECONDS))

    def pin(reference: str) -> Image:
        deadline = Deadline.after(house.clock, PULL_SECONDS)
        return drivers.runtime.resolve(manifest, reference, deadline, note_of(house, request))

    if request.bundle and request.bundle.image:
        return replace(pin(request.bundle.image), reference=manifest.image_for(request.version))
    return made_image(house, request, drivers, secrets, pin)


def made_image(
    house: AppContext,
    request: DeployRequest,
    drivers: Drivers,
    secrets: Mapping[str, SecretText],
    pin: Callable[[str], Image],
) -> Image:
    """Build the image, unless an earlier release did, or take the one that the manifest names; `pin` pins it."""
    manifest = request.loaded.manifest
    reference = manifest.image_for(request.version)
    if manifest.runtime not in OF_ENGINES:
        return pin(path_of(request.loaded.folder, reference, always=manifest.runtime == "process"))
    if manifest.build is None:
        return pin(reference)
    if (known := _built_before(house, request)) is not None:
        with suppress(Refused):  # it is gone from the engine
            return replace(pin(known), reference=reference)
    deadline = Deadline.after(house.clock, manifest.build.timeout)
    wanted = {name: secrets[name] for name in manifest.build.secrets}
    stopped = house.stop.asked.is_set
    identity = drivers.builder.build(manifest.build, reference, wanted, deadline, note_of(house, request), stopped)
    return replace(pin(identity), reference=reference)


def note_of(house: AppContext, request: DeployRequest) -> Tell:
    """Return what tells the events of a deploy that has no rollout yet."""

    def tell(kind: str, **data: Any) -> None:
        house.sink(Event(kind, house.clock.now(), request.loaded.manifest.service, 0, data))

    return tell


def _built_before(house: AppContext, request: DeployRequest) -> str | None:
    """Return the image that an earlier release built of the same revision in the same way."""
    manifest = request.loaded.manifest
    if request.version != git_revision(request.loaded.folder) or request.dirty:
        return None
    releases = house.store.releases.of(manifest.service)
    alike = (r for r in releases if r.version == request.version and r.manifest.build == manifest.build)
    return next((r.image_id for r in alike), None)


def path_of(folder: Path, reference: str, *, always: bool) -> str:
    """Return the path that an image is; what is none, and is not written as one, may be a name that verbs know."""
    file, pin, digest = reference.partition(PIN)
    path = (folder / file).resolve()
    found = always or path.exists() or reference.startswith((".", "/"))
    return f"{path}{pin}{digest}" if found else reference


def signature_of(house: AppContext, request: DeployRequest, drivers: Drivers, image: Image) -> Signature | None:
    """Prove who signed the image that was pinned; None where the manifest does not ask.

    What an earlier release proved of the same image holds for good: to bring it out again needs no registry.
    """
    manifest = request.loaded.manifest
    if manifest.verify is None:
        return None
    known = [r.signature for r in house.store.releases.of(manifest.service) if r.signature and r.image_id == image.id]
    return drivers.signatures.prove(manifest, image, known, Deadline.after(house.clock, VERIFY_SECONDS))


def proven_signature(house: AppContext, request: DeployRequest, drivers: Drivers, image: Image) -> Signature | None:
    """Prove it as `signature_of` does; the audit log keeps who wanted to deploy what is not signed."""
    try:
        return signature_of(house, request, drivers, image)
    except Refused as error:
        what = f"{request.strategy}: {image.reference} = {image.id}"
        house.store.audit.record(
            AuditEntry("start", request.loaded.manifest.service, "refused", detail=what, reason=error.message)
        )
        raise

"""Deploying from a bundle: proven first, then the image goes into the engine and the files into the state folder.

Each part is done again without harm, so that the next command continues what a power cut has interrupted.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from deployer.app.bundles.restore import restore
from deployer.app.operations.context import AppContext
from deployer.app.operations.deploy_request import DeployRequest, FromBundle
from deployer.app.operations.dispatch import request_of
from deployer.app.operations.restored import RestoredData
from deployer.bundle import sealing, signing
from deployer.bundle.contents import Contents, OciImage
from deployer.bundle.reader import MOST_CONFIG, Bundle, opened
from deployer.bundle.unpack import FILES, MANIFEST, Unpacked
from deployer.core.clock import Deadline
from deployer.core.errors import Refused
from deployer.core.limits import REASON
from deployer.core.secret import SecretText
from deployer.drivers.ports import SavedImage, SavedLayer
from deployer.manifest import document, tenants
from deployer.manifest.overlay import merge
from deployer.manifest.tree import data, node_at
from deployer.planning.orders import Order
from deployer.store import AuditEntry

LOAD_SECONDS = 900.0
FOLDER, SIGNERS = "bundles", "bundle_signers"  # in the state folder
_SAME = {"i686": "x86_64"}  # processors that run the programs of others


def request_from(house: AppContext, order: Order, environ: Mapping[str, str]) -> DeployRequest:
    """Bring a bundle here and make the request of a deploy of it; secrets are those of the current folder.

    Raise Refused, before anything is loaded, for a bundle that is damaged, not signed as it must be, made for another
    platform, or that lacks something which is not here either.
    """
    with opened(Path(order.bundle)) as bundle:
        request = request_unpacked(house, order, bundle, environ)
        identity = _load(house, bundle)
        if order.action == "start":
            restore(house, bundle, request, identity, order.data)
    needed = {rollout.folder for rollout in house.store.rollouts.of(bundle.contents.service)}
    Unpacked(house.store.folder / FOLDER).prune(needed | {request.loaded.folder})
    return replace(request, bundle=FromBundle(identity, bundle.contents.git))


def request_unpacked(
    house: AppContext,
    order: Order,
    bundle: Bundle,
    environ: Mapping[str, str],
    settings: Mapping[str, Any] | None = None,
) -> DeployRequest:
    """Prove a bundle, unpack its files, and make the request of its manifest; the image stays where it is.

    What is different on this host comes from a file of the current folder, or from `settings`, keys of the manifest.
    """
    contents, here = bundle.contents, Path.cwd()
    if order.service and order.service != contents.service:
        raise Refused(f"{bundle.path} is for {contents.service}, not for {order.service}", "leave --service out")
    _refuse_unsigned(house, order, bundle)
    bundle.check()
    refuse_missing(house, bundle)
    manifest = Unpacked(house.store.folder / FOLDER).add(bundle) / FILES / MANIFEST
    named = replace(
        order, service=contents.service, manifest=str(manifest), reason=order.reason or contents.why[:REASON]
    )
    own = settings_file(here, contents.service)
    overlay = own if own.exists() else None
    overrides = {**_certificates(manifest, overlay, here), **(settings or {})}
    inside = _unsealed(house, order, bundle)
    request = request_of(named, environ, overlay=overlay, overrides=overrides, secrets_in=here, inside=inside)
    if tenant := request.loaded.manifest.tenant:
        tenants.refuse_brought(tenant, bundle.path, environ)
    return request


def _unsealed(house: AppContext, order: Order, bundle: Bundle) -> dict[str, SecretText]:
    """Return the secrets that are in a bundle, where the identity is there that opens them."""
    sealed = bundle.contents.sealed
    if not order.identity:
        if sealed:
            names = ", ".join(sealed.names)
            house.tell(bundle.contents.service, f"the secrets {names} in the bundle stay closed without --identity")
        return {}
    if sealed is None:
        raise Refused(f"{bundle.path} has no secrets that {order.identity} could open", "leave --identity out")
    return sealing.unseal(bundle.read(sealed.part.digest, sealing.MOST), Path(order.identity))


def settings_file(folder: Path, service: str) -> Path:
    """Return the file that says what is different on this host, for each bundle of a service."""
    return folder / f"{service}.here.yml"


def _refuse_unsigned(house: AppContext, order: Order, bundle: Bundle) -> None:
    """Raise Refused where signers are named and none of them signed; a reason to do without is in the audit log."""
    usual = house.store.folder / SIGNERS
    signers = Path(order.signers) if order.signers else usual if usual.exists() else None
    try:
        who = proven(bundle, signers)
    except Refused as error:
        if not order.unsigned or bundle.index.signature:
            raise Refused(f"{bundle.path}: {error.message}", error.hint) from None
        entry = AuditEntry("unsigned-bundle", bundle.contents.service, detail=str(bundle.path), reason=order.unsigned)
        house.store.audit.record(entry)
        return
    if who:
        house.tell(bundle.contents.service, f"the bundle is signed by {who}")


def proven(bundle: Bundle, signers: Path | None) -> str:
    """Return who of the signers signed a bundle, "" where nobody is named. Raise Refused where it was none of them."""
    contents, signature = bundle.contents.data(), bundle.index.signature
    if signers is not None:
        return signing.signer(contents, signature, signers)
    if signature:
        signing.refuse_damaged(contents, signature)
    return ""


def refuse_missing(house: AppContext, bundle: Bundle) -> None:
    """Raise Refused where the platform is another one, or where what a delta leaves out is not here."""
    contents, image = bundle.contents, bundle.contents.image
    if image and (here := house.images.platform()) != image.platform:
        raise Refused(f"{bundle.path} is for {image.platform}, the engine here runs {here}", "make one for this host")
    runs = {_SAME.get(machine, machine) for machine in contents.machines}
    if runs and platform.machine() not in runs:
        many = ", ".join(contents.machines)
        raise Refused(f"{bundle.path} has programs for {many}, and this host is {platform.machine()}", "make one here")
    if missing := missing_parts(house, contents, set(bundle.index.left_out)):
        some = ", ".join(sorted(missing)[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
        raise Refused(
            f"{bundle.path} leaves out {len(missing)} parts that are not here: {some}",
            "deploy the bundle that was named by --since first, or make one without --since",
        )


def missing_parts(house: AppContext, contents: Contents, wanted: set[str]) -> set[str]:
    """Return which of the wanted parts neither the engine nor earlier bundles have, nor were restored."""
    image = contents.image
    restored = {data.digest for data in RestoredData(house, contents.service).all().values() if data.whole}
    data = {saved.part.digest for saved in contents.data_parts}
    missing = Unpacked(house.store.folder / FOLDER).missing(contents, wanted) | (wanted & data) - restored
    layers = [layer.digest for layer in image.layers] if image else []
    if image and wanted & set(layers) and not house.images.has(image.config.digest):
        missing |= wanted & set(layers[house.images.present(layers) :])
    return missing


def _load(house: AppContext, bundle: Bundle) -> str:
    """Bring the image into the engine; return its id there, "" where there is none."""
    image, service = bundle.contents.image, bundle.contents.service
    if image is None:
        return ""
    if house.images.has(image.config.digest):
        house.images.keep(image.config.digest, service)
        return image.config.digest
    house.tell(service, f"loading {image.reference} from {bundle.path}")
    config = bundle.read(image.config.digest, MOST_CONFIG)
    saved = SavedImage(config, tuple(_layers(bundle, image)))
    return house.images.load(saved, service, Deadline.after(house.clock, LOAD_SECONDS))


def _layers(bundle: Bundle, image: OciImage) -> list[SavedLayer]:
    def read(digest: str) -> Callable[[], Any]:
        return lambda: bundle.chunks(digest)

    return [SavedLayer(x.digest, x.size if bundle.has(x.digest) else 0, read(x.digest)) for x in image.layers]


def _certificates(manifest: Path, overlay: Path | None, here: Path) -> dict[str, Any]:
    """Return where certificates are: keys are in no bundle, so they are files of the host, as secrets are."""
    root = document.read(manifest).root
    over = document.read(overlay).root if overlay else None
    root = merge(root, over) if root and over else root
    named = node_at(root, ("traffic", "tls", "certificates")) if root else None
    names = data(named) if named else None
    return {"traffic.tls.certificates": [str(here / name) for name in names]} if isinstance(names, list) else {}

"""The first start from a bundle: what this host must say itself, and where its answers are kept.

Secrets are kept where the manifest looks for them, addresses in a file that is laid over the manifest of each bundle.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deployer.app.bundles.install import request_unpacked, settings_file
from deployer.app.operations.context import AppContext
from deployer.bundle.reader import opened
from deployer.core import files
from deployer.core.errors import Refused
from deployer.manifest.envfile import DOTENV, Variables
from deployer.manifest.models import Manifest
from deployer.manifest.secrets import resolve_secrets
from deployer.manifest.sections import Secret
from deployer.planning.orders import Order


@dataclass(frozen=True)
class FirstStart:
    """What a bundle leaves to the host: its secrets that have no value here, and the addresses of its manifest.

    Other addresses are kept in the file `settings`; `known` tells whether it is there. A worker has no `listen`.
    """

    manifest: Manifest
    secrets: Mapping[str, Secret]
    settings: Path
    known: bool
    listen: str
    domains: Sequence[str]

    def refuse_lacking(self, environ: Mapping[str, str]) -> None:
        """Raise ManifestRefused where a secret has no value, with what to do without a terminal."""
        asked = self.manifest.model_copy(update={"secrets": dict(self.secrets)})
        resolve_secrets(asked, self.settings.parent, environ)


def first_start(house: AppContext, order: Order, environ: Mapping[str, str], given: Mapping[str, Any]) -> FirstStart:
    """Prove a bundle, and return what is to be asked before its first start; `given` are addresses, by their keys."""
    here = Path.cwd()
    with opened(Path(order.bundle)) as bundle:
        settings = settings_file(here, bundle.contents.service)
        if given and settings.exists():
            raise Refused(f"{settings} already has the settings of this host", "change it there")
        manifest = request_unpacked(house, order, bundle, environ, given).loaded.manifest
        inside = bundle.contents.sealed.names if bundle.contents.sealed and order.identity else ()
    variables = Variables(environ, here)
    asked = ((name, secret) for name, secret in manifest.secrets.items() if name not in inside)
    missing = {name: secret for name, secret in asked if not _is_here(secret, here, variables)}
    listen = manifest.traffic.listen if manifest.port is not None else ""
    return FirstStart(manifest, missing, settings, settings.exists(), listen, manifest.traffic.domains)


def _is_here(secret: Secret, here: Path, variables: Mapping[str, str]) -> bool:
    """Return whether there is a value; what a command prints is asked for when it is needed."""
    if secret.env is not None:
        return secret.env in variables
    return secret.file is None or (here / secret.file).exists()


def place_of(secret: Secret) -> str:
    """Return where the value of a secret is kept, for people."""
    return secret.file or f"{secret.env} in {DOTENV}"


def keep_secret(secret: Secret, value: str, here: Path) -> None:
    """Keep the value of a secret where the manifest looks for it, private to its owner, and read it back."""
    try:
        if secret.file is not None:
            (here / secret.file).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            files.replace(here / secret.file, f"{value}\n")
            return
        file, name = here / DOTENV, secret.env or ""
        before = file.read_text(encoding="utf-8") if file.exists() else ""
        quoted = value.replace("\\", "\\\\").replace("'", "\\'")
        files.replace(file, f"{before}{'' if before.endswith(chr(10)) or not before else chr(10)}{name}='{quoted}'\n")
    except OSError as error:
        raise Refused(f"{place_of(secret)} cannot be written: {error.strerror}", "see `df` and the rights") from error
    if Variables({}, here).get(name) != value:
        raise Refused(f"{name} in {file} does not read back as it was entered", "write it there by hand")


def keep_settings(start: FirstStart, changed: Mapping[str, Any]) -> None:
    """Keep the addresses of this host."""
    import yaml

    tree: dict[str, Any] = {}
    for dotted, value in changed.items():
        section, _, key = dotted.partition(".")
        tree.setdefault(section, {})[key] = value
    text = yaml.safe_dump(tree, sort_keys=False, default_flow_style=None)
    head = f"# What is different on this host: laid over the manifest of each bundle of {start.manifest.service}\n"
    try:
        files.replace(start.settings, head + text, 0o644)
    except OSError as error:
        raise Refused(
            f"{start.settings} cannot be written: {error.strerror}", "see the rights of the folder"
        ) from error

"""Making a release: everything a rollback must bring back, pinned and hashed."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deployer.app.work_tree import NoWorkTree, head_of, uncommitted
from deployer.core.errors import Refused
from deployer.manifest import schema
from deployer.model import GuestTerms, SecretText

if TYPE_CHECKING:
    from deployer.manifest.models import Manifest

# Changing only these changes how a rollout goes, not what runs: it is the same release.
_NOT_CONFIG = frozenset(
    {
        "image",
        "build",
        "version",
        "env_file",  # what the files hold is in `env`
        "strategy",
        "approve",
        "judge",
        "notify",
        "keep",
        "freeze",
        "hooks",
        "update",
        "smoke",
        "verify",
        "inventory",
        "twin",
        "max_unavailable",
    }
)


def config_hash(
    image_id: str, manifest: Manifest, secrets: Mapping[str, SecretText], key: str, terms: GuestTerms | None = None
) -> str:
    """Hash what runs and how users reach it; secrets enter through a keyed hash (HMAC-SHA-256, RFC 2104)."""
    config: dict[str, Any] = {k: v for k, v in manifest.record().items() if k not in _NOT_CONFIG}
    for section in ("migrate", "swarm"):  # part of a release where there is something, and younger than releases
        if not config.get(section):
            config.pop(section, None)
    if not config.pop("tenant", None):
        terms = None
    ours = {name for name, secret in manifest.secrets.items() if secret.deliver == "none"}  # no instance gets them
    config["secrets"] = {name: source for name, source in config["secrets"].items() if name not in ours}
    sealed = {
        name: hmac.new(key.encode(), value.reveal().encode(), hashlib.sha256).hexdigest()
        for name, value in sorted(secrets.items())
        if name not in ours
    }
    guest = {"terms": terms.of_instances()} if terms else {}
    text = json.dumps({"image": image_id, "config": config, "secrets": sealed, **guest}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def version_of(manifest: Manifest, version: str | None) -> str:
    """Name the version for people: what was asked for, the tag, or `latest`."""
    if version or manifest.version:
        return version or manifest.version or ""
    name = manifest.image.rpartition("/")[2]
    tag = name.partition("@")[0].partition(":")[2]
    return tag or "latest"


def built_version(
    manifest: Manifest, folder: Path, files: Sequence[Path], version: str | None, *, dirty: bool
) -> str | None:
    """Return the version that is asked for, else, of what `build` builds, the revision of the work tree.

    `files` are those of the manifest, which may have changes, as its schema for editors may. Raise Refused for other
    changes, unless `dirty` allows them, and for a folder outside of Git without a version.
    """
    if manifest.build is None:
        return version
    context = str((folder / manifest.build.context).resolve())
    try:
        revision = head_of(folder)
        changed = uncommitted(folder, context, {file.resolve() for file in (*files, folder / schema.FILE)})
    except NoWorkTree:
        if version:
            return version
        why = f"{manifest.service}: `build` names the image by the Git revision, and {folder} is in no Git work tree"
        raise Refused(why, "name the version with --version, or make a commit") from None
    if changed and not dirty:
        more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
        raise Refused(
            f"{manifest.service}: {context} has changes that are not committed: {', '.join(changed[:3])}{more}",
            "commit them, name them in .gitignore, or build them anyway with --dirty",
        )
    return version or (f"{revision}-dirty" if changed else revision)

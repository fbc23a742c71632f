"""Volumes, configs and secrets of a Compose file, as mounts and secrets of a manifest."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from deployer.manifest import tree
from deployer.manifest.compose.draft import Draft, listed
from deployer.manifest.compose.project import plain
from deployer.manifest.tree import Scalar, Table

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}", re.ASCII)
_WITHOUT_EFFECT = frozenset({"rw", "z", "Z", "cached", "delegated", "consistent"})
_SELINUX = frozenset({"z", "Z"})


def volumes(draft: Draft) -> None:
    """Take volumes and folders of the host."""
    mounts: list[dict[str, Any]] = []
    for index in range(listed(draft.at("volumes"))):
        path = ("volumes", index)
        found = _long(draft, *path) if isinstance(draft.at(*path), Table) else _short(draft, *path)
        if found and found["source"] == _context(draft):
            what = "the folder that the image is built from would hide the code of each release"
            draft.note(f"{what}: left out", *path)
        elif found:
            mounts.append(found)
    if mounts:
        draft.keys.setdefault("mounts", []).extend(mounts)
    if any(not mount.get("read_only") for mount in mounts) and "single" not in draft.keys:
        draft.comments["mounts"] = (
            "two releases write to these at once during a rollout; if that harms: strategy: recreate"
        )


def _context(draft: Draft) -> str:
    """Return the folder that the image is built from, empty where it is not built."""
    node = draft.at("build")
    if node is None:
        return ""
    context = draft.text("build") if isinstance(node, Scalar) else draft.text("build", "context")
    return os.path.normpath(draft.project.folder / (context or "."))


def _short(draft: Draft, *path: str | int) -> dict[str, Any] | None:
    source, _, rest = draft.text(*path).partition(":")
    target, _, mode = rest.partition(":")
    if not target:
        draft.note("a volume without a name would be empty in each release: give it a name", *path)
        return None
    options = set(filter(None, mode.split(",")))
    if options - _WITHOUT_EFFECT - {"ro"} or options & _SELINUX:
        draft.note(f"option {', '.join(sorted(options - {'ro', 'rw'}))} is not supported", *path)
    return _mount(draft, source, target, "ro" in options)


def _long(draft: Draft, *path: str | int) -> dict[str, Any] | None:
    kind, source, target = (draft.text(*path, key) for key in ("type", "source", "target"))
    if kind not in ("bind", "volume") or not source:
        what = "a volume without a name would be empty in each release" if kind == "volume" else f"type {kind}"
        draft.note(f"{what}: only named volumes and folders of the host are mounted", *path)
        return None
    for key in draft.data(*path):
        if key not in ("type", "source", "target", "read_only"):
            draft.note("is not supported", *path, key)
    return _mount(draft, source, target, draft.data(*path, "read_only") is True)


def _mount(draft: Draft, source: str, target: str, read_only: bool) -> dict[str, Any]:
    if source.startswith((".", "/", "~")):
        # Not resolved: /etc/localtime is another file on each host.
        source = os.path.normpath(draft.project.folder / Path(source).expanduser())
    else:
        source = draft.project.real_name("volumes", source)
    return {"source": source, "target": target, **({"read_only": True} if read_only else {})}


def configs(draft: Draft) -> None:
    """Mount files of `configs`, read-only."""
    for index in range(listed(draft.at("configs"))):
        path = ("configs", index)
        name = draft.text(*path) or draft.text(*path, "source")
        file = plain(tree.node_at(draft.project.root, ("configs", name, "file")))
        if not file:
            draft.note("only a config from a file is mounted: write it into one", *path)
            continue
        target = draft.text(*path, "target") or f"/{name}"
        source = str(file) if str(file).startswith(("/", "~")) else f"./{file}"
        draft.keys.setdefault("mounts", []).append(_mount(draft, source, target, True))
        for key in ("uid", "gid", "mode"):
            if draft.at(*path, key) is not None:
                draft.note("a mounted file keeps the owner and the mode that it has on the host", *path, key)


def secrets(draft: Draft) -> None:
    """Take secrets; instances find each at /run/secrets/NAME, as with Compose."""
    for index in range(listed(draft.at("secrets"))):
        path = ("secrets", index)
        name = draft.text(*path) or draft.text(*path, "source")
        if source := secret_source(draft, name, *path):
            draft.keys.setdefault("secrets", {})[name] = source
        for key in ("target", "uid", "gid", "mode"):
            if draft.at(*path, key) is not None:
                draft.note(f"instances find it at /run/secrets/{name}, readable by every user there", *path, key)


def secret_source(draft: Draft, name: str, *path: str | int) -> dict[str, str] | None:
    """Return where the value of a secret comes from; noted where a manifest cannot say it."""
    given = plain(tree.node_at(draft.project.root, ("secrets", name))) or {}
    if not _NAME.fullmatch(name):
        draft.note(
            f"{name}: a secret is named by letters, digits and _ here; rename it, and its path in the service", *path
        )
    elif given.get("file"):
        return {"file": str(given["file"]).removeprefix("./")}
    elif given.get("environment"):
        return {"env": str(given["environment"])}
    else:
        draft.note("the engine keeps its value: give it by `file`, `env` or `command`", *path)
    return None

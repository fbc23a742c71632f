"""Files that a manifest names: playbooks that are there, certificates that can be used."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from pathlib import Path

from deployer.core.files import PLAIN_PATH
from deployer.core.resources import builtin
from deployer.manifest import public_key, verbs
from deployer.manifest.base import Conflict
from deployer.manifest.build import Build
from deployer.manifest.hook import RolloutHook
from deployer.manifest.models import Hooks, Manifest
from deployer.manifest.sections import CosignKeys


def wanting(manifest: Manifest, folder: Path) -> Iterator[Conflict]:
    """Yield a conflict for each file that is missing or unfit; paths are relative to `folder`."""
    if manifest.inventory and (trouble := _missing(folder / manifest.inventory)):
        yield Conflict("inventory", f"{manifest.inventory} {trouble}", f"paths are relative to {folder}")
    if manifest.verbs and (trouble := verbs.trouble(verbs.folder_of(manifest.verbs, folder))):
        wanted = ", ".join(f"{verb}.yml" for verb in verbs.REQUIRED)
        yield Conflict("verbs", trouble, f"a folder beside the manifest with {wanted}")
    if manifest.build:
        yield from _context(manifest.build, folder)
    yield from _hooks("update", manifest.update, folder)
    for hook in Hooks.model_fields:
        yield from _hooks(f"hooks.{hook}", getattr(manifest.hooks, hook), folder)
    for place, each in manifest.migrate.parts if manifest.migrate else ():
        yield from _hook(f"migrate.{place}", each, folder)
    for index, metric in enumerate(manifest.judge.metrics):
        trouble = _authorities(folder / metric.ca) if metric.ca else ""
        if trouble:
            hint = "it must be PEM, a path relative to the manifest"
            yield Conflict(f"judge.metrics[{index}].ca", f"{metric.ca}: {trouble}", hint)
    if manifest.verify:
        yield from _keys(manifest.verify.cosign, folder)
    if manifest.traffic.tls and manifest.traffic.proxies.local:  # else they lie where the proxies are
        for index, name in enumerate(manifest.traffic.tls.certificates or ()):
            trouble, hint = _unnameable(folder / name) or _certificate(folder / name)
            if trouble:
                yield Conflict(f"traffic.tls.certificates[{index}]", f"{name}: {trouble}", hint)


def _context(build: Build, folder: Path) -> Iterator[Conflict]:
    context = folder / build.context
    try:
        if not context.is_dir():
            hint = f"a folder, relative to {folder}"
            yield Conflict(
                "build.context", f"{build.context} is {'not a folder' if context.exists() else 'not there'}", hint
            )
        elif trouble := _unreadable(context / build.dockerfile):
            yield Conflict("build.dockerfile", f"{build.dockerfile} {trouble}", f"paths are relative to {context}")
    except OSError as error:
        yield Conflict("build.context", f"{build.context} cannot be read: {error.strerror}")


def _keys(settings: CosignKeys, folder: Path) -> Iterator[Conflict]:
    for index, name in enumerate(settings.names):
        try:
            public_key.read(folder, name)
        except public_key.Unfit as unfit:
            at = "verify.cosign.key" if settings.key else f"verify.cosign.keys[{index}]"
            yield Conflict(at, f"{name}: {unfit.message}", unfit.hint)


def _hooks(at: str, hooks: tuple[RolloutHook, ...], folder: Path) -> Iterator[Conflict]:
    for index, hook in enumerate(hooks):
        yield from _hook(f"{at}[{index}]", hook, folder)


def _hook(at: str, hook: RolloutHook, folder: Path) -> Iterator[Conflict]:
    for key, program in hook.programs.items():
        if trouble := _unfit(folder / program):
            hint = f"a program, relative to {folder}; in an instance: in: instance"
            yield Conflict(f"{at}.{key}", f"{program} {trouble}", hint)
    name = hook.playbook
    trouble = _unreadable(folder / name) if name else ""
    if name and trouble and not _built_in(name):
        ours = ", ".join(sorted(p.name for p in builtin("playbooks").glob("*.yml")))
        hint = f"paths are relative to {folder}; built in are {ours}"
        yield Conflict(at, f"{name}: {trouble}", hint)


def _unfit(program: Path) -> str:
    return _unreadable(program) or ("" if os.access(program, os.X_OK) else "may not be executed")


def _built_in(name: str) -> bool:
    return name in {path.name for path in builtin("playbooks").glob("*.yml")}


def _missing(place: Path) -> str:
    """Return why nothing is found at a path, whether a file or a folder is meant; "" when something is there."""
    try:
        return "" if place.exists() else "is not there"
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def _unreadable(file: Path) -> str:
    try:
        if not file.is_file():
            return "is not a file" if file.exists() else "is not there"
        with file.open("rb") as opened:
            opened.read(1)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return ""


def _authorities(file: Path) -> str:
    trouble = _unreadable(file)
    if trouble:
        return trouble
    try:
        ssl.create_default_context(cafile=str(file))
    except (ssl.SSLError, OSError):
        return "holds no certificate"
    return ""


class _Passphrase(Exception):
    pass


def _ask() -> str:
    raise _Passphrase


def _unnameable(file: Path) -> tuple[str, str] | None:
    if PLAIN_PATH.fullmatch(str(file)):
        return None
    return f"the proxy cannot use the path {str(file)!r}", "it may have letters, digits and ._@+=:~-/ only"


def _certificate(file: Path) -> tuple[str, str]:
    """Return what is wrong with a PEM file and what would be right; ("", "") when a TLS server can use it."""
    trouble = _unreadable(file)
    if trouble:
        return trouble, "paths are relative to the manifest"
    text = file.read_bytes()
    if b"-----BEGIN CERTIFICATE-----" not in text:
        return "holds no certificate", "it must be PEM, with -----BEGIN CERTIFICATE-----"
    if b"PRIVATE KEY-----" not in text:
        return "holds no private key", f"put chain and key in one file: cat fullchain.pem privkey.pem > {file.name}"
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(file, password=_ask)
    except _Passphrase:
        return "its key has a passphrase", "store the key without one: openssl pkey -in KEY -out KEY"
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            return (
                "its key belongs to another certificate",
                "the server's own certificate must be the first of the file",
            )
        return f"is damaged ({(error.reason or 'unreadable').replace('_', ' ').lower()})", "make the file again"
    return "", ""

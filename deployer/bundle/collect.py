"""The files that a manifest names, as entries of a bundle; secrets are left out, and what leads outside is refused."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Collection, Iterator
from pathlib import Path

from deployer.bundle.contents import Entry, Kind, Part, digest_of
from deployer.core.errors import Refused
from deployer.manifest import verbs
from deployer.manifest.hook import RolloutHook
from deployer.manifest.models import Hooks, Manifest

# What Ansible looks for beside a playbook
BESIDE_PLAYBOOKS = (
    "ansible.cfg",
    "collections",
    "files",
    "filter_plugins",
    "group_vars",
    "handlers",
    "host_vars",
    "library",
    "module_utils",
    "roles",
    "tasks",
    "templates",
    "vars",
)
LEFT_OUT = frozenset({".git", ".hg", ".svn", "__pycache__"})  # as in snapshots of directories
_KEY = b"PRIVATE KEY-----"
_PASSWORDS = (b"ansible_password", b"ansible_ssh_pass", b"ansible_become_pass", b"ansible_become_password")
_LOOKED_AT = 1024 * 1024  # bytes of a file in which a key or a password is looked for


class Collected:
    """Entries, and where the content of their parts lies; `notes` says what was left out and why."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.places: dict[str, Path | bytes] = {}
        self.notes: list[str] = []

    def text(self, path: str, content: bytes) -> None:
        """Add a file that was made here."""
        part = Part(digest=digest_of(content), size=len(content))
        self.places[part.digest] = content
        self.entries[path] = Entry(path=path, kind="file", part=part)

    def add(self, place: Path, path: str) -> None:
        """Add a file, a link or an empty folder. Raise Refused for what no bundle may have."""
        try:
            mode = place.lstat().st_mode
            if stat.S_ISLNK(mode):
                self.entries[path] = _entry(place, path=path, kind="link", target=str(place.readlink()))
            elif stat.S_ISDIR(mode):
                self.entries[path] = _entry(place, path=path, kind="folder")
            elif stat.S_ISREG(mode):
                part = part_of(place)
                kind: Kind = "program" if mode & 0o111 else "file"
                self.entries[path] = _entry(place, path=path, kind=kind, part=part)
                self.places[part.digest] = place
            else:
                raise Refused(f"{place} is neither a file, a folder nor a link", "move it out of what is deployed")
        except OSError as error:
            raise Refused(f"{place} cannot be read: {error.strerror}", "it belongs to the bundle") from None

    def sorted(self) -> tuple[Entry, ...]:
        """Return the entries in the order in which a bundle has them."""
        return tuple(self.entries[path] for path in sorted(self.entries))


def _entry(place: Path, **fields: object) -> Entry:
    from pydantic import ValidationError

    try:
        return Entry.model_validate(fields)
    except ValidationError as error:
        said = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise Refused(f"{place}: {said}", "a bundle has paths inside itself only: move it, or leave it out") from None


def part_of(place: Path) -> Part:
    """Return what a file holds."""
    with place.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return Part(digest=f"sha256:{digest}", size=file.tell())


def collect(manifest: Manifest, folder: Path, more: Collection[str]) -> Collected:
    """Collect what a manifest names in its folder, and what Ansible looks for beside playbooks; `more` are paths."""
    found, secrets = Collected(), _secret_files(manifest, folder)
    for name in dict.fromkeys((*_named(manifest, folder), *more)):
        start = _real(folder / name)  # what is named by a link is what the link leads to
        if not start.is_relative_to(_real(folder)):
            raise Refused(
                f"{name} is outside of {folder}, the folder of the manifest", "move it there: a bundle is one folder"
            )
        if not start.exists():
            raise Refused(f"{folder / name} is not there", "see --include, and the manifest")
        for place in _below(start):
            path = os.path.normpath(Path(name) / place.relative_to(start))
            if _real(place) in secrets:
                found.notes.append(f"{path} is left out: it holds {secrets[_real(place)]}")
                continue
            _refuse_secrets(place, "move it out of the folder, or name it as a secret's `file:`")
            found.add(place, path)
    return found


def collect_directory(source: Path, manifest: Manifest, folder: Path, state: Path) -> Collected:
    """Collect the directory, or the program, that is deployed without an engine; as snapshots do, without `state`."""
    found, secrets = Collected(), _secret_files(manifest, folder)
    if not source.exists():
        raise Refused(f"image: there is no directory or program {source}", "check `image:` and `version:`")
    for place in _below(source, state):
        if _real(place) in secrets:
            raise Refused(
                f"{place} is in the directory that is deployed, and holds {secrets[_real(place)]}",
                "move it out: no bundle has a secret in it",
            )
        _refuse_secrets(place, "move it out of the directory, and deliver it as a secret (`secrets:`)")
        if place != source or not source.is_dir():
            found.add(place, place.name if place == source else str(place.relative_to(source)))
    return found


def _named(manifest: Manifest, folder: Path) -> Iterator[str]:
    playbooks = [hook for hooks in (manifest.update, *_hooks(manifest)) for hook in hooks]
    for hook in playbooks:
        yield from (program for program in hook.programs.values() if not program.startswith("/"))
        if hook.playbook and (folder / hook.playbook).exists():  # else it is built in
            yield hook.playbook
            beside = Path(hook.playbook).parent
            yield from (str(beside / name) for name in BESIDE_PLAYBOOKS if (folder / beside / name).exists())
    if manifest.verbs and not verbs.shipped(manifest.verbs):
        yield manifest.verbs
    if manifest.inventory:
        yield manifest.inventory
    yield from (metric.ca for metric in manifest.judge.metrics if metric.ca)
    if manifest.verify:
        yield from manifest.verify.cosign.names
    if (folder / "strategies").is_dir():
        yield "strategies"


def _hooks(manifest: Manifest) -> Iterator[tuple[RolloutHook, ...]]:
    for name in Hooks.model_fields:
        yield getattr(manifest.hooks, name)
    yield manifest.migrate.hooks if manifest.migrate else ()


def _secret_files(manifest: Manifest, folder: Path) -> dict[Path, str]:
    """Return the files that hold secrets, with the names of these."""
    files = {name: secret.file for name, secret in manifest.secrets.items() if secret.file}
    named = {_real(folder / file): f"the secret {name}" for name, file in files.items()}
    named |= {_real(folder / ".env"): "variables of this host"}
    tls = manifest.traffic.tls
    certificates = (tls.certificates or ()) if tls else ()
    return named | {_real(folder / path): "the key of a certificate" for path in certificates}


def _real(place: Path) -> Path:
    """Return the path without links; a ring of links stays as it is."""
    return Path(os.path.realpath(place))


def _below(start: Path, state: Path | None = None) -> Iterator[Path]:
    if start.is_symlink() or not start.is_dir():
        yield start
        return
    for parent, folders, names in os.walk(start):
        folders[:] = sorted(f for f in folders if f not in LEFT_OUT and Path(parent, f) != state)
        for name in sorted([*folders, *names]):
            yield Path(parent, name)


def _refuse_secrets(place: Path, hint: str) -> None:
    """Raise Refused for a file that is a private key, or that has a password of a host in clear."""
    if place.is_symlink() or not place.is_file():
        return
    try:
        with place.open("rb") as file:
            text = file.read(_LOOKED_AT)
    except OSError as error:
        raise Refused(f"{place} cannot be read: {error.strerror}", "it belongs to the bundle") from None
    first = text.lstrip()[:100].splitlines()
    if first and first[0].startswith(b"-----BEGIN") and first[0].rstrip().endswith(_KEY):
        raise Refused(f"{place} is a private key, and no bundle has a secret in it", hint)
    if name := _password(text):
        raise Refused(f"{place} has {name} in plain text", "encrypt it: ansible-vault(1)")


def _password(text: bytes) -> str:
    """Return the variable of Ansible that has a password in clear; "" for none."""
    for line in text.splitlines() if b"ansible_" in text else ():
        for name in _PASSWORDS:
            value = re.search(rb"\b" + name + rb"\s*[:=]\s*(\S+)", line)
            if value and value[1] != b"!vault" and b"{{" not in value[1]:
                return name.decode()
    return ""

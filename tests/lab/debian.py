"""A Debian image made of what is installed on this host: `docker import` of packages with all that they depend on.

No registry and no mirror is asked, so it is there in a second or two, and `dpkg` in it knows what it is made of.
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import docker

STATUS = Path("/var/lib/dpkg/status")
ALWAYS = ("base-files", "bash", "coreutils", "dash", "dpkg", "findutils", "grep", "libc-bin", "sed", "tar")
OF_EXAMPLE = ("ca-certificates", "curl", "haproxy", "openssh-client", "python3-venv")  # that of examples/compose
LEFT_OUT = re.compile(r"/usr/share/(doc|man|locale|info|lintian|bug|i18n)/|/(test|idlelib|__pycache__)/")
MADE = ("/etc/ssl/certs/ca-certificates.crt",)  # by packages when they are installed, and needed
MERGED = ("bin", "lib", "lib64", "sbin")  # links into /usr, which no package has
ACCOUNTS = """\
root:x:0:0:root:/root:/bin/sh
haproxy:x:199:199:haproxy:/var/lib/haproxy:/usr/sbin/nologin
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
"""
GROUPS = "root:x:0:\nhaproxy:x:199:\nnogroup:x:65534:\n"


class _Package(NamedTuple):
    stanza: str
    needs: tuple[tuple[str, ...], ...]  # of each group of alternatives one


def missing(*packages: str) -> str:
    """Return what an image of these packages cannot be made of; empty when nothing is missing."""
    if not STATUS.exists():
        return "this is no Debian: dpkg has no list of packages"
    absent = sorted({*packages, *ALWAYS} - _installed().keys())
    return f"not installed: {' '.join(absent)}" if absent else ""


def build(reference: str, packages: Iterable[str], folder: Path, client: docker.DockerClient) -> None:
    """Load an image of these packages into the engine; its archive lies in the folder meanwhile."""
    known = _installed()
    chosen = _closure((*ALWAYS, *packages), known)
    archive = folder / "debian.tar"
    with tarfile.open(archive, "w") as tar:
        for name in MERGED:
            if Path(f"/{name}").is_symlink():
                tar.add(f"/{name}", name, recursive=False)
        for path in sorted({*_files(chosen), *filter(os.path.exists, MADE)}):
            tar.add(path, path.lstrip("/"), recursive=False)
        for folder_name, mode in (("tmp", 0o1777), ("run", 0o755), ("root", 0o700)):
            entry = tarfile.TarInfo(folder_name)
            entry.type, entry.mode = tarfile.DIRTYPE, mode
            tar.addfile(entry)
        status = "\n".join(known[name].stanza for name in sorted(chosen))
        for path, text in ((str(STATUS), status), ("/etc/passwd", ACCOUNTS), ("/etc/group", GROUPS)):
            entry = tarfile.TarInfo(path.lstrip("/"))
            entry.size, entry.mode = len(text.encode()), 0o644
            tar.addfile(entry, io.BytesIO(text.encode()))
    try:
        repository, _, tag = reference.rpartition(":")
        client.api.import_image_from_file(str(archive), repository=repository, tag=tag)
    finally:
        archive.unlink()


def _installed() -> dict[str, _Package]:
    """Read what is installed, by its name and by what it provides."""
    found: dict[str, _Package] = {}
    provided: dict[str, _Package] = {}
    for stanza in STATUS.read_text(encoding="utf-8", errors="replace").split("\n\n"):
        fields = dict(re.findall(r"^([A-Za-z-]+): (.*)$", stanza, re.MULTILINE))
        if not fields.get("Status", "").endswith(" installed"):
            continue
        needs = ", ".join(filter(None, (fields.get("Pre-Depends"), fields.get("Depends"))))
        groups = tuple(tuple(map(_name, group.split("|"))) for group in needs.split(",") if group.strip())
        package = _Package(stanza.strip() + "\n", groups)
        found[fields["Package"]] = package
        for name in map(_name, fields.get("Provides", "").split(",")):
            provided.setdefault(name, package)
    return {**{name: found[_of(package)] for name, package in provided.items() if name}, **found}


def _name(text: str) -> str:
    return re.split(r"[ (:]", text.strip(), maxsplit=1)[0]


def _of(package: _Package) -> str:
    match = re.search(r"^Package: (\S+)$", package.stanza, re.MULTILINE)
    assert match
    return match[1]


def _closure(wanted: Iterable[str], known: dict[str, _Package]) -> set[str]:
    chosen: set[str] = set()
    left = list(wanted)
    while left:
        package = known[left.pop()]
        if _of(package) in chosen:
            continue
        chosen.add(_of(package))
        for group in package.needs:
            left += [next(name for name in group if name in known)]
    return chosen


def _files(packages: set[str]) -> Iterator[str]:
    listed = subprocess.run(["dpkg", "-L", *sorted(packages)], capture_output=True, text=True, check=True, timeout=60)
    for path in listed.stdout.splitlines():
        if path.startswith("/") and path != "/." and not LEFT_OUT.search(path):
            # A package may still name a place that is a link by now: what lies there is in /usr.
            real = f"/usr{path}" if Path(path).parts[1] in MERGED else path
            if os.path.lexists(real):
                yield real

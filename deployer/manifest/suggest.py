"""Guess what a folder deploys, from the files that people have anyway."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from deployer.manifest import document
from deployer.manifest.template import InitAnswers
from deployer.manifest.tree import data

_COMPOSE = ("compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml")
_URL_PATH = re.compile(r"https?://[^/\s\"']+(/[A-Za-z0-9._~/-]*)")
PORT = 8080


def suggest(folder: Path) -> InitAnswers:
    """Guess service, image, port and health path from Dockerfile, Compose file, pyproject.toml and the folder's name.

    What cannot be read is passed over: these are suggestions that a person confirms.
    """
    dockerfile = _read(folder / "Dockerfile")
    composed = _compose(folder)
    service = _name(_project(folder) or folder.absolute().name)
    image = composed.get("image")
    return InitAnswers(
        service=service,
        image=image if isinstance(image, str) and "$" not in image else service,
        port=_exposed(dockerfile) or _published(composed) or PORT,
        health=_health(dockerfile, composed),
    )


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
    except OSError:
        return ""


def _name(text: str) -> str:
    name = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-0123456789")[:40].strip("-")
    return name or "app"


def _project(folder: Path) -> str:
    try:
        name = tomllib.loads(_read(folder / "pyproject.toml")).get("project", {}).get("name", "")
    except (tomllib.TOMLDecodeError, AttributeError):
        return ""
    return name if isinstance(name, str) else ""


def _exposed(dockerfile: str) -> int | None:
    """Return the first TCP port that the last stage exposes."""
    last = re.split(r"(?im)^\s*FROM\s", dockerfile)[-1]
    found = re.search(r"(?im)^\s*EXPOSE\s+(?:\d+/udp\s+)*(\d{1,5})(?:/tcp)?(?:\s|$)", last)
    return _port(found[1]) if found else None


def _port(text: str) -> int | None:
    return int(text) if text.isdecimal() and 1 <= int(text) <= 65535 else None


def _compose(folder: Path) -> dict[str, Any]:
    """Return the service of the Compose file that users reach: the first with ports, else the first."""
    file = next((folder / name for name in _COMPOSE if (folder / name).is_file()), None)
    root = document.read(file).root if file else None
    services = data(root).get("services") if root else None
    known = [entry for entry in services.values() if isinstance(entry, dict)] if isinstance(services, dict) else []
    return next((entry for entry in known if entry.get("ports")), known[0] if known else {})


def _published(service: dict[str, Any]) -> int | None:
    """Return the first port inside the container: `8080:80/tcp` and `{target: 80}` are both 80."""
    for key in ("ports", "expose"):
        ports = service.get(key)
        for entry in ports if isinstance(ports, list) else ():
            written = str(entry.get("target") if isinstance(entry, dict) else entry)
            port = _port(written.partition("/")[0].rpartition(":")[2])
            if port:
                return port
    return None


def _health(dockerfile: str, composed: dict[str, Any]) -> str:
    healthcheck = composed.get("healthcheck")
    asked = str(healthcheck.get("test", "")) if isinstance(healthcheck, dict) else ""
    lines = re.findall(r"(?im)^\s*HEALTHCHECK\s.*", dockerfile.replace("\\\n", " "))
    found = _URL_PATH.search(" ".join([asked, *lines]))
    return found[1] if found else ""

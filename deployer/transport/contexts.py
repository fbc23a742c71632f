"""Contexts of Docker's own client: names for engines, which it keeps in files (`docker context create`).

The layout is that of docker/cli, cli/context/store: below `contexts` there is `meta/ID/meta.json`, and certificates are
in `tls/ID/docker`; the ID is the SHA-256 of the name.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from deployer.core.errors import Refused
from deployer.transport.certificates import CA

NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.+-]+")
_VARIABLES = frozenset({"DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_TLS", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"})
_DEFAULT = "default"  # of Docker's client: DOCKER_HOST, else the socket of this host


@dataclass(frozen=True)
class Context:
    """An engine by its name: where it is, and the folder of its certificates ("" for none)."""

    name: str
    address: str
    certificates: str = ""


def find(name: str, environ: Mapping[str, str]) -> Context:
    """Return the context of a name. Raise Refused, listing the known ones, if there is none that can be used."""
    id = hashlib.sha256(name.encode()).hexdigest()
    file = _folder(environ) / "meta" / id / "meta.json"
    try:
        endpoint = _read(file)["Endpoints"]["docker"]
        address, unproven = str(endpoint["Host"]), bool(endpoint.get("SkipTLSVerify"))
    except FileNotFoundError:
        raise _unknown(name, environ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Refused(
            f"the Docker context {name} cannot be read: {file}: {error}", "`docker context inspect` says more"
        ) from None
    if unproven:
        raise Refused(
            f"the Docker context {name} does not verify its engine (skip-tls-verify)",
            "a client of an engine is root on its host: make the context with a CA certificate",
        )
    tls = _folder(environ) / "tls" / id / "docker"
    return Context(name, address, str(tls) if (tls / CA).exists() else "")


def known(environ: Mapping[str, str]) -> list[str]:
    """Return the names of all contexts, sorted."""
    names = []
    for file in _folder(environ).glob("meta/*/meta.json"):
        try:
            names.append(str(_read(file)["Name"]))
        except (OSError, ValueError, KeyError, TypeError):
            continue  # what cannot be read has no name to propose
    return sorted(names)


def current(environ: Mapping[str, str]) -> str:
    """Return the context that `docker context use` has chosen, "" for the default one."""
    try:
        name = _read(_folder(environ).parent / "config.json").get("currentContext") or ""
    except (OSError, ValueError, AttributeError):
        return ""
    return "" if name == _DEFAULT else str(name)


def resolved(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment with the engine that DOCKER_CONTEXT names in place of its name.

    DOCKER_HOST wins, as for Docker's own client. Raise Refused for a context that cannot be used.
    """
    name = environ.get("DOCKER_CONTEXT", "")
    if not name or name == _DEFAULT or environ.get("DOCKER_HOST"):
        return {key: value for key, value in environ.items() if key != "DOCKER_CONTEXT"}
    found = find(name, environ)
    proof = {"DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": found.certificates} if found.certificates else {}
    return {key: value for key, value in environ.items() if key not in _VARIABLES} | {
        "DOCKER_HOST": found.address,
        **proof,
    }


def _folder(environ: Mapping[str, str]) -> Path:
    configured = environ.get("DOCKER_CONFIG")
    return (Path(configured) if configured else Path(environ.get("HOME") or "~").expanduser() / ".docker") / "contexts"


def _read(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))


def _unknown(name: str, environ: Mapping[str, str]) -> Refused:
    names = known(environ)
    near = get_close_matches(name, names, n=1)
    if near:
        hint = f"did you mean {near[0]}?"
    else:
        hint = f"known are {', '.join(names)}" if names else "there are none: `docker context create` makes one"
    return Refused(f"there is no Docker context {name}", hint)

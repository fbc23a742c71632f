"""Hosts of an inventory, read by Ansible itself in a process of its own.

Formats, group_vars and host_vars, patterns, templates, dynamic scripts and vaults are thereby what Ansible makes of
them; nothing here reads an inventory.
"""

from __future__ import annotations

import difflib
import os
import re
import secrets
import shlex
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

from deployer.core.clock import Deadline
from deployer.core.errors import DeadlinePassed, Refused
from deployer.core.host import Host
from deployer.core.resources import builtin
from deployer.drivers.hosts.environ import program, surroundings
from deployer.drivers.hosts.run import messages
from deployer.drivers.hosts.workspace import workspace
from deployer.transport import contexts, ssh
from deployer.transport.certificates import CA, CERT, KEY, Certificates, place

READ_SECONDS = 60.0  # for an inventory that asks somebody else
_CONNECTIONS: dict[str, Literal["ssh", "local"]] = {"ssh": "ssh", "smart": "ssh", "local": "local"}
_FAILURE = re.compile(r"Failed to parse .*?with '?(?P<plugin>[\w.]+)'? plugin: +(?P<why>.*)")
_ORIGIN = re.compile(r"^Origin: (?P<where>/\S*:\d+)", re.MULTILINE)
_SCRIPT = re.compile(r"Standard error from inventory script:\n(?P<said>.+)")


def chosen(inventory: str | None, folder: Path) -> Path:
    """Return the inventory of a manifest that is in `folder`: the one that it names, else the shipped one (`local`)."""
    return (folder / inventory).absolute() if inventory else builtin("inventories") / "local"


def hosts(
    inventory: Path | None, pattern: str, deadline: Deadline, *, limit: str = "", folder: Path | None = None
) -> tuple[Host, ...]:
    """Return the hosts that a pattern of Ansible's means, sorted by name; `limit` is a second one that must hold, too.

    Without an inventory the shipped one is read, in which every group is this host. An `ansible.cfg` in `folder`, by
    default that of the inventory, is obeyed. Raises Refused, saying what to do, when the inventory cannot be read, when
    it does not know a name of the pattern, or when no host is meant; DeadlinePassed.
    """
    source = (inventory or chosen(None, Path())).absolute()
    if not source.exists():
        raise Refused(f"there is no inventory {source}", "name a file or folder that Ansible can read")
    answer, said = _ask(source, pattern, limit, folder or source.parent, deadline)
    if "error" in answer:
        raise _unreadable(source, str(answer["error"]), said)
    if answer["unknown"]:
        raise _unknown(source, answer["unknown"], answer["names"])
    if not answer["hosts"]:
        wanted = f"{pattern}, limited to {limit}," if limit else pattern
        raise Refused(f"no host of {source} matches {wanted}", "add hosts to it, or name another group")
    found = tuple(sorted((_host(said, source) for said in answer["hosts"]), key=lambda host: host.name))
    _refuse_unproven(found, source)
    return found


def _ask(source: Path, pattern: str, limit: str, folder: Path, deadline: Deadline) -> tuple[Mapping[str, Any], str]:
    mark = secrets.token_hex(16)
    with workspace() as private:
        log = private / "worker.log"
        job = {
            "mark": mark,
            "folder": str(folder.absolute()),
            "environ": {
                **surroundings(private, folder.absolute(), program(), mark),
                "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "True",
                # Ours are for the connections of playbooks; here they would read as the user's word.
                "ANSIBLE_SSH_EXTRA_ARGS": os.environ.get("ANSIBLE_SSH_EXTRA_ARGS", ""),
            },
            "sources": [str(source)],
            "pattern": pattern,
            "limit": limit,
        }
        try:
            with closing(messages("deployer.drivers.hosts.inventory_worker", job, mark, log, deadline)) as said:
                answer = next(said)
        except DeadlinePassed as error:
            hint = "a dynamic inventory that asks somebody else may hang; try `ansible-inventory --list`"
            raise DeadlinePassed(f"inventory {source}: {error.message}", hint) from error
        return answer, log.read_text(encoding="utf-8", errors="replace")


def _host(said: Mapping[str, Any], source: Path) -> Host:
    name, connection = str(said["name"]), _CONNECTIONS.get(str(said["connection"]))
    if connection is None:
        raise Refused(
            f"{source}: {name} has ansible_connection {said['connection']}",
            "hosts are reached by ssh, or local for this one",
        )
    arguments = [w for key in ("args", "common_args", "extra_args") for w in _words(said[key], name, source)]
    if not said["checks_keys"]:
        arguments += ssh.UNCHECKED  # the inventory says so, for Ansible as for us
    engine, certificates = _engine(said, name, source)
    return Host(
        name=name,
        address=said["address"] or ("127.0.0.1" if connection == "local" else said["ssh_host"]),
        connection=connection,
        ssh_host=str(said["ssh_host"]),
        port=_port(said["port"], name, source),
        user=str(said["user"] or ""),
        key_file=str(Path(said["key_file"]).expanduser()) if said["key_file"] else "",
        ssh_args=tuple(arguments),
        groups=tuple(said["groups"]),
        engine=engine,
        engine_certs=certificates,
    )


def _engine(said: Mapping[str, Any], name: str, source: Path) -> tuple[str, str]:
    """Return where the engine of a host listens, and the folder of certificates; it may be a context of Docker's."""
    value, certificates = str(said["engine"]), _folder(said["engine_certs"], source)
    if not value:
        return "", ""
    try:
        if contexts.NAME.fullmatch(value):
            found = contexts.find(value, os.environ)
            value, certificates = found.address, certificates or found.certificates
        place(value)
    except Refused as error:
        raise Refused(f"{source}: {name} has deployer_engine {said['engine']!r}: {error.message}", error.hint) from None
    return value, certificates


def _folder(value: Any, source: Path) -> str:
    """Return a folder that is named from where the inventory lies."""
    base = source if source.is_dir() else source.parent
    return os.path.normpath(base.resolve() / Path(str(value)).expanduser()) if value else ""


def _refuse_unproven(found: Sequence[Host], source: Path) -> None:
    """Refuse engines of whom, and to whom, nothing is proven; says everything that is wrong at once."""
    direct = [host for host in found if host.engine]
    if bare := [host.name for host in direct if not host.engine_certs]:
        raise Refused(
            f"{source}: deployer_engine without deployer_engine_certs: {', '.join(bare)}",
            f"access to an engine is root access: name the folder of {CA}, {CERT} and {KEY}, or leave "
            "deployer_engine out to go by ssh",
        )
    folders = dict.fromkeys(host.engine_certs for host in direct)
    if troubles := [trouble for folder in folders for trouble in Certificates(Path(folder)).troubles()]:
        remedies = dict.fromkeys(trouble.remedy for trouble in troubles)
        raise Refused(f"{source}: {'; '.join(t.text for t in troubles)}", "; ".join(remedies))


def _port(value: Any, name: str, source: Path) -> int | None:
    if value is None:
        return None
    try:
        port = int(value)
    except (TypeError, ValueError):
        port = 0
    if not 1 <= port <= 65535:
        raise Refused(f"{source}: {name} has ansible_port {value!r}", "it must be a number from 1 to 65535")
    return port


def _words(text: Any, name: str, source: Path) -> list[str]:
    try:
        return shlex.split(str(text or ""))
    except ValueError as error:
        raise Refused(f"{source}: the ssh arguments of {name} cannot be read: {error}", "close the quotes") from None


def _unknown(source: Path, unknown: list[str], known: list[str]) -> Refused:
    near = [match for name in unknown for match in difflib.get_close_matches(name, known, n=2, cutoff=0.55)]
    groups = ", ".join(name for name in known if name not in ("all", "ungrouped"))
    hint = f"did you mean {' or '.join(near)}?" if near else f"it knows {groups or 'no names at all'}"
    return Refused(f"{source} has no group or host {' and no '.join(unknown)}", hint)


def _unreadable(source: Path, error: str, said: str) -> Refused:
    lines = error.splitlines()
    what = lines[0].rstrip(".") if lines else "unknown error"
    if "vault" in error.lower():
        hint = "set ANSIBLE_VAULT_PASSWORD_FILE, or vault_password_file in an ansible.cfg beside the manifest"
        return Refused(f"{source} cannot be read: {what}", hint)
    reasons = {match["plugin"].rpartition(".")[2]: match["why"] for match in _FAILURE.finditer(said)}
    # Each of Ansible's readers said why it could not; the first of these is the one that was meant.
    why = next((reasons[plugin] for plugin in ("script", "yaml", "toml", "ini") if plugin in reasons), what)
    where = _ORIGIN.search(said or error)
    script = _SCRIPT.search(said)
    spoken = f": {script['said'].strip()}" if script else ""
    at = f" ({where['where']})" if where else ""
    return Refused(f"{source} cannot be read: {why.rstrip('.')}{spoken}{at}", "`ansible-inventory --list -i` says more")

"""`python -m deployer.drivers.hosts.inventory_worker`: print the hosts of an inventory as JSON.

The job comes as one line on stdin, which then stays open as a lifeline: when it closes, everything that a dynamic
inventory started is killed and this process ends.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Iterator, Mapping
from typing import Any

from deployer.drivers.hosts.markers import end_marked
from deployer.drivers.hosts.reports import END

# What Ansible's own connection plugin knows of a host, and what we call it.
_SSH = {
    "ssh_host": "host",
    "port": "port",
    "user": "remote_user",
    "key_file": "private_key_file",
    "common_args": "ssh_common_args",
    "extra_args": "ssh_extra_args",
    "checks_keys": "host_key_checking",
}


def main() -> int:
    """Answer the job of stdin; the answer goes to what was stdout."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)  # nothing that a library or a script prints may get into the answer
    job = json.loads(sys.stdin.buffer.readline())
    answered = threading.Event()
    threading.Thread(target=_lifeline, args=(job["mark"], answered), daemon=True).start()
    os.environ.update(job["environ"])  # before the import: Ansible reads its configuration then
    os.chdir(job["folder"])

    from ansible.errors import AnsibleError

    try:
        answer = _read(job)
    except AnsibleError as error:
        answer = {"error": str(error)}
    answered.set()
    out.write(json.dumps({"event": END, **answer}) + "\n")
    return 0


def _lifeline(mark: str, answered: threading.Event) -> None:
    while os.read(0, 4096):
        continue
    if not answered.is_set():
        end_marked(mark)
        os._exit(1)


def _read(job: Mapping[str, Any]) -> dict[str, Any]:
    from ansible.inventory.manager import InventoryManager
    from ansible.plugins.loader import connection_loader, init_plugin_loader
    from ansible.vars.manager import VariableManager

    init_plugin_loader()
    connection_loader.get("ssh", class_only=True)  # it defines the options that are asked for below
    loader = _loader()
    inventory = InventoryManager(loader=loader, sources=job["sources"])
    variables = VariableManager(loader=loader, inventory=inventory)
    if job["limit"]:
        inventory.subset(job["limit"])
    unknown = sorted(set(_unknown(inventory, job["pattern"])) | set(_unknown(inventory, job["limit"])))
    hosts = [] if unknown else inventory.get_hosts(job["pattern"])
    return {
        "unknown": unknown,
        "names": sorted({*inventory.groups, *inventory.hosts}),
        "hosts": [_host(host, loader, variables.get_vars(host=host, include_hostvars=True)) for host in hosts],
    }


def _loader() -> Any:
    from ansible import constants
    from ansible.cli import CLI
    from ansible.parsing.dataloader import DataLoader

    loader = DataLoader()
    files = [constants.DEFAULT_VAULT_PASSWORD_FILE] if constants.DEFAULT_VAULT_PASSWORD_FILE else []
    identities = list(constants.DEFAULT_VAULT_IDENTITY_LIST)
    secrets = CLI.setup_vault_secrets(loader, identities, files, auto_prompt=False)
    loader.set_vault_secrets(secrets)
    return loader


def _unknown(inventory: Any, pattern: str) -> Iterator[str]:
    """Yield the plain names of a pattern that the inventory does not have; Ansible only warns of them."""
    from ansible.inventory.manager import split_host_pattern

    for part in split_host_pattern(pattern):
        name = str(part).lstrip("!&").partition("[")[0]
        plain = name and not name.startswith("~") and not set(name) & set("*?")
        if plain and name not in inventory.groups and not inventory.get_host(name):
            yield name


def _host(host: Any, loader: Any, variables: Mapping[str, Any]) -> dict[str, Any]:
    from ansible import constants
    from ansible.template import Templar

    config, templar = constants.config, Templar(loader=loader, variables=variables)

    def given(*names: str) -> dict[str, Any]:
        return {name: templar.template(variables[name]) for name in names if name in variables}

    options = given(*config.get_plugin_vars("connection", "ssh"))

    def option(name: str) -> tuple[Any, str]:
        value, origin = config.get_config_value_and_origin(
            name, plugin_type="connection", plugin_name="ssh", variables=options
        )
        return value, str(origin)

    ours = given("ansible_connection", "deployer_address", "deployer_engine", "deployer_engine_certs")
    arguments, origin = option("ssh_args")
    return {
        "name": host.name,
        "address": str(ours.get("deployer_address") or ""),
        "engine": ours.get("deployer_engine") or "",
        "engine_certs": ours.get("deployer_engine_certs") or "",
        "connection": str(ours.get("ansible_connection") or constants.DEFAULT_TRANSPORT),
        "groups": sorted(group.name for group in host.get_groups() if group.name != "all"),
        # What Ansible would use without anybody's word is for its own connections: it shares them behind the scenes.
        "args": arguments if origin != "default" else "",
        **{ours: option(theirs)[0] for ours, theirs in _SSH.items()},
    }


if __name__ == "__main__":
    sys.exit(main())

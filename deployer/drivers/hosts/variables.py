"""What a playbook is told: variables, and the instances as an inventory group `twin`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from deployer.model import Environment, Instance, Release

GROUP = "twin"


def variables(
    release: Release, environment: Environment | None, extra: Mapping[str, str], builtin: Path
) -> dict[str, Any]:
    """Return the extra variables of a run; ours win over `extra`."""
    instances = environment.instances if environment else ()
    return {
        **extra,
        "deployer_service": release.service,
        "deployer_release": release.number,
        "deployer_version": release.version,
        "deployer_colour": environment.colour if environment else "",
        "deployer_runtime": release.manifest.runtime,
        "deployer_image": release.image,
        "deployer_image_id": release.image_id,
        "deployer_instances": [instance_variables(i) for i in instances],
        "deployer_playbooks": str(builtin),
        **({"deployer_web": release.manifest.host_pattern} if release.manifest.host_pattern else {}),
    }


def instance_variables(instance: Instance) -> dict[str, Any]:
    """Return what a playbook may know of an instance."""
    host, _, port = instance.address.rpartition(":")
    return {
        "name": instance.name,
        "index": instance.index,
        "address": instance.address,
        "host": host.strip("[]"),
        "port": int(port),
        "runtime_id": instance.runtime_id,
        "on": instance.host or "localhost",
    }


def twin(environment: Environment | None) -> dict[str, Any]:
    """Return an inventory in which each instance is a host of the group `twin`.

    Their tasks run on this host, with this Python: the instance itself need not have one. `deployer_instance` says
    which instance it is.
    """
    instances = environment.instances if environment else ()
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    hosts = {i.name: {**local, "deployer_instance": instance_variables(i)} for i in instances}
    return {"all": {"children": {GROUP: {"hosts": hosts}}}}


def dump(data: Any) -> str:
    """Write YAML in which no text is a template.

    A variable may hold what a failing release said; `{{ }}` in it must reach the playbook as text, not be carried out.
    """
    return yaml.dump(data, Dumper=_Dumper, allow_unicode=True, sort_keys=False)


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 -- given by the base class
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    # Only text with a brace can be a template. Ansible reads other text that is marked unsafe once more, quotes or not:
    # the version "2.10" would become the number 2.1.
    return dumper.represent_scalar("!unsafe" if "{" in text else "tag:yaml.org,2002:str", text, style='"')


_Dumper.add_representer(str, _text)

"""Instances that playbooks make: units of systemd, containers of LXC, virtual machines, whatever five verbs can do."""

from deployer.drivers.runtime.ansible.runtime import AnsibleRuntime

__all__ = ["AnsibleRuntime"]

"""Playbooks rolled over hosts and instances by ansible-runner.

Each playbook runs in a worker process of its own (`worker.py`): ansible-runner forks a terminal, which a process with
threads must not do, and a deployer that is killed takes the playbook with it: the one that resumes meets no ghost.
"""

from deployer.drivers.hosts.playbooks import AnsiblePlaybooks

__all__ = ["AnsiblePlaybooks"]

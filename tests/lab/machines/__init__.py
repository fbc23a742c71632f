"""Real machines on one test machine: each has its own systemd, sshd, Docker engine, disk and network card."""

from tests.lab.machines.lab import Lab
from tests.lab.machines.machine import Machine

__all__ = ["Lab", "Machine"]

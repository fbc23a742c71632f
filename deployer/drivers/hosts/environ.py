"""The environment variables under which Ansible runs, and where its program is."""

from __future__ import annotations

import os
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

from deployer.core import extras
from deployer.core.errors import Refused
from deployer.transport import ssh

MARK = "DEPLOYER_PLAY"  # every process of a run carries it, however it detaches itself


def program() -> Path:
    """Find ansible-playbook: beside this Python first, since a virtual environment need not be on PATH.

    Raises Refused when Ansible is not installed.
    """
    beside = Path(sys.executable).parent / "ansible-playbook"
    found = str(beside) if beside.exists() else shutil.which("ansible-playbook")
    if found is None or find_spec("ansible_runner") is None:
        missing = "ansible-playbook" if found is None else "ansible-runner"
        raise Refused(
            f"playbooks and inventories need ansible-core and ansible-runner; {missing} is missing",
            extras.how_to_add("ansible"),
        )
    return Path(found)


def surroundings(folder: Path, user: Path, playbook_program: Path, mark: str) -> dict[str, str]:
    """Return what is added to our own environment for a run.

    An `ansible.cfg` beside the manifest is obeyed; those of the home folder and of the host are not, so that a
    rollout does the same for everybody.
    """
    config = user / "ansible.cfg"
    return {
        MARK: mark,
        "PATH": f"{playbook_program.parent}:{os.environ.get('PATH', os.defpath)}",
        "LC_ALL": "C.UTF-8",  # Ansible refuses any other character set
        "ANSIBLE_CONFIG": str(config if config.is_file() else folder / "ansible.cfg"),
        "ANSIBLE_HOST_KEY_CHECKING": "True",  # ansible-runner switches it off unless told otherwise
        "ANSIBLE_SSH_EXTRA_ARGS": f"{os.environ.get('ANSIBLE_SSH_EXTRA_ARGS', '')} {ssh.ANSIBLE}".strip(),
        "ANSIBLE_SSH_CONTROL_PATH_DIR": str(folder / "cp"),
        "ANSIBLE_LOCAL_TEMP": str(folder / "tmp"),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_FORCE_COLOR": "0",
        "ANSIBLE_LOCALHOST_WARNING": "False",
        "ANSIBLE_INVENTORY_UNPARSED_WARNING": "False",
    }

"""Machines that the tests of this folder share; each test finds them whole."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import tiers
from tests.lab.machines import Lab
from tests.services import require

DEPLOY = str(Path(sys.executable).with_name("deploy"))
WEB, EDGE = ("web1", "web2"), ("edge1", "edge2")
HOME = "home"  # its engine is that of whoever deploys


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave to `--full` what does not say otherwise: a test here boots machines, or waits for one that is cut off."""
    here = [item for item in items if Path(__file__).parent in item.path.parents]
    tiers.mark_all(here, pytest.mark.long("it boots machines"))


@pytest.fixture(scope="session", autouse=True)
def _records_of_their_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what is recorded of machines out of the state folder of the test machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEPLOYER_STATE", str(tmp_path_factory.mktemp("state") / "state"))
        yield


@pytest.fixture(scope="session")
def machines() -> Iterator[Lab]:
    """Yield three machines with engines and two with proxies; the tests stand on the controller, which reaches them."""
    require("machines", "ansible")
    services = {**dict.fromkeys((*WEB, HOME), ("docker",)), **dict.fromkeys(EDGE, ("haproxy",))}
    with Lab(services) as made, made.entered():
        yield made


@pytest.fixture
def lab(machines: Lab) -> Iterator[Lab]:
    """Yield the machines, and mend afterwards what the test did to network and processes."""
    yield machines
    machines.heal()


@pytest.fixture(scope="module")
def swarm() -> Iterator[Lab]:
    """Yield hosts that are a Swarm of managers, and one beside them from which is deployed."""
    from tests.machines.swarm_lab import swarm_of_three  # which has its hosts from here

    with swarm_of_three() as made:
        yield made


@pytest.fixture
def nodes(swarm: Lab) -> Iterator[Lab]:
    """Yield the hosts of the Swarm, whole again after each test."""
    from tests.machines.swarm_lab import mend

    yield swarm
    mend(swarm)


@pytest.fixture
def inventory(lab: Lab, tmp_path: Path) -> Path:
    """Return an inventory of the machines."""
    return write_inventory(lab, tmp_path / "inventory", {"web": WEB, "edge": EDGE})


def write_inventory(lab: Lab, folder: Path, groups: dict[str, tuple[str, ...]], user: str = "root") -> Path:
    """Write an inventory of machines of a lab."""
    lines = [
        f"[{group}]\n" + "".join(f"{n} ansible_host={lab[n].address}\n" for n in names)
        for group, names in groups.items()
    ]
    folder.mkdir(parents=True)
    (folder / "hosts").write_text("\n".join(lines))
    (folder / "group_vars").mkdir()
    variables = f"""\
        ansible_user: {user}
        ansible_ssh_private_key_file: {lab.key}
        ansible_ssh_common_args: {lab.ssh_args}
        ansible_python_interpreter: /usr/bin/python3
        """
    (folder / "group_vars" / "all.yml").write_text(textwrap.dedent(variables))
    return folder


def deploy(folder: Path, *arguments: str, expect: int = 0, seconds: float = 600) -> subprocess.CompletedProcess[str]:
    """Run `deploy ARGUMENTS` in a folder, from where the machines are reached, and check its exit code."""
    done = subprocess.run([DEPLOY, *arguments], cwd=folder, capture_output=True, text=True, timeout=seconds)
    assert done.returncode == expect, f"deploy {' '.join(arguments)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def deploy_json(folder: Path, *arguments: str, expect: int = 0) -> Any:
    """Run `deploy ARGUMENTS --output json` and give its result, the last line."""
    return json.loads(deploy(folder, *arguments, "--output", "json", expect=expect).stdout.splitlines()[-1])

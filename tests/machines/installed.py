"""The deployer on a machine of the lab, as an operator installs it: a folder in /opt, and a command on the path."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

from tests.documents import REPOSITORY
from tests.lab.machines import Machine

HOME = "opt/deployer"
PARTS = ("deployer", "strategies", "playbooks", "inventories")
_HEAVY = ("atheris", "mypy", "sphinx", "babel", "pip", "*mypyc*", "*fuzzer*", "*.a", "__pycache__", "test")
_COMMAND = f"""\
#!/bin/sh
export PYTHONPATH=/{HOME}/packages PYTHONHOME=/{HOME}/python LD_LIBRARY_PATH=/{HOME}/python/lib
exec /{HOME}/python/bin/python3 -m deployer.start "$@"
"""


def install(machine: Machine) -> None:
    """Put the deployer of these tests, with the Python that it runs on, onto a machine that is on."""
    install_python(machine)
    home = machine.root / HOME
    (home / "packages").mkdir()
    packages = Path(sysconfig.get_paths()["purelib"])
    _copy(packages, home / "packages", ".", leave=PARTS)
    _copy(REPOSITORY, home / "packages", *(part for part in PARTS if (REPOSITORY / part).is_dir()))
    command = machine.root / "usr/local/bin/deploy"
    command.write_text(_COMMAND)
    command.chmod(0o755)


def install_python(machine: Machine) -> dict[str, str]:
    """Put the Python that these tests run on onto a machine that is on, without any package; return its variables."""
    home = machine.root / HOME / "python"
    home.mkdir(parents=True)
    base = Path(sys.base_prefix)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    _copy(base, home, f"lib/{version}", f"bin/{version}", leave=("site-packages", "dist-packages"))
    (home / "bin/python3").symlink_to(version)
    for library in base.glob("lib/libpython3*.so*"):
        _copy(base, home, str(library.relative_to(base)))
    return {"PYTHON": f"/{HOME}/python/bin/python3", "LD_LIBRARY_PATH": f"/{HOME}/python/lib"}


def _copy(source: Path, target: Path, *paths: str, leave: tuple[str, ...] = ()) -> None:
    without = [f"--exclude={name}" for name in (*_HEAVY, *leave)]
    with subprocess.Popen(["tar", "-C", source, *without, "-cf", "-", *paths], stdout=subprocess.PIPE) as packed:
        subprocess.run(["tar", "-C", target, "-xf", "-"], stdin=packed.stdout, check=True, timeout=120)
    assert packed.returncode == 0

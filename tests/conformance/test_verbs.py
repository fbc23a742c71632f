"""What every runtime promises, tried on verbs of somebody's own: those of examples/chroot, on this host.

Not all of it: each verb takes Ansible its seconds, and that an instance ended is for health checks to find.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deployer.core.clock import Deadline, SystemClock
from deployer.core.errors import DeadlinePassed
from deployer.core.host import ServiceHosts
from deployer.drivers.hosts.verbs import AnsibleVerbs
from deployer.drivers.ports import RuntimeCare
from deployer.drivers.runtime.ansible import AnsibleRuntime
from deployer.drivers.runtime.ansible.host_presence import HostPresence
from deployer.drivers.runtime.ansible.runtime import Ground
from deployer.manifest.models import Manifest
from tests.conformance import runtimes, test_runtime
from tests.conformance.runtimes import Bench
from tests.documents import REPOSITORY
from tests.lab import image
from tests.services import require
from tests.waiting import within

pytestmark = [pytest.mark.live, pytest.mark.long("playbooks for each verb", every_change=True)]
for _name in (
    "test_what_an_instance_is_is_read_back",
    "test_only_real_addresses_are_taken",
    "test_remove_lets_a_running_request_finish",
    "test_commands_run_inside",
    "test_a_secret_without_a_value_is_named",
    "test_the_same_content_is_the_same_image",
):
    globals()[_name] = getattr(test_runtime, _name)


class ChrootBench(Bench):
    kind = "ansible"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.made: list[RuntimeCare] = []
        verbs = folder / "verbs"
        shutil.copytree(REPOSITORY / "examples/chroot/verbs", verbs)
        (verbs / "group_vars" / "all.yml").write_text(f"chroot_home: {folder}/chroots\n")
        super().__init__()

    def another(self, installation: str) -> RuntimeCare:
        clock, ground = SystemClock(), Ground(self.folder / installation, installation, self.folder)
        self.made.append(AnsibleRuntime(ground, AnsibleVerbs(None), ServiceHosts(), HostPresence(clock), clock))
        return self.made[-1]

    def reference(self, version: str) -> str:
        place = self.folder / "source" / version
        image.directory(place, "c")
        (place / "version.txt").write_text(version)
        return str(place)

    def manifest(self, version: str, **settings: Any) -> Manifest:
        env = {"VERSION": version, **settings.pop("env", {})}
        return super().manifest(version, **{"verbs": "verbs", "command": self.program(), "env": env, **settings})

    def program(self) -> tuple[str, ...]:
        return ("/app",)

    def close(self) -> None:
        for runtime in self.made:
            self.remove_all(runtime)


def patient(seconds: float = 20.0) -> Deadline:
    """Return a deadline that leaves playbooks the time that they take where much else is done."""
    return within(4 * seconds)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    require("root", "ansible", "gcc")
    for module in (test_runtime, runtimes):
        monkeypatch.setattr(module, "within", patient)
    made = ChrootBench(tmp_path)
    try:
        yield made
    finally:
        made.close()


def test_a_verb_that_hangs_is_ended_at_the_deadline(bench: ChrootBench) -> None:
    play = "- {hosts: localhost, gather_facts: false, tasks: [{name: Wait, command: sleep 600}]}\n"
    (bench.folder / "verbs" / "create.yml").write_text(play)
    with pytest.raises(DeadlinePassed, match=r"create\.yml: not finished within 4 s"):
        bench.runtime.ensure(bench.spec(bench.release()), within(4))
    assert bench.runtime.instances(bench.service) == ()

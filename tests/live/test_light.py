"""What people wait for imports nothing heavy: a question, and a rollback to a release that still runs."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.live.conftest import Make
from tests.live.shop import Shop

pytestmark = pytest.mark.live

# What each of them may import besides Python's own modules, and which of these are for something else.
LIBRARIES = {"click", "deployer"}
SHARED = {"judge", "evidence", "server", "client", "notices", "hosts", "samples", "checks", "images", "artifacts"}
ROOMS = {"status": {*SHARED, "engine", "transport", "interrupts"}, "rollback": {*SHARED, "adjustment"}}
# Modules that were once imported for nothing: of tables, steps, views and rules that few services have.
STORE = {f"deployer.store.{name}" for name in ("adoption", "approvals", "audit_chain", "homes", "jobs", "rare_records")}
PROXY = {f"deployer.drivers.traffic.haproxy.{name}" for name in ("backend", "chain", "request_history")}
VAIN = {
    "status": {
        *STORE,
        *PROXY,
        "deployer.planning.plan",
        "deployer.planning.steps",
        "deployer.store.loads",
        "deployer.store.sets",
        "deployer.views.data",
        "deployer.views.status_parts",
        "hashlib",
    },
    "rollback": {
        *STORE,
        *PROXY,
        "deployer.app.operations.approvals",
        "deployer.drivers.jobs",
        "deployer.drivers.ports.guests",
        "deployer.drivers.ports.sleeping",
        "deployer.engine.gates",
        "deployer.engine.hooks",
        "deployer.engine.migration",
        "deployer.engine.set_ending",
        "deployer.engine.set_promotion",
        "deployer.planning.sets",
        "deployer.views.status_data",
    },
}
HEAVY = {"asyncio", "concurrent", "email", "http", "logging", "multiprocessing", "ssl", "unittest", "xml"}
STARTING = {"shutil", "subprocess", "tempfile"}  # for what makes or removes something
MOST = 150  # modules that are not deployer's; a bare Python has 33
CODE = """\
import json, sys
from deployer.start import main
sys.argv[0] = "deploy"
code = main()
print(json.dumps(sorted(sys.modules)))
sys.exit(code)
"""


@pytest.fixture
def shop(make_shop: Make) -> Shop:
    """Return a service of two releases, the former of which is warm."""
    shop = make_shop("process")
    for version in ("1.0", "2.0"):
        shop.live(version)
    return shop


def loaded(shop: Shop, *arguments: str) -> set[str]:
    """Run `deploy ARGUMENTS` and return the modules that it had imported at its end."""
    done = subprocess.run(
        [sys.executable, "-c", CODE, *arguments, "--state", str(shop.state)],
        cwd=shop.folder,
        env=shop.environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("command", ["status", "rollback"])
def test_it_imports_nothing_that_it_does_not_need(shop: Shop, command: str) -> None:
    modules = loaded(shop, command)
    tops = {name.partition(".")[0] for name in modules}
    bare = {"__main__", "_distutils_hack", "sitecustomize"}
    assert {top for top in tops if top not in sys.stdlib_module_names} - bare == LIBRARIES
    assert (HEAVY | STARTING) & tops == set()
    assert {name for name in modules if ROOMS[command] & set(name.split("."))} == set()
    assert "deployer.manifest.models" not in modules
    assert VAIN[command] & modules == set()
    others = sorted(name for name in modules if not name.startswith("deployer"))
    assert len(others) <= MOST, others
    assert shop.get().text.strip() == ("1.0" if command == "rollback" else "2.0")

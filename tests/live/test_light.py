"""What people wait for imports nothing heavy: a question, and a rollback to a release that still runs."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.live.conftest import Make
from tests.live.shop import Shop

pytestmark = pytest.mark.live

HEAVY = ("pydantic", "docker", "requests", "rich", "ansible_runner", "deployer.judge.verdicts")
CODE = f"""\
import sys
from deployer.start import main
sys.argv[0] = "deploy"
code = main()
print("LOADED", sorted(set({HEAVY!r}) & set(sys.modules)))
sys.exit(code)
"""


@pytest.fixture
def shop(make_shop: Make) -> Shop:
    """Give a service of two releases, the former of which is warm."""
    shop = make_shop("process")
    for version in ("1.0", "2.0"):
        shop.live(version)
    return shop


def loaded(shop: Shop, *arguments: str) -> str:
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
    return done.stdout.splitlines()[-1]


def test_a_question_and_a_warm_rollback_import_nothing_heavy(shop: Shop) -> None:
    assert loaded(shop, "status") == "LOADED []"
    assert loaded(shop, "rollback") == "LOADED []"
    assert shop.get().text.strip() == "1.0"

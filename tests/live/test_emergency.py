"""`deploy rollback` and `deploy abort` when nothing else works: the engine, the store, the process that drives."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.live.shop import Shop
from tests.load import Load, Options

pytestmark = pytest.mark.live

LOAD = Options(rate=80, kinds=("fresh", "busy", "sticky", "post"))
FIRST = "import sys; from deployer.emergency import first; sys.exit(not first(sys.argv[1:]))"


def promote(shop: Shop, version: str = "2.0") -> None:
    shop.version(version)
    shop.deploy("bluegreen", "--bake", "0", "--version", version)


def on(shop: Shop) -> set[str]:
    return {shop.get().headers["X-Version"] for _ in range(20)}


def first(shop: Shop, *arguments: str) -> None:
    """What `deploy` does before anything else; then it is killed, as it were."""
    command = [sys.executable, "-c", FIRST, *arguments, "--state", str(shop.state)]
    subprocess.run(command, cwd=shop.folder, check=True, timeout=120, capture_output=True)


def elsewhere(shop: Shop, *arguments: str, environment: dict[str, str] | None = None, expect: int = 0) -> str:
    """Run `deploy` from a folder without a manifest, with another environment."""
    done = subprocess.run(
        shop.command(*arguments),
        cwd="/",
        env={**shop.environment(), **(environment or {})},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == expect, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


@pytest.mark.long("a canary that is rolled back")
def test_a_running_canary_stands_down_when_its_users_are_taken_back(process_shop: Shop) -> None:
    shop = process_shop
    shop.version("2.0")
    canary = ("canary", "--percent", "20", "--for", "10m", "--version", "2.0")
    with Load(shop.url, LOAD) as load, shop.start(*canary) as process:
        shop.wait(lambda s: s["share"] == 2000, "the canary has its share")
        first(shop, "rollback")
        assert process.wait(timeout=120) == 6, "nobody has asked it but the proxy"
        assert on(shop) == {"1.0"}
        report = load.stop()
    assert report.failed == 0, report.text()
    status = shop.status()
    assert (status["share"], status["rollout"], len(status["environments"])) == (0, None, 1)


@pytest.mark.long("two releases and a canary")
def test_a_rollback_of_a_running_canary_goes_back_no_further(process_shop: Shop) -> None:
    shop = process_shop
    promote(shop)
    shop.version("3.0")
    canary = ("canary", "--percent", "20", "--for", "10m", "--version", "3.0")
    with shop.start(*canary) as process:
        shop.wait(lambda s: s["share"] == 2000, "the canary has its share")
        assert "3.0 hangs" in shop.deploy("rollback", "-m", "3.0 hangs").stdout
        assert process.wait(timeout=120) == 6
    assert on(shop) == {"2.0"}
    newest = shop.events("history")[0]["rollouts"][0]
    assert (newest["strategy"], newest["outcome"]) == ("canary", "reverted")


@pytest.mark.long("four rollouts")
def test_a_rollback_after_a_candidate_was_rolled_back_moves_nobody(process_shop: Shop) -> None:
    """Also at the proxy: a hook failed before anything of the warm release was touched."""
    shop = process_shop
    promote(shop)
    shop.version("3.0")
    (shop.folder / "fails.yml").write_text(
        "- hosts: all\n  gather_facts: false\n  tasks: [{ansible.builtin.fail: {}}]\n"
    )
    shop.write(hooks={"before": ["fails.yml"]})
    shop.deploy("canary", "--version", "3.0", expect=4)
    said = shop.deploy("rollback", "-m", "3.0 is bad")
    assert "nothing was changed: rollout 3 of r3 was rolled back" in said.stdout
    assert on(shop) == {"2.0"}
    shop.deploy("rollback", "--again")
    assert on(shop) == {"1.0"}


@pytest.mark.long("three releases and two ways back")
def test_two_who_roll_back_at_once_leave_one_release(process_shop: Shop) -> None:
    shop = process_shop
    promote(shop)
    promote(shop, "3.0")
    with shop.start("rollback") as first_one, shop.start("rollback") as second:
        assert (first_one.wait(timeout=120), second.wait(timeout=120)) == (0, 0)
    assert on(shop) == {"2.0"}
    rollouts = shop.events("history")[0]["rollouts"]
    assert [r["strategy"] for r in rollouts].count("rollback") == 1


@pytest.mark.long("a canary whose process hangs until a deadline", every_change=True)
def test_an_abort_of_a_canary_whose_process_hangs(process_shop: Shop) -> None:
    shop = process_shop
    shop.version("2.0")
    canary = ("canary", "--percent", "20", "--for", "10m", "--version", "2.0")
    with shop.start(*canary) as process:
        shop.wait(lambda s: s["share"] == 2000, "the canary has its share")
        process.send_signal(signal.SIGSTOP)
        with shop.start("abort") as abort:
            shop.wait(lambda s: s["share"] == 0, "users are rolled back at once, whoever hangs")
            assert on(shop) == {"1.0"}
            process.send_signal(signal.SIGCONT)
            assert process.wait(timeout=120) in (5, 6), (
                "rolled back; by itself, unless it sent no heartbeat for too long"
            )
            assert abort.wait(timeout=120) == 0
    assert shop.status()["rollout"] is None


@pytest.mark.long("two releases and the way back")
def test_killed_before_it_was_written_down(process_shop: Shop) -> None:
    shop = process_shop
    promote(shop)
    first(shop, "rollback", "-m", "2.0 is slow")
    assert on(shop) == {"1.0"}
    status = shop.status()
    assert status["stable_version"] == "1.0"
    assert any("`deploy resume` records it" in problem for problem in status["problems"])
    assert "is live" in shop.deploy("resume").stdout
    status = shop.status()
    assert (status["problems"], status["stable_version"]) == ([], "1.0")
    assert shop.events("history")[0]["rollouts"][0]["message"] == "2.0 is slow"
    promote(shop, "3.0")
    assert on(shop) == {"3.0"}


@pytest.mark.long("two releases and the way back")
@pytest.mark.parametrize("trouble", ["gone", "locked", "garbage"])
def test_a_store_that_cannot_be_used_does_not_stop_it(process_shop: Shop, trouble: str) -> None:
    shop = process_shop
    promote(shop)
    store = shop.state / "deployer.db"
    kept = {path: path.read_bytes() for path in shop.state.glob("deployer.db*")}
    other = sqlite3.connect(store, isolation_level=None) if trouble == "locked" else None
    try:
        if other is not None:
            other.execute("begin exclusive")
        else:
            _ruin(kept, b"" if trouble == "gone" else b"garbage" * 1000)
        said = elsewhere(shop, "rollback", "--service", shop.name, expect=8)
        assert "everyone is on r1 again" in said
        assert "users are safe" in said
        assert on(shop) == {"1.0"}
    finally:
        if other is not None:
            other.close()
        for path, data in kept.items():
            path.write_bytes(data)
    assert "is live" in shop.deploy("rollback").stdout, "what was left is done by the next one"
    assert shop.status()["problems"] == []


def _ruin(files: dict[Path, bytes], data: bytes) -> None:
    for path in files:
        if data:
            path.write_bytes(data)
        else:
            path.unlink()

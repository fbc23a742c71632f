"""`deploy --on` by a real sshd, a real proxy and real users: from a folder that has neither state nor manifest."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pexpect
import pytest

from deployer.cli import main
from deployer.client import orders, ssh, stream
from deployer.core.clock import Deadline, SystemClock
from deployer.core.errors import Exit
from deployer.transport.timeouts import PATIENT
from tests.documents import REPOSITORY, blocks
from tests.live.afar import kinds, recorded, rest, until
from tests.live.laptop import USERS, Laptop
from tests.live.serving import SECONDS
from tests.live.shop import COMMAND_SECONDS, DEPLOY, Shop
from tests.live.sshd import Sshd
from tests.live.told import Told
from tests.load import Load

pytestmark = pytest.mark.live


@pytest.fixture
def shop(process_shop: Shop) -> Shop:
    process_shop.version("2.0")
    return process_shop


@pytest.mark.long("bad releases through ssh")
def test_bad_releases_have_the_exit_codes_of_home(shop: Shop, laptop: Laptop) -> None:
    shop.version("3.0", {"ERR": "0.6"})
    shop.version("4.0", {"HEALTH": "0"})
    with Load(shop.url, USERS) as load:
        load.until(lambda now: now.answered > 30, "the load runs")
        for version, code in (("3.0", 3), ("4.0", 4)):
            order = ("canary", "--percent", "50", "--for", "30s", "--version", version)
            there = laptop.deploy(*order, "--report", version, expect=code)
            assert "was rolled back: " in there.stdout
            values = (laptop.folder / version / "outputs.env").read_text()
            assert f"DEPLOYER_EXIT={code}\n" in values
            assert "DEPLOYER_OUTCOME=reverted\n" in values
        load.stop()
    missing = laptop.deploy("up", "--version", "5.0", expect=2)
    assert missing.stderr == shop.deploy("up", "--version", "5.0", expect=2).stderr
    planned = laptop.deploy("plan", "canary", "--version", "2.0", "--check", expect=10)
    assert "10% of the traffic" in planned.stdout
    assert shop.status()["stable_version"] == "1.0"


@pytest.mark.long("a canary through broken connections")
def test_a_connection_that_is_killed_is_made_again_and_nothing_is_done_twice(
    shop: Shop, laptop: Laptop, way: Sshd
) -> None:
    shop.write(strategy={"canary": {"steps": [{"share": 30, "for": "20s"}], "bake": "0s"}})
    with Load(shop.url, USERS) as load:
        with laptop.start("canary", "--version", "2.0", "--output", "json") as client:
            begun = until(client, "sample")
            killed = set(way.kill_sessions())
            soon = Deadline.after(SystemClock(), SECONDS)
            soon.until(lambda: len(set(way.sessions()) - killed) >= 2, "stream and requests are connected again")
            shown, _ = rest(client, 0)
        report = load.stop()
    assert len(killed) >= 2, "the stream and the requests each had one"
    assert report.failed == 0, report.text()
    assert kinds(begun + shown) == kinds(recorded(shop, 2)), "nothing is missed, nothing is shown twice"
    assert shown[-1]["outcome"] == "done"
    assert len(shop.events("history")[0]["rollouts"]) == 2
    starts = [deed for deed in shop.events("audit")[0]["records"] if deed["action"] == "start" and deed["rollout"] == 2]
    assert len(starts) == 1


@pytest.mark.long("a canary without its client")
def test_a_rollout_goes_on_when_its_client_dies(shop: Shop, laptop: Laptop) -> None:
    shop.write(strategy={"canary": {"steps": [{"share": 30, "for": "25s"}], "bake": "0s"}})
    with Load(shop.url, USERS) as load:
        with laptop.start("canary", "--version", "2.0", "--output", "json") as client:
            until(client, "sample")
            client.kill()
            client.wait(SECONDS)
        status = shop.status()
        assert (status["share"], status["lock"] is None) == (3000, False)
        assert Told.of(laptop.deploy("watch", "--output", "json").stdout).ended["outcome"] == "done"
        report = load.stop()
    assert report.failed == 0, report.text()


@pytest.mark.long("canaries through ssh")
def test_two_at_once_are_one_hand(shop: Shop, laptop: Laptop) -> None:
    shop.version("3.0")
    shop.write(strategy={"canary": {"steps": [{"share": 30, "for": "10m"}], "bake": "0s"}})
    with shop.start("canary", "--version", "2.0", "--output", "json") as here:
        until(here, "sample")
        refused = laptop.deploy("up", "--version", "3.0", expect=Exit.LOCKED)
        assert re.search(
            rf"{shop.name} is being changed by \S+ since \d\d:\d\d:\d\d: canary of 2\.0 \(pid {here.pid} on ",
            refused.stderr,
        )
        assert "was rolled back" in laptop.deploy("abort", "-m", "mine first").stdout
        rest(here, Exit.ABORTED)
    with laptop.start("canary", "--version", "3.0", "--output", "json") as there:
        until(there, "sample")
        refused = shop.deploy("up", "--version", "2.0", expect=Exit.LOCKED)
        assert re.search(
            rf"{shop.name} is being changed by ann@laptop since \d\d:\d\d:\d\d: canary of 3\.0"
            rf" \(pid \d+ on {re.escape(os.uname().nodename)}, --on, ssh from 127\.0\.0\.1, deployer ",
            refused.stderr,
        ), refused.stderr
        there.send_signal(signal.SIGINT)
        _, err = rest(there, Exit.ABORTED)
        assert f"error: no longer following; rollout 3 of {shop.name} goes on at {laptop.url}\n" in err
        assert f"`deploy --on {laptop.url} abort` rolls it back" in err
    assert shop.status()["lock"] is not None
    laptop.deploy("abort", "-m", "enough")
    with laptop.start("canary", "--version", "3.0", "--on-cancel", "abort", "--output", "json") as there:
        until(there, "sample")
        there.send_signal(signal.SIGTERM)
        events, _ = rest(there, Exit.ABORTED)
    assert events[-1]["outcome"] == "reverted"


# -- a person at a terminal


@contextmanager
def terminal(laptop: Laptop, *arguments: str) -> Iterator[Any]:
    environ = {k: v for k, v in laptop.environment().items() if k not in ("COLUMNS", "NO_COLOR")}
    child = pexpect.spawn(
        DEPLOY,
        list(arguments),
        cwd=str(laptop.folder),
        env={**environ, "TERM": "xterm-256color", "PYTHONUTF8": "1"},
        dimensions=(40, 160),
        encoding="utf-8",
        timeout=COMMAND_SECONDS,
    )
    try:
        yield child
    finally:
        child.close(force=True)


@pytest.mark.long("canaries that are interrupted")
def test_whoever_presses_ctrl_c_is_asked(shop: Shop, laptop: Laptop) -> None:
    shop.write(strategy={"canary": {"steps": [{"share": 30, "for": "10m"}], "bake": "0s"}})
    question = f"rollout 2 of {shop.name} is in progress at {laptop.url}: "
    with terminal(laptop, "canary", "--version", "2.0") as child:
        child.expect("30%")
        child.sendintr()
        child.expect_exact(question)
        child.sendline("")
        child.expect_exact("\x1b[?25l")  # the page goes on
        child.sendintr()
        child.expect_exact(question)
        child.sendline("nonsense")
        child.expect_exact(question)
        child.sendline("d")
        child.expect_exact(f"no longer following; rollout 2 of {shop.name} goes on at {laptop.url}")
        child.expect(pexpect.EOF)
        child.wait()
        assert child.exitstatus == Exit.ABORTED
    Deadline.after(SystemClock(), SECONDS).until(lambda: shop.status()["share"] == 3000, "the rollout goes on there")
    laptop.deploy("abort")
    with terminal(laptop, "canary", "--version", "2.0") as child:
        child.expect("30%")
        child.sendintr()
        child.expect_exact("rollout 3 of ")
        child.expect_exact("? ")
        child.sendline("a")
        child.expect(pexpect.EOF)
        child.wait()
        assert child.exitstatus == Exit.ABORTED
    assert shop.events("history")[0]["rollouts"][0]["outcome"] == "reverted"
    with terminal(laptop, "canary", "--version", "2.0") as child:
        child.expect("30%")
        child.sendintr()
        child.expect_exact("rollout 4 of ")
        child.sendintr()  # asked twice to end: it ends, and the rollout does not
        child.expect_exact("no longer following; rollout 4 of ")
        child.expect(pexpect.EOF)
        child.wait()
        assert child.exitstatus == Exit.ABORTED
    Deadline.after(SystemClock(), SECONDS).until(lambda: shop.status()["share"] == 3000, "the rollout goes on there")
    laptop.deploy("abort")


# -- a control host that is gone for good, and the page of the docs


@pytest.mark.long("it waits until a host is given up")
def test_a_control_host_that_stays_away_is_told_with_what_to_do(
    shop: Shop, laptop: Laptop, way: Sshd, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.write(strategy={"canary": {"steps": [{"share": 30, "for": "10m"}], "bake": "0s"}})
    for name, value in laptop.environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(laptop.folder)
    for module in (stream, orders):
        monkeypatch.setattr(module, "PATIENCE", 3.0)

    def gone() -> None:
        shop.wait(lambda status: status["share"] == 3000, "users are on the candidate")
        # Not before: who comes first may take longer on a busy machine.
        monkeypatch.setattr(ssh, "PATIENT", replace(PATIENT, greet=2.0))
        os.kill(way.pid, signal.SIGSTOP)  # whoever comes again waits at the door
        way.kill_sessions()

    cutter = threading.Thread(target=gone)
    cutter.start()
    try:
        code = main(["canary", "--version", "2.0", "--output", "plain"])
    finally:
        cutter.join(SECONDS)
        os.kill(way.pid, signal.SIGCONT)
    err = capsys.readouterr().err
    assert code == Exit.NEEDS_PERSON, err
    assert f"{laptop.url}" in err
    assert "goes on" in err
    assert f"`deploy --on {laptop.url} watch` follows it" in err or f"does `ssh -F none -i {way.keys}/user" in err
    monkeypatch.undo()
    assert shop.status()["share"] == 3000, "a lost connection never aborts"
    laptop.deploy("abort")


@pytest.mark.long("every command of the page")
def test_the_example_of_the_page_does_what_it_says(shop: Shop, laptop: Laptop) -> None:
    shop.write(strategy={"canary": {"steps": [{"share": 10, "for": "2s"}], "bake": "0s"}})
    (script,) = (b.text for b in blocks(REPOSITORY / "docs/machines.md") if b.language == "bash")
    written = "ssh://deploy@control.example.com/srv/shop"
    assert written in script
    with Load(shop.url, USERS):
        done = subprocess.run(
            ["bash", "-euc", script.replace(written, laptop.url)],
            cwd=laptop.folder,
            env={**laptop.environment(), "PATH": f"{Path(DEPLOY).parent}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "r2 (2.0) is live for everyone" in done.stdout
    assert done.stdout.endswith("r1 (1.0) is live\n")

"""Days without trouble: a first deploy, another setting, another secret, more instances, a service that must pause."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from tests.acceptance.users import PLAIN, QUIET, met, more, users
from tests.live.conftest import Make
from tests.live.shop import Shop
from tests.load import Load

pytestmark = pytest.mark.live

WAIT = 6.0  # seconds that requests wait for an instance
AT_ONCE = ("bluegreen", "--bake", "0")


def test_users_come_the_moment_that_the_first_deploy_is_live(make_shop: Make) -> None:
    shop = make_shop("process")
    shop.version("1.0")
    assert "r1 (1.0) is live" in shop.deploy("up", "--version", "1.0").stdout
    with users(shop.url) as load:
        load.mark("began")
    assert met(load, "began") == {"1.0"}
    assert "r1 (1.0) is live for everyone" in shop.deploy("status").stdout


@pytest.fixture
def told(process_shop: Shop) -> Shop:
    """Return a service whose version says what it was given: a setting, and the text of a secret."""
    shop = process_shop
    folder = shop.folder / "releases" / "2.0"
    shop.version("2.0")
    said = 'VERSION="2.0 ${COLOUR:-none} $(cat "${TOKEN_FILE:-/dev/null}")"'
    command = (folder / "run").read_text().partition("exec ")[2]
    (folder / "run").write_text(f"export {said}\nDRAIN=3000 exec {command}")
    shop.write(env={"COLOUR": "red"}, secrets={"TOKEN": {"file": "token"}})
    token(shop).write_text("first-6f2d")
    shop.deploy(*AT_ONCE, "--version", "2.0")
    return shop


def token(shop: Shop) -> Path:
    return shop.folder / "token"


@pytest.mark.long("three rollouts under load", every_change=True)
def test_a_change_of_the_environment_alone_is_a_release_and_goes_back(told: Shop) -> None:
    with users(told.url) as load:
        told.write(env={"COLOUR": "blue"})
        assert "r3 (2.0) is live" in told.deploy(*AT_ONCE, "--version", "2.0").stdout
        load.mark("blue")
        more(load)
        assert met(load, "blue") == {"2.0 blue first-6f2d"}
        told.deploy("rollback")
        load.mark("red")
    assert met(load, "red") == {"2.0 red first-6f2d"}


@pytest.mark.long("three rollouts under load, and every question", every_change=True)
def test_a_secret_that_is_rotated_reaches_the_next_release_and_is_shown_nowhere(told: Shop) -> None:
    with users(told.url) as load:
        token(told).write_text("second-91ab")
        said = told.deploy(*AT_ONCE, "--version", "2.0", "--output", "json").stdout
        load.mark("rotated")
        more(load)
        assert met(load, "rotated") == {"2.0 red second-91ab"}
        for question in ("status", "history", "show", "events", "audit", "doctor"):
            done = told._run(question, "--output", "json")  # whatever it finds
            said += done.stdout + done.stderr
        assert "second-91ab" not in said
        assert "first-6f2d" not in said
        told.deploy("rollback")  # its own secret belongs to a release
        load.mark("back")
    assert met(load, "back") == {"2.0 red first-6f2d"}


@pytest.mark.long("two rollouts under load")
def test_more_instances_and_fewer_again(process_shop: Shop) -> None:
    shop = process_shop
    with users(shop.url) as load:
        for replicas in (4, 1):
            shop.write(replicas=replicas)
            shop.deploy(*AT_ONCE, "--version", "1.0")
            stable = next(e for e in shop.status()["environments"] if e["role"] == "stable")
            assert len(stable["instances"]) == replicas
            load.mark("changed")
            more(load)
            assert met(load, "changed") == {"1.0"}


@pytest.mark.long("a service that is stopped and started, twice")
def test_a_service_that_must_not_run_twice_pauses_and_its_users_wait(process_shop: Shop) -> None:
    """As the page on strategies says: they wait up to six seconds, then they get 503, until the promotion."""
    shop = process_shop
    shop.version("2.0")
    with Load(shop.url, QUIET) as load:
        more(load)
        shop.deploy("recreate", "--version", "2.0")
        load.mark("recreated")
        more(load)
        assert met(load, "recreated") == {"2.0"}
        shop.deploy("rollback")
        load.mark("back")
        more(load)
        report = load.stop()
    assert met(load, "back") == {"1.0"}
    assert report.after("back").failed == 0, report.text()
    assert {(r.error, r.seconds >= WAIT) for r in report.failures} <= {("HTTP 503", True)}, report.text()
    plain = sorted((r for r in report.only(*PLAIN).requests if not r.error), key=lambda r: r.start + r.seconds)
    assert [version for version, _ in itertools.groupby(r.version for r in plain)] == ["1.0", "2.0", "1.0"]

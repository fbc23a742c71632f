"""`deploy doctor --fix` with real instances and a real proxy, other people's things beside, while users are served."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest
from docker.models.containers import Container

from tests.lab import image
from tests.live.shop import Shop
from tests.load import Load, Options

pytestmark = pytest.mark.live

ENGINE = "Docker engine"
USERS = Options(rate=80, kinds=("fresh", "busy", "sticky", "post"), sticky_posts=0.3)


def doctor(shop: Shop, *arguments: str, expect: int = 0) -> list[dict[str, Any]]:
    done = shop.deploy("doctor", *arguments, "--output", "json", expect=expect)
    found: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])["findings"]
    return found


def wrong(findings: list[dict[str, Any]]) -> list[str]:
    """What is wrong with the service; how this host is set up is nobody's fault here."""
    found = [f for f in findings if f["level"] in ("warn", "bad") and f["what"] not in (ENGINE, "reboot")]
    return [f"{f['what']}: {f['text']}" for f in found]


@pytest.fixture
def twice(shop: Shop) -> Shop:
    """Return a service on which 2.0 is live (green) and 1.0 warm (blue)."""
    shop.version("2.0")
    shop.deploy("bluegreen", "--bake", "0", "--version", "2.0")
    assert wrong(doctor(shop)) == []
    return shop


def end(shop: Shop, name: str) -> None:
    """Take an instance away behind the deployer's back."""
    if shop.client is not None:
        shop.client.containers.get(name).remove(force=True, v=True)
        return
    from deployer import supervisor
    from deployer.core.clock import Deadline, SystemClock

    folder = shop.state / "processes" / name
    supervisor.stop(folder, Deadline.after(SystemClock(), 60))
    shutil.rmtree(folder)


@contextmanager
def stranger(shop: Shop, name: str) -> Iterator[Container]:
    """Run a container that is none of ours, called as one of ours could be."""
    assert shop.client is not None
    image.build(f"{shop.name}:theirs", version="theirs", client=shop.client)
    made = shop.client.containers.run(f"{shop.name}:theirs", name=name, detach=True)
    try:
        yield made
    finally:
        made.remove(force=True)


@pytest.mark.long("two services, on an engine")
def test_an_instance_that_was_removed_by_hand_comes_back(twice: Shop) -> None:
    shop = twice
    name = f"{shop.name}-r2-2"
    before = {i["name"]: i["address"] for e in shop.status()["environments"] for i in e["instances"]}
    with Load(shop.url, USERS) as load:
        load.until(lambda now: now.answered > 100, "the load runs")
        end(shop, name)
        load.mark("ended")
        assert any(f"{name} is gone" in text for text in wrong(doctor(shop, expect=8)))
        fixed = [f for f in doctor(shop, "--fix") if f["level"] == "fixed"]
        load.mark("fixed")
        wanted = load.counters().sent + 100
        load.until(lambda now: now.sent >= wanted, "requests after it", 30)
        report = load.stop()
    assert [f["fix"] for f in fixed] == ["start what is missing of r2 (green)"]
    assert wrong(doctor(shop)) == []
    after = {i["name"]: i["address"] for e in shop.status()["environments"] for i in e["instances"]}
    assert after == before
    assert report.after("fixed").failed == 0, report.text()
    assert report.failed <= report.at_once, f"what was running on it when it was ended, and no more: {report.text()}"


@pytest.mark.long("two releases under load, on an engine", every_change=True)
def test_leftovers_go_and_other_peoples_things_stay(docker_shop: Shop) -> None:
    shop = docker_shop
    assert shop.client is not None
    shop.version("2.0")
    shop.deploy("bluegreen", "--bake", "0", "--version", "2.0")
    with stranger(shop, f"{shop.name}-r9-1") as theirs, Load(shop.url, USERS) as load:
        load.until(lambda now: now.answered > 100, "the load runs")
        labels = shop.client.containers.get(f"{shop.name}-r1-1").labels
        host, _, port = labels["deployer.address"].partition(":")
        ours = shop.client.containers.create(
            f"{shop.name}:1.0",
            name=f"{shop.name}-r1-101",
            labels={**labels, "deployer.colour": "baseline", "deployer.index": "101"},
            ports={"8080/tcp": (host, int(port))},
        )
        with closing(sqlite3.connect(shop.state / "deployer.db", timeout=60)) as store, store:
            store.execute("update services set warm_until = 1")
        found = wrong(doctor(shop))
        assert any("r1 (baseline) is left over" in text for text in found), found
        assert any("r1 (blue) was to be kept warm until" in text for text in found), found
        assert any(f"{theirs.name} has the name or the labels of an instance" in text for text in found), found
        doctor(shop, "--fix")
        report = load.stop()
        assert report.failed == 0, report.text()
        assert set(report.by_version) == {"2.0"}
        left = wrong(doctor(shop))
        assert [text for text in left if str(theirs.name) not in text] == []
        theirs.reload()
        assert theirs.status == "running"
        names = [str(c.name) for c in shop.client.containers.list(all=True, filters={"name": shop.name})]
        assert sorted(names) == [f"{shop.name}-r2-1", f"{shop.name}-r2-2", str(theirs.name)]
        assert str(ours.name) not in names


def names_of_images(shop: Shop) -> list[str]:
    assert shop.client is not None
    return [name for names in image.named(shop.client).values() for name in names]


@pytest.mark.long("images that are looked at again and again")
def test_images_of_ours_without_a_release_go_and_others_stay(docker_shop: Shop) -> None:
    shop = docker_shop
    assert shop.client is not None
    (tag,) = [t for t in names_of_images(shop) if t.startswith("deployer-") and f"/{shop.name}:" in t]
    owner = tag.partition("/")[0]
    shop.version("0.9")
    kept = shop.client.images.get(f"{shop.name}:0.9")
    kept.tag(f"{owner}/{shop.name}", "leftover")
    kept.tag(f"theirs/{shop.name}", "1")
    assert any(f"{owner}/{shop.name}:leftover belongs to no release" in text for text in wrong(doctor(shop)))
    doctor(shop, "--fix")

    kept.reload()
    assert f"{owner}/{shop.name}:leftover" not in kept.tags
    assert f"theirs/{shop.name}:1" in kept.tags
    assert tag in names_of_images(shop)
    shop.client.images.remove(f"theirs/{shop.name}:1")


@pytest.mark.long("two services under load")
def test_a_proxy_folder_that_was_spoiled_is_put_right_under_load(twice: Shop) -> None:
    shop = twice
    proxy = shop.state / "proxy"
    with Load(shop.url, USERS) as load:
        load.until(lambda now: now.answered > 100, "the load runs")
        (proxy / "preview.token").unlink()
        (proxy / "haproxy.cfg").write_text("# oh\n")
        (proxy / "maps" / "state.map").unlink()
        (proxy / "services" / f"{shop.name}.json").unlink()
        (shop.state / "emergency" / shop.name).unlink()
        assert any("the proxy does not know" in text for text in wrong(doctor(shop, expect=8)))
        doctor(shop, "--fix")
        assert wrong(doctor(shop)) == []
        shop.deploy("rollback")
        report = load.stop()
    assert report.failed == 0, report.text()
    assert shop.status()["stable_version"] == "1.0"


@pytest.mark.long("a canary that is waited for")
def test_nothing_is_fixed_while_somebody_deploys(twice: Shop) -> None:
    shop = twice
    shop.version("3.0")
    shop.write(strategy={"canary": {"steps": [{"share": 10, "for": "10m"}]}})
    with shop.start("canary", "--version", "3.0") as canary:
        shop.wait(lambda s: s["share"] == 1000, "the candidate has 10%")
        end(shop, f"{shop.name}-r2-2")
        found = [f for f in doctor(shop, "--fix", expect=8) if f["what"] == shop.name]
        assert all(f["level"] != "fixed" for f in found), found
        assert any("is at work" in f["remedy"] for f in found), found
        canary.kill()
        canary.wait(timeout=10)
    shop.deploy("abort")
    doctor(shop, "--fix")
    assert wrong(doctor(shop)) == []


@pytest.mark.long("a service on an engine")
def test_it_says_whether_containers_live_on_without_their_engine(docker_shop: Shop) -> None:
    assert docker_shop.client is not None
    lives_on = docker_shop.client.info()["LiveRestoreEnabled"]
    found = [f for f in doctor(docker_shop) if f["what"] == ENGINE]

    assert found[0]["level"] == "ok"
    assert ["live-restore" in f["remedy"] for f in found[1:]] == ([] if lives_on else [True])

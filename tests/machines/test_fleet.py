"""Deploys to many machines behind one proxy, under load, and machines that are lost at the worst moment."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from deployer.core.clock import Deadline, SystemClock
from tests.lab.machines import Lab
from tests.load import Load, Options, Report
from tests.machines.farm import WEB, Farm, engine, lab_of_engines, live_farm

pytestmark = pytest.mark.live
MIX = Options(rate=60, slow=2, websocket_may_move=True, websocket_may_be_cut=True)
AROUND = Options(rate=60, kinds=("fresh", "busy", "post"))  # what has no business with a single instance


@pytest.fixture(scope="module")
def machines() -> Iterator[Lab]:
    with lab_of_engines() as made:
        yield made


@pytest.fixture
def lab(machines: Lab) -> Iterator[Lab]:
    """Yield the machines, whole again after each test."""
    yield machines
    machines.heal()
    for machine in machines.machines.values():
        if not machine.is_on():
            machine.start()
            machine.wait()


@pytest.fixture
def farm(lab: Lab, state: Path) -> Iterator[Farm]:
    """Yield a service with version 1.0 live on three machines."""
    folder = state / "s"
    folder.mkdir()
    with live_farm(lab, folder) as made:
        yield made


def started(load: Load) -> None:
    load.until(lambda now: now.answered > 40, "the load runs")


def more(load: Load, requests: int, what: str) -> None:
    wanted = load.counters().answered + requests
    load.until(lambda now: now.answered >= wanted, what)


def unfailing(load: Load) -> Report:
    report = load.stop()
    assert report.failed == 0, report.text()
    assert report.sent > 100, report.text()
    return report


def usual(farm: Farm) -> float:
    """Return how many seconds a look at all hosts takes here and now: many on a busy host."""
    began = time.monotonic()
    farm.status()
    return time.monotonic() - began


def there_and_back(farm: Farm, way: tuple[str, ...]) -> None:
    """Deploy 2.0 and roll it back under load: no request fails, and those at the end are of the right version."""
    farm.version("2.0")
    with Load(farm.url, MIX) as load:
        started(load)
        farm.deploy(*way, "--version", "2.0")
        load.mark("done")
        more(load, 60, "requests after the end")
        farm.deploy("rollback")
        load.mark("back")
        more(load, 60, "requests after the rollback")
        report = unfailing(load)
    assert set(report.after("done").by_version) >= {"2.0"}
    assert set(report.after("back").only("fresh", "busy", "post").by_version) == {"1.0"}


# -- every way forward and back, under load


def test_an_image_of_this_machine_is_brought_and_runs_on_each(farm: Farm) -> None:
    assert sorted(farm.hosts().values()) == list(WEB)
    assert [len(farm.on(name)) for name in WEB] == [1, 1, 1]
    assert farm.get().text == "1.0\n"
    table = farm.deploy("status").stdout
    assert all(name in table for name in WEB)
    assert "the engines of web1, web2, web3 are reachable" in farm.deploy("doctor").stdout
    assert farm.deploy("logs").stdout.count("listening on 8080") == 3


def test_instances_are_published_to_the_address_that_was_given_and_no_other(farm: Farm, lab: Lab) -> None:
    with engine(lab["web1"]) as client:
        (container,) = client.containers.list()
        (bound,) = container.attrs["HostConfig"]["PortBindings"].values()
    assert [b["HostIp"] for b in bound] == [lab["web1"].address]


@pytest.mark.parametrize(
    "way",
    [
        pytest.param(("canary",), marks=pytest.mark.long("it boots machines", every_change=True)),
        ("bluegreen", "--bake", "1s"),
        ("rolling", "--for", "1s"),
    ],
    ids=lambda way: way[0],
)
def test_forward_and_back_without_a_failed_request(farm: Farm, way: tuple[str, ...]) -> None:
    there_and_back(farm, way)
    assert sorted(set(farm.hosts().values())) == list(WEB)


def test_a_machine_that_lost_the_image_of_the_release_before_gets_it_from_another(farm: Farm, lab: Lab) -> None:
    farm.version("2.0")
    farm.deploy("bluegreen", "--bake", "0", "--version", "2.0")
    with engine(lab["web2"]) as client:
        (container,) = client.containers.list(all=True, filters={"name": f"{farm.name}-r1-"})
        image = container.image
        assert image is not None
        container.remove(force=True)
        client.images.remove(str(image.id), force=True)
    with Load(farm.url, MIX) as load:
        started(load)
        farm.deploy("rollback")
        more(load, 60, "requests after the rollback")
        unfailing(load)
    assert farm.get().text == "1.0\n"
    assert [name for name in farm.on("web2") if "-r1-" in name]


def test_an_abort_leaves_nothing_on_any_machine(farm: Farm) -> None:
    farm.version("2.0")
    with Load(farm.url, MIX) as load:
        started(load)
        farm.deploy("canary", "--hold", "--version", "2.0")
        assert [len(farm.on(name)) for name in WEB] == [2, 2, 2]
        farm.deploy("abort")
        more(load, 40, "requests after the abort")
        unfailing(load)
    assert [len(farm.on(name)) for name in WEB] == [1, 1, 1]


def test_blue_and_green_on_machines_of_their_own(farm: Farm) -> None:
    farm.inventory({"web": WEB[:2], "web_green": WEB[2:]})
    farm.write(twin={"hosts": "web_green"})
    farm.version("2.0")
    farm.version("3.0")
    with Load(farm.url, MIX) as load:
        started(load)
        farm.deploy("bluegreen", "--bake", "1s", "--version", "2.0")
        assert {host for name, host in farm.hosts().items() if "-r2-" in name} == {"web3"}
        farm.deploy("canary", "--version", "3.0")
        assert {host for name, host in farm.hosts().items() if "-r3-" in name} == {"web1", "web2"}
        farm.deploy("rollback")
        more(load, 60, "requests after the rollback")
        unfailing(load)
    assert farm.get().text == "2.0\n"


# -- a machine is lost


def test_a_machine_that_is_off_is_named_and_nothing_begins(farm: Farm, lab: Lab) -> None:
    farm.version("2.0")
    least = usual(farm)
    lab["web2"].kill()
    began = time.monotonic()
    done = farm.deploy("canary", "--version", "2.0", expect=4)
    assert time.monotonic() - began < 30 + 3 * least
    assert "web2 is unreachable" in done.stderr
    assert [len(farm.on(name)) for name in ("web1", "web3")] == [1, 1]


def test_a_release_goes_without_a_host_that_can_be_spared_and_reaches_it_with_the_next_deploy(
    farm: Farm, lab: Lab
) -> None:
    farm.write(max_unavailable=1)
    farm.version("2.0")
    lab["web2"].kill()
    with Load(farm.url, AROUND) as load:
        started(load)
        assert "without web2, unreachable at the time" in farm.deploy("plan", "--version", "2.0").stdout
        farm.deploy("up", "--version", "2.0")
        assert farm.get().text == "2.0\n"
        assert {host for name, host in farm.hosts().items() if "-r2-" in name} == {"web1", "web3"}
        assert "nothing to do" in farm.deploy("up", "--version", "2.0").stderr
        farm.deploy("rollback")
        assert farm.get().text == "1.0\n"
        more(load, 60, "requests after the rollback")
        unfailing(load)

    lab["web2"].start()
    lab["web2"].wait()
    farm.version("3.0")
    farm.deploy("bluegreen", "--bake", "0", "--version", "3.0")
    assert {host for name, host in farm.hosts().items() if "-r3-" in name} == set(WEB)
    farm.deploy("doctor", "--fix")
    farm.deploy("doctor")


def test_more_silent_hosts_than_can_be_spared_are_named_and_nothing_begins(farm: Farm, lab: Lab) -> None:
    farm.write(max_unavailable=1)
    farm.version("2.0")
    lab.cut("web1")
    lab.cut("web2")
    for command in ("plan", "up"):
        said = farm.deploy(command, "--version", "2.0", expect=4).stderr
        assert "web1 is unreachable" in said
        assert "web2 is unreachable" in said
    assert len(farm.on("web3")) == 1
    lab.heal()
    farm.deploy("bluegreen", "--bake", "0", "--version", "2.0")
    assert {host for name, host in farm.hosts().items() if "-r2-" in name} == set(WEB)


def test_a_machine_cut_off_before_traffic_moves_takes_everything_back(farm: Farm, lab: Lab) -> None:
    """Its cable is pulled while the candidate becomes healthy: ssh is open then, and nothing says that it is gone."""
    farm.write(health={"http": "/health", "interval": "200ms", "deadline": "30s"})
    farm.version("2.0", {"START": "12000"})
    least = usual(farm)
    with Load(farm.url, AROUND) as load, farm.start("canary", "--version", "2.0", "--output", "plain") as deploy:
        started(load)
        farm.wait(lambda status: len(status["environments"]) == 2, "the candidate stands")
        lab.cut("web2")
        began = time.monotonic()
        out, err = deploy.communicate(timeout=300)
        assert deploy.returncode == 4, out + err
        assert time.monotonic() - began < 60 + 3 * least
        assert "web2 is unreachable" in out + err
        load.mark("back")
        more(load, 60, "requests after the end")
        report = load.stop()
    assert report.after("back").failed == 0, report.after("back").text()
    assert set(report.after("back").by_version) == {"1.0"}
    assert [len(farm.on(name)) for name in ("web1", "web3")] == [1, 1]
    assert farm.status()["share"] == 0

    lab.heal()
    farm.deploy("doctor", "--fix")
    assert [len(farm.on(name)) for name in WEB] == [1, 1, 1]
    farm.deploy("doctor")


def test_a_machine_lost_under_the_candidate_is_routed_around(farm: Farm, lab: Lab) -> None:
    farm.version("2.0")
    with Load(farm.url, AROUND) as load:
        started(load)
        with farm.start("canary", "--steps", "50", "--for", "40s", "--version", "2.0", "--output", "plain") as deploy:
            farm.wait(lambda status: status["share"] > 0, "users are on the candidate")
            lab["web2"].kill()
            load.mark("lost")
            shown = farm.wait(lambda status: status["problems"], "the status shows it", 60)
            assert "web2 is unreachable" in shown["problems"][0]
            hosts = {i["host"]: i["state"] for e in shown["environments"] for i in e["instances"]}
            assert hosts == {"web1": "running", "web2": "unknown", "web3": "running"}
            out, err = deploy.communicate(timeout=300)
        assert deploy.returncode == 0, out + err
        assert "host: web2 is unreachable" in out + err
        load.mark("done")
        more(load, 60, "requests after the end")
        report = load.stop()
    assert report.after("done").failed == 0, report.after("done").text()
    lost = report.after("lost")
    assert lost.failed <= 20, lost.text()  # what was in flight on it, until the proxy's checks found out

    farm.deploy("rollback")
    assert farm.get().text == "1.0\n"


def test_a_machine_cut_off_after_the_promotion_is_routed_around_and_the_way_back_goes_without_it(
    farm: Farm, lab: Lab
) -> None:
    farm.version("2.0")
    farm.deploy("bluegreen", "--bake", "0", "--version", "2.0")
    with Load(farm.url, AROUND) as load:
        started(load)
        lab.cut("web2")
        load.mark("lost")
        shown = farm.status()
        assert "web2 is unreachable" in shown["problems"][0]
        load.mark("shown")
        more(load, 60, "requests without it")
        farm.deploy("rollback")
        load.mark("back")
        more(load, 60, "requests after the rollback")
        report = load.stop()
    assert report.after("shown").failed == 0, report.after("shown").text()
    lost = report.after("lost")
    assert lost.failed <= 20, lost.text()  # what was in flight on it, until the proxy's checks found out
    assert set(report.after("back").by_version) == {"1.0"}


def test_a_hung_engine_is_given_up_in_time(farm: Farm, lab: Lab) -> None:
    """Its instances answer users, and ssh is there; only the engine says nothing any more."""
    least = usual(farm)
    lab["web2"].run("sh", "-c", "kill -STOP $(cat /run/docker.pid)")
    try:
        began = time.monotonic()
        status = farm.status()
        assert time.monotonic() - began < 25 + 3 * least
    finally:
        lab["web2"].run("sh", "-c", "kill -CONT $(cat /run/docker.pid)")
    assert "web2 is unreachable" in status["problems"][0]
    assert "did not respond within" in status["problems"][0]
    up = {i["host"]: i["up"] for e in status["environments"] for i in e["instances"]}
    assert up == {"web1": True, "web2": True, "web3": True}


def test_a_machine_whose_disk_is_full_gets_nothing_and_nobody_notices(farm: Farm, lab: Lab) -> None:
    farm.version("2.0")
    lab["web2"].run("mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", "/var/lib/docker/tmp")
    try:
        with Load(farm.url, AROUND) as load:
            started(load)
            said = farm.deploy("canary", "--version", "2.0", expect=4).stderr
            more(load, 40, "requests after the end")
            unfailing(load)
    finally:
        lab["web2"].run("umount", "/var/lib/docker/tmp")
    assert "web2" in said
    assert "no space left on device" in said
    assert [len(farm.on(name)) for name in WEB] == [1, 1, 1]
    farm.deploy("bluegreen", "--bake", "0", "--version", "2.0")
    assert farm.get().text == "2.0\n"


def test_an_unknown_host_key_is_no_machine_of_ours(farm: Farm, lab: Lab) -> None:
    former = lab.known_hosts.read_text()
    lab.known_hosts.write_text(
        "".join(line for line in former.splitlines(True) if not line.startswith(lab["web3"].address))
    )
    try:
        status = farm.status()
    finally:
        lab.known_hosts.write_text(former)
    assert "web3 is unreachable: its host key is not known: Host key verification failed." in status["problems"][0]


# -- the links


def tunnels(lab: Lab) -> dict[int, Path]:
    """Processes of ssh that forward the engine of a machine of the lab, with the folder of their socket."""
    found = {}
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            words = file.read_text(errors="replace").split("\0")
            if words[0].rpartition("/")[2] == "ssh" and str(lab.key) in words and "-L" in words:
                socket = words[words.index("-L") + 1].partition(":")[0]
                found[int(file.parent.name)] = Path(socket).parent
    return found


def test_links_are_shared_and_end_with_a_command_however_it_ends(farm: Farm, lab: Lab) -> None:
    assert tunnels(lab) == {}
    farm.version("2.0")
    with farm.start("canary", "--steps", "50", "--for", "60s", "--version", "2.0") as deploy:
        farm.wait(lambda status: status["share"] > 0, "users are on the candidate")  # through links that it ends
        wait_until(lambda: len(tunnels(lab)) == 3, "one link to each machine")
        folders = tunnels(lab).values()
        assert {oct(folder.stat().st_mode & 0o777) for folder in folders} == {"0o700"}
        deploy.kill()
        deploy.wait(60)
    wait_until(lambda: tunnels(lab) == {}, "no link outlives its command")
    wait_until(lambda: not any(folder.exists() for folder in folders), "nor does its socket")
    farm.deploy("abort")
    wait_until(lambda: tunnels(lab) == {}, "nor one that ends in order")


def test_a_link_that_dies_is_opened_again(farm: Farm, lab: Lab) -> None:
    farm.version("2.0")
    with (
        Load(farm.url, MIX) as load,
        farm.start("canary", "--steps", "50", "--for", "40s", "--version", "2.0", "--output", "plain") as deploy,
    ):
        farm.wait(lambda status: status["share"] > 0, "users are on the candidate")
        wait_until(lambda: len(tunnels(lab)) == 3, "one link to each machine")
        former = tunnels(lab).keys()
        for pid in former:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: len(tunnels(lab).keys() - former) == 3, "new links")
        out, err = deploy.communicate(timeout=300)
        unfailing(load)
    assert deploy.returncode == 0, out + err
    assert "does not respond" not in out + err


def test_a_killed_deploy_is_resumed_without_its_inventory(farm: Farm) -> None:
    farm.version("2.0")
    with farm.start("canary", "--steps", "50", "--for", "60s", "--version", "2.0") as deploy:
        farm.wait(lambda status: status["share"] > 0, "users are on the candidate")
        deploy.kill()
        deploy.wait(60)
    (farm.folder / "inventory" / "hosts").write_text("[web]\nnobody.example.com\n")
    farm.deploy("promote")
    assert farm.get().text == "2.0\n"
    farm.deploy("rollback")
    assert farm.get().text == "1.0\n"


def test_a_lost_store_is_rebuilt_from_what_stands_on_the_machines(farm: Farm) -> None:
    for file in farm.state.glob("deployer.db*"):
        file.unlink()
    farm.deploy("adopt", "--yes")
    assert sorted(farm.hosts().values()) == list(WEB)
    farm.version("2.0")
    farm.deploy("bluegreen", "--bake", "0", "--version", "2.0")
    farm.deploy("rollback")
    assert farm.get().text == "1.0\n"


def wait_until(ready: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
    Deadline.after(SystemClock(), seconds).until(ready, what)

"""Deploys to engines that are reached by TCP with TLS, and what is said when one of both sides is not believed."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.machines import Lab
from tests.load import Load, Options
from tests.machines.authority import PORT, Authority
from tests.machines.farm import CONTROL, WEB, Farm, engine, lab_of_engines
from tests.machines.test_fleet import usual

pytestmark = pytest.mark.live
MIX = Options(rate=60, slow=2, websocket_may_move=True, websocket_may_be_cut=True)


@pytest.fixture(scope="module")
def machines() -> Iterator[Lab]:
    with lab_of_engines() as made:
        yield made


@pytest.fixture(scope="module")
def authority(machines: Lab, tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Return who signs; the engines of all machines know whom it has signed."""
    made = Authority(tmp_path_factory.mktemp("tls") / "certs")
    for name in WEB:
        made.guard(machines[name])
    return made


@pytest.fixture
def lab(machines: Lab) -> Iterator[Lab]:
    yield machines
    machines.heal()


@pytest.fixture
def farm(lab: Lab, authority: Authority, state: Path) -> Iterator[Farm]:
    """Yield a service with version 1.0 live on three machines, whose engines are reached by TLS."""
    with engine(lab[CONTROL]) as client:
        folder = state / "s"
        folder.mkdir()
        shutil.copytree(authority.folder, folder / "certs")
        made = Farm(folder, lab, client, {"web": WEB})
        with (folder / "inventory" / "group_vars" / "all.yml").open("a") as variables:
            variables.write('deployer_engine: "tcp://{{ ansible_host }}:2376"\ndeployer_engine_certs: ../certs\n')
        try:
            made.version("1.0")
            made.version("2.0")
            made.deploy("up", "--version", "1.0")
            yield made
        finally:
            made.close()


def standing(farm: Farm) -> list[list[str]]:
    return [farm.on(name) for name in WEB]


def engines(farm: Farm, expect: int) -> dict[str, list[dict[str, Any]]]:
    """Return what `deploy hosts check` finds of the engines."""
    (told,) = farm.events("hosts", "check", expect=expect)
    return {row["name"]: [f for f in row["findings"] if f["what"] == "engine"] for row in told["hosts"]}


def test_forward_and_back_under_load_without_any_ssh(farm: Farm, lab: Lab) -> None:
    lab.drop("tcp dport 22")
    with Load(farm.url, MIX) as load:
        load.until(lambda now: now.answered > 40, "the load runs")
        farm.deploy("canary", "--version", "2.0")
        load.mark("done")
        wanted = load.counters().answered + 60
        load.until(lambda now: now.answered >= wanted, "requests after the promotion")
        farm.deploy("rollback")
        report = load.stop()
    assert report.failed == 0, report.text()
    assert "2.0" in report.after("done").by_version
    assert farm.get().text == "1.0\n"
    assert sorted(set(farm.hosts().values())) == list(WEB)
    assert farm.deploy("logs").stdout.count("v=1.0 listening on 8080") == 3
    assert "the engines of web1, web2, web3 are reachable" in farm.deploy("doctor").stdout


def test_what_is_not_proven_is_refused_before_anything_changes(farm: Farm, authority: Authority, lab: Lab) -> None:
    ours, before = farm.folder / "certs", standing(farm)
    assert {f["level"] for found in engines(farm, 0).values() for f in found} == {"ok"}

    stranger = Authority(farm.folder / "stranger")
    shutil.copy(stranger.folder / "ca.pem", ours)
    done = farm.deploy("canary", "--version", "2.0", expect=4)
    assert f"web1 is unreachable: tcp://{lab['web1'].address}:{PORT}: its certificate is not trusted" in done.stderr
    assert engines(farm, 8)["web2"][0]["remedy"].startswith(f"it must be signed by {ours / 'ca.pem'}")

    shutil.copy(authority.folder / "ca.pem", ours)
    for name in ("cert.pem", "key.pem"):
        shutil.copy(stranger.folder / name, ours)
    done = farm.deploy("canary", "--version", "2.0", expect=4)
    assert f"web1 is unreachable: tcp://{lab['web1'].address}:{PORT}: it refuses {ours / 'cert.pem'}" in done.stderr
    assert f"it refuses {ours / 'cert.pem'}" in engines(farm, 8)["web2"][0]["text"]

    (ours / "key.pem").chmod(0o644)
    done = farm.deploy("canary", "--version", "2.0", expect=2)
    assert f"{ours / 'key.pem'} can be read by others (mode 0644)" in done.stderr
    assert f"chmod 600 {ours / 'key.pem'}" in done.stderr
    assert "can be read by others" in farm.status()["problems"][0], "nor is it used for a release that has it"
    (ours / "key.pem").chmod(0o600)

    for name in ("cert.pem", "key.pem"):
        shutil.copy(authority.folder / name, ours)
    authority.guard(lab["web2"], address="10.213.0.99", days=7)
    try:
        done = farm.deploy("canary", "--version", "2.0", expect=4)
        found = engines(farm, 8)
    finally:
        authority.guard(lab["web2"])
    assert "its certificate belongs to another host: IP address mismatch" in done.stderr
    assert "deployer_engine" in found["web2"][0]["remedy"]
    assert [f["level"] for f in found["web1"]] == ["ok"]
    assert standing(farm) == before
    assert farm.get().text == "1.0\n"


def test_what_ends_soon_and_what_has_ended(farm: Farm, authority: Authority, lab: Lab) -> None:
    ours = farm.folder / "certs"
    cert, key = authority.made("deployer", days=7)
    (ours / "cert.pem").write_bytes(cert)
    (ours / "key.pem").write_bytes(key)
    authority.guard(lab["web2"], days=-1)
    try:
        found = engines(farm, 8)
        doctor = farm.deploy("doctor", expect=8).stdout
    finally:
        authority.guard(lab["web2"])
    assert f"{ours / 'cert.pem'} ends on " in found["web1"][1]["text"]
    assert found["web1"][1]["level"] == "warn"
    assert "its certificate is refused: certificate has expired" in found["web2"][0]["text"]
    assert "web2 is unreachable" in doctor
    assert f"{ours / 'cert.pem'} ends on " in farm.deploy("doctor").stdout


def test_a_machine_that_is_cut_off_is_named_in_time(farm: Farm, lab: Lab) -> None:
    least = usual(farm)
    lab.cut("web2")
    began = time.monotonic()
    status = farm.status()
    assert time.monotonic() - began < 25 + 3 * least
    assert f"no connection to tcp://{lab['web2'].address}:{PORT} within 5 s" in status["problems"][0]

"""Domains proven by DNS, at a real authority (pebble) with its name server: by lego, and by a lasting record."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from deployer.core.clock import SystemClock
from deployer.core.secret import hide
from deployer.drivers.certificates import CertificateKeeper, OrderFailed
from deployer.manifest.tls import AutoTls
from tests.live.pebble import Pebble, pebble
from tests.ports import free_port
from tests.services import require
from tests.waiting import within

pytestmark = pytest.mark.live
WILD, SHOP = "*.shop.example.com", "shop.example.com"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pebble]:
    require("pebble", "lego", "curl")
    with pebble(tmp_path_factory.mktemp("authority") / "pebble", free_port()) as running:
        yield running


@pytest.fixture
def order(state: Path, authority: Pebble) -> Callable[..., Any]:
    """Order a certificate with `tls.auto.dns`, by a keeper of its own."""
    keeper = CertificateKeeper(state, SystemClock())

    def ordered(domain: str, **dns: Any) -> Any:
        return keeper.order(domain, AutoTls.model_validate(authority.auto(dns=dns)), within(180))

    return ordered


def record(folder: Path, authority: Pebble, *, left_out: str = "") -> Path:
    """Write a program for lego's provider `exec`, which sets records at the name server, and its variables."""
    program, log = folder / "record", folder / "record.log"
    program.write_text(
        f'#!/bin/sh\necho "$1 $2 $TOKEN" >> {log}\n'
        f"case $1 in {left_out or 'none'}) exit 0 ;; present) way=set-txt ;; *) way=clear-txt ;; esac\n"
        f'exec curl -fsS -X POST -d "{{\\"host\\":\\"$2\\",\\"value\\":\\"$3\\"}}" {authority.names}/$way\n'
    )
    program.chmod(0o755)
    variables = folder / "dns.env"
    variables.write_text(f"EXEC_PATH={program}\nTOKEN=of-the-provider\nEXEC_PROPAGATION_TIMEOUT=1\n")
    return variables


@pytest.mark.long("two orders by lego, which waits for name servers")
def test_lego_orders_with_our_account_and_our_key(order: Callable[..., Any], authority: Pebble, state: Path) -> None:
    variables = record(state, authority)
    dns = {"lego": "exec", "env_file": str(variables), "check": False}
    facts = order(WILD, **dns)
    assert facts.names == (WILD,)
    assert "Pebble" in facts.issuer
    asked = (state / "record.log").read_text().splitlines()
    assert asked == [f"{way} _acme-challenge.{SHOP}. of-the-provider" for way in ("present", "cleanup")]
    (account,) = (state / "certificates" / "accounts").iterdir()
    assert json.loads(account.read_text())["address"] in authority.log.read_text()
    kept = sorted(path.name for path in (state / "certificates").iterdir())
    assert kept == ["_.shop.example.com.pem", "accounts"]  # nothing of lego stays
    assert hide("TOKEN is of-the-provider") == "TOKEN is ***"

    assert order(WILD, **dns).serial != facts.serial
    assert [account] == list((state / "certificates" / "accounts").iterdir())


@pytest.mark.long("an order by lego that fails")
def test_what_lego_says_is_told_with_what_to_do(order: Callable[..., Any], authority: Pebble, state: Path) -> None:
    variables = record(state, authority, left_out="present")
    with pytest.raises(OrderFailed) as failed:
        order("unset.example.com", lego="exec", env_file=str(variables), check=False)
    assert failed.value.message.startswith("unset.example.com: the authority did not find the record: `lego` failed")
    assert "at all of its name servers" in failed.value.hint
    with pytest.raises(OrderFailed, match="HTTPREQ_ENDPOINT"):
        order("unset.example.com", lego="httpreq", env_file=str(variables), check=False)


@pytest.mark.long("an authority of its own")
def test_a_lasting_record(order: Callable[..., Any], authority: Pebble) -> None:
    if b"dns-persist-01" not in Path(shutil.which("pebble") or "").read_bytes():  # before 2.10
        with pytest.raises(OrderFailed, match=r"the authority offers no proof by a lasting record \(dns-persist-01\)"):
            order(WILD, persist=True)
        return
    with pytest.raises(OrderFailed, match="did not find the lasting record") as failed:
        order(WILD, persist=True)
    name, value = re.findall(r'(_validation-persist\.\S+) TXT "(.*)"', failed.value.hint)[0]
    authority.name("set-txt", host=name, value=value)
    assert order(WILD, persist=True).names == (WILD,)
    assert order(WILD, persist=True).names == (WILD,)  # the record stays

"""Orders of certificates: counted, never repeated in a loop, one domain's trouble is no other's; with a real store."""

from __future__ import annotations

import http.server
import math
import re
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from deployer.app import certificates as listing
from deployer.app import doctor
from deployer.app.operations.certificates import DomainResult, announce, bring, certified, renew
from deployer.app.operations.execution import locked
from deployer.core.clock import Deadline, SystemClock
from deployer.core.errors import Exit, Refused
from deployer.drivers.certificates import CertificateKeeper, OrderFailed, keys
from deployer.drivers.certificates.dns import DnsRecords
from deployer.drivers.notices import NotSent
from deployer.manifest.tls import AutoTls
from deployer.model import SecretText
from deployer.planning.certificates import DAY, CertificateFacts, ServedCertificate
from deployer.planning.orders import RolloutResult
from deployer.server.renewals import Renewals
from tests.api import Api
from tests.house import Scene
from tests.unit.test_adopt import FAST

if TYPE_CHECKING:
    from collections.abc import Callable

    from deployer.app.operations import AppContext
    from deployer.store import Store

ONE, TWO = "shop.example.com", "www.example.com"


class Killed(BaseException):
    """The process ends here."""


class Keeper(CertificateKeeper):
    """Signs by itself what an authority would sign, unless a domain is in `trouble`; pebble is in tests/live."""

    def __init__(self, state: Path, clock: Any, days: float = 90) -> None:
        super().__init__(state, clock, resolve=lambda _domain: ())
        self._state, self.days = state, days
        self.orders: list[str] = []
        self.trouble: dict[str, BaseException] = {}
        self.asked = 0
        self.after: Callable[[], None] = lambda: None

    def order(self, domain: str, auto: AutoTls, deadline: Deadline) -> CertificateFacts:
        self.orders.append(domain)
        if domain in self.trouble:
            raise self.trouble[domain]
        made = keys.placeholder(domain, self._clock.now(), self.days)
        cut = made.index("-----BEGIN CERTIFICATE")
        facts = self.keep(domain, made[cut:], made[:cut])
        self.after()
        return facts

    def suggestion(self, domain: str, auto: AutoTls, deadline: Deadline) -> Any:
        self.asked += 1
        return replace(self.history(domain).suggestion, ask_again=self._clock.now() + DAY)


class Shop:
    """A live service with two domains and `tls: auto`."""

    def __init__(self, folder: Path, **more: Any) -> None:
        self.scene = Scene(folder)
        self.world, self.house = self.scene.world, self.scene.house
        self.keeper = self.house.certificates = Keeper(folder, self.world.clock)
        self.manifest = {"traffic": {"domains": [ONE, TWO], "tls": "auto"}, **more}
        secrets = {name: SecretText("https://hooks.example.com/x") for name in more.get("secrets", ())}
        self.scene.deploy("1.0", manifest=self.manifest, secrets=lambda: secrets)

    def renew(self, domain: str = "", **more: Any) -> dict[str, DomainResult]:
        return {one.domain: one for one in renew(self.house, domain, **more)}

    def states(self, domain: str = "") -> dict[str, str]:
        return {name: one.state for name, one in self.renew(domain).items()}

    def later(self, seconds: float) -> None:
        self.world.clock.sleep(seconds)


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="dp", dir=FAST) as made:
        yield Path(made)


@pytest.fixture
def shop(folder: Path) -> Shop:
    return Shop(folder)


def test_what_is_due_is_ordered_and_shown(shop: Shop) -> None:
    assert shop.states() == {ONE: "issued", TWO: "issued"}
    assert shop.world.shown.keys() == {ONE, TWO}
    assert shop.states() == {ONE: "kept", TWO: "kept"}
    assert shop.keeper.orders == [ONE, TWO]


def test_a_year_is_renewed_in_time(shop: Shop) -> None:
    shop.keeper.days = 47
    shop.renew()
    serials, least = set(), 47 * DAY
    for _ in range(365):
        shop.later(DAY)
        shop.renew()
        kept = shop.keeper.kept(ONE)
        assert kept is not None
        serials.add(kept.serial)
        least = min(least, kept.ends - shop.world.clock.now())
        assert shop.keeper.facts(shop.world.shown[ONE]).serial == kept.serial
    assert 11 <= len(serials) <= 13
    assert least > 14 * DAY
    assert shop.keeper.asked >= 300  # for what the authority suggests


def test_a_failed_order_is_counted_and_not_repeated_in_a_loop(shop: Shop) -> None:
    shop.keeper.trouble[ONE] = OrderFailed(f"{ONE}: its CAA records forbid this authority", "add a CAA record")
    assert shop.states() == {ONE: "failed", TWO: "issued"}
    for _ in range(20):
        said = shop.renew()[ONE]
    assert said.state == "waiting"
    assert "1 order failed" in said.text
    assert "CAA records forbid" in said.text
    assert "add a CAA record" in said.hint
    assert shop.keeper.orders == [ONE, TWO]
    shop.later(601)
    assert shop.states()[ONE] == "failed"
    shop.later(601)
    assert shop.states()[ONE] == "waiting"  # the pause grows
    shop.later(601)
    del shop.keeper.trouble[ONE]
    assert shop.states()[ONE] == "issued"
    assert shop.keeper.history(ONE).failures == 0


def test_what_a_program_says_of_a_secret_is_neither_kept_nor_shown(shop: Shop, folder: Path) -> None:
    token = "token-of-the-provider"
    SecretText(token)  # as the variables of `env_file` are
    records = DnsRecords(
        ("/bin/sh", "-c", 'echo "$TOKEN is refused" >&2; exit 3'), 0.0, {"TOKEN": token}, folder, SystemClock()
    )
    with pytest.raises(OrderFailed, match="is refused") as raised, records.proving(f"_acme-challenge.{ONE}.", "x"):
        pass
    shop.keeper.trouble[ONE] = raised.value
    said = [shop.renew()[ONE], shop.renew()[ONE]]
    kept = (folder / "certificates" / f"{ONE}.json").read_text()
    for text in (kept, *(one.sentence for one in said)):
        assert "*** is refused" in text
        assert token not in text


def test_the_authority_says_how_long_to_wait_and_that_holds_for_people_too(shop: Shop) -> None:
    until = shop.world.clock.now() + 2 * DAY
    shop.keeper.trouble[ONE] = OrderFailed(f"{ONE}: too many", "it wants no other order", wait_until=until)
    shop.renew()
    del shop.keeper.trouble[ONE]
    shop.later(DAY)
    assert shop.states(ONE) == {ONE: "waiting"}
    shop.later(DAY + 1)
    assert shop.states() == {ONE: "issued", TWO: "kept"}


def test_a_person_may_order_before_the_pause_is_over(shop: Shop) -> None:
    shop.keeper.trouble[ONE] = OrderFailed(f"{ONE}: no")
    shop.renew()
    del shop.keeper.trouble[ONE]
    assert shop.states() == {ONE: "waiting", TWO: "kept"}
    assert shop.states(ONE) == {ONE: "issued"}


def test_a_dry_run_orders_nothing(shop: Shop) -> None:
    assert {one.state for one in renew(shop.house, dry_run=True)} == {"due"}
    assert shop.keeper.orders == []
    assert shop.keeper.kept(ONE) is None


def test_of_two_processes_one_orders(shop: Shop) -> None:
    with locked(shop.house, f"certificate.{ONE}", "test"):
        said = shop.renew()
    assert said[ONE].state == "waiting"
    assert f"the certificate of {ONE} is being ordered by" in said[ONE].text
    assert said[TWO].state == "issued"
    assert shop.keeper.orders == [TWO]
    assert shop.states()[ONE] == "issued"


def test_killed_while_the_authority_works_and_again_after_the_key_was_kept(shop: Shop) -> None:
    shop.keeper.trouble[ONE] = Killed()
    with pytest.raises(Killed):
        shop.renew(ONE)
    assert shop.keeper.history(ONE).failures == 1
    assert shop.states() == {ONE: "waiting", TWO: "issued"}  # not repeated at once
    del shop.keeper.trouble[ONE]
    shop.later(601)

    def killed() -> None:
        raise Killed

    shop.keeper.after = killed
    with pytest.raises(Killed):
        shop.renew()
    shop.keeper.after = lambda: None
    kept = shop.keeper.kept(ONE)
    assert kept is not None
    assert ONE not in shop.world.shown  # the proxy was not told yet
    orders = len(shop.keeper.orders)
    shop.renew()
    assert shop.keeper.facts(shop.world.shown[ONE]).serial == kept.serial
    assert len(shop.keeper.orders) == orders


def test_killed_at_each_call_to_the_proxy(folder: Path) -> None:
    shop = Shop(folder)

    def tick(what: str) -> None:
        if what in ("before install", "after install"):
            raise Killed

    for _ in range(2):
        shop.world.tick = tick
        with pytest.raises(Killed):
            shop.renew()
        shop.world.tick = lambda _what: None
    assert set(shop.states().values()) <= {"kept", "issued"}
    for domain in (ONE, TWO):
        kept = shop.keeper.kept(domain)
        assert kept is not None
        assert shop.keeper.facts(shop.world.shown[domain]).serial == kept.serial


def test_a_domain_that_leads_elsewhere_costs_no_order_and_the_other_gets_its_certificate(shop: Shop) -> None:
    with web_server() as port:
        shop.house.certificates = keeper = Keeper(shop.keeper._state, shop.world.clock)
        keeper._resolve = lambda domain: ["127.0.0.1"] if domain == ONE else []
        manifest = {"traffic": {"domains": [ONE, TWO], "listen": f"*:{port}", "tls": "auto"}}
        shop.scene.deploy("2.0", manifest=manifest)
        said = shop.renew()
        why = {row.domain: row.problem for row in listing.listed(shop.house).certificates}
    assert said[ONE].state == "failed"
    assert why == {ONE: said[ONE].text, TWO: ""}
    assert keeper.history(ONE).failures == 0
    assert f"{ONE} leads to 127.0.0.1, where something (HTTP 404) answered instead of the proxy" in said[ONE].text
    assert said[TWO].state == "issued"
    assert keeper.orders == [TWO]


def test_a_deploy_says_how_and_what_went_wrong_and_ends_well(shop: Shop) -> None:
    release = shop.house.store.releases.get("shop", 1)
    announce(shop.house, release.manifest)
    assert "ordered by HTTP, from acme-v02.api.letsencrypt.org" in shop.scene.told("note")[-1]["text"]
    shop.keeper.trouble[ONE] = OrderFailed(f"{ONE}: the authority could not connect to it", "open port 80")
    ended = certified(shop.house, RolloutResult("done", Exit.DONE, "r1 is live", 1), "shop")
    assert ended.exit == Exit.DONE
    assert ended.text == f"r1 is live\nno certificate yet for {ONE}: `deploy certs` says why"
    assert any("→ open port 80" in note["text"] for note in shop.scene.told("note"))
    paused = RolloutResult("paused", Exit.NEEDS_PERSON, "paused", 1)
    assert certified(shop.house, paused, "shop") is paused


def test_a_deploy_asks_an_authority_for_nothing_while_what_is_kept_is_good(shop: Shop) -> None:
    shop.renew()
    shop.later(DAY * 2)
    asked, orders = shop.keeper.asked, list(shop.keeper.orders)
    done = RolloutResult("done", Exit.DONE, "r1 is live", 1)
    assert certified(shop.house, done, "shop") is done
    assert (shop.keeper.asked, shop.keeper.orders) == (asked, orders)
    # nor is an early renewal that the authority refused a reason to say that a domain has none
    until = shop.world.clock.now() + 2 * DAY
    shop.keeper.trouble[ONE] = OrderFailed(f"{ONE}: too many", "it wants no other order", wait_until=until)
    assert shop.states(ONE) == {ONE: "failed"}
    assert certified(shop.house, done, "shop") is done
    assert shop.states() == {ONE: "kept", TWO: "kept"}
    assert shop.states(ONE) == {ONE: "waiting"}  # what it said holds


def test_a_deploy_says_that_a_renewal_is_late_not_that_there_is_no_certificate(shop: Shop) -> None:
    shop.renew()
    shop.later(DAY * 80)
    shop.keeper.trouble[ONE] = OrderFailed(f"{ONE}: the authority could not connect to it", "open port 80")
    ended = certified(shop.house, RolloutResult("done", Exit.DONE, "r1 is live", 1), "shop")
    assert ended.text == f"r1 is live\nthe certificate is not renewed yet for {ONE}: `deploy certs` says why"


def test_an_import_is_shown_and_must_fit(shop: Shop) -> None:
    made = keys.placeholder(ONE, shop.world.clock.now())
    cut = made.index("-----BEGIN CERTIFICATE")
    key, certificate = made[:cut], made[cut:]
    assert bring(shop.house, ONE, certificate, key).state == "issued"
    assert keys.facts(shop.world.shown[ONE]).serial == keys.facts(certificate).serial
    with pytest.raises(Refused, match="not for www"):
        bring(shop.house, TWO, certificate, key)
    with pytest.raises(Refused, match="another certificate"):
        bring(shop.house, ONE, certificate, keys.new_key())
    with pytest.raises(Refused, match="no live service has"):
        bring(shop.house, "other.example.com", certificate, key)
    with pytest.raises(Refused, match=r"no live service has other\.example\.com"):
        list(renew(shop.house, "other.example.com"))


def test_nobody_but_the_owner_reads_a_key_and_no_text_has_it(shop: Shop, folder: Path) -> None:
    shop.renew()
    files = [path for path in (folder / "certificates").rglob("*") if path.is_file()]
    assert len(files) == 5
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    secret = (folder / "certificates" / f"{ONE}.pem").read_text().splitlines()[1]
    assert secret not in repr(shop.keeper.served(ONE, AutoTls()))
    assert secret not in str(shop.scene.events)
    key, account = files[0], next((folder / "certificates" / "accounts").iterdir())
    for path in (key, account):
        path.chmod(0o644)
    seen = [finding.text for finding in doctor.examine(shop.house, None).findings if finding.level == "warn"]
    assert {f"other users may read {path}" for path in (key, account)} <= set(seen)


RECIPIENT = {
    "notify": {"to": [{"name": "ops", "webhook": "HOOK", "key": "HOOK"}]},
    "secrets": {"HOOK": {"env": "HOOK", "deliver": "none"}},
}


def test_people_hear_at_14_7_and_3_days_once_each_and_the_doctor_says_it(folder: Path) -> None:
    shop = Shop(folder, **RECIPIENT)
    shop.keeper.days = 47
    shop.renew()
    shop.world.notifier.sent.clear()
    shop.keeper.trouble = {ONE: OrderFailed("the authority is down"), TWO: OrderFailed("the authority is down")}
    heard = []
    for _ in range(48):
        shop.later(DAY)
        shop.renew()
        listing.warn(shop.house)
        shop.house.announcer.close()
        heard += [
            (ONE, math.ceil((facts.ends - shop.world.clock.now()) / DAY))
            for _, notice, _ in shop.world.notifier.sent
            if ONE in notice.text and (facts := shop.keeper.kept(ONE))
        ]
        shop.world.notifier.sent.clear()
    assert heard == [(ONE, 14), (ONE, 7), (ONE, 3)]
    findings = [f for f in doctor.examine(shop.house, None).findings if f.what == "shop" and ONE in f.text]
    assert [f.level for f in findings] == ["bad"]
    assert "has ended: the authority is down" in findings[0].text
    assert findings[0].remedy == f"`deploy certs renew {ONE}`"


def test_somebody_who_cannot_be_told_is_said(folder: Path) -> None:
    shop = Shop(folder, **RECIPIENT)
    shop.world.notifier.refuses["ops"] = NotSent("HTTP 500")
    shop.house.announcer.warn("shop", "it ends")
    shop.house.announcer.close()
    assert {"to": "ops", "about": "certificate", "text": "HTTP 500"} in shop.scene.told("notify.failed")


def test_the_list_reads_what_the_proxy_shows(shop: Shop) -> None:
    assert {row.source for row in listing.listed(shop.house).certificates} == {"placeholder"}
    shop.renew()
    shop.world.shown[TWO] = keys.placeholder(TWO, shop.world.clock.now())
    one, two = listing.listed(shop.house).certificates
    assert (one.source, one.proxies, one.problem, round(one.days_left)) == ("auto", {"": one.serial}, "", 90)
    assert two.problem == "not every proxy shows the newest certificate"


def test_an_account_and_a_placeholder_are_made_once(folder: Path, shop: Shop) -> None:
    again: ServedCertificate = CertificateKeeper(folder, shop.world.clock).served(ONE, AutoTls())
    assert again.placeholder
    assert again == shop.keeper.served(ONE, AutoTls())


class _Elsewhere(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_error(404)

    def log_message(self, *_given: object) -> None:
        pass


class web_server:  # noqa: N801 - used as a function
    def __enter__(self) -> int:
        self._server = http.server.HTTPServer(("127.0.0.1", 0), _Elsewhere)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self._server.server_port

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def test_a_server_has_orders_made_says_trouble_once_and_shows_the_ends_as_metrics(state: Path) -> None:
    api = Api(state)
    try:
        scene, keepers = api.scene, []
        scene.deploy("1.0", manifest={"traffic": {"domains": [ONE, TWO], "tls": "auto"}})
        keeper = Keeper(state / "state", scene.world.clock)
        keeper.trouble[ONE] = OrderFailed(f"{ONE}: its CAA records forbid this authority", "add a CAA record")
        housed, said = api.desk.housed, []

        def opened(store: Store) -> AppContext:
            house = housed(store)
            house.certificates = keeper
            keepers.append(house)
            return house

        api.desk.housed = opened
        api.desk.log.say = lambda _event, words, **_about: said.append(words)  # type: ignore[method-assign]
        renewals = Renewals(api.desk)
        for _ in range(5):
            renewals.look()
        assert keeper.orders == [ONE, TWO]
        assert [text for text in said if "CAA" in text] == [
            f"{ONE}: its CAA records forbid this authority → add a CAA record",
            next(text for text in said if "1 order failed" in text),
        ]
        found = api.metrics.exposition()[0].decode()
        kept = keeper.kept(TWO)
        assert kept is not None
        value = re.search(rf'deployer_certificate_end_seconds{{domain="{TWO}",service="shop"}} (\S+)', found)
        assert value is not None
        assert float(value[1]) == kept.ends
        assert f'deployer_certificate_failed_orders{{domain="{TWO}",service="shop"}} 0.0' in found
    finally:
        api.close()

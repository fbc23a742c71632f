"""Orders with a lasting record (dns-persist-01), at an authority that validates as draft-ietf-acme-dns-persist says.

Debian's pebble does not offer it; tests/live/test_certs_dns.py orders by it from a pebble that does.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from josepy import b64

from deployer.core.clock import SystemClock
from deployer.drivers.certificates import OrderFailed, keys, proofs
from deployer.drivers.certificates.authority import Authority, thumbprint
from deployer.drivers.certificates.files import AcmeAccount
from tests.acme_handler import AcmeHandler, answering
from tests.waiting import within

DOMAIN, ISSUER = "shop.example.com", "authority.example"


class Offering(AcmeHandler):
    """One order: its authorization is valid once a record names this authority, the account, and what it may have."""

    records: ClassVar[dict[str, str]]
    asked: ClassVar[list[tuple[str, Any]]]
    order: ClassVar[dict[str, Any]]
    issuers: ClassVar[list[str]]

    def do_GET(self) -> None:  # noqa: N802
        self.send(200, {name: f"{self.base}/{name}" for name in ("newNonce", "newAccount", "newOrder")})

    def do_POST(self) -> None:  # noqa: N802
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        payload = json.loads(b64.b64decode(body["payload"]) or b"null")
        self.asked.append((self.path, payload))
        getattr(self, f"_{self.path.rpartition('/')[2]}")(payload)

    def _newAccount(self, _payload: Any) -> None:  # noqa: N802
        self.send(201, {"status": "valid"}, {"Location": f"{self.base}/account/7"})

    def _newOrder(self, payload: Any) -> None:  # noqa: N802
        type(self).order = {"status": "pending", "identifiers": payload["identifiers"], "valid": False}
        self._answer_order({"Location": f"{self.base}/order"}, 201)

    def _authorization(self, _payload: Any) -> None:
        name = self.order["identifiers"][0]["value"]
        challenge: dict[str, Any] = {"type": "dns-persist-01", "url": f"{self.base}/challenge", "status": "pending"}
        challenge |= {"issuer-domain-names": self.issuers, "accounturi": f"{self.base}/account/7"}
        status = self.order.get("authorization", "pending")
        if status == "invalid":
            detail = {"type": "urn:ietf:params:acme:error:unauthorized", "detail": "No valid TXT record found"}
            challenge |= {"status": "invalid", "error": detail}
        identifier = {"type": "dns", "value": name.removeprefix("*.")}
        wild = {"wildcard": True} if name.startswith("*.") else {}
        other = {"type": "dns-01", "url": f"{self.base}/other", "token": "x" * 43, "status": "pending"}
        self.send(200, {"status": status, "identifier": identifier, "challenges": [other, challenge], **wild})

    def _challenge(self, payload: Any) -> None:
        assert payload == {}
        name = self.order["identifiers"][0]["value"]
        record = self.records.get(f"_validation-persist.{name.removeprefix('*.')}.", "")
        issuer, *parameters = [part.strip() for part in record.split(";")]
        found = dict(part.split("=", 1) for part in parameters)
        right = issuer in self.issuers and found.get("accounturi") == f"{self.base}/account/7"
        right = right and (not name.startswith("*.") or found.get("policy") == "wildcard")
        self.order["authorization"] = "valid" if right else "invalid"
        self.order["status"] = "ready" if right else "invalid"
        challenge = {"type": "dns-persist-01", "url": f"{self.base}/challenge", "status": "processing"}
        self.send(200, challenge, {"Link": f'<{self.base}/authorization>;rel="up"'})

    def _finalize(self, payload: Any) -> None:
        request = x509.load_der_x509_csr(b64.b64decode(payload["csr"]))
        key = keys.key_of(keys.new_key())
        now = datetime.datetime.now(datetime.UTC)
        made = x509.CertificateBuilder().subject_name(request.subject).issuer_name(request.subject)
        made = made.public_key(request.public_key()).serial_number(5)
        made = made.not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
        for extension in request.extensions:
            made = made.add_extension(extension.value, extension.critical)
        self.order["pem"] = made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()
        self.order["status"] = "valid"
        self._answer_order()

    def _order(self, _payload: Any) -> None:
        self._answer_order()

    def _certificate(self, _payload: Any) -> None:
        self.send(200, self.order["pem"], kind="application/pem-certificate-chain")

    def _answer_order(self, more: dict[str, str] | None = None, status: int = 200) -> None:
        data = {"status": self.order["status"], "identifiers": self.order["identifiers"]}
        data |= {"authorizations": [f"{self.base}/authorization"], "finalize": f"{self.base}/finalize"}
        if "pem" in self.order:
            data["certificate"] = f"{self.base}/certificate"
        self.send(status, data, more)


@pytest.fixture
def offering() -> Iterator[tuple[str, type[Offering]]]:
    fresh: dict[str, Any] = {"records": {}, "asked": [], "order": {}, "issuers": [ISSUER]}
    handler = type("Some", (Offering,), fresh)
    with answering(handler) as base:
        yield base, handler


def ordered(base: str, domain: str) -> str:
    key = keys.new_key()
    account = AcmeAccount(base, thumbprint(key), key)
    authority = Authority(base, "", account, lambda _address: None, SystemClock(), within(30))
    return authority.order(domain, keys.new_key(), "", proofs.PersistProof())


@pytest.mark.parametrize("domain", [DOMAIN, f"*.{DOMAIN}"])
def test_a_failed_order_names_the_record_and_with_it_orders_succeed(
    offering: tuple[str, type[Offering]], domain: str
) -> None:
    base, authority = offering
    with pytest.raises(OrderFailed) as failed:
        ordered(base, domain)
    means = "the authority did not find the lasting record: No valid TXT record found"
    assert failed.value.message == f"{DOMAIN}: {means}"
    policy = "; policy=wildcard" if domain != DOMAIN else ""
    value = f"{ISSUER}; accounturi={base}/account/7{policy}"
    assert failed.value.hint == f'set this one, once: _validation-persist.{DOMAIN}. TXT "{value}"'

    authority.records[f"_validation-persist.{DOMAIN}."] = value
    for _ in range(2):
        assert keys.facts(ordered(base, domain)).names == (domain,)
    assert ("/other", {}) not in authority.asked


def test_an_authority_that_does_not_name_itself(offering: tuple[str, type[Offering]]) -> None:
    base, authority = offering
    authority.issuers.clear()
    with pytest.raises(OrderFailed, match="does not name itself for a lasting record"):
        ordered(base, DOMAIN)
    assert not [path for path, _ in authority.asked if path == "/challenge"]  # nothing that counts as a failed proof

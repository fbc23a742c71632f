"""How a domain is proven: by HTTP, by a TXT record that a program sets, or by one that is there for good.

The proof by HTTP needs no preparation: every proxy can give it. The lasting record is dns-persist-01
(draft-ietf-acme-dns-persist): it names the authority and our account, and stays the same from order to order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from acme import challenges, messages
from josepy import json_util, jwk

from deployer.drivers.certificates.dns import DnsRecords
from deployer.drivers.certificates.problems import OrderFailed

_UNPROVEN = ("unauthorized", "incorrectResponse", "dns")  # what an authority says of a record that it does not find


@dataclass(frozen=True)
class Asked:
    """A domain to prove, the account that proves it, and the challenge of the authority."""

    domain: str
    wildcard: bool
    challenge: messages.ChallengeBody
    key: jwk.JWK
    account: str


@dataclass(frozen=True)
class Answer:
    """What the authority is told, and what some of its refusals mean: in words, with what to do."""

    response: challenges.ChallengeResponse
    meaning: Mapping[str, tuple[str, str]] = field(default_factory=dict)


class DomainProof(Protocol):
    """A way to prove a domain: the challenge that it meets, in words, and what to do where it is not offered."""

    kind: ClassVar[type[challenges.Challenge]]
    name: ClassVar[str]
    instead: ClassVar[str]

    def given(self, asked: Asked) -> AbstractContextManager[Answer]:
        """Have the proof ready for the length of the block. Raise OrderFailed."""
        ...


class HttpProof:
    """The proxy answers by itself (HTTP-01)."""

    kind: ClassVar[type[challenges.Challenge]] = challenges.HTTP01
    name: ClassVar[str] = "HTTP"
    instead: ClassVar[str] = "set `tls.auto.dns`"

    def given(self, asked: Asked) -> AbstractContextManager[Answer]:
        """Return the answer; nothing is to be prepared."""
        return nullcontext(Answer(asked.challenge.response(asked.key)))


class RecordProof:
    """A program sets the record, and removes it (DNS-01)."""

    kind: ClassVar[type[challenges.Challenge]] = challenges.DNS01
    name: ClassVar[str] = "DNS"
    instead: ClassVar[str] = "remove `tls.auto.dns`"

    def __init__(self, records: DnsRecords) -> None:
        self._records = records

    @contextmanager
    def given(self, asked: Asked) -> Iterator[Answer]:
        """Have the record for the length of the block."""
        response, value = asked.challenge.response_and_validation(asked.key)
        name = f"_acme-challenge.{asked.domain}."
        means = (
            f"the authority did not find the record {name}",
            "does the zone have it? a longer `tls.auto.dns.wait`?",
        )
        with self._records.proving(name, value):
            yield Answer(response, dict.fromkeys(_UNPROVEN, means))


@challenges.Challenge.register
class LastingRecord(challenges.Challenge):
    """The challenge dns-persist-01: the authority names itself, and may name the account."""

    typ = "dns-persist-01"
    issuers: tuple[str, ...] = json_util.field("issuer-domain-names", omitempty=True, default=())

    def record(self, account: str, *, wildcard: bool) -> str:
        """Return the value of the record that lets an account have certificates."""
        value = f"{self.issuers[0]}; accounturi={account}"
        return f"{value}; policy=wildcard" if wildcard else value


@challenges.ChallengeResponse.register
class LastingResponse(challenges.ChallengeResponse):
    """What answers it: nothing more is to say than to look."""

    typ = "dns-persist-01"

    def __bool__(self) -> bool:
        """Be true: `acme` sends what is false as no body at all, which asks for nothing."""
        return True


class PersistProof:
    """A person set the record, once (dns-persist-01)."""

    kind: ClassVar[type[challenges.Challenge]] = LastingRecord
    name: ClassVar[str] = "a lasting record (dns-persist-01)"
    instead: ClassVar[str] = (
        "few authorities offer it yet: prove the domain with `run` or `lego` of `tls.auto.dns`, or by HTTP"
    )

    def given(self, asked: Asked) -> AbstractContextManager[Answer]:
        """Return the answer, and in words the record that has to be there."""
        challenge = asked.challenge.chall
        if not isinstance(challenge, LastingRecord) or not challenge.issuers:
            raise OrderFailed(f"{asked.domain}: the authority does not name itself for a lasting record", self.instead)
        name, value = f"_validation-persist.{asked.domain}.", challenge.record(asked.account, wildcard=asked.wildcard)
        means = ("the authority did not find the lasting record", f'set this one, once: {name} TXT "{value}"')
        return nullcontext(Answer(LastingResponse(), dict.fromkeys((*_UNPROVEN, "malformed"), means)))

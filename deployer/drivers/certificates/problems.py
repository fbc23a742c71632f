"""What an authority, or the way to it, says, in words; and what to do next."""

from __future__ import annotations

import re
import ssl
import time
from calendar import timegm
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from deployer.core import web
from deployer.core.commands import CommandFailed
from deployer.core.errors import DriverFailed

if TYPE_CHECKING:
    from acme import messages

LONGEST_WAIT = 31 * 86400.0  # that an authority may ask for: a wrong date must not end renewals for good
AGAIN = "`deploy serve`, or `deploy certs renew` from a timer, tries again"
BAD_NONCE = "badNonce"  # what a client repeats by itself (RFC 8555, 6.5)
# By the type of a problem document (RFC 8555, 6.7): what it means for a domain, and what to do
_MEANING = {
    "caa": (
        "its CAA records forbid this authority",
        'add a CAA record with the name of the authority, e.g. `0 issue "letsencrypt.org"`',
    ),
    "connection": (
        "the authority could not connect to it",
        "open port 80 to the whole internet, and let the domain's A and AAAA records point to the proxy",
    ),
    "dns": (
        "the authority could not resolve it",
        "let an A or AAAA record of the domain point to the proxy",
    ),
    "unauthorized": (
        "something other than the proxy answered the authority",
        "let the domain's A and AAAA records, all of them, point to the proxy",
    ),
    "incorrectResponse": (
        "something other than the proxy answered the authority",
        "let the domain's A and AAAA records, all of them, point to the proxy",
    ),
    "rateLimited": ("the authority takes no more orders for now", AGAIN),
    "rejectedIdentifier": ("the authority issues nothing for it", "is it a public domain, spelt right?"),
    "externalAccountRequired": (
        "the authority wants an account that was made on its site (external account binding)",
        "that is not supported: choose another `tls.auto.directory`, or set `tls.certificates`",
    ),
    "invalidContact": ("the authority refuses the address of the account", "correct `tls.auto.email`"),
    "unsupportedContact": ("the authority refuses the address of the account", "correct `tls.auto.email`"),
    "accountDoesNotExist": (
        "the authority does not know the account of this state folder",
        f"the next order registers it; {AGAIN}",
    ),
    BAD_NONCE: ("the authority refused every nonce", AGAIN),
    "serverInternal": ("the authority reports an error of its own", AGAIN),
}


_UNKNOWN = ("the authority refused the order", "")
_TYPE = re.compile(r"urn:ietf:params:acme:error:(\w+)")  # as other programs repeat it
_AFTER = re.compile(r"retry after ([\d-]{10})[T ]([\d:]{8})(?:Z| UTC)", re.IGNORECASE)
_RECORD = ("the authority did not find the record", "does the zone have it, at all of its name servers?")


class OrderFailed(DriverFailed):
    """An order came to nothing; the authority wants no other one before `wait_until` (0: it does not say)."""

    def __init__(self, message: str, hint: str = "", *, wait_until: float = 0.0) -> None:
        super().__init__(message, hint)
        self.wait_until = wait_until


def of_problem(
    domain: str,
    error: messages.Error,
    *,
    meaning: Mapping[str, tuple[str, str]] = MappingProxyType({}),
    wait_until: float = 0.0,
) -> OrderFailed:
    """Return what a problem document says about a domain; `meaning` is what its types mean beyond the usual."""
    inner = next((sub for sub in error.subproblems or () if sub.detail), None)
    detail = " ".join(str((inner or error).detail or error.title or "").split())
    code = str((inner or error).code or error.code)
    means, hint = {**_MEANING, **meaning}.get(code, _UNKNOWN)
    text = f"{domain}: {means}{f': {detail}' if detail else ''}"
    return OrderFailed(text, _until(wait_until) if wait_until else hint, wait_until=wait_until)


def of_program(domain: str, error: CommandFailed, now: float) -> OrderFailed:
    """Return why a program that orders by DNS did not get a certificate.

    It keeps the header by which an authority asks to wait, and repeats what it says in words: Let's Encrypt has the
    moment there, too.
    """
    types = _TYPE.findall(error.message)
    # The program repeats what had a bad nonce, and its log says so before that which ended the order.
    code = next((each for each in types if each != BAD_NONCE), BAD_NONCE if types else "")
    by_dns = dict.fromkeys(("unauthorized", "incorrectResponse", "dns"), _RECORD)
    means, hint = {**_MEANING, **by_dns}.get(code, _UNKNOWN) if code else ("", error.hint)
    until = _said_until(error.message, now) if code == "rateLimited" else 0.0
    text = f"{domain}: {f'{means}: ' if means else ''}{error.message}"
    return OrderFailed(text, _until(until) if until else hint, wait_until=until)


def _said_until(text: str, now: float) -> float:
    """Return the moment before which no other order is wanted, as a text has it; 0 where it has none."""
    said = _AFTER.search(text)
    try:
        moment = timegm(time.strptime(" ".join(said.groups()), "%Y-%m-%d %H:%M:%S")) if said else 0.0
    except ValueError:
        return 0.0
    return min(moment, now + LONGEST_WAIT)


def _until(moment: float) -> str:
    return f"it wants no other order before {time.strftime('%Y-%m-%d %H:%M', time.localtime(moment))}"


def of_request(domain: str, directory: str, error: BaseException, seconds: float, now: float) -> OrderFailed:
    """Return why an authority gave no answer that can be understood."""
    what, hint = web.describe(error, seconds), f"what is in use stays; {AGAIN}"
    cause = next((c for c in web.causes(error) if isinstance(c, ssl.SSLCertVerificationError)), None)
    if cause is not None:
        hint = "a private authority needs `tls.auto.ca`"
        if cause.verify_code in (9, 10):  # not yet valid, expired
            at = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(now))
            hint = f"is the clock of this host right? It says {at}; let NTP set it"
    return OrderFailed(f"{domain}: the authority at {directory} cannot be used: {what}", hint)


def of_clock(domain: str, begins: float, ends: float, now: float) -> OrderFailed | None:
    """Return what is wrong when a fresh certificate is not valid by the clock of this host."""
    if begins <= now < ends:
        return None
    said, now_said = (time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(at)) for at in (begins, now))
    return OrderFailed(
        f"{domain}: the new certificate is valid from {said}, and the clock of this host says {now_said}",
        "set the clock (NTP); the certificate in use stays",
    )

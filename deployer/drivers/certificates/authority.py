"""One order at an ACME authority, from the first request to the chain."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import Any

import requests
from acme import client, errors, messages
from josepy import b64, jwa, jwk
from josepy.errors import Error as JoseError

from deployer import __version__
from deployer.core.clock import Clock, Deadline
from deployer.core.errors import DeadlinePassed
from deployer.drivers.certificates import keys
from deployer.drivers.certificates.files import AcmeAccount
from deployer.drivers.certificates.problems import AGAIN, BAD_NONCE, LONGEST_WAIT, OrderFailed, of_problem, of_request
from deployer.drivers.certificates.proofs import Asked, DomainProof
from deployer.planning.certificates import Suggestion

RESPONSE_SECONDS = 20.0  # for one response of the authority
NONCES = 100  # that may be refused one after the other
POLL_SECONDS = 0.25  # between two looks, unless the authority names a longer time; doubled up to the next
POLL_LONGEST = 3.0
ASK_AGAIN = 6 * 3600.0  # for a suggestion, unless the authority says


class _Network(client.ClientNetwork):
    """The requests of `acme`, which repeats a refused nonce once; an authority may refuse several in a row."""

    def __init__(self, deadline: Deadline, **more: Any) -> None:
        super().__init__(**more)
        self._deadline = deadline
        self.last: requests.Response | None = None

    def _post_once(self, *given: Any, **named: Any) -> requests.Response:
        for _ in range(NONCES):
            try:
                return super()._post_once(*given, **dict(named))
            except messages.Error as error:
                if error.code != BAD_NONCE or self._deadline.passed():
                    raise
                last = error
        raise last

    def _send_request(self, method: str, url: str, *given: Any, **named: Any) -> requests.Response:
        self.last = super()._send_request(method, url, *given, **named)
        return self.last


class Authority:
    """An authority, for one order: `account` is kept by `keep` once it is registered there."""

    def __init__(
        self,
        directory: str,
        ca: str,
        account: AcmeAccount,
        keep: Callable[[str], None],
        clock: Clock,
        deadline: Deadline,
    ) -> None:
        self._directory, self._account, self._keep = directory, account, keep
        self._clock, self._deadline = clock, deadline
        self._key = jwk.JWKEC(key=keys.key_of(account.key))
        self._net = _Network(
            deadline,
            key=self._key,
            alg=jwa.ES256,
            verify_ssl=ca or True,
            user_agent=f"twin-deployer/{__version__}",
            timeout=int(RESPONSE_SECONDS),
        )
        self._net.session.trust_env = True

    def order(self, domain: str, key: str, email: str, proof: DomainProof) -> str:
        """Return the chain, PEM, for a domain. Raise OrderFailed."""
        with self._words(domain):
            acme = self._open(email)
            order = acme.new_order(keys.request(domain, key))
            for each in order.authorizations:
                if each.body.status != messages.STATUS_VALID:
                    self._authorize(acme, each, proof)
            return self._issued(acme, order)

    def register(self, domain: str, email: str) -> None:
        """Have an account that the authority knows, for the sake of a domain. Raise OrderFailed."""
        with self._words(domain):
            acme = self._open(email)
            if self._account.address:
                self._post_as_get(acme, self._account.address)

    def suggestion(self, domain: str, pem: str) -> Suggestion:
        """Return the time at which the authority would like a certificate renewed. Raise OrderFailed."""
        name, later = keys.renewal_id(pem), self._clock.now() + ASK_AGAIN
        with self._words(domain):
            directory = client.ClientV2.get_directory(self._directory, self._net)
            if not name or "renewalInfo" not in directory.to_partial_json():
                return Suggestion(ask_again=later)
            response = self._net.get(f"{directory['renewalInfo']}/{name}")
            start, end = _window(response.json())
            again = self._wait(response, later)
            return Suggestion(start, end, again) if 0 < start < end else Suggestion(ask_again=again)

    # -- parts

    def _open(self, email: str) -> client.ClientV2:
        """Register the account, or use it as it is."""
        acme = client.ClientV2(client.ClientV2.get_directory(self._directory, self._net), self._net)
        if self._account.address:
            self._net.account = messages.RegistrationResource(uri=self._account.address, body=messages.Registration())
            return acme
        new = messages.NewRegistration.from_data(email=email or None, terms_of_service_agreed=True)
        try:
            registered = acme.new_account(new)
        except errors.ConflictError as known:  # this key has an account: its address was not kept
            registered = messages.RegistrationResource(uri=known.location, body=messages.Registration())
            self._net.account = registered
        self._keep(str(registered.uri))
        return acme

    def _authorize(self, acme: client.ClientV2, found: messages.AuthorizationResource, proof: DomainProof) -> None:
        domain, wildcard = str(found.body.identifier.value), bool(found.body.wildcard)
        challenge = next((each for each in found.body.challenges if isinstance(each.chall, proof.kind)), None)
        if challenge is None:
            raise OrderFailed(f"{domain}: the authority offers no proof by {proof.name}", proof.instead)
        account = self._net.account.uri if self._net.account else ""
        with proof.given(Asked(domain, wildcard, challenge, self._key, str(account))) as answer:
            acme.answer_challenge(challenge, answer.response)
            for _ in self._looks(f"{domain}: the authority did not look at it"):
                seen, _response = acme.poll(found)
                if seen.body.status == messages.STATUS_VALID:
                    return
                if seen.body.status != messages.STATUS_PENDING:
                    problem = next((each.error for each in seen.body.challenges if each.error is not None), None)
                    problem = problem or _unexplained(f"authorization {seen.body.status}")
                    raise of_problem(domain, problem, meaning=answer.meaning)

    def _issued(self, acme: client.ClientV2, order: messages.OrderResource) -> str:
        finalized = False
        for _ in self._looks("the authority did not issue the certificate"):
            body = messages.Order.from_json(self._post_as_get(acme, order.uri).json())
            if body.status == messages.STATUS_READY and not finalized:
                acme.begin_finalization(order)
                finalized = True
            elif body.status == messages.STATUS_VALID and body.certificate is not None:
                return self._post_as_get(acme, body.certificate).text
            elif body.status == messages.STATUS_INVALID:
                raise body.error or _unexplained("it gives no reason")
        raise DeadlinePassed("the authority did not issue the certificate")

    def _post_as_get(self, acme: client.ClientV2, url: str) -> requests.Response:
        return self._net.post(url, None, new_nonce_url=acme.directory["newNonce"])

    def _looks(self, what: str) -> Iterator[None]:
        """Yield at each turn to look, with pauses that grow or that the authority asks for. Raise DeadlinePassed."""
        pause = POLL_SECONDS
        while True:
            yield
            self._deadline.check(what)
            asked = self._wait(self._net.last, 0.0) - self._clock.now() if self._net.last is not None else 0.0
            self._clock.sleep(min(max(pause, asked), max(self._deadline.left(), 0.001)))
            pause = min(pause * 2, POLL_LONGEST)

    @contextmanager
    def _words(self, domain: str) -> Iterator[None]:
        """Raise OrderFailed for whatever goes wrong."""
        try:
            yield
        except messages.Error as error:
            if error.code == "accountDoesNotExist":
                self._keep("")  # the next order registers the key again
            if error.detail or error.title or error.code:
                raise of_problem(domain, error, wait_until=self._later()) from None
            raise self._no_problem(domain) from None
        except errors.ClientError:
            raise self._no_problem(domain) from None
        except errors.Error as error:
            raise OrderFailed(f"{domain}: the authority at {self._directory} breaks its protocol: {error!r}") from None
        except DeadlinePassed as error:
            raise OrderFailed(f"{domain}: {error.message}", AGAIN) from None
        except (requests.RequestException, OSError, ValueError, JoseError) as error:
            now = self._clock.now()
            raise of_request(domain, self._directory, error, RESPONSE_SECONDS, now) from None

    def _no_problem(self, domain: str) -> OrderFailed:
        """Return what went wrong where the authority does not say it in a problem document."""
        status = self._net.last.status_code if self._net.last is not None else 0
        text = f"{domain}: the authority at {self._directory} answered HTTP {status}, without saying why"
        hint = f"what is in use stays; {AGAIN}"
        return OrderFailed(text, hint, wait_until=self._later())

    def _later(self) -> float:
        """Return until when the authority wants no other order; 0 where it does not say."""
        last = self._net.last
        return self._wait(last, 0.0) if last is not None and last.status_code in (429, 500, 503) else 0.0

    def _wait(self, response: requests.Response | None, otherwise: float) -> float:
        """Return until when a response asks to wait (Retry-After, in either form)."""
        said: Mapping[str, str] = response.headers if response is not None else {}
        text, now = said.get("Retry-After", ""), self._clock.now()
        try:
            until = now + int(text) if text.isdecimal() else parsedate_to_datetime(text).timestamp()
        except (ValueError, TypeError):
            return otherwise
        return min(until, now + LONGEST_WAIT)


def _unexplained(detail: str) -> messages.Error:
    found: messages.Error = messages.Error.from_json({"type": "about:blank", "detail": detail})
    return found


def _window(data: Any) -> tuple[float, float]:
    """Return start and end of a suggested window; (0, 0) where the response has none."""
    from datetime import datetime

    try:
        window = data["suggestedWindow"]
        start, end = (datetime.fromisoformat(window[each]).timestamp() for each in ("start", "end"))
    except (LookupError, TypeError, ValueError):
        return 0.0, 0.0
    return start, end


def thumbprint(key: str) -> str:
    """Return the thumbprint (RFC 7638) of a key, as proofs have it."""
    return b64.b64encode(jwk.JWKEC(key=keys.key_of(key)).thumbprint()).decode()

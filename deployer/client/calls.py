"""Single requests to a server: what may be repeated is repeated for a while, and every answer is made sense of."""

from __future__ import annotations

import secrets
import ssl
from collections.abc import Mapping
from typing import Any

import requests
import urllib3.exceptions as below

from deployer import __version__
from deployer.client.address import API, DeployServer
from deployer.client.control import Control
from deployer.core.clock import Clock, Deadline
from deployer.core.errors import Answered, DeployError, Exit, NoServer, OutOfSight, Refused
from deployer.core.retrying import retry
from deployer.core.secret import SecretText
from deployer.core.web import causes, describe

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 60.0  # proxies and engines are asked meanwhile
SILENT_SECONDS = 25.0  # on a stream, which has a sign of life every 10 s
PATIENCE = 10.0  # seconds in which a request that may be repeated is repeated
PAUSES = (0.2, 0.5, 1.0, 2.0)
_BUSY = (429, 502, 503, 504)
_NEVER_SENT = (below.NewConnectionError, below.ConnectTimeoutError, below.NameResolutionError, ssl.SSLError)


class Broken(Exception):
    """A request had no answer; `sent`: it may have been carried out all the same."""

    def __init__(self, why: str, *, sent: bool, again: bool = True, after: float = 0.0) -> None:
        super().__init__(why)
        self.why, self.sent, self.again, self.after = why, sent, again, after


class _Bearer(requests.auth.AuthBase):
    """Carries the token; that there is one keeps ~/.netrc out."""

    def __init__(self, token: SecretText) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token.reveal()}"
        return request


def session_of(token: SecretText) -> requests.Session:
    """Make a session that carries a token."""
    session = requests.Session()
    session.auth = _Bearer(token)
    return session


class Calls:
    """Requests to one server by a session. Its errors are those of `core.errors`, each with the server."""

    def __init__(self, server: DeployServer | Control, session: requests.Session, clock: Clock) -> None:
        self.server, self.clock = server, clock
        self._session = session
        self._session.headers["User-Agent"] = f"deployer/{__version__}"

    def close(self) -> None:
        """Close all connections."""
        self._session.close()

    def get(self, path: str, query: Mapping[str, str | float] | None = None, patience: float = PATIENCE) -> Any:
        """Ask a question. Raises NoServer when there is no response within `patience`, Answered and Refused."""
        return self._patiently("GET", path, patience, params=query or {})

    def post(self, path: str, body: Mapping[str, Any], patience: float = PATIENCE) -> Any:
        """Send an order, once: it has a key, by which the server knows it when it is repeated.

        Raises NoServer when it was surely not given, OutOfSight when that is not known, Answered and Refused.
        """
        headers = {"Idempotency-Key": secrets.token_hex(16)}
        return self._patiently("POST", path, patience, params={"wait": 0}, json=body, headers=headers)

    def stream(self, path: str, last: int | None) -> requests.Response | None:
        """Open a stream of events after an id; None when there will be none any more. Raises Broken, and as `get`."""
        headers = {"Accept": "text/event-stream"} | ({} if last is None else {"Last-Event-ID": str(last)})
        answer = self._once("GET", path, stream=True, headers=headers, timeout=(CONNECT_SECONDS, SILENT_SECONDS))
        if answer.status_code == 200 and answer.headers.get("content-type", "").startswith("text/event-stream"):
            return answer
        with answer:
            if answer.status_code == 204:
                return None
            raise self._refused(answer)

    def _patiently(self, method: str, path: str, patience: float, **more: Any) -> Any:
        sent: list[bool] = []

        def ask() -> Any:
            with self._once(method, path, timeout=(CONNECT_SECONDS, ANSWER_SECONDS), stream=True, **more) as answer:
                return self._read(answer)

        def may_pass(error: Exception) -> bool:
            if isinstance(error, Broken):
                sent.append(error.sent)
            return isinstance(error, Broken) and error.again

        try:
            return retry(ask, Deadline.after(self.clock, patience), may_pass, pauses=PAUSES, wanted=_wanted)
        except Broken as broken:
            raise self.lost(broken, unknown=any(sent) and method != "GET") from None

    def _once(self, method: str, path: str, **more: Any) -> requests.Response:
        """Make one request. Raises Broken."""
        ca = self.server.ca if isinstance(self.server, DeployServer) else None
        if ca is not None:  # given with the request: a variable of the environment wins over a session's
            more["verify"] = str(ca)
        try:
            answer = self._session.request(method, f"{self.server.base}{API}{path}", allow_redirects=False, **more)
        except (requests.RequestException, OSError, ValueError) as error:
            found = tuple(causes(error))
            certificate = any(isinstance(cause, ssl.SSLError) for cause in found)
            sent = not any(isinstance(cause, _NEVER_SENT) for cause in found)
            why = describe(error, ANSWER_SECONDS if sent else CONNECT_SECONDS)
            raise Broken(why, sent=sent, again=not certificate) from None
        if answer.status_code in _BUSY:
            with answer:
                after = answer.headers.get("retry-after", "")
                told = _problem(answer)
                why = str(told["message"]) if told else f"it answers {answer.status_code}"
                raise Broken(why, sent=answer.status_code in (502, 504), after=float(after) if after.isdigit() else 0.0)
        return answer

    def _read(self, answer: requests.Response) -> Any:
        if answer.status_code not in (200, 202):
            raise self._refused(answer)
        try:
            data = answer.json()
        except requests.JSONDecodeError:
            raise self._foreign(answer) from None
        except requests.RequestException as error:
            raise Broken(describe(error, ANSWER_SECONDS), sent=True) from None
        return data

    def _refused(self, answer: requests.Response) -> DeployError:
        """Return the error that an answer means which is no success."""
        url, told = self.server.url, _problem(answer)
        if answer.is_redirect:
            where = answer.headers.get("location", "")[:200]
            return NoServer(f"{url} redirects to another address: {where!a}", "give the server's own address")
        if told is None and answer.status_code >= 500:
            return Answered(f"{url} failed: {answer.status_code}", "the log of the server says more", Exit.INTERNAL)
        if told is None:
            return self._foreign(answer)
        message, hint = str(told["message"]), str(told.get("hint") or "")
        if answer.status_code == 401:
            return NoServer(
                f"{url} does not know the token, or it has ended",
                "another one by DEPLOYER_TOKEN or --token-file; `deploy token list` on that host has all",
            )
        if answer.status_code == 403:
            return Refused(f"{url}: {message}", hint)
        if answer.status_code == 400:
            return NoServer(f"{url}: {message}", hint)
        if answer.status_code in (404, 405, 422) and (other := self._other_version(answer)):
            hint = f"{hint}; {other}" if hint else other
        return Answered(message, hint, exit_of(told.get("exit", int(Exit.REFUSED))))

    def _foreign(self, answer: requests.Response) -> DeployError:
        kind = answer.headers.get("content-type", "no type").partition(";")[0][:60]
        hint = self._other_version(answer) or "is the address right, and is there a `deploy serve` of this version?"
        return NoServer(
            f"{self.server.url} does not respond as a deployer's API v1: {answer.status_code}, {kind}", hint
        )

    def _other_version(self, answer: requests.Response) -> str:
        theirs = answer.headers.get("x-deployer-version", "")[:40]
        return f"the server is deployer {theirs}, this one is {__version__}" if theirs not in ("", __version__) else ""

    def lost(self, broken: Broken, *, unknown: bool) -> DeployError:
        """Return the error that there is no answer; `unknown`: what was asked may have been done."""
        url = self.server.url
        if unknown:
            return OutOfSight(
                f"{url}: {broken.why}; whether the order was taken is not known",
                f"look before you give it again: `deploy {self.server.option} status`",
            )
        if not broken.again:
            return NoServer(f"{url}: {broken.why}", "--ca FILE, or REQUESTS_CA_BUNDLE, names who signs its certificate")
        return NoServer(f"{url} cannot be reached: {broken.why}", self.server.unreached)


def _wanted(error: Exception) -> float:
    """Return the pause that a server has asked for."""
    return error.after if isinstance(error, Broken) else 0.0


def _problem(answer: requests.Response) -> Mapping[str, Any] | None:
    """Read the refusal of a server of ours; None for anybody else's."""
    try:
        told = answer.json()
    except requests.RequestException:
        return None
    return told if isinstance(told, dict) and isinstance(told.get("message"), str) else None


def exit_of(code: Any) -> Exit:
    """Read an exit code; INTERNAL for one of a later version, and for none."""
    return Exit(code) if code in tuple(Exit) else Exit.INTERNAL

"""Requests over HTTP to what others run: signed ones, and words for what went wrong."""

from __future__ import annotations

import hashlib
import hmac
import socket
import ssl
from collections.abc import Iterator, Mapping

SIGNATURE = "X-Deploy-Signature-256"
TIMESTAMP = "X-Deploy-Timestamp"


class Unanswered(Exception):
    """A request got no answer; the words hold nothing of what was sent."""


def signature(key: bytes, at: int, body: bytes) -> str:
    """Return the header that proves a body and its time (Unix seconds): HMAC-SHA-256 (RFC 2104) over TIME.BODY."""
    return "sha256=" + hmac.new(key, str(at).encode() + b"." + body, hashlib.sha256).hexdigest()


def post_signed(
    url: str, body: bytes, key: str, at: float, seconds: float, more: Mapping[str, str] | None = None
) -> int:
    """POST JSON with its time and signature, and `more` headers; return the status of the answer.

    A redirect is not followed, and no password is taken from ~/.netrc. `seconds` is for each wait: to connect, and for
    the answer. Raises Unanswered.
    """
    import requests

    headers = {
        "Content-Type": "application/json",
        "User-Agent": "deployer",
        TIMESTAMP: str(int(at)),
        SIGNATURE: signature(key.encode(), int(at), body),
        **(more or {}),
    }
    try:
        with requests.post(
            url,
            data=body,
            headers=headers,
            timeout=seconds,
            allow_redirects=False,
            stream=True,
            auth=lambda request: request,
        ) as answer:
            return answer.status_code
    except (requests.RequestException, OSError, ValueError) as error:
        # Without its cause: that may repeat the address, which may be a secret.
        raise Unanswered(describe(error, seconds)) from None


def describe(error: BaseException, seconds: float) -> str:
    """Return in a few words what a request met."""
    import requests

    if isinstance(error, requests.Timeout | TimeoutError):
        return f"no response within {seconds:.3g} s"
    for cause in causes(error):
        match cause:
            case ssl.SSLCertVerificationError():
                return f"its certificate was not accepted: {cause.verify_message}"
            case ssl.SSLError():
                return f"TLS failed: {cause.reason or 'no reason given'}"
            case socket.gaierror():
                return f"the name cannot be resolved: {cause.strerror}"
            case TimeoutError():
                return f"no response within {seconds:.3g} s"
            case OSError() if cause.strerror:
                return cause.strerror.lower()
    return f"a response that cannot be understood ({type(error).__name__})"


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and what it came from, innermost first."""
    if error is None:
        return
    yield from causes(error.__cause__ or error.__context__)
    yield error

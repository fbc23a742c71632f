"""One request to a source of metrics: credentials, TLS, an end, and words for what went wrong."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import requests
import requests.auth
from urllib3.exceptions import HTTPError

from deployer.core.clock import Deadline
from deployer.core.secret import HIDDEN, SecretText
from deployer.core.web import describe
from deployer.drivers.metrics.number import Unreadable, brief
from deployer.manifest.metrics import Auth, Metric

MOST = 1024 * 1024  # bytes of an answer; a number needs few of them, and an endless answer must end


@dataclass(frozen=True)
class SourceResponse:
    """What came back, without the secrets that were sent."""

    status: int
    text: str

    @property
    def ok(self) -> bool:
        """Return whether the request was granted."""
        return 200 <= self.status < 300

    def said(self) -> str:
        """Repeat the beginning of a short plain text, as servers give one with a refusal; "" for pages."""
        text = self.text.strip()
        return f": {brief(text)}" if text and not text.startswith("<") else ""


def ask(
    url: str,
    metric: Metric,
    secrets: Mapping[str, SecretText],
    folder: Path,
    deadline: Deadline,
    form: Mapping[str, str] | None = None,
) -> SourceResponse:
    """Request a URL, with GET or, where there is a `form`, with POST. Raises Unreadable when there is no answer.

    A redirect is not followed: credentials are meant for the host that the manifest names.
    """
    credentials = _Credentials(metric.auth, secrets)
    try:
        with requests.request(
            "GET" if form is None else "POST",
            url,
            data=form,
            headers=dict(metric.header),
            auth=credentials,
            verify=str(folder / metric.ca) if metric.ca else True,
            timeout=max(deadline.left(), 0.001),
            allow_redirects=False,
            stream=True,
        ) as response:
            if response.is_redirect:
                raise Unreadable(f"redirects to {response.headers['location'].partition('?')[0]}; name that instead")
            body = b"".join(_chunks(response, deadline))
    except (requests.RequestException, HTTPError, OSError) as error:
        # Without its cause: that may repeat a header, which is a secret.
        raise Unreadable(describe(error, deadline.seconds)) from None
    return SourceResponse(response.status_code, credentials.hide(body.decode("utf-8", "replace")))


def _chunks(response: requests.Response, deadline: Deadline) -> Iterator[bytes]:
    """Read a body piece by piece as it comes: a time-out of the socket starts afresh with every byte."""
    size = 0
    while chunk := response.raw.read1(65536, decode_content=True):
        size += len(chunk)
        if size > MOST:
            raise Unreadable(f"the response is larger than {MOST // 1024} KiB")
        if deadline.passed():
            raise TimeoutError
        yield chunk


class _Credentials(requests.auth.AuthBase):
    """What the manifest says, and nothing else: without it, requests would take passwords from ~/.netrc."""

    def __init__(self, auth: Auth | None, secrets: Mapping[str, SecretText]) -> None:
        self._auth = auth
        self._values = {name: _value(name, secrets) for _, name in (auth.secrets() if auth else ())}

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        auth = self._auth
        if auth and auth.bearer:
            request.headers["Authorization"] = f"Bearer {self._values[auth.bearer]}"
        elif auth and auth.user and auth.password:
            name, password = auth.user.encode(), self._values[auth.password].encode()
            request = requests.auth.HTTPBasicAuth(name, password)(request)
        for header, secret in auth.header.items() if auth else ():
            request.headers[header] = self._values[secret]
        return request

    def hide(self, text: str) -> str:
        """Return a text without the secrets that an answer may repeat."""
        for value in (*self._values.values(), *self._encoded()):
            text = text.replace(value, HIDDEN)
        return text

    def _encoded(self) -> Iterator[str]:
        """Yield the credentials as they are sent."""
        if self._auth and self._auth.user and self._auth.password:
            yield base64.b64encode(f"{self._auth.user}:{self._values[self._auth.password]}".encode()).decode()


def _value(name: str, secrets: Mapping[str, SecretText]) -> str:
    if name not in secrets:
        raise Unreadable(f"the release keeps no value of the secret {name}")
    value = secrets[name].reveal().strip()
    if not value.isprintable():
        raise Unreadable(f"the secret {name} is not one line of text, and cannot be sent in a header")
    return value

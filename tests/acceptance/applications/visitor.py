"""Somebody in front of a page of the board: logs in, reads, and writes without a pause; what they lose is counted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import requests

from tests.browser.chromium import Tab, chromium

SECONDS = 120.0  # for what takes a few on a quiet machine
# Counts in the page, before any script of its own runs: each request, each WebSocket, each message.
PROBE = """
window.seen = {answered: 0, failed: [], versions: [], opened: 0, closed: 0, said: 0};
window.WebSocket = class extends WebSocket {
  constructor(...how) {
    super(...how);
    this.addEventListener("open", () => seen.opened++);
    this.addEventListener("close", () => this.left || seen.closed++);
  }
  // A client that heard nothing for some seconds, as on a busy host, leaves by itself.
  close(...how) {
    this.left = true;
    super.close(...how);
  }
};
window.ask = async name => {
  const began = new Date().toISOString();
  try {
    const answer = await fetch("/me", {cache: "no-store"}), who = await answer.text();
    if (!answer.ok || who !== name) throw `${answer.status} ${who}`;
    seen.answered++;
    const version = answer.headers.get("X-Version");
    if (seen.versions.at(-1) !== version) seen.versions.push(version);
  } catch (error) {
    seen.failed.push(`${began} ${error}`);
  }
};
window.begin = name => {
  setInterval(() => ask(name), 250);
  setInterval(() => { seen.said++; say(`${name}-${seen.said}`, `${name} says ${seen.said}`); }, 400);
};
"""


@dataclass(frozen=True)
class Seen:
    """What somebody has seen until now."""

    answered: int  # requests
    failed: list[str]
    versions: list[str]  # in the order in which they came, without repetitions
    opened: int  # WebSockets
    closed: int  # by others
    said: int  # messages
    written: list[str]  # of which one knows that they are in the database


class Visitor:
    """Somebody with a browser."""

    def __init__(self, tab: Tab, url: str) -> None:
        self._tab, self._url, self._name = tab, url, "ann"
        tab.call("Page.addScriptToEvaluateOnNewDocument", source=PROBE)

    def log_in(self) -> None:
        """Fill in the form, and begin to read and write."""
        self._tab.open(self._url, 1000)
        self._tab.ask("document.querySelector('[name=name]').focus()")
        self._tab.write(self._name)
        with self._tab.loading():
            self._tab.press("Enter")
        assert self._tab.ask("document.querySelector('#me').textContent") == self._name
        self._tab.until("seen.opened > 0")
        self._tab.ask(f"begin({json.dumps(self._name)})")
        self.goes_on()

    def seen(self) -> Seen:
        """Return what was counted until now."""
        told: dict[str, Any] = self._tab.ask("({...seen, written: [...written]})")
        return Seen(**told)

    def goes_on(self) -> Seen:
        """Wait until all that was said by now is written, and more was read."""
        now = self.seen()
        self._tab.until(f"written.length >= {now.said} && seen.answered > {now.answered + 5}", SECONDS)
        return self.seen()

    def is_on(self, version: str) -> None:
        """Wait until requests are answered by a version."""
        self._tab.until(f"seen.versions.at(-1) === {json.dumps(version)}", SECONDS)

    def missing(self) -> set[str]:
        """Return the messages that were written, as was said here, and are not on the board, or are there twice."""
        written = self.seen().written
        kept = requests.get(f"{self._url}/messages", timeout=10).json()
        return {key for key in written if kept.count(key) != 1}


@contextmanager
def visitor(url: str) -> Iterator[Visitor]:
    """Open a browser and log in."""
    with chromium() as tab:
        made = Visitor(tab, url)
        made.log_in()
        yield made

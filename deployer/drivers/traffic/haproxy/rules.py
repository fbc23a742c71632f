"""Rules of an entry as text: variables of one scope, and conditions on them."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator

# Rolls are whole numbers below this; so many, that clients are told apart by them.
ROLLS = 1_000_000
GONE = "gone"
READING = "GET HEAD"  # whose answers a shared cache may keep


def networked(networks: Iterable[str]) -> str:
    """Return networks as a condition takes them."""
    return " ".join(str(ipaddress.ip_network(network, strict=False)) for network in networks)


def listed(networks: Iterable[str]) -> str:
    """Return networks as an option of a service; "-" for none."""
    return networked(networks).replace(" ", ",") or "-"


class Rules:
    """Lines of one kind (`http-request`, `tcp-request content`) on variables of one scope."""

    def __init__(self, rule: str, scope: str) -> None:
        self._rule = rule
        self.scope = scope

    def put(self, name: str, value: str, *conditions: str) -> str:
        """Set a variable where all conditions hold."""
        return self.line(f"set-var({self.scope}.{name}) {value}", *conditions)

    def line(self, action: str, *conditions: str) -> str:
        """Act where all conditions hold."""
        return f"  {self._rule} {action}" + (f" if {' '.join(conditions)}" if conditions else "")

    def var(self, name: str) -> str:
        """Read a variable."""
        return f"var({self.scope}.{name})"

    def value(self, field: int) -> str:
        """Read a field of the live value."""
        return f'{self.var("state")},field({field},",")'

    def has(self, name: str) -> str:
        """A condition: the variable is set."""
        return f"{{ {self.var(name)} -m found }}"

    def shared(self) -> str:
        """Return a condition: a candidate gets a share."""
        return f"{{ {self.var('cut')} -m int gt 0 }}"

    def calm(self) -> str:
        """Return a condition: no candidate gets a share."""
        return f"{{ {self.var('cut')} -m int eq 0 }}"

    def is_gone(self) -> str:
        """A condition: stable answers, because the candidate has no instance."""
        return f"{{ {self.var('how')} -m str {GONE} }}"

    def option(self, number: int, value: str) -> str:
        """Return a condition: the service has this as its option of that number (`frontend.option_values`)."""
        return f"{{ {self.var('opt')},field({number},|) -m str {value} }}"

    def candidate(self, *conditions: str) -> Iterator[str]:
        """Send to the candidate: to the colour that is not stable."""
        yield self.put("side", "str(green)", *conditions)
        yield self.put("side", "str(blue)", *conditions, f"{{ {self.var('state')} -m beg green }}")


def uncacheable() -> tuple[str, ...]:
    """Return conditions, each of a response that no shared cache keeps: with it a cookie reaches its client alone."""
    about = "res.hdr(cache-control) -i -m sub"
    page = f"{{ res.hdr(content-type) -i -m beg text/html }} !{{ {about} public s-maxage }}"
    return page, f"!{{ method {READING} }}", f"{{ {about} private no-store }}"


def unspoken() -> str:
    """Return the condition of a response that says nothing about caches, as the answers of long polling."""
    return " ".join(f"!{{ res.hdr({each}) -m found }}" for each in ("cache-control", "expires", "last-modified"))


HTTP, TCP = Rules("http-request", "txn"), Rules("tcp-request content", "sess")

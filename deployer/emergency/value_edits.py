"""The live value of a service as text: the two edits that an emergency makes (see the driver's `state`)."""

from __future__ import annotations

STABLE, SHARE, LEASE, BASELINE, WARM = 0, 1, 2, 6, 7  # places among the fields
FIELDS = (8, 9)  # without and with the token of the lock under which it was written, which an emergency leaves
LONGEST = 15  # digits of a number


def fields(text: str) -> list[str] | None:
    """Split a value into its fields; None for one that somebody else wrote."""
    parts = text.split(",")
    known = len(parts) in FIELDS and parts[STABLE] in ("blue", "green") and all(map(_is_number, parts[1:]))
    return parts if known else None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= LONGEST


def on_trial(parts: list[str]) -> bool:
    """Return whether somebody besides stable gets users."""
    return parts[SHARE] != "0" or parts[BASELINE] != "0"


def taken_back(parts: list[str]) -> str:
    """Return the value of an abort: everyone is on stable."""
    back = list(parts)
    back[SHARE] = back[LEASE] = back[BASELINE] = "0"
    return ",".join(back)


def gone_back(parts: list[str]) -> str:
    """Return the value of a rollback: everyone is on the warm release in the other colour."""
    back = list(parts)
    back[STABLE] = other(parts[STABLE])
    back[SHARE] = back[LEASE] = back[BASELINE] = back[WARM] = "0"
    return ",".join(back)


def other(colour: str) -> str:
    """Return the other colour."""
    return "green" if colour == "blue" else "blue"

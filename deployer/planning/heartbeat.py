"""How long the managers of a Swarm wait for a node that says nothing, by the heartbeat that they ask of nodes."""

from __future__ import annotations

WANTED_SECONDS = 2.0


def patience(seconds: float) -> str:
    """Return when a node that is lost is given up, and what to do where that takes longer than it needs to, as a text.

    It is given up three heartbeats after the last one that came.
    """
    said = f"a lost node is given up after {_span(seconds)}"
    if seconds <= WANTED_SECONDS:
        return said
    remedy = f"`docker swarm update --dispatcher-heartbeat {WANTED_SECONDS:g}s`"
    return f"{said}, with {remedy} after {_span(WANTED_SECONDS)}"


def _span(seconds: float) -> str:
    return f"{2 * seconds:.3g} to {3 * seconds:.3g} s"

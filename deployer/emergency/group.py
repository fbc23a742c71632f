"""An emergency at several proxies: those that are lost are left out, and those that do not respond are written down."""

from __future__ import annotations

import sys
import time

from deployer.emergency import lost, remote_endpoint, value_edits

TYPE_CHECKING = False  # typing and collections.abc take longer than what is done here
if TYPE_CHECKING:
    from deployer.emergency.endpoint import Far
    from deployer.emergency.move import Moved


def move(fars: list[Far], state: str, service: str, command: str) -> tuple[Moved | None, list[str], str]:
    """Move users at all proxies that respond and are not lost; return where to, the others, and what their users get.

    The last is the end of a sentence.
    """
    try:
        away = list(lost.read(state, service)[0])
    except ValueError:  # damaged: the whole command says so
        away = []
    there = [far for far in fars if far.name not in away]
    if not there:
        there, away = fars, []
    done = remote_endpoint.move(there, service, command)
    if done is None:
        return None, [], ""
    for name in done.unknown:
        try:
            why = f"no response to `deploy {command}`"
            if hung := lost.add(state, service, name, done.values, why, time.time()):
                sys.stderr.write(f"{service}: {hung} held the list of lost proxies too long and was not waited for\n")
        except (OSError, ValueError) as error:
            sys.stderr.write(f"{service}: that {name} is lost could not be written down: {error}\n")
    silent = f", but at {', '.join(done.unknown)}, which did not respond: {_users(done)}" if done.unknown else ""
    before = f", but at {', '.join(away)}, lost before: `deploy status` shows more" if away else ""
    return done.moved, done.unknown + away, silent + before


def _users(done: remote_endpoint.MovedAll) -> str:
    """Return what users get where it is not known that they were moved."""
    found = [parts for value in done.values if (parts := value_edits.fields(value))]
    if not done.moved.trial or not found:
        return "users stay there on what they had until it is back"
    leases = [int(parts[value_edits.LEASE]) for parts in found]
    if 0 in leases:
        return "a part of the users stays there on the candidate until it is back, as its share has no lease"
    at = time.strftime("%H:%M:%S", time.localtime(max(leases)))
    return f"users are back on stable there by {at} at the latest, when the lease ends"

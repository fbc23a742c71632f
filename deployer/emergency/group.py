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
    """Move users at all proxies that respond and are not lost; give where to, the others, and what their users get."""
    try:
        away = lost.read(state, service)[0]
    except ValueError:  # damaged: the whole command says so
        away = {}
    there = [far for far in fars if far.name not in away]
    done = remote_endpoint.move(there or fars, service, command)
    if done is None:
        return None, [], ""
    unknown = done.unknown + [name for name in away if there]
    for name in done.unknown:
        try:
            lost.add(state, service, name, done.values, f"no response to `deploy {command}`", time.time())
        except (OSError, ValueError) as error:
            sys.stderr.write(f"{service}: that {name} is lost could not be written down: {error}\n")
    return done.moved, unknown, _users(done) if done.unknown else ""


def _users(done: remote_endpoint.MovedAll) -> str:
    """Say what users get where it is not known that they were moved."""
    found = [parts for value in done.values if (parts := value_edits.fields(value))]
    if not done.moved.trial or not found:
        return ", where users stay where they are until that proxy is back"
    lease = max(int(parts[value_edits.LEASE]) for parts in found)
    if not lease or any(parts[value_edits.LEASE] == "0" for parts in found):
        return ", where a part of the users stays on the candidate until that proxy is back: its share has no lease"
    return f", where they are by {time.strftime('%H:%M:%S', time.localtime(lease))} at the latest, when the lease ends"

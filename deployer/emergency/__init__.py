"""`deploy rollback` and `deploy abort` at the proxy: users first, everything else afterwards.

What stands here decides from the live proxy and one small file, and moves users with one write to each worker. It
needs no store, no engine, no manifest, and imports nothing but what the interpreter has loaded anyway: imports are what
takes the time. Where anything is unusual it does nothing. The whole command comes after it in any case: it writes down
what was done, and does what was not.
"""

from __future__ import annotations

import sys

TRIED, IN_PART = "rolled back", " in part"


def safe(moved: str) -> str:
    """Return who is safe after what was done, whatever comes after it."""
    who = "users of the reachable proxies are safe" if moved.endswith(IN_PART) else "users are safe"
    return f"{who}: they were moved before this"


def first(arguments: list[str]) -> str:
    """Move the users if the arguments of `deploy` plainly ask for it.

    Tells what was done: `rolled back` from a candidate, `gone back` to the warm release, or nothing. It ends with
    `in part` where one of several proxies did not answer.
    """
    from deployer.emergency import argv, endpoint

    wish = argv.read(arguments)
    place = endpoint.read(wish.state, wish.service) if wish else None
    fars = endpoint.read_far(wish.state, wish.service) if wish and place is None else []
    if wish is None or not (place or fars):
        return ""
    from deployer.emergency import move, proxy_client, record

    # Whoever drives the rollout sees at once that its users are gone, and reads here by whom.
    record.write(wish.state, wish.service, wish.command, wish.reason, last=False)
    unknown: list[str] = []
    users = ""
    try:
        if place:
            moved = move.move(place, wish.service, wish.command)
        else:
            from deployer.emergency import group

            moved, unknown, users = group.move(fars, wish.state, wish.service, wish.command)
    except (proxy_client.Silent, OSError) as error:
        sys.stderr.write(f"{wish.service}: the quick way did not go through ({error}); going the whole way\n")
        return ""
    if moved is None:
        record.remove(wish.state, wish.service)
        return ""
    record.write(wish.state, wish.service, wish.command, wish.reason, last=True)
    if wish.output != "json":
        where = f"stable again ({moved.colour})" if moved.trial else f"r{moved.release} again ({moved.colour})"
        sys.stderr.write(f"{wish.service}: everyone is on {where}{users}; writing it down\n")
    return (TRIED if moved.trial else "gone back") + (IN_PART if unknown else "")

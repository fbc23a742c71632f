"""`deploy rollback` and `deploy abort` at the proxy: users first, everything else afterwards.

What stands here decides from the live proxy and one small file, and moves users with one write to each worker. It
needs no store, no engine, no manifest, and imports nothing but what the interpreter has loaded anyway: imports are what
takes the time. Where anything is unusual it does nothing. The whole command comes after it in any case: it writes down
what was done, and does what was not.
"""

from __future__ import annotations

import sys


def first(arguments: list[str]) -> str:
    """Move the users if the arguments of `deploy` plainly ask for it.

    Tells what was done: `taken back` from a candidate, `gone back` to the warm release, or nothing.
    """
    from deployer.emergency import asked, card

    wish = asked.read(arguments)
    place = card.read(wish.state, wish.service) if wish else None
    if wish is None or place is None:
        return ""
    from deployer.emergency import move, record, wire

    # Whoever drives the rollout sees at once that its users are gone, and reads here by whom.
    record.write(wish.state, wish.service, wish.command, wish.reason, last=False)
    try:
        moved = move.move(place, wish.service, wish.command)
    except wire.Silent as error:
        sys.stderr.write(f"{wish.service}: the quick way did not go through ({error}); going the whole way\n")
        return ""
    if moved is None:
        record.remove(wish.state, wish.service)
        return ""
    record.write(wish.state, wish.service, wish.command, wish.reason, last=True)
    if wish.output != "json":
        where = f"stable again ({moved.colour})" if moved.trial else f"r{moved.release} again ({moved.colour})"
        sys.stderr.write(f"{wish.service}: everyone is on {where}; writing it down\n")
    return "taken back" if moved.trial else "gone back"

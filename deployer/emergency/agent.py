"""On the machine of one of several proxies: look, say what is plain, wait for the word, move.

    deploy proxy --move COMMAND SERVICE SOCKET MAP LOCK

Prints `ready COLOUR RELEASE TRIAL VALUE` or `none WHY`, VALUE being the live value until then; at a line on stdin it
moves, and prints `moved`. Without one nothing is changed: whoever asks has found that the proxies differ.
"""

from __future__ import annotations

import os

from deployer.emergency import argv, endpoint
from deployer.emergency.move import look
from deployer.emergency.proxy_client import Silent

WORDS = 5  # after `--move`


def answer(words: list[str]) -> int:
    """Do it; give the exit code: 0 when users were moved."""
    command, service, socket, map_, lock = words
    if command not in argv.COMMANDS or not endpoint.is_name(service):
        return _say("none what is asked cannot be read")
    try:
        ready = look(endpoint.Card(socket, map_, lock), service, command)
        if ready is None:
            return _say("none nothing there is plain")
        moved = ready.moved
        _say(f"ready {moved.colour} {moved.release} {int(moved.trial)} {ready.value}")
        if not os.read(0, 64).endswith(b"\n"):  # nobody says go, and the end of stdin comes with the end of who asked
            return 1
        ready.go()
    except Silent as error:
        return _say(f"none {error}")
    _say("moved")
    return 0


def _say(text: str) -> int:
    os.write(1, f"{' '.join(text.split())}\n".encode())
    return 1

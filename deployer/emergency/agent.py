"""On the host of one of several proxies: look, say what is plain, wait for the word, move.

    deploy proxy --move COMMAND SERVICE SOCKET MAP LOCK

Prints `ready COLOUR RELEASE TRIAL VALUE` or `none WHY`, VALUE being the live value until then; at a line on stdin it
moves, and prints `moved`. Without one nothing is changed: whoever asks has found that the proxies differ, or is cut
off. The lock of the proxy's folder is held meanwhile, so the word is not waited for without an end.
"""

from __future__ import annotations

import os
import select

from deployer.emergency import argv, endpoint
from deployer.emergency.move import look
from deployer.emergency.proxy_client import Silent

WORDS = 5  # after `--move`
WORD_WITHIN = 10.0  # seconds; whoever asks says it after at most `remote_endpoint.LOOK_WITHIN`


def answer(words: list[str], inward: int = 0) -> int:
    """Do it, at the word that comes by the descriptor `inward`; return the exit code: 0 when users were moved."""
    command, service, socket, map_, lock = words
    if command not in argv.COMMANDS or not endpoint.is_name(service):
        return _say("none what is asked cannot be read")
    try:
        ready = look(endpoint.Card(socket, map_, lock), service, command)
        if ready is None:
            return _say("none nothing there is plain")
        moved = ready.moved
        _say(f"ready {moved.colour} {moved.release} {int(moved.trial)} {ready.value}")
        if not select.select([inward], [], [], WORD_WITHIN)[0]:
            return _say(f"none nobody said go within {WORD_WITHIN:g} s")
        if not os.read(inward, 64).endswith(b"\n"):  # the end of stdin comes with the end of who asked
            return 1
        ready.go()
    except Silent as error:
        return _say(f"none {error}")
    _say("moved")
    return 0


def _say(text: str) -> int:
    os.write(1, f"{' '.join(text.split())}\n".encode())
    return 1

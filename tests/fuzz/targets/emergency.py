"""An emergency with any card, proxy and note: users are moved as the value says, or nothing is done at all."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

from deployer.emergency import argv, endpoint, move, proxy_client, record, value_edits
from tests.fuzz.targets.proxy_answers import SPLIT

WEIGHT = 2

_state = tempfile.mkdtemp(prefix="dp", dir="/tmp")
atexit.register(shutil.rmtree, _state, ignore_errors=True)
Path(_state, endpoint.FOLDER).mkdir()


class Answering(proxy_client.MasterClient):
    """A master socket at which the same bytes answer in turns."""

    answers: tuple[bytes, ...] = ()

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._until, self._turn = 0.0, 0

    def _ask(self, command: str) -> str:
        assert "\n" not in command, "a command of more than one line"
        answer = self.answers[self._turn % len(self.answers)]
        self._turn += 1
        return answer.decode(errors="replace")


move.MasterClient = Answering  # type: ignore[attr-defined]


def check(data: bytes) -> None:
    """The answers, and with the same bytes as a card, a note, a value and the words of the command."""
    Path(endpoint.path(_state, "shop")).write_bytes(data)
    Path(f"{endpoint.path(_state, 'shop')}.moved").write_bytes(data)
    endpoint.read(_state, "shop")
    record.read(_state, "shop")
    Answering.answers = tuple(data.split(SPLIT))
    place = endpoint.Card("/nowhere/s", "/nowhere/m", "/nowhere/l")
    for command in argv.COMMANDS:
        try:
            moved = move.move(place, "shop", command)
        except proxy_client.Silent:
            continue
        assert moved is None or moved.colour in ("blue", "green")
    _value(data.decode(errors="replace"))
    _words([os.fsdecode(word) for word in data.split(b"\x00")])


def _value(text: str) -> None:
    parts = value_edits.fields(text)
    if parts is not None:
        assert value_edits.fields(value_edits.taken_back(parts)) is not None
        assert value_edits.fields(value_edits.gone_back(parts)) is not None
        assert not value_edits.on_trial(value_edits.fields(value_edits.gone_back(parts)) or [])


def _words(words: list[str]) -> None:
    for command in argv.COMMANDS:
        wish = argv.read([command, *words, "--state", _state])
        assert wish is None or endpoint.is_name(wish.service)

"""`deploy notify test`: does it arrive?"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import click

from deployer.cli.options import Common, common
from deployer.core.clock import Deadline, SystemClock
from deployer.core.errors import Exit, Refused

if TYPE_CHECKING:
    from deployer.core.secret import SecretText
    from deployer.manifest.models import Manifest, Recipient


@click.group("notify")
def group() -> None:
    """Test notifications."""


@group.command("test")
@common("file", "destination")
@click.option("--to", "names", metavar="NAME", multiple=True, help="Only this recipient; may be repeated.")
def test(common: Common, names: Sequence[str]) -> int:
    """Send a test message to each recipient in the manifest; exit with 4 if one did not accept it."""
    from deployer.manifest.load import load
    from deployer.manifest.secrets import resolve_secrets

    loaded = load(common.file, destination=common.destination or "", environ=os.environ)
    to = _chosen(loaded.manifest, names)
    needed = {name for recipient in to for _, name in recipient.secrets()}
    ours = {name: secret for name, secret in loaded.manifest.secrets.items() if name in needed}
    only = loaded.manifest.model_copy(update={"secrets": ours})
    secrets = resolve_secrets(only, loaded.folder, os.environ, where=loaded.where)
    failed = _send(loaded.manifest, to, secrets)
    for recipient in to:
        _print(common, recipient.name, failed.get(recipient.name, ""))
    return int(Exit.FAILED if failed else Exit.DONE)


def _chosen(manifest: Manifest, names: Sequence[str]) -> tuple[Recipient, ...]:
    known = {recipient.name: recipient for recipient in manifest.notify.to}
    if not known:
        raise Refused("no recipients in `notify.to`", "see `notify:` in docs/manifest.md")
    if lost := [name for name in names if name not in known]:
        raise Refused(f"no recipient is called {lost[0]}", f"known are {', '.join(known)}")
    return tuple(recipient for name, recipient in known.items() if not names or name in names)


def _send(manifest: Manifest, to: Sequence[Recipient], secrets: Mapping[str, SecretText]) -> dict[str, str]:
    """Send to all at once; return why not, by the name of whoever did not take it."""
    from deployer.drivers.notices import END_SECONDS, SEND_SECONDS, Notice, Outbox, trial
    from deployer.drivers.notify import Sender

    clock, failed = SystemClock(), dict[str, str]()

    def send(recipient: Recipient, notice: Notice) -> None:
        Sender(clock).send(recipient, notice, secrets, Deadline.after(clock, SEND_SECONDS))

    def given_up(name: str, _notice: Notice, why: str) -> None:
        failed[name] = why

    boxes = [Outbox(partial(send, r), partial(given_up, r.name), pauses=()) for r in to]
    deadline = Deadline.after(clock, END_SECONDS)
    for box in boxes:
        box.put(trial(manifest.service, manifest.version or "", time.time()))
    for box in boxes:
        box.close(deadline.left())
    return failed


def _print(common: Common, name: str, why: str) -> None:
    from deployer.core.secret import hide

    if common.output == "json":
        sys.stdout.write(json.dumps({"to": name, "sent": not why, "text": hide(why)}) + "\n")
    else:
        sys.stdout.write(f"{name}: {f'not sent: {hide(why)}' if why else 'sent'}\n")

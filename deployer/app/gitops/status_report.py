"""Telling a forge, or anybody, where a commit stands: by a command, or by a signed request."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path

from deployer.app.gitops.state import ManifestState
from deployer.core import commands, web
from deployer.core.clock import Clock, Deadline
from deployer.core.errors import Refused
from deployer.core.secret import SecretText

SECONDS = 30.0
SECRET = "DEPLOYER_WEBHOOK_SECRET"  # noqa: S105 -- the name of a variable
_MOST = 64 * 1024


class CommitStatus:
    """Reports the states of commits to a command, to an address, or to both."""

    def __init__(self, command: str, url: str, environ: Mapping[str, str], clock: Clock) -> None:
        try:
            self._command = shlex.split(command)
        except ValueError as error:
            raise Refused(f"--on-status {command!a}: {error}", "quote it as for a shell") from None
        if url and not url.startswith(("https://", "http://")):
            raise Refused(f"--webhook {url!a} is not an address", "https://HOST/PATH")
        secret = environ.get(SECRET, "")
        if url and not secret:
            raise Refused(f"--webhook needs a key to sign with: {SECRET} is not set", f"export {SECRET}=…")
        self._url, self._environ, self._clock = url, environ, clock
        self._secret = SecretText(secret) if secret else None

    def tell(self, state: ManifestState, folder: Path) -> str:
        """Report it; return what went wrong, "" for nothing. Never stops a rollout."""
        said = {
            "status": state.status,
            "commit_state": state.word,
            "commit": state.commit,
            "service": state.service,
            "rollout": str(state.rollout or ""),
            "exit": str(int(state.exit)),
            "description": " ".join(state.text.split())[:500],
        }
        return "; ".join(filter(None, (self._run(said, folder), self._post(said))))

    def _run(self, said: Mapping[str, str], folder: Path) -> str:
        if not self._command:
            return ""
        given = {f"DEPLOYER_{name.upper()}": value for name, value in said.items()}
        mine = {name: value for name, value in self._environ.items() if name != SECRET}
        try:
            left = Deadline.after(self._clock, SECONDS).left
            commands.run(self._command, folder, {**mine, **given}, left, most=_MOST)
        except commands.CommandFailed as error:
            return f"--on-status: {error.message}"
        return ""

    def _post(self, said: Mapping[str, str]) -> str:
        if not self._url or self._secret is None:
            return ""
        body, now = json.dumps(said).encode(), self._clock.now()
        try:
            status = web.post_signed(self._url, body, self._secret.reveal(), now, SECONDS / 3)
        except web.Unanswered as error:
            return f"--webhook: {error}"
        return "" if 200 <= status < 300 else f"--webhook: HTTP {status}"

"""Certificates by `lego` (4), which knows the APIs of more than a hundred DNS providers.

It makes the whole order, of a request and with an account that are ours: neither the key of the certificate nor a
second account is left to it.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from deployer.core import commands, files
from deployer.core.clock import Deadline
from deployer.drivers.certificates import keys, problems
from deployer.drivers.certificates.files import AcmeAccount
from deployer.drivers.certificates.problems import OrderFailed

PROGRAM = "lego"
ACCOUNT = "deployer"  # how its files name the account; no authority sees it
MOST_BYTES = 1 << 20
ISSUE_SECONDS = 120  # from the proof to the certificate; its own default of 30 is short for some authorities


class Lego:
    """Orders by the program `lego`, with a DNS provider of its list; `environ` has what the provider wants."""

    def __init__(self, provider: str, environ: Mapping[str, str], folder: Path, *, check: bool) -> None:
        self._provider, self._environ, self._folder, self._check = provider, environ, folder, check

    def order(self, domain: str, request: bytes, account: AcmeAccount, ca: str, deadline: Deadline) -> str:
        """Return the chain, PEM, for a request; the account must be registered. Raise OrderFailed."""
        folder = self._folder / f"lego-{domain.replace('*', '_')}"
        shutil.rmtree(folder, ignore_errors=True)  # of an order whose process was killed
        try:
            files.folder(folder)
            self._prepare(folder, request, account)
            environ = {**self._environ, **({"LEGO_CA_CERTIFICATES": ca} if ca else {})}
            commands.run(self._command(folder, account), folder, environ, deadline.left, most=MOST_BYTES)
            made = (folder / "certificates").glob("*.crt")
            chains = [path.read_text() for path in made if not path.name.endswith(".issuer.crt")]
        except commands.CommandFailed as error:
            raise problems.of_program(domain, error, deadline.clock.now()) from None
        except OSError as error:
            raise OrderFailed(f"{domain}: {folder}: {error.strerror}", "is the disk full?") from None
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        if len(chains) != 1:
            raise OrderFailed(f"{domain}: {PROGRAM} ended without a certificate", "deployer knows lego 4")
        return chains[0]

    def _prepare(self, folder: Path, request: bytes, account: AcmeAccount) -> None:
        """Write the request, and the account where `lego` looks for it."""
        files.replace(folder / "request.pem", request.decode())
        place = re.sub(":", "_", urlsplit(account.directory).netloc)
        there = folder / "accounts" / place / ACCOUNT
        files.folder(there / "keys")
        files.replace(there / "keys" / f"{ACCOUNT}.key", keys.traditional(account.key))
        known = {"email": ACCOUNT, "registration": {"uri": account.address, "body": {"status": "valid"}}}
        files.replace(there / "account.json", json.dumps(known))

    def _command(self, folder: Path, account: AcmeAccount) -> list[str]:
        chosen = ["--server", account.directory, "--email", ACCOUNT, "--path", str(folder), "--dns", self._provider]
        chosen += ["--csr", str(folder / "request.pem"), "--cert.timeout", str(ISSUE_SECONDS), "--accept-tos"]
        return [PROGRAM, *chosen, *(() if self._check else ("--dns.disable-cp",)), "run"]

"""The console script `deploy`: an emergency goes ahead of everything, then the command line takes over."""

from __future__ import annotations

import os
import sys

NEEDS_PERSON = 8  # deployer.errors.Exit, which is too slow to import before users are moved


def main() -> int:
    """Run `deploy`; give its exit code (docs/exit-codes.md)."""
    arguments = sys.argv[1:]
    elsewhere = os.environ.get("DEPLOY_SERVER") or os.environ.get("DEPLOY_ON")  # the proxy that is meant is not here
    moved = _ahead(arguments) if not elsewhere and arguments and arguments[0] in ("rollback", "abort") else ""
    if moved == "taken back":
        # A rollback that took users off a candidate has done what it is for: the release before must not go, too.
        arguments[0] = "abort"
    from deployer.cli import main as whole

    code = whole(arguments)
    if moved and code:
        sys.stderr.write("  → users are safe: they were moved before this; `deploy doctor` says what is left to do\n")
        return NEEDS_PERSON
    return code


def _ahead(arguments: list[str]) -> str:
    from deployer.emergency import first

    return first(arguments)


if __name__ == "__main__":
    sys.exit(main())

"""The console script `deploy`: an emergency goes ahead of everything, then the command line takes over."""

from __future__ import annotations

import os
import sys

NEEDS_PERSON = 8  # deployer.errors.Exit, which is too slow to import before users are moved


def main() -> int:
    """Run `deploy`; return its exit code (docs/exit-codes.md)."""
    arguments = sys.argv[1:]
    if arguments[:2] == ["proxy", "--move"]:
        return _there(arguments[2:])
    elsewhere = os.environ.get("DEPLOYER_SERVER") or os.environ.get(
        "DEPLOYER_ON"
    )  # the proxy that is meant is not here
    moved = _ahead(arguments) if not elsewhere and arguments and arguments[0] in ("rollback", "abort") else ""
    if moved.startswith("rolled back"):
        # A rollback that took users off a candidate has done what it is for: the release before must not go, too.
        arguments[0] = "abort"
    from deployer.cli import main as whole

    code = whole(arguments)
    if moved and code:
        from deployer.emergency import safe

        sys.stderr.write(f"  → {safe(moved)}; `deploy doctor` says what is left to do\n")
        return NEEDS_PERSON
    return code


def _ahead(arguments: list[str]) -> str:
    from deployer.emergency import first

    return first(arguments)


def _there(words: list[str]) -> int:
    from deployer.emergency import agent

    if len(words) != agent.WORDS:
        sys.stderr.write("error: what is asked cannot be read\n  → use the same version on both sides\n")
        return 2
    return agent.answer(words)


if __name__ == "__main__":
    sys.exit(main())

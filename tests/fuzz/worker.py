"""`python -m tests.fuzz.worker TARGET ARGUMENTS…`: one target under libFuzzer, by atheris; it never returns.

Our modules are instrumented while they are imported, so that inputs are kept that reach new code.
"""

from __future__ import annotations

import sys

import atheris

QUIET = ("tests.fuzz.worker", "tests.fuzz.target")


def main(name: str, arguments: list[str]) -> None:
    with atheris.instrument_imports(include=["deployer"], exclude=["deployer.cli.lazy"]):
        from tests.fuzz import target

        wanted = target.load(name)
    atheris.Setup([sys.argv[0], *arguments], wanted.check)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])

"""The command line: `main` is the console script, and the one place where errors become lines and exit codes.

Nothing heavy is imported here: what a command does not need, it does not wait for.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from deployer.core.errors import DeployError, Exit

COMPLETE = "_DEPLOY_COMPLETE"  # set by the completion scripts of shells


def main(argv: Sequence[str] | None = None) -> int:
    """Run `deploy`; return its exit code (docs/exit-codes.md)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    with guarded() as ended:
        ended.code = _run(arguments)
    return int(_flushed(ended.code))


class Ended:
    """With which code a command ends."""

    code: int = Exit.DONE


@contextmanager
def guarded() -> Iterator[Ended]:
    """Turn whatever comes out of a block into an exit code, with a line on stderr where it is an error."""
    ended = Ended()
    try:
        yield ended
    except DeployError as error:
        ended.code = _fail(str(error), error.exit)
    except KeyboardInterrupt:
        if sys.stderr.isatty():
            sys.stderr.write("\n")  # the terminal left its ^C in the line
        ended.code = _fail("interrupted", Exit.ABORTED)
    except BrokenPipeError:
        ended.code = Exit.DONE  # who read the result has seen enough of it
    except Exception as error:  # noqa: BLE001 - the last handler: whatever was not foreseen is ours to fix
        if os.environ.get("DEPLOYER_DEBUG"):
            import traceback

            sys.stderr.write(_hidden(traceback.format_exc()))
        what = f"{type(error).__name__}: {error}".strip().removesuffix(":").splitlines()[0]
        ended.code = _fail(
            f"internal error: {what}\n  → this is a bug; run with DEPLOYER_DEBUG=1 for the trace", Exit.INTERNAL
        )


def _run(arguments: list[str]) -> int:
    import click

    from deployer.cli.lazy import group

    deploy = group()
    asked = os.environ.get(COMPLETE)
    if asked:
        from click.shell_completion import shell_complete

        return shell_complete(deploy, {}, "deploy", COMPLETE, asked)
    try:
        with deploy.make_context("deploy", arguments) as context:
            result = deploy.invoke(context)
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.UsageError as error:
        usage = f"{error.ctx.get_usage()}\n" if error.ctx else ""
        hint = f"  → {error.ctx.command_path if error.ctx else 'deploy COMMAND'} --help"
        sys.stderr.write(usage)
        return _fail(f"{error.format_message()}\n{hint}".rstrip(), Exit.REFUSED)
    except click.ClickException as error:
        return _fail(error.format_message(), Exit.REFUSED)
    except click.Abort:
        return _fail("interrupted", Exit.ABORTED)
    return int(result) if isinstance(result, int) else Exit.DONE


def _fail(text: str, code: int) -> int:
    from deployer.cli.output import write_error

    write_error(_hidden(text))
    return code


def _hidden(text: str) -> str:
    """Take out secrets of this process, wherever the text has them from."""
    secret = sys.modules.get("deployer.core.secret")  # not imported: there was none
    return str(secret.hide(text)) if secret else text


def _flushed(code: int) -> int:
    """Flush stdout while its end can still be told: a reader or a terminal that left is no error, a full disk is."""
    try:
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python says it once more at exit
        if error.errno not in (errno.EPIPE, errno.EIO):
            return code or _fail(f"stdout takes nothing: {error.strerror}", Exit.INTERNAL)
    return code

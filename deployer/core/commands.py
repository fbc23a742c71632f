"""Commands of the user that print something: run with an end, no input, and no helper that outlives them."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

_STDERR_LINES = 5
_LOOK = 0.2  # seconds between two looks at whether the time is over; it may end early


class CommandFailed(Exception):
    """A command gave nothing to use: what happened, and what may help; `code` is what it exited with, if it did."""

    def __init__(self, message: str, hint: str = "", code: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code


def run(
    command: Sequence[str],
    folder: Path,
    environ: Mapping[str, str],
    left: Callable[[], float],
    *,
    most: int = 0,
    private: bool = False,
    stdin: bytes = b"",
    heard: Callable[[bytes], None] | None = None,
) -> bytes:
    """Run a command in a folder, and return what it printed to stdout; `left` says how many seconds remain, `most` how
    many bytes it may print.

    It reads `stdin`, which is in memory only.

    With `heard`, what it prints goes there piece by piece, however much it is, and is not kept. Raises CommandFailed;
    its message repeats the last lines of stderr, but nothing of what went to stdout. Of a `private` command it
    repeats nothing at all.
    """
    seconds = left()
    source = _in_memory(stdin) if stdin else subprocess.DEVNULL
    try:
        # A group of its own: a helper that the command started must not outlive the time-out.
        process = subprocess.Popen(
            list(command),
            cwd=folder,
            env=dict(environ),
            stdin=source,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise CommandFailed(f"`{command[0]}` cannot be started: {reason}", "is it installed, and on PATH?") from error
    finally:
        if stdin:
            os.close(source)
    with process:
        try:
            out, err = _collect(process, left, most, heard)
            code = process.wait(max(left(), _LOOK))
        except (TimeoutError, subprocess.TimeoutExpired):
            late = f"`{command[0]}` did not end within {seconds:.3g} s"
            raise CommandFailed(late, "stdin is closed: was it waiting for input?") from None
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    if code != 0:
        how = f"exit code {code}" if code > 0 else f"signal {-code}"
        if private:
            raise CommandFailed(
                f"`{command[0]}` failed with {how}",
                "run it by hand: its output is not shown here, as it may contain the secret",
                code,
            )
        raise CommandFailed(f"`{command[0]}` failed with {how}{_said(err, out)}", code=code)
    return out


def _in_memory(content: bytes) -> int:
    """Return a file that no folder has, to be read from its beginning."""
    descriptor = os.memfd_create("stdin", os.MFD_CLOEXEC)
    with open(descriptor, "wb", closefd=False) as file:
        file.write(content)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _collect(
    process: subprocess.Popen[bytes],
    left: Callable[[], float],
    most: int,
    heard: Callable[[bytes], None] | None,
) -> tuple[bytes, bytes]:
    """Read stdout and stderr to their end, no more than `most` bytes of either."""
    streams = {stream: bytearray() for stream in (process.stdout, process.stderr) if stream}
    with selectors.DefaultSelector() as selector:
        for stream in streams:
            selector.register(stream, selectors.EVENT_READ)
        while selector.get_map():
            seconds = left()
            if seconds <= 0:
                raise TimeoutError
            for key, _ in selector.select(min(seconds, _LOOK)):
                stream = next(s for s in streams if s is key.fileobj)
                chunk = os.read(key.fd, 65536)
                if not chunk:
                    selector.unregister(stream)
                elif heard is not None:
                    heard(chunk)
                    continue
                streams[stream] += chunk
                if len(streams[stream]) > most:
                    raise CommandFailed(f"the command printed more than {most // 1024} KiB")
    out, err = streams.values()
    return bytes(out), bytes(err)


def _said(err: bytes, out: bytes) -> str:
    """Return the last lines of stderr, without what the command printed on stdout as well."""
    text = err.decode(errors="replace")
    for line in out.decode(errors="replace").split("\n"):
        if line.strip():
            text = text.replace(line.strip(), "***")
    lines = ["".join(c if c.isprintable() else " " for c in line).strip() for line in text.splitlines()]
    last = [line for line in lines if line][-_STDERR_LINES:]
    return f": {' / '.join(last)}" if last else ""

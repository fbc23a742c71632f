"""Where things are written: results to stdout, progress and errors to stderr, coloured only for eyes."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import IO, TYPE_CHECKING, Literal

from deployer.core.errors import Refused

if TYPE_CHECKING:
    from pathlib import Path

    from deployer.core.events import Event, Sink
    from deployer.views.data import View

Output = Literal["text", "json", "plain"]
OUTPUTS: tuple[Output, ...] = ("text", "json", "plain")


@contextmanager
def open_view(
    output: Output,
    *,
    history: Iterable[Event] = (),
    stdout: IO[str] | None = None,
    stderr: IO[str] | None = None,
) -> Iterator[Sink]:
    """Open the view of a rollout and give the sink for its events; leaving it leaves the terminal as it was.

    `text` is the live page on a terminal, plain lines elsewhere (stderr); `json` is one event a line (stdout).
    `history` is what the live page has to know of the time before; the other two show what comes only.
    """
    out, err = stdout or sys.stdout, stderr or sys.stderr
    if output == "text" and can_paint(err):
        from rich.console import Console

        from deployer.views.live import LiveView

        with LiveView(Console(file=err, highlight=False), history) as live:
            yield live
        return
    with open_lines(output, out, err) as sink:
        yield sink


def aside(view: Sink) -> AbstractContextManager[None]:
    """Let somebody be asked on the terminal meanwhile, in a view that `open_view` gave: nothing is painted over it."""
    leave: Callable[[], AbstractContextManager[None]] = getattr(view, "aside", nullcontext)
    return leave()


@contextmanager
def open_lines(output: Output, stdout: IO[str] | None = None, stderr: IO[str] | None = None) -> Iterator[Sink]:
    """Open a view that only ever adds lines: of JSON on stdout, else plain ones on stderr."""
    from deployer.views.queued_sink import QueuedSink

    out, err = stdout or sys.stdout, stderr or sys.stderr
    with QueuedSink(_writer(output, out, err)) as view:
        yield view
    if view.broken and not isinstance(view.broken, BrokenPipeError):
        err.write(f"the view ended early ({view.broken}); `deploy history` and `deploy show` have everything\n")


def _writer(output: Output, out: IO[str], err: IO[str]) -> Sink:
    if output == "json":
        from deployer.views.jsonl import JsonLines

        return JsonLines(out)
    from deployer.views.plain import PlainLines

    return PlainLines(err)


def print_result(view: View, output: Output, *, now: float | None = None, stdout: IO[str] | None = None) -> None:
    """Print a result on stdout: one JSON object with `json`, else text."""
    out = stdout or sys.stdout
    if output == "json":
        out.write(json.dumps(view.to_dict(), default=str) + "\n")
    else:
        from deployer.views import tables, text

        ink = tables.coloured if output == "text" and wants_colour(out) else tables.uncoloured
        result = tables.render(view, time.time() if now is None else now, ink)
        out.write((result if speaks_utf8(out) else text.ascii_only(result)) + "\n")
    out.flush()


def save(text: str, out: Path) -> None:
    """Write a result to a file as a whole, and say so. Raise Refused where it cannot be written."""
    from deployer.core import files

    try:
        files.replace(out, text)
    except OSError as error:
        raise Refused(f"{out} cannot be written: {error.strerror or error}", "name another file with -o") from None
    sys.stdout.write(f"wrote {out}\n")


def write_error(message: str, stderr: IO[str] | None = None) -> None:
    """Write an error to stderr: `error: what`, then `  → next`."""
    err = stderr or sys.stderr
    head = "\x1b[1;31merror:\x1b[0m" if wants_colour(err) else "error:"
    from deployer.views.text import ascii_only, clean

    message = clean(message)  # it may repeat what anybody wrote
    if not speaks_utf8(err):
        message = ascii_only(message)
    try:
        err.write(f"{head} {message}\n")
        err.flush()
    except OSError:
        return  # nobody can be told; the exit code still says it


def can_paint(stream: IO[str]) -> bool:
    """Return whether a stream is a terminal that can be drawn on."""
    return stream.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown") and speaks_utf8(stream)


def wants_colour(stream: IO[str]) -> bool:
    """Return whether a stream is a terminal whose user has not declined colours (no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") != "dumb"


def speaks_utf8(stream: IO[str]) -> bool:
    """Return whether a stream can carry our typography."""
    return (getattr(stream, "encoding", None) or "utf-8").lower().replace("-", "") == "utf8"

"""The live view: keeps a page up to date at the end of a terminal while events come in.

Whoever reports an event never waits for the terminal: the event changes the state and a thread paints it, at most
eight times a second. Nothing that goes wrong here reaches the rollout.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType

from rich.console import Console, ConsoleOptions, RenderResult
from rich.control import Control
from rich.live import Live
from rich.segment import ControlType, Segment
from rich.text import Text

from deployer.core.events import Event
from deployer.views.live_page import render
from deployer.views.reduce import reduce
from deployer.views.state import ViewState

FASTEST = 0.125  # seconds between two paintings
IDLE = 0.5  # seconds until the clocks on the page are painted again
PATIENCE = 2.0  # seconds that the end waits for a painting that is in progress


class LiveView:
    """A sink for events that shows them on `console`; a context manager. `history` is what happened before."""

    def __init__(
        self, console: Console, history: Iterable[Event] = (), *, now: Callable[[], float] = time.time
    ) -> None:
        self._console = console
        self._state = ViewState()
        self._now = now
        self._lock = threading.Lock()
        self._frame = _Frame(lambda: (self._state, self._now()))
        self._live = self._page()
        self._painting = threading.Lock()
        self._changed = threading.Event()
        self._stop = threading.Event()
        self._painter = threading.Thread(target=self._paint, name="live-view", daemon=True)
        for event in history:
            self(event)

    def __call__(self, event: Event) -> None:
        """Take an event in; never raises, never waits."""
        try:
            with self._lock:
                self._state = reduce(self._state, event)
        except Exception as error:  # noqa: BLE001 - a view that cannot read an event says so and the rollout goes on
            self._frame.trouble = f"{event.kind} cannot be shown ({error!r})"
        self._changed.set()

    def __enter__(self) -> LiveView:
        self._live.start()
        self._painter.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._stop.set()
            self._changed.set()
            self._painter.join(PATIENCE)
            self._frame.whole = True
            self._make_room()
            self._live.stop()
        except (OSError, ValueError):
            return  # the terminal is gone, and with it whoever could be told
        finally:
            self._show_cursor()

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Leave the terminal to somebody else meanwhile; the page goes on below what was written."""
        with self._painting:
            self._make_room()
            self._live.stop()
            self._show_cursor()
            try:
                yield
            finally:
                self._live = self._page()
                self._live.start()

    def _page(self) -> Live:
        return Live(
            self._frame, console=self._console, auto_refresh=False, redirect_stdout=False, vertical_overflow="crop"
        )

    def _paint(self) -> None:
        while not self._stop.is_set():
            try:
                with self._painting:
                    self._make_room()
                    self._live.refresh()
            except (OSError, ValueError):
                return  # the terminal is gone; the rollout does not need it
            self._changed.wait(IDLE)
            self._changed.clear()
            self._stop.wait(FASTEST)

    def _make_room(self) -> None:
        """Erase what a terminal that became narrower wrapped around; rich moves up by unwrapped lines only."""
        extra = self._frame.wrapped(self._console.width)
        if extra:
            up = ((ControlType.ERASE_IN_LINE, 2), (ControlType.CURSOR_UP, 1))
            self._console.control(Control(*(up * extra)))

    def _show_cursor(self) -> None:
        try:
            self._console.show_cursor(True)
        except (OSError, ValueError):
            return  # no terminal, no cursor


class _Frame:
    """One painting: fits the page into the terminal, and never fails."""

    def __init__(self, look: Callable[[], tuple[ViewState, float]]) -> None:
        self._look = look
        self._lengths: list[int] = []  # columns of each line painted last
        self.whole = False  # the last painting stays on the screen and may be taller than it
        self.trouble = ""

    def wrapped(self, width: int) -> int:
        """Count the lines that the last painting has more on a terminal of `width` columns."""
        return sum(max(math.ceil(length / width), 1) - 1 for length in self._lengths)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        try:
            lines = self._fitted(console, options)
        except Exception as error:  # noqa: BLE001 - see above: the rollout goes on, the page says why it stands still
            lines = console.render_lines(Text(f"the view cannot be drawn ({error!r}); the rollout goes on"), options)
        if self.trouble:
            lines += console.render_lines(Text(f"the view: {self.trouble}; the rollout goes on", "dim"), options)
        self._lengths = [sum(segment.cell_length for segment in line) for line in lines]
        for number, line in enumerate(lines):
            if number:
                yield Segment.line()
            yield from line

    def _fitted(self, console: Console, options: ConsoleOptions) -> list[list[Segment]]:
        lines = self._drawn(console, options, compact=False)
        height = max(options.size.height - 1, 2)
        if self.whole or len(lines) <= height:
            return lines
        lines = self._drawn(console, options, compact=True)
        # what happens now stands below: a page that is still too tall loses its middle, not its end
        return lines if len(lines) <= height else lines[:1] + lines[1 - height :]

    def _drawn(self, console: Console, options: ConsoleOptions, *, compact: bool) -> list[list[Segment]]:
        state, now = self._look()
        page = render(state, now, options.max_width, compact=compact)
        lines = console.render_lines(page, options.update(height=None), pad=False)
        return [_without_tail(line) for line in lines]


def _without_tail(line: list[Segment]) -> list[Segment]:
    """Drop the blanks at the end of a line, which a narrower terminal would wrap."""
    while line and not line[-1].text.strip():
        line = line[:-1]
    return line

"""A run on a terminal: one line per stage, redrawn in place a few times a second.

An event only updates the board; drawing runs on rich's refresh thread, so that a step costs microseconds.
Library output is kept off the terminal (library_output.py).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import date
from types import TracebackType

from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderResult
from rich.control import Control
from rich.live import Live
from rich.segment import ControlType
from rich.text import Text

from ptspec.diagnostics import CheckError, Interrupted
from ptspec.events import (
    BestStep,
    Event,
    Preparing,
    RunFinished,
    RunStarted,
    StageDefault,
    StageTuned,
    Warned,
)
from ptspec.report.board import Board, Ending
from ptspec.report.clean import clean
from ptspec.report.ending import ending
from ptspec.report.rows import Headlines, View, groups, header, tails_of, window

REFRESHES_PER_SECOND = 5
ERASE_LINE = Control((ControlType.ERASE_IN_LINE, 2), ControlType.CARRIAGE_RETURN)


class _Area(Live):
    """A live area that survives a narrower window, whose terminal wraps the drawn lines.

    rich would move up by the lines it wrote, and leave the rest of the old area.
    """

    painted: tuple[int, ...] = ()

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        width = max(self.console.width, 1)
        if any(line > width for line in self.painted):
            height = sum(max(1, -(-line // width)) for line in self.painted)
            self._live_render._shape = (width, min(height, self.console.height))
        return super().process_renderables(renderables)


class Screen:
    """A listener that draws. A context manager that restores the terminal on exit."""

    def __init__(
        self, console: Console, headlines: Headlines, timer: Callable[[], float], today: Callable[[], date]
    ) -> None:
        self._console = console
        self._headlines = headlines
        self._timer = timer
        self._today = today
        self._board = Board()
        self._lock = threading.Lock()
        self._area = _Area(
            self,
            console=console,
            refresh_per_second=REFRESHES_PER_SECOND,
            redirect_stdout=False,
            redirect_stderr=False,
            vertical_overflow="crop",
        )

    def __call__(self, event: Event) -> None:
        """Update the board by an event."""
        with self._lock:
            self._board.apply(event, self._timer())
        match event:
            case Preparing() if self._board.run is None:
                self._console.print(Text(f"{event.what} …", style="dim"), end="\r")
            case RunStarted():
                self._console.control(ERASE_LINE)
                self._area.start(refresh=True)
            case Warned():
                self._warn(event)
            case StageDefault():
                self._console.print(Text(f"{clean(event.stage)}: {clean(event.text)}", style="dim"))
            case BestStep():
                self._console.print(Text(f"{clean(event.stage)}: {clean(event.words)}"))
            case StageTuned():
                self._console.print(
                    Text(f"{clean(event.stage)}: performance: {clean(event.text)}", style="dim")
                )
            case RunFinished():
                self._close()

    def __enter__(self) -> Screen:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._board.finished is None:
            with self._lock:
                self._board.end(how_it_ended(error))
            self._close()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        lines = self.lines(options.max_width, console.height)
        self._area.painted = tuple(line.cell_len for line in lines)
        yield from lines

    def lines(self, width: int, height: int) -> list[Text]:
        """Return the area: the header, an empty line, the stages."""
        with self._lock:
            if self._board.run is None:
                return []
            stages = groups(self._board, self._view(width))
            over = self._board.finished is not None or self._board.ending is not None
            room = sum(map(len, stages)) if over else height - 3
            shown = window(stages, room - 1 if self._board.preparing and not over else room)
            return [header(self._board.run, width), Text(), *shown, *self._preparing(over)]

    def _preparing(self, over: bool) -> list[Text]:
        what = self._board.preparing
        return [Text(f"{clean(what)} …", style="dim")] if what and not over else []

    def _view(self, width: int) -> View:
        return View(width, self._timer(), self._today(), self._headlines)

    def _warn(self, event: Warned) -> None:
        where = f"{clean(event.stage)}: " if event.stage else ""
        self._console.print(Text.assemble(("warning: ", "yellow"), where, clean(event.text)))

    def _close(self) -> None:
        """Draw the final state and the lines below it."""
        self._area.stop()
        width = self._console.width
        tails = tails_of(self._board, self._view(width))
        for line in ending(self._board, width, tails.left_out, is_marked=tails.is_marked):
            self._console.print(line, soft_wrap=True)


def how_it_ended(error: BaseException | None) -> Ending | None:
    """Return how the run ended from the exception that left it."""
    match error:
        case None:
            return None
        case CheckError():
            return Ending.CHECK
        case Interrupted() | KeyboardInterrupt():
            return Ending.INTERRUPT
        case _:
            return Ending.ERROR

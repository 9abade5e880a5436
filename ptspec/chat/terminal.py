"""Chat on a terminal: input history, streamed answers, several models side by side."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.live import Live
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ptspec.chat.generate import Answer
from ptspec.chat.lines import Asking
from ptspec.chat.session import Session, Turn
from ptspec.diagnostics import PtError
from ptspec.report.clean import CleanStream, clean
from ptspec.report.lines import hanging

PROMPT = "> "
BESIDE = 3
"""Lines of the window that an answer under way leaves free: its name, a blank line and the cursor's."""
COLUMN_GAP = 2
_FIRST_COLUMN = re.compile(r"\S+(?: [A-Z]+)?\s{2,}")
"""What a line begins with and its other lines stand behind: "/system TEXT   ", of the list of commands."""
NARROWEST = 30
"""Columns that an answer needs to stand beside another; on a narrower terminal it stands below."""


class Terminal:
    """Read prompts and draw answers on `console`."""

    def __init__(self, console: Console, read: Callable[[str], str] = input) -> None:
        self._console = console
        self._read = read

    def lines(self) -> Iterator[str]:
        """Yield typed lines; Ctrl-C discards a line, Ctrl-D ends."""
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401  # input() takes its editing and its history from it
        while True:
            try:
                yield self._read(PROMPT)
            except KeyboardInterrupt:
                self._console.print()
                self.remark("/quit or Ctrl-D leaves")
            except EOFError:
                self._console.print()
                return

    def answer(self, session: Session, ask: Asking) -> None:
        """Show the answers of one prompt, side by side if the terminal is wide enough."""
        count = len(session.models)
        if count > 1 and self._console.width >= count * NARROWEST and not self._console.is_dumb_terminal:
            turn = self._side_by_side(session, ask)
        else:
            turn = self._one_by_one(session, ask)
        if turn.forgotten:
            turns = f"{turn.forgotten} earlier turn{'s' if turn.forgotten != 1 else ''}"
            self.remark(f"({turns} left out: no room in the context; /reset starts anew)")

    def remark(self, text: str) -> None:
        """Print dimmed lines that are not an answer."""
        for line in clean(text, keep_lines=True).splitlines():
            self._print(line, "dim")

    def fault(self, error: PtError) -> None:
        """Print the message and hint of each diagnostic."""
        for diagnostic in error.diagnostics:
            hint = f" ({diagnostic.hint})" if diagnostic.hint else ""
            self._print(clean(diagnostic.message + hint), "yellow")

    def _print(self, line: str, style: str) -> None:
        """Print `line` wrapped between words, indented to its first column."""
        head = _FIRST_COLUMN.match(line)
        first = head[0] if head else ""
        for part in hanging(first, line[len(first) :], self._console.width) or [first]:
            self._console.print(Text(part, style=style))

    def _one_by_one(self, session: Session, ask: Asking) -> Turn:
        words = _Words()
        named = len(session.models) > 1
        speaking = -1

        def begin(until: int) -> None:
            """The names up to that of the chat_model `until`; a chat_model may have nothing to say."""
            nonlocal speaking, words
            while speaking < until:
                self._write(words.end() + ("\n\n" if speaking >= 0 else ""))
                speaking, words = speaking + 1, _Words()
                if named:
                    self._console.print(Text(clean(session.models[speaking].name), style="bold"))

        def tell(chat_model: int, piece: str) -> None:
            begin(chat_model)
            self._write(words.add(piece))

        turn = ask(tell)
        begin(len(turn.answers) - 1)
        self._write(words.end() + "\n")
        for chat_model, answer in zip(session.models, turn.answers, strict=True):
            if note := how_it_ended(answer):
                self.remark(f"{chat_model.name}: {note}" if named else note)
        return turn

    def _write(self, text: str) -> None:
        self._console.file.write(text)
        self._console.file.flush()

    def _side_by_side(self, session: Session, ask: Asking) -> Turn:
        streams = [_Words() for _ in session.models]
        texts = [""] * len(session.models)
        names = [chat_model.name for chat_model in session.models]
        width = self._console.width // len(names) - COLUMN_GAP
        height = max(self._console.height - BESIDE, 1)
        with Live(console=self._console, auto_refresh=False, transient=True) as live:

            def tell(chat_model: int, piece: str) -> None:
                texts[chat_model] += streams[chat_model].add(piece)
                ends = [self._last_lines(text, width, height) for text in texts]
                live.update(_columns(names, ends), refresh=True)

            turn = ask(tell)
        whole = [text + stream.end() for text, stream in zip(texts, streams, strict=True)]
        self._console.print(_columns(names, whole, [how_it_ended(answer) for answer in turn.answers]))
        return turn

    def _last_lines(self, text: str, width: int, height: int) -> str:
        """Return the end of `text` that fits the window.

        A live region taller than the window leaves copies in the scrollback.
        """
        lines = Text(text).wrap(self._console, width, overflow="fold")
        return "\n".join(line.plain for line in lines[-height:])


class _Words:
    """Pieces of an answer prepared for drawing: cleaned, without leading white space."""

    def __init__(self) -> None:
        self._clean = CleanStream()
        self._begun = False

    def add(self, piece: str) -> str:
        return self._after_space(self._clean.add(piece))

    def end(self) -> str:
        return self._after_space(self._clean.end())

    def _after_space(self, text: str) -> str:
        text = text if self._begun else text.lstrip()
        self._begun = self._begun or bool(text)
        return text


def how_it_ended(answer: Answer) -> str:
    """Return a remark on an answer that was cut off or interrupted, else ""."""
    if answer.stopped:
        return "(stopped)"
    return "" if answer.finished else f"(cut off at {answer.tokens:,} tokens)"


def _columns(names: list[str], texts: list[str], notes: list[str] | None = None) -> Padding:
    table = Table(box=None, expand=True, padding=(0, COLUMN_GAP, 0, 0), header_style="bold")
    for name in names:
        table.add_column(Text(clean(name)), ratio=1, overflow="fold")
    table.add_row(*(Text(text.rstrip()) for text in texts))
    if notes and any(notes):
        table.add_row(*(Text(note, style="dim") for note in notes))
    return Padding(table, (0, 0, 1, 0))

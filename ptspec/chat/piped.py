"""Chat through pipes: one prompt per input line, answers as plain text, remarks on stderr.

Each prompt starts a new conversation, so that the answers do not depend on earlier lines.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import BinaryIO, TextIO

from ptspec.chat.lines import Asking
from ptspec.chat.session import Session
from ptspec.diagnostics import PtError
from ptspec.report.clean import clean
from ptspec.report.diagnostics import Format, render


def lines_of(stream: BinaryIO) -> Iterator[str]:
    """Yield the lines of `stream` as they arrive."""
    for line in stream:
        yield line.decode("utf-8", "replace")


class Pipe:
    """Write answers to `out`, prefixed with the policy's name if there are several."""

    def __init__(self, out: TextIO = sys.stdout, beside: TextIO = sys.stderr) -> None:
        self._out = out
        self._beside = beside

    def answer(self, session: Session, ask: Asking) -> None:
        """Write the answers of one prompt. Raises `KeyboardInterrupt` if one was interrupted."""
        turn = ask(lambda chat_model, piece: None)
        if any(answer.stopped for answer in turn.answers):
            raise KeyboardInterrupt
        for chat_model, answer in zip(session.models, turn.answers, strict=True):
            name = f"{clean(chat_model.name)}: " if len(session.models) > 1 else ""
            print(name + clean(answer.text, keep_lines=True).strip(), file=self._out, flush=True)

    def remark(self, text: str) -> None:
        """Write a remark to stderr."""
        print(clean(text, keep_lines=True), file=self._beside)

    def fault(self, error: PtError) -> None:
        """Write the diagnostics of an error to stderr."""
        print(render(error.diagnostics, Format.TEXT, False), end="", file=self._beside)

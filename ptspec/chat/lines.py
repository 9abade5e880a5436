"""Interpret typed lines as prompts or commands, independent of how a screen looks."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from ptspec.chat.session import Session, TellPiece, Turn
from ptspec.diagnostics import Diagnostic, InputError, PtError
from ptspec.generation_server.requests import ServerError
from ptspec.recipe.paths import from_home

HELP = """\
/system TEXT   a system message, and a new conversation under it; without TEXT none
/regenerate    another answer to the last prompt, sampled
/reset         forget what was said; the system message stays
/save FILE     write the conversation as chat data (JSONL, a line a policy); never overwrites
/help          this
/quit          leave, as /exit and Ctrl-D do. Ctrl-C stops an answer
//TEXT         a prompt that begins with a slash"""
COMMANDS = ("system", "regenerate", "reset", "save", "help", "quit", "exit")


class Asking(Protocol):
    """`Session.ask` or `Session.regenerate`, bound to all arguments but the listener."""

    def __call__(self, tell: TellPiece) -> Turn:
        """Return the turn; `tell` receives a model's index and a piece of its text."""
        ...


class Screen(Protocol):
    """A front end that shows answers and remarks."""

    def answer(self, session: Session, ask: Asking) -> None:
        """Generate answers with `ask` and show them as they are generated."""

    def remark(self, text: str) -> None:
        """Show a line that is not an answer."""

    def fault(self, error: PtError) -> None:
        """Show the error of a line."""


def converse(session: Session, lines: Iterable[str], screen: Screen, *, apart: bool = False) -> bool:
    """Execute each line until /quit or the last one; return whether every line succeeded.

    With `apart` every prompt starts a new conversation. Raises `ServerError` if a server fails and lines come
    from a pipe.
    """
    good = True
    for line in lines:
        try:
            if not execute(session, _encodable(line).strip(), screen, apart):
                break
        except (InputError, ServerError) as error:
            if apart and isinstance(error, ServerError):
                raise  # every later line would fail too
            screen.fault(error)
            good = False
    return good


def execute(session: Session, line: str, screen: Screen, apart: bool = False) -> bool:
    """Execute `line`; return False for /quit. Raises `InputError` if it cannot be executed."""
    if not line:
        return True
    if not line.startswith("/") or line.startswith("//"):
        prompt = line.removeprefix("/") if line.startswith("//") else line
        if apart:
            session.reset()
        screen.answer(session, lambda tell: session.ask(prompt, tell))
        return True
    name, _, text = line[1:].partition(" ")
    return _command(session, name, text.strip(), screen)


def _command(session: Session, name: str, text: str, screen: Screen) -> bool:
    if name in ("quit", "exit"):
        return False
    if name == "regenerate":
        screen.answer(session, session.regenerate)
    elif name == "system":
        session.instruct(text or None)
        screen.remark("a new conversation, " + ("under this system message" if text else "no system message"))
    elif name == "reset":
        session.reset()
        screen.remark("a new conversation")
    elif name == "save":
        turns = session.save(_file(text))
        screen.remark(f"{text}: written ({turns} turn{'s' if turns != 1 else ''})")
    elif name == "help":
        screen.remark(HELP)
    else:
        raise InputError(_unknown(name))
    return True


def _file(text: str) -> Path:
    if not text:
        raise InputError(Diagnostic("wrong-usage", "/save takes the name of a file"))
    return from_home(text)


def _unknown(name: str) -> Diagnostic:
    from ptspec.recipe.hints import did_you_mean

    hint = (
        did_you_mean(name, COMMANDS)
        or "/help lists the commands; //TEXT sends a line that begins with a slash"
    )
    return Diagnostic("wrong-usage", f"there is no command /{name}", hint=hint)


def _encodable(line: str) -> str:
    """Replace lone surrogates (bytes that are not UTF-8), which no tokenizer accepts."""
    return line.encode("utf-8", "replace").decode("utf-8")

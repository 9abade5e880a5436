"""The chat command."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from typing import TYPE_CHECKING, Annotated

import typer

from ptspec.commands.options import AllowCode, quiet_libraries, say, server_at
from ptspec.diagnostics import Diagnostic, Exit, InputError

if TYPE_CHECKING:
    from ptspec.chat.session import Session


def chat(
    runs: Annotated[
        list[str],
        typer.Argument(metavar="RUN", help="A run (its last stage), a stage, an adapter or a model."),
    ],
    compare: Annotated[
        bool, typer.Option("--compare", help="Several answer each prompt, side by side.")
    ] = False,
    max_new_tokens: Annotated[int, typer.Option(min=1, metavar="N", help="Of each answer.")] = 256,
    temperature: Annotated[
        float, typer.Option(min=0, max=100, metavar="T", help="0 is greedy, as in the evaluation.")
    ] = 0.0,
    seed: Annotated[int, typer.Option(min=0, max=2**32, metavar="N", help="Of sampled answers.")] = 42,
    server: Annotated[
        str | None, typer.Option(metavar="URL", help="A `vllm serve` that answers; nothing is loaded here.")
    ] = None,
    allow_code: AllowCode = False,
) -> None:
    """Talk to a stage, or to several at once.

    A prompt a line; /help lists the commands. Through a pipe each line is asked alone.
    """
    from ptspec.evaluation.targets import last_of_each

    if compare != (len(runs) > 1):
        hint = "pt chat RUN, or pt chat --compare A B"
        raise InputError(Diagnostic("wrong-usage", "--compare goes with two or more policies", hint=hint))
    if not math.isfinite(temperature):
        raise InputError(Diagnostic("wrong-usage", f"--temperature: {temperature} is not a number"))
    last_of_each(runs)  # report missing folders before torch is imported
    live = sys.stdin.isatty() and sys.stdout.isatty()
    with ExitStack() as kept:
        with _loading(runs) if live else nullcontext():
            session = _opened(runs, max_new_tokens, temperature, seed, allow_code, server, kept)
        if live:
            _talk(session)
        elif not _piped(session):
            raise typer.Exit(Exit.WRONG_INPUT)


def _opened(
    runs: Sequence[str],
    max_new_tokens: int,
    temperature: float,
    seed: int,
    allow_code: bool,
    server: str | None,
    kept: ExitStack,
) -> Session:
    """Open the conversation; adapters loaded on a server are unloaded when `kept` closes."""
    asked = server_at(server) if server is not None else None
    with quiet_libraries():
        from ptspec.chat.generate import AnyChatModel, Settings
        from ptspec.chat.models import open_models
        from ptspec.chat.served import served_models
        from ptspec.chat.session import Session

        models: Sequence[AnyChatModel]
        if asked is None:
            models = open_models(runs, allow_code=allow_code)
        else:
            models = kept.enter_context(served_models(runs, asked, allow_code=allow_code))
        return Session(models, Settings(max_new_tokens, temperature, seed))


@contextmanager
def _loading(runs: Sequence[str]) -> Iterator[None]:
    """Show that the policies are being loaded."""
    from ptspec.report.clean import clean
    from ptspec.report.lines import columns

    said = clean(f"loading {', '.join(runs)} …")[: columns() - 1]
    print(said, end="\r", flush=True)
    try:
        yield
    finally:
        print(" " * len(said), end="\r", flush=True)


def _talk(session: Session) -> None:
    from rich.console import Console

    from ptspec.chat.lines import converse
    from ptspec.chat.terminal import Terminal

    screen = Terminal(Console(highlight=False, soft_wrap=True))
    screen.remark(_header(session))
    converse(session, screen.lines(), screen)


def _piped(session: Session) -> bool:
    from ptspec.chat.lines import converse
    from ptspec.chat.piped import Pipe, lines_of

    if sys.stdin.isatty():
        say("a prompt a line; Ctrl-D ends")
    return converse(session, lines_of(sys.stdin.buffer), Pipe(), apart=True)


def _header(session: Session) -> str:
    names = " · ".join(chat_model.name for chat_model in session.models)
    warm = session.settings.temperature
    how = f"sampled at temperature {warm:g}, seed {session.settings.seed}" if warm else "greedy"
    lines = [f"{names} · {how} · at most {session.settings.max_new_tokens:,} tokens · /help"]
    if session.served_by is not None:
        lines.append(f"answers by {session.served_by}")
    if not session.has_template:
        lines.append(
            "no chat template: each prompt is continued as plain text, and nothing before it is seen"
        )
    return "\n".join(lines)

"""The command-line program: registers commands, and turns every failure into a message and an exit code.

Modules that load torch are imported inside the commands that need them.
"""

# ruff: noqa: E402

from __future__ import annotations

import gc

gc.disable()  # Garbage collection off during imports: start-up takes 10 % less time.

import atexit
import os
import shlex
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated, Any, NoReturn, TextIO

import typer

from ptspec import __version__
from ptspec.commands.options import say, tell, tell_interrupted
from ptspec.diagnostics import Diagnostic, Exit, Interrupted, Location, PtError
from ptspec.launched import launched

_FRESH = "--fresh"
COMMANDS = {
    "init": "about",
    "validate": "recipes",
    "plan": "recipes",
    "rows": "rows",
    "run": "recipes",
    "runs": "runs",
    "eval": "evaluate",
    "chat": "chat",
    "report": "results",
    "export": "results",
    "push": "push",
    "verify": "results",
    "methods": "about",
    "explain": "explain",
    "doctor": "doctor",
    "schema": "about",
}
"""Commands in the order of use, which is the order of `pt --help`, each with its module in
`ptspec.commands`."""

NEW_OBJECTS = 50_000
"""Garbage collection threshold (new objects) until torch is loaded (`prepare_process`): imports make no
garbage."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command and exit with its exit code. No input ends in a traceback."""
    gc.freeze()
    gc.set_threshold(NEW_OBJECTS)
    gc.enable()
    atexit.register(_leave)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    code = _run(arguments)
    for stream in (sys.stdout, sys.stderr):
        _flush(stream)
    if launched() is not None:
        # One of several processes: torch would wait at exit for connections to those that have ended.
        os._exit(code)
    sys.exit(code)


def _leave() -> None:
    """Skip the garbage collection at exit unless a library that needs it was loaded."""
    if "torch" not in sys.modules:
        gc.freeze()


def _flush(stream: TextIO) -> None:
    """Flush `stream`. If its reader has closed the pipe, discard the rest and keep the exit code."""
    try:
        stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    except ValueError:  # it is closed
        pass


def _run(arguments: Sequence[str] | None) -> int:
    given = sys.argv[1:] if arguments is None else arguments
    typed = shlex.join(["pt", *given])
    try:
        command = typer.main.get_command(_app(given))
        code = command.main(arguments, prog_name="pt", standalone_mode=False, obj=typed)
        return code if isinstance(code, int) else Exit.DONE
    except Interrupted as error:
        tell_interrupted(error.diagnostics, _going_on(given))
        if _FRESH in given:
            say(f"     without {_FRESH}, which begins anew each time")
        return error.exit
    except PtError as error:
        tell(error.diagnostics)
        if _FRESH in given and error.exit is not Exit.WRONG_INPUT:
            say(f"     {_FRESH} starts anew each time; {_going_on(given)} goes on")
        return error.exit
    except (KeyboardInterrupt, typer.Abort):
        say("interrupted")
        return Exit.INTERRUPTED
    except BrokenPipeError:
        # The reader closed the pipe: suppress the interpreter's error at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.FAILED
    except OSError as error:
        return _unusable(error) if error.filename is not None else _bug(error)
    except Exception as error:
        return _wrong_usage(error) if hasattr(error, "format_message") else _bug(error)


def _going_on(given: Sequence[str]) -> str:
    """Return the command that resumes this one, without `--fresh`."""
    return shlex.join(["pt", *(one for one in given if one != _FRESH)])


def _wrong_usage(error: Any) -> int:
    context = getattr(error, "ctx", None)
    say(f"pt: error[wrong-usage]: {error.format_message()}")
    if context is not None:
        say(f"     {context.command_path} --help shows how")
    return Exit.WRONG_INPUT


def _unusable(error: OSError) -> int:
    """Return the error for a path that the system refuses (too long, no permission, link loop)."""
    if os.environ.get("PT_DEBUG") == "1":
        return _bug(error)
    where = Location(os.fsdecode(error.filename))
    tell([Diagnostic("unusable-path", error.strerror or str(error), where)])
    return Exit.WRONG_INPUT


def _bug(error: Exception) -> int:
    if os.environ.get("PT_DEBUG") == "1":
        import traceback

        traceback.print_exc()
    say(f"pt: error[bug]: {type(error).__name__}: {error}")
    say("     this is a bug of ptspec. Please report it with the recipe and the output of the same command")
    say(f"     under PT_DEBUG=1 (ptspec {__version__}, Python {sys.version.split()[0]})")
    return Exit.FAILED


def _version(asked: bool) -> None:
    if asked:
        print(f"ptspec {__version__}")
        raise typer.Exit


def _options(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())


def _app(arguments: Sequence[str]) -> typer.Typer:
    """Build the Typer app with the requested command alone, or with all commands.

    Reading the options of every command takes as long as checking a recipe.
    """
    asked = COMMANDS.keys() & set(arguments[:1])
    app = typer.Typer(
        name="pt",
        help="Post-training of language models from one JSON recipe.",
        add_completion=not asked,  # shell completion names no command
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(invoke_without_command=True)(_options)
    for name in asked or COMMANDS:
        app.command()(getattr(import_module(f"ptspec.commands.{COMMANDS[name]}"), name))
    return app


if __name__ == "__main__":
    main()

"""The program: which commands there are, and how every failure ends in a message and an exit code.

Modules that load torch are imported inside the commands that need them.
"""

# ruff: noqa: E402

from __future__ import annotations

import gc

gc.disable()  # nothing that is imported is garbage, and looking for it takes a tenth of the start

import os
import shlex
import sys
from collections.abc import Sequence
from typing import Annotated, Any, NoReturn, TextIO

import typer

from ptspec import __version__
from ptspec.commands import about, chat, doctor, evaluate, explain, push, recipes, results, rows, runs
from ptspec.commands.options import say, tell, tell_interrupted
from ptspec.diagnostics import Diagnostic, Exit, Interrupted, Location, PtError
from ptspec.launched import launched

COMMANDS = (
    about.init,
    recipes.validate,
    recipes.plan,
    rows.rows,
    recipes.run,
    runs.runs,
    evaluate.eval,
    chat.chat,
    results.report,
    results.export,
    push.push,
    results.verify,
    about.methods,
    explain.explain,
    doctor.doctor,
    about.schema,
)
"""In the order of use, which is that of `pt --help`."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """The program: runs a command and exits with its code; no input ends in a traceback."""
    gc.freeze()
    gc.enable()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    code = _run(arguments)
    for stream in (sys.stdout, sys.stderr):
        _flush(stream)
    if launched() is not None:
        # One of several processes: torch would wait at the end for connections to those that are gone.
        os._exit(code)
    sys.exit(code)


def _flush(stream: TextIO) -> None:
    """Writes what is left in the buffer of `stream`; nowhere if its reader is gone: the exit code stays."""
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
        tell_interrupted(error.diagnostics, typed)
        return error.exit
    except PtError as error:
        tell(error.diagnostics)
        return error.exit
    except (KeyboardInterrupt, typer.Abort):
        say("interrupted")
        return Exit.INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone; keep the interpreter from complaining at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.FAILED
    except OSError as error:
        return _unusable(error) if error.filename is not None else _bug(error)
    except Exception as error:
        return _wrong_usage(error) if hasattr(error, "format_message") else _bug(error)


def _wrong_usage(error: Any) -> int:
    context = getattr(error, "ctx", None)
    say(f"pt: error[wrong-usage]: {error.format_message()}")
    if context is not None:
        say(f"     {context.command_path} --help shows how")
    return Exit.WRONG_INPUT


def _unusable(error: OSError) -> int:
    """A path of the command line that the system refuses: too long, no permission, links in a circle."""
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
    """The command that is asked for, or all of them: to read the options of all takes as long as checking a
    recipe."""
    asked = [command for command in COMMANDS if [command.__name__] == list(arguments[:1])]
    app = typer.Typer(
        name="pt",
        help="Post-training of language models from one JSON recipe.",
        add_completion=not asked,  # what completes and installs it names no command
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(invoke_without_command=True)(_options)
    for command in asked or COMMANDS:
        app.command()(command)
    return app


if __name__ == "__main__":
    main()

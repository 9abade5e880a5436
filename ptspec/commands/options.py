"""Options shared by several commands, parsing of sizes and times, and printing."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ptspec.diagnostics import Diagnostic, InputError, Unchecked
from ptspec.report.clean import clean
from ptspec.report.diagnostics import Format, broken, columns_of, render, unchecked_lines, wants_colour
from ptspec.secrets import redacted

if TYPE_CHECKING:
    from ptspec.generation_server.client import GenerationServer

Recipe = Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe file.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="PATH=VALUE",
        help="Override a value: stages.dpo.config.beta=0.2; a key with dots in double quotes.",
    ),
]


AllowCode = Annotated[
    bool, typer.Option("--allow-code", help="Let a recipe and its model run Python that they bring along.")
]


class PlanFormat(str, Enum):
    """Output formats of `pt plan`."""

    TEXT = "text"
    JSON = "json"


class WeightType(str, Enum):
    """Data types that `pt export` writes."""

    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"
    FLOAT32 = "float32"


def say(text: str) -> None:
    """Print progress and remarks to stderr, cleaned of control characters."""
    _to_stderr(broken(clean(redacted(text), keep_lines=True), columns_of(sys.stderr)) + "\n")


def show(text: str) -> None:
    """Print requested output to stdout, cleaned of control characters."""
    print(clean(redacted(text), keep_lines=True))


def tell(diagnostics: Sequence[Diagnostic]) -> None:
    """Print diagnostics to stderr."""
    stream = sys.stderr
    _to_stderr(render(diagnostics, Format.TEXT, wants_colour(stream), columns_of(stream)))


def tell_interrupted(diagnostics: Sequence[Diagnostic], command: str) -> None:
    """Print that a run was interrupted, and the command that resumes it."""
    for diagnostic in diagnostics:
        say(f"interrupted: {diagnostic.message}")
    say(f"     {command}")


def _to_stderr(text: str) -> None:
    """Write to stderr; ignore a terminal that hung up."""
    try:
        print(text, end="", file=sys.stderr, flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def tell_unchecked(unchecked: Sequence[Unchecked]) -> None:
    """Print the remote resources that were not checked."""
    for line in unchecked_lines(unchecked):
        say(line)


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Prepare the process for torch; suppress what libraries print at import and while loading models."""
    from ptspec.library_output import into_log
    from ptspec.performance.threads import set_spins
    from ptspec.run.one_process import prepare_process

    prepare_process()
    set_spins()
    with into_log(Path(os.devnull)):
        yield


def size_in_bytes(text: str) -> int:
    """Return the bytes of "24GB", "24 GiB" or "80G". Raises `InputError` if it is not a size."""
    units = {"kb": 1e3, "mb": 1e6, "gb": 1e9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmg])(i?)b?", text.strip().lower())
    if found is None or float(found[1]) == 0:
        hint = "a number and a unit: 24GB, 16GiB"
        raise InputError(Diagnostic("wrong-usage", f'--device-memory: "{text}" is not a size', hint=hint))
    return int(float(found[1]) * units[f"{found[2]}{found[3]}b"])


def time_in_seconds(text: str) -> float:
    """Return the seconds of "90s", "30m" or "2h". Raises `InputError` if it is not a duration."""
    units = {"s": 1, "m": 60, "h": 3600}
    number, unit = text[:-1], text[-1:]
    try:
        return float(number) * units[unit]
    except (KeyError, ValueError):
        hint = "a number and a unit: 90s, 30m, 2h"
        raise InputError(
            Diagnostic("wrong-usage", f'--max-time: "{text}" is not a duration', hint=hint)
        ) from None


SERVER_KEY = "VLLM_API_KEY"
"""Environment variable with the server's API key, as vLLM names it."""


def server_at(url: str) -> GenerationServer:
    """Return the generation server at `url`. Raises `InputError` if it does not answer."""
    from ptspec.generation_server.client import GenerationServer
    from ptspec.generation_server.requests import ServerError

    server = GenerationServer(url, at="--server", key=os.environ.get(SERVER_KEY) or None)
    try:
        server.must_be_up()
        server.model()
    except ServerError as error:
        told = error.diagnostics[0]
        if error.status in (401, 403):
            told = replace(told, hint=f"the environment variable {SERVER_KEY} holds the server's key")
        raise InputError(told) from error
    return server
